/* The tour, core: processes. One child is one line of `all`; what it does is its role's business, that it runs is ours. */
#include "core/proc.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/pulse.h"
#include "core/sandbox.h"
#include "core/sock.h"

static void start(struct proc *p);

static void restart_due(struct loop *loop, struct source *source)
{
	struct proc *p = (struct proc *)source;
	(void)loop;
	if (!p->set->ending && !p->retired && p->pid == 0) {
		metrics_add(METRIC_restarts, p->waits ? 0 : 1);
		start(p);
	}
}

static const struct source_ops restart_ops = { NULL, restart_due };

static struct proc *of_words(struct source *source)
{
	return (struct proc *)((char *)source - offsetof(struct proc, words));
}

/* When it is dead SIGCHLD says so too. */
static void words_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct proc *p = of_words(source);
	char word;
	(void)events;
	ssize_t n = recv(source->fd, &word, 1, MSG_DONTWAIT);
	if (n == 0)
		loop_unwatch(loop, source);
	if (n != 1) /* what is an error now need not be one the next time */
		return;
	p->ready = true;
	if (p->set->word)
		p->set->word(p->set, p, word, p->set->event_context);
}

static const struct source_ops words_ops = { words_ready, NULL };

/* Who can write beside this program, or into the other folder, can write the program: neither gives anybody anything. */
bool proc_file(const char *name, const char *installed, char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
	char *slash = n > 0 ? memrchr(out, '/', (size_t)n) : NULL;
	if (!slash || (size_t)(slash - out) + 1 + strlen(name) + 1 > PATH_MAX)
		return false;
	strcpy(slash + 1, name);
	if (access(out, F_OK) < 0) {
		char there[PATH_MAX];
		int len = snprintf(there, sizeof(there), "%s/%s", installed, name);
		if (len > 0 && (size_t)len < sizeof(there))
			memcpy(out, there, (size_t)len + 1);
	}
	return true;
}

bool proc_program(const char *name, char out[PATH_MAX])
{
	return proc_file(name, TARRY_LIBEXEC, out);
}

void proc_set_init(struct proc_set *set, struct loop *loop)
{
	memset(set, 0, sizeof(*set));
	set->loop = loop;
	set->end_wait = PROC_END_WAIT;
}

/* The first that is free: those in use stay close together, for whoever adds them up. There are as many as there can be children. */
static unsigned free_row(const struct proc_set *set)
{
	bool used[PROC_MAX] = { false };
	unsigned row = 0;
	for (unsigned i = 0; i < set->len; i++)
		used[set->all[i].row] = true;
	while (used[row])
		row++;
	return row;
}

static bool has_row(const struct proc_set *set, unsigned row)
{
	for (unsigned i = 0; i < set->len; i++)
		if (set->all[i].row == row)
			return true;
	return false;
}

static struct proc *add(struct proc_set *set, const struct proc_role *role, unsigned index, unsigned row)
{
	struct proc *p = &set->all[set->len];
	*p = (struct proc){ .role = role, .index = index, .row = row, .channel = -1, .delay = PROC_RESTART_FIRST, .generation = set->generation, .set = set };
	source_init(&p->restart, &restart_ops);
	source_init(&p->words, &words_ops);
	set->len++;
	return p;
}

bool proc_add(struct proc_set *set, const struct proc_role *role, unsigned count)
{
	if (set->len + count > PROC_MAX)
		return false;
	for (unsigned i = 0; i < count; i++)
		add(set, role, i, free_row(set));
	return true;
}

struct proc *proc_adopt(struct proc_set *set, const struct proc *what)
{
	if (set->len == PROC_MAX || what->row >= PROC_MAX || has_row(set, what->row))
		return NULL;
	struct proc *p = add(set, what->role, what->index, what->row);
	p->generation = what->generation;
	p->retired_at = what->retired_at;
	p->retired = true;
	p->pid = what->pid;
	p->channel = what->channel;
	p->ready = what->ready;
	p->started = loop_now(set->loop);
	loop_watch(set->loop, &p->words, p->channel, EPOLLIN);
	return p;
}

void proc_promote(struct proc *p, const struct proc_role *role)
{
	p->role = role;
	p->generation = p->set->generation;
	p->retired = false;
	p->retired_at = 0;
}

static void ignore_group_signals(void)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE };
	sigset_t none;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void child(struct proc *p, int channel)
{
	char name[32];
	struct proc_set *set = p->set;
	ignore_group_signals();
	/* The other children's channels and the parent's loop are none of its business. */
	for (unsigned i = 0; i < set->len; i++)
		if (set->all[i].channel >= 0)
			close(set->all[i].channel);
	loop_fini(set->loop);
	snprintf(name, sizeof(name), "%s/%u", p->role->name, p->index);
	log_role(name);
	metrics_row(p->row);
	const struct sandbox_account account = { .drop = set->drop && !p->role->keeps_root, .uid = set->uid, .gid = set->gid, .user = set->user, .whole = set->account };
	if (!sandbox_begin(sandbox_role(p->role->name), set->sandbox, &account, p->caps)) {
		log_flush();
		_exit(EX_OSERR);
	}
	snprintf(name, sizeof(name), "tarry-%s", p->role->name);
	prctl(PR_SET_NAME, name, 0, 0, 0);
	int status = p->role->run(p->index, channel, p->role->context);
	log_flush();
	exit(status); /* not _exit(): coverage and leak checks end with it */
}

static void report(struct proc *p, enum proc_event event)
{
	if (p->set->event)
		p->set->event(p->set, p, event, p->set->event_context);
}

static void plan_restart(struct proc *p)
{
	loop_set_due(p->set->loop, &p->restart, loop_now(p->set->loop) + p->delay);
	if (++p->young > PROC_SOON)
		p->delay = p->delay * 2 < PROC_RESTART_MOST ? p->delay * 2 : PROC_RESTART_MOST;
}

static void not_started(struct proc *p)
{
	report(p, PROC_FORK_FAILED);
	plan_restart(p);
}

static void start(struct proc *p)
{
	int pair[2];
	p->waits = false;
	p->started = loop_now(p->set->loop);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
		not_started(p);
		return;
	}
	/* Words that nobody takes keep the descriptors sent with them, and what is behind those, in memory. */
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){ PROC_CHANNEL }, sizeof(int));
	log_flush(); /* or the child would write our lines a second time */
	pulse_beat(p->row, 0);
	/* A child that is not heard would never be ready: then there is none. */
	pid_t pid = loop_watch(p->set->loop, &p->words, pair[0], EPOLLIN) < 0 ? -1 : fork();
	if (pid == 0) {
		close(pair[0]);
		child(p, pair[1]);
	}
	close(pair[1]);
	if (pid < 0) {
		loop_unwatch(p->set->loop, &p->words);
		close(pair[0]);
		not_started(p);
		return;
	}
	p->pid = pid;
	p->channel = pair[0];
	p->missed = p->ready = false;
	report(p, PROC_STARTED);
}

void proc_keep(struct proc_set *set, const char *role, uint64_t caps)
{
	for (unsigned i = 0; i < set->len; i++)
		if (strcmp(set->all[i].role->name, role) == 0)
			set->all[i].caps = caps;
}

void proc_wait(struct proc_set *set, const char *role, unsigned from)
{
	for (unsigned i = 0; i < set->len; i++)
		if (proc_is(&set->all[i], role) && set->all[i].index >= from)
			set->all[i].waits = true;
}

void proc_start_all(struct proc_set *set)
{
	for (unsigned i = 0; i < set->len; i++) {
		struct proc *p = &set->all[i];
		if (p->pid != 0 || p->retired || p->later)
			continue;
		if (p->waits)
			loop_set_due(set->loop, &p->restart, loop_now(set->loop) + PROC_REST);
		else
			start(p);
	}
}

void proc_start_rest(struct proc_set *set)
{
	for (unsigned i = 0; i < set->len; i++) {
		struct proc *p = &set->all[i];
		if (p->waits && p->pid == 0 && !p->retired && !p->later)
			loop_set_due(set->loop, &p->restart, loop_now(set->loop));
	}
}

void proc_start_one(struct proc *p)
{
	p->later = false;
	if (p->pid == 0 && !p->retired && !p->set->ending)
		start(p);
}

static struct proc *find_pid(struct proc_set *set, pid_t pid)
{
	for (unsigned i = 0; i < set->len; i++)
		if (set->all[i].pid == pid)
			return &set->all[i];
	return NULL;
}

void proc_reap(struct proc_set *set)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct proc *p = find_pid(set, pid);
		if (!p && set->other)
			set->other(set, pid, status, set->event_context);
		if (!p)
			continue;
		p->pid = 0;
		p->status = status;
		loop_unwatch(set->loop, &p->words);
		close(p->channel);
		p->channel = -1;
		metrics_clear_gauges(p->row);
		if (set->ending)
			continue;
		if (loop_now(set->loop) - p->started >= PROC_SETTLED) {
			p->delay = PROC_RESTART_FIRST;
			p->young = 0;
		}
		report(p, p->retired && WIFEXITED(status) ? PROC_ENDED : PROC_DIED); /* with the delay that will be kept */
		if (!p->retired)
			plan_restart(p);
	}
}

bool proc_is(const struct proc *p, const char *role)
{
	return strcmp(p->role->name, role) == 0;
}

bool proc_tell_one(struct proc *p, char word, int fd)
{
	return p->channel >= 0 && sock_send_fd(p->channel, &word, 1, fd) == 1;
}

void proc_tell(struct proc_set *set, const char *role, char word, int fd)
{
	for (unsigned i = 0; i < set->len; i++) {
		struct proc *p = &set->all[i];
		/* A child that is about to die misses it for good; its successor starts with what is new. */
		if (p->channel >= 0 && !p->retired && proc_is(p, role) && !proc_tell_one(p, word, fd))
			p->missed = true;
	}
}

bool proc_missed(struct proc_set *set, const char *role)
{
	bool any = false;
	for (unsigned i = 0; i < set->len; i++) {
		struct proc *p = &set->all[i];
		if (p->channel < 0 || !p->missed || strcmp(p->role->name, role) != 0)
			continue;
		any = true;
		p->missed = false;
	}
	return any;
}

/* role NULL: any. */
static bool any_running(const struct proc_set *set, const char *role)
{
	for (unsigned i = 0; i < set->len; i++)
		if (set->all[i].pid > 0 && (!role || proc_is(&set->all[i], role)))
			return true;
	return false;
}

void proc_end_one(struct proc *p)
{
	p->retired = true;
	loop_set_due(p->set->loop, &p->restart, LOOP_NEVER);
	if (p->channel >= 0 && !p->told) {
		loop_unwatch(p->set->loop, &p->words);
		shutdown(p->channel, SHUT_RDWR);
	}
	p->told = true;
}

void proc_no_restarts(struct proc_set *set)
{
	for (unsigned i = 0; i < set->len; i++) {
		set->all[i].retired = true;
		loop_set_due(set->loop, &set->all[i].restart, LOOP_NEVER);
	}
}

void proc_end_role(struct proc_set *set, const char *role, bool (*keep_waiting)(void *context), void *context)
{
	static const struct timespec step = { 0, 10 * LOOP_MS };
	set->ending = true;
	proc_no_restarts(set);
	for (unsigned i = 0; i < set->len; i++)
		if (!role || proc_is(&set->all[i], role))
			proc_end_one(&set->all[i]);
	/* Counted in steps, not by the loop's clock, which a test may hold still. */
	int64_t left = set->end_wait;
	for (proc_reap(set); any_running(set, role) && left > 0 && (!keep_waiting || keep_waiting(context)); proc_reap(set)) {
		nanosleep(&step, NULL);
		left -= step.tv_nsec;
	}
	for (unsigned i = 0; i < set->len; i++)
		if (set->all[i].pid > 0 && (!role || proc_is(&set->all[i], role)))
			kill(set->all[i].pid, SIGKILL);
	for (proc_reap(set); any_running(set, role); proc_reap(set))
		nanosleep(&step, NULL);
}

void proc_end_all(struct proc_set *set)
{
	proc_end_role(set, NULL, NULL, NULL);
}
