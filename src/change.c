/* The tour, main: `tarry reload` and `tarry upgrade`. A configuration that has not changed means that only tables and certificates are read again. Otherwise what is to come is rehearsed first: a child
 * becomes the program that is to take over, does all that a start does up to the first process, and says what is wrong; nothing has changed then. If nothing is, this process becomes that program
 * (takeover.h). From there it is serve.c's: its fronts are started, and when all of them accept, those of before leave (generation.c), and whoever asked has the answer. */
#include "serve_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/pulse.h"
#include "core/recent.h"
#include "gate/handoff.h"
#include "gate/study.h"
#include "tool/complain.h"

#define REHEARSAL_TIME (100 * LOOP_SECOND) /* then it is given up: it hangs, perhaps with a name server */
#define REHEARSALS 5                       /* of one change at most, while the configuration changes meanwhile */
#define READY_TIME (20 * LOOP_SECOND)      /* for new fronts, until whoever asked is told that they are not there */
#define TEXT_MAX (48 * 1024)
#define READ_STEP 4096
#define PIPE_READS 32                      /* twice what a pipe holds */

static const char *name_of(const struct parent *p)
{
	return p->change.upgrade ? "upgrade" : "reload";
}

static void log_lines(const char *event, struct slice text)
{
	while (text.len > 0) {
		const char *lf = memchr(text.at, '\n', text.len);
		size_t n = lf ? (size_t)(lf - text.at) : text.len;
		if (n > 0)
			log_event(LOG_LEVEL_ERROR, event, "%.*s", (int)n, text.at);
		n += lf ? 1 : 0;
		text.at += n;
		text.len -= n;
	}
}

/* ---- the answer ---- */

static void answer(struct parent *p, char first, struct slice text)
{
	struct buf report;
	if (p->change.asker < 0)
		return;
	buf_init(&report, CONTROL_TEXT);
	buf_put_char(&report, first);
	buf_put_slice(&report, text);
	control_answer(p->change.asker, &report);
	buf_fini(&report);
	p->change.asker = -1;
}

static void over(struct parent *p)
{
	buf_fini(&p->change.said);
	p->change.state = CHANGE_NONE;
	notify_send(&p->notify, "READY=1\nSTATUS=generation %llu\n", (unsigned long long)p->procs.generation);
	errands_hear(p, true);
	if (p->change.again)
		loop_set_due(&p->loop, &p->change.output, loop_now(&p->loop));
}

/* All stays as it is. */
static void give_up(struct parent *p, struct slice text)
{
	struct buf report;
	buf_init(&report, TEXT_MAX + 256);
	buf_put_slice(&report, text);
	if (text.len > 0 && text.at[text.len - 1] != '\n')
		buf_put_char(&report, '\n');
	buf_put_text(&report, p->change.upgrade ? "the version that runs goes on\n" : "the configuration that is in force stays\n");
	log_lines(p->change.upgrade ? "upgrade_failed" : "reload_failed", buf_slice(&report));
	answer(p, CONTROL_KEPT, buf_slice(&report));
	buf_fini(&report);
	over(p);
}

/* ---- is there a change ---- */

static bool same_addresses(const struct conf *a, const struct conf *b)
{
	for (size_t i = 0; i < a->backends_len; i++)
		if (!addr_same_ip(&a->backends[i].at, &b->backends[i].at) || a->backends[i].at.port != b->backends[i].at.port)
			return false;
	return true;
}

/* What has been computed counts, too: the name of this machine, the addresses of backends. A listener's port that was 0 is what it has got. */
static bool is_same(const struct conf *now, const struct conf *fresh)
{
	struct buf a, b;
	buf_init(&a, 4 * 1024 * 1024);
	buf_init(&b, 4 * 1024 * 1024);
	for (size_t i = 0; i < fresh->listens_len && i < now->listens_len; i++)
		if (fresh->listens[i].at.port == 0)
			fresh->listens[i].at.port = now->listens[i].at.port;
	conf_show(now, &a);
	conf_show(fresh, &b);
	bool same = !a.full && !b.full && a.len == b.len && memcmp(a.at, b.at, a.len) == 0 && now->backends_len == fresh->backends_len && same_addresses(now, fresh) && strcmp(now->hostname, fresh->hostname) == 0;
	buf_fini(&a);
	buf_fini(&b);
	return same;
}

static void reload_files(struct parent *p)
{
	struct buf report;
	buf_init(&report, TEXT_MAX);
	bool ok = tables_reload(&p->tables, &p->procs, &report);
	ok = tlskeys_reload(&p->tlskeys, &p->procs, &report) && ok;
	if (p->conf.access_db.len == 0)
		buf_put_text(&report, "there is no access database (access_db)\n");
	answer(p, ok ? CONTROL_DONE : CONTROL_KEPT, buf_slice(&report));
	buf_fini(&report);
	over(p);
}

/* False: that was all that was to be done. */
static bool has_changed(struct parent *p)
{
	struct conf fresh;
	struct buf errors, warnings;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	bool ok = complain_load(&fresh, p->path, p->overrides, p->overrides_len, &errors, &warnings);
	bool same = ok && is_same(&p->conf, &fresh);
	if (!ok)
		give_up(p, buf_slice(&errors));
	buf_fini(&errors);
	buf_fini(&warnings);
	conf_fini(&fresh);
	if (same)
		reload_files(p);
	return ok && !same;
}

/* ---- what is left to the program after this one ---- */

static void put_children(const struct parent *p, struct takeover *t)
{
	for (unsigned i = 0; i < p->procs.len; i++) {
		const struct proc *proc = &p->procs.all[i];
		if (proc->pid == 0 || t->children_len == TAKEOVER_CHILDREN)
			continue;
		struct takeover_child *c = &t->children[t->children_len++];
		*c = (struct takeover_child){ .index = proc->index, .row = proc->row, .pid = proc->pid, .fd = proc->channel, .generation = proc->generation, .retired_at = proc->retired_at,
			.ready = proc->ready };
		snprintf(c->role, sizeof(c->role), "%s", proc->role->name);
	}
}

static void put_counts(struct takeover *t)
{
	for (unsigned m = 0; m < METRIC_COUNT && t->counts_len < TAKEOVER_COUNTS; m++) {
		struct takeover_count *c = &t->counts[t->counts_len];
		if (metrics_is_gauge((enum metric)m))
			continue;
		snprintf(c->name, sizeof(c->name), "%s", metrics_name((enum metric)m));
		c->value = metrics_sum((enum metric)m);
		t->counts_len++;
	}
}

static void put_times(struct takeover *t)
{
	for (unsigned h = 0; h < HISTOGRAM_COUNT && t->times_len < TAKEOVER_TIMES; h++) {
		struct takeover_times *times = &t->times[t->times_len++];
		snprintf(times->name, sizeof(times->name), "%s", metrics_times_name((enum histogram)h));
		metrics_times((enum histogram)h, &times->of);
	}
}

static struct takeover *describe(struct parent *p)
{
	struct takeover *t = takeover_new();
	if (!t)
		return NULL;
	keepers_count(&p->keepers);
	bans_count(&p->bans);
	t->generation = p->procs.generation;
	t->started = p->started;
	study_secret(t->draw);
	t->nofile[0] = p->descriptors.rlim_cur;
	t->nofile[1] = p->descriptors.rlim_max;
	t->handoff = HANDOFF_VERSION;
	t->metrics = metrics_fd();
	t->pulse = pulse_fd();
	t->recent = recent_fd();
	t->backends = p->connections_fd;
	t->backends_key = p->connections_key;
	t->upgrade = p->change.upgrade;
	if (p->tlskeys.wanted) {
		t->tickets = p->tlskeys.tickets;
		t->tickets_rotate = p->conf.tls_tickets > 0 ? p->tlskeys.rotate : 0;
	}
	for (unsigned i = 0; i < CONTROL_QUESTIONS; i++)
		t->controls[i] = p->control_fds[i];
	listeners_put(&p->listeners, t);
	put_children(p, t);
	put_counts(t);
	put_times(t);
	keepers_put(&p->keepers, t);
	t->desk = p->desks.listener;
	t->desk_memory = p->desks.memory.fd;
	bans_put(&p->bans, t);
	return t;
}

/* Returns -errno if that fails. */
static int become(struct parent *p, const struct takeover *t, const char *command)
{
	notify_export(&p->notify);
	int e = takeover_exec(t, p->program, command, p->argc, p->argv);
	notify_init(&p->notify);
	return e;
}

static void take_over(struct parent *p)
{
	char memory[PATH_MAX + 256];
	struct buf text;
	struct takeover *t = describe(p);
	int e = -ENOMEM;
	if (t) {
		t->asker = p->change.asker;
		t->said = takeover_seal(buf_slice(&p->change.said));
		log_event(LOG_LEVEL_NOTICE, name_of(p), "%s takes over; generation %llu finishes its clients", p->program, (unsigned long long)t->generation);
		log_flush();
		e = become(p, t, "serve");
		if (t->said >= 0)
			close(t->said);
	}
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_putf(&text, "%s: %s", p->program, strerror(-e));
	takeover_free(t);
	give_up(p, buf_slice(&text));
}

/* ---- the rehearsal ---- */

static int start_rehearsal(struct parent *p);

/* What was rehearsed is not what would be read now: once more, but somebody may write to the file all the time. */
static bool must_repeat(struct parent *p)
{
	struct change *c = &p->change;
	struct look now = look_at(p->path);
	if ((!c->again && look_same(&now, &c->seen)) || c->rehearsals == REHEARSALS)
		return false;
	c->again = false;
	c->upgrade = c->upgrade || c->again_upgrade;
	buf_clear(&c->said);
	int e = start_rehearsal(p);
	if (e < 0) {
		buf_putf(&c->said, "it cannot be tried once more: %s\n", strerror(-e));
		c->status = EX_OSERR << 8; /* as of a process that ended so */
	}
	return e == 0;
}

static void judge(struct parent *p)
{
	struct change *c = &p->change;
	if (c->pid > 0 || c->state != CHANGE_REHEARSED)
		return;
	loop_set_due(&p->loop, &c->output, LOOP_NEVER);
	if (p->draining || p->loop.stop) { /* it was told so meanwhile, and the next program would not know */
		give_up(p, slice_of("the door ends\n"));
		return;
	}
	if (must_repeat(p))
		return;
	if (WIFEXITED(c->status) && WEXITSTATUS(c->status) == EX_OK) {
		take_over(p);
		return;
	}
	if (WIFSIGNALED(c->status))
		buf_putf(&c->said, "%s, tried first, was ended by signal %d (%s)\n", p->program, WTERMSIG(c->status), strsignal(WTERMSIG(c->status)));
	else if (c->said.len == 0 || c->upgrade)
		buf_putf(&c->said, "%s, tried first, ended with code %d%s\n", p->program, WEXITSTATUS(c->status), WEXITSTATUS(c->status) == EX_USAGE ? ": it does not know how to take over; restart the door instead" : "");
	give_up(p, buf_slice(&c->said));
}

/* Its deadline stays. */
static void close_output(struct parent *p)
{
	int fd = p->change.output.fd;
	loop_unwatch(&p->loop, &p->change.output);
	if (fd >= 0)
		close(fd);
}

/* What does not fit is not kept. True: there may be more. */
static bool hear(struct parent *p)
{
	char text[READ_STEP];
	int fd = p->change.output.fd;
	ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : 0;
	if (n > 0)
		buf_put(&p->change.said, text, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_output(p);
	return n > 0;
}

/* What it has said is in the pipe by now. The end of that is not waited for: a process that it has left behind may keep it open. */
void change_ended(struct parent *p, pid_t pid, int status)
{
	if (pid != p->change.pid)
		return;
	p->change.pid = 0;
	p->change.status = status;
	for (unsigned i = 0; i < PIPE_READS && hear(p); i++)
		;
	close_output(p);
	if (!p->procs.ending)
		judge(p);
}

static void output_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	hear((struct parent *)loop);
}

static void output_due(struct loop *loop, struct source *source)
{
	struct parent *p = (struct parent *)loop;
	(void)source;
	if (p->change.state == CHANGE_NONE) { /* it is the next one's turn */
		change_begin(p, p->change.again_upgrade, -1);
		return;
	}
	buf_putf(&p->change.said, "it has not been ready after %d s\n", (int)(REHEARSAL_TIME / LOOP_SECOND));
	if (p->change.pid > 0)
		kill(p->change.pid, SIGKILL);
}

static const struct source_ops output_ops = { output_ready, output_due };

/* In the child: what it says goes to whoever asked. */
_Noreturn static void rehearse(struct parent *p, const struct takeover *t, int output)
{
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	int e = become(p, t, "rehearse");
	dprintf(STDERR_FILENO, "%s: %s\n", p->program, strerror(-e));
	_exit(EX_OSERR);
}

static int start_rehearsal(struct parent *p)
{
	struct change *c = &p->change;
	int ends[2];
	c->seen = look_at(p->path);
	struct takeover *t = describe(p);
	if (!t)
		return -ENOMEM;
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		takeover_free(t);
		return -errno;
	}
	fcntl(ends[1], F_SETFL, 0);
	log_flush(); /* or the child would write our lines a second time */
	pid_t pid = fork();
	if (pid == 0)
		rehearse(p, t, ends[1]);
	int e = pid < 0 ? -errno : 0;
	close(ends[1]);
	takeover_free(t);
	if (e == 0)
		e = loop_watch(&p->loop, &c->output, ends[0], EPOLLIN);
	if (e < 0) {
		close(ends[0]);
		return e;
	}
	c->pid = pid;
	c->rehearsals++;
	c->state = CHANGE_REHEARSED;
	loop_set_due(&p->loop, &c->output, loop_now(&p->loop) + REHEARSAL_TIME);
	return 0;
}

void change_begin(struct parent *p, bool upgrade, int asker)
{
	char text[256];
	if (p->change.state != CHANGE_NONE || !(p->ready || p->stuck)) { /* by a signal: who asks is not heard now */
		p->change.again_upgrade = upgrade || (p->change.again && p->change.again_upgrade);
		p->change.again = true;
		return;
	}
	p->change = (struct change){ .upgrade = upgrade, .asker = asker };
	source_init(&p->change.output, &output_ops);
	buf_init(&p->change.said, TEXT_MAX);
	if (p->draining) {
		answer(p, CONTROL_KEPT, slice_of("the door drains, and ends\n"));
		return;
	}
	errands_hear(p, false);
	notify_reloading(&p->notify);
	if (!upgrade && !has_changed(p))
		return;
	int e = p->program[0] ? start_rehearsal(p) : -ENOENT;
	if (e < 0) {
		snprintf(text, sizeof(text), "it cannot be tried: %s", strerror(-e));
		give_up(p, slice_of(text));
	}
}

/* ---- on the other side ---- */

static void put_said(int fd, struct buf *out)
{
	char text[4096];
	ssize_t n;
	for (off_t at = 0; fd >= 0 && (n = pread(fd, text, sizeof(text), at)) > 0; at += n)
		buf_put(out, text, (size_t)n);
	if (fd >= 0)
		close(fd);
}

void change_done(struct parent *p)
{
	struct buf report;
	if (p->change.state == CHANGE_REHEARSED) /* they have been given up, and what takes their place is tried already */
		return;
	source_init(&p->change.output, &output_ops);
	if (p->change.state == CHANGE_STARTING) {
		unsigned old = generation_old(p);
		buf_init(&report, TEXT_MAX + 256);
		put_said(p->takeover->said, &report);
		buf_putf(&report, "%s in force: generation %llu", p->change.upgrade ? "version " TARRY_VERSION " is" : "the configuration is", (unsigned long long)p->procs.generation);
		buf_putf(&report, old > 0 ? "; %u processes of earlier ones finish their clients\n" : "\n", old);
		answer(p, CONTROL_DONE, buf_slice(&report));
		buf_fini(&report);
	}
	over(p);
}

void change_look(struct parent *p)
{
	static const char text[] = "it was good when it was tried, but its fronts do not get ready: see the log; the ones of before go on\n";
	if (p->ready || p->change.state != CHANGE_STARTING || loop_now(&p->loop) - p->begun < READY_TIME)
		return;
	log_event(LOG_LEVEL_ERROR, p->change.upgrade ? "upgrade_failed" : "reload_failed", "%.*s", (int)sizeof(text) - 2, text);
	answer(p, CONTROL_KEPT, slice_of(text));
	source_init(&p->change.output, &output_ops);
	p->stuck = true; /* another change may take its place */
	over(p);
}

void change_close(struct parent *p)
{
	if (p->change.asker >= 0)
		close(p->change.asker);
	if (p->change.output.fd >= 0)
		close(p->change.output.fd);
}
