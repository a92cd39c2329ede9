/* For test_lookup.py: a parent and two fronts in one process, as `tarry serve` has them in several: it starts the lookup program with core/proc, as an
 * unprivileged user if it can, and asks it with gate/lookup what it is told to on standard input.
 *
 *   fronts PROGRAM WORKERS TIMEOUT_MS TTL_MS MAP...
 *
 *   in:   ask FRONT TAG MAP KEY... [| KEY...]      keys are %-encoded
 *   out:  answer TAG MS found:INDEX:CUT:VALUE none failed:REASON      one word for each search, values and reasons %-encoded; MS after it was asked
 *         worker INDEX PID                          whenever one is started
 *
 * The log goes to standard error. It ends with standard input.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/loop.h"
#include "core/proc.h"
#include "gate/lookup.h"

#define FRONTS 2
#define LINE (128 * 1024)
#define CACHE 1000

struct fronts {
	struct loop loop; /* first */
	struct source input, signals;
	struct proc_set procs;
	struct proc_role role;
	int questions[2], replies[FRONTS][2], shared;
	struct lookup *lookups[FRONTS];
	char **arguments; /* program, workers, timeout, ttl, maps */
	char line[LINE];
	size_t line_len;
};

struct asked {
	struct lookup_wait wait; /* first */
	char tag[32];
	int64_t at;
};

static struct fronts all;

static void put_encoded(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		printf(text.at[i] > ' ' && text.at[i] < 0x7f && text.at[i] != '%' && text.at[i] != ':' ? "%c" : "%%%02x", (unsigned char)text.at[i]);
}

static void print_answer(const struct asked *a, const struct wire_answer *answer)
{
	printf("answer %s %lld", a->tag, (long long)((loop_now(&all.loop) - a->at) / LOOP_MS));
	for (unsigned s = 0; s < answer->searches; s++) {
		const struct wire_found *f = &answer->found[s];
		if (f->result == WIRE_FOUND)
			printf(" found:%u:%d:", f->key, f->cut);
		else
			printf(f->result == WIRE_NONE ? " none" : " failed:");
		put_encoded(f->text);
	}
	putchar('\n');
	fflush(stdout);
}

static void done(struct lookup_wait *wait, const struct wire_answer *answer)
{
	print_answer((struct asked *)wait, answer);
	free(wait);
}

/* In place; the slice may contain anything. */
static struct slice decode(char *text)
{
	char *to = text;
	for (char *p = text; *p; p++) {
		if (*p == '%' && p[1] && p[2]) {
			*to++ = (char)strtol((char[]){ p[1], p[2], '\0' }, NULL, 16);
			p += 2;
		} else {
			*to++ = *p;
		}
	}
	return (struct slice){ text, (size_t)(to - text) };
}

static void ask(char *line)
{
	static struct wire_question q;
	char *save, *word = strtok_r(line, " ", &save), *front = strtok_r(NULL, " ", &save), *tag = strtok_r(NULL, " ", &save), *map = strtok_r(NULL, " ", &save);
	size_t keys = 0;
	if (!word || !front || !tag || !map)
		return;
	struct asked *a = calloc(1, sizeof(*a));
	if (!a)
		abort();
	a->wait.done = done;
	a->at = loop_now(&all.loop);
	snprintf(a->tag, sizeof(a->tag), "%s", tag);
	q = (struct wire_question){ .map = (uint16_t)atoi(map), .searches = 1 };
	while ((word = strtok_r(NULL, " ", &save)) && keys < WIRE_KEYS) {
		if (strcmp(word, "|") == 0 && q.searches < WIRE_SEARCHES) {
			q.searches++;
			continue;
		}
		q.counts[q.searches - 1]++;
		q.keys[keys++] = decode(word);
	}
	const struct wire_answer *known = lookup_ask(all.lookups[atoi(front) % FRONTS], &q, &a->wait);
	if (known) {
		print_answer(a, known);
		free(a);
	}
}

static void input_ready(struct loop *loop, struct source *source, uint32_t events)
{
	char *lf;
	(void)events;
	ssize_t n = read(source->fd, all.line + all.line_len, sizeof(all.line) - all.line_len);
	if (n <= 0) {
		loop_stop(loop);
		return;
	}
	all.line_len += (size_t)n;
	while ((lf = memchr(all.line, '\n', all.line_len))) {
		size_t used = (size_t)(lf + 1 - all.line);
		*lf = '\0';
		ask(all.line);
		memmove(all.line, all.line + used, all.line_len - used);
		all.line_len -= used;
	}
}

static void signals_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct signalfd_siginfo info;
	(void)loop;
	(void)events;
	while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		proc_reap(&all.procs);
}

static const struct source_ops input_ops = { input_ready, NULL };
static const struct source_ops signals_ops = { signals_ready, NULL };

static void keep_over_exec(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

/* In the child: what serve has to do as well. */
static int run_lookup(unsigned index, int parent, void *context)
{
	char questions[16], parents[16], replies[64] = "", indexes[16], shared[16];
	char *args[32] = { all.arguments[0], "--index", indexes, "--questions", questions, "--replies", replies, "--parent", parents, "--shared", shared, "--" };
	size_t n = 12;
	(void)context;
	for (char **map = all.arguments + 4; *map && n < 31; map++)
		args[n++] = *map;
	keep_over_exec(all.questions[1]);
	keep_over_exec(parent);
	keep_over_exec(all.shared);
	for (unsigned f = 0; f < FRONTS; f++) {
		keep_over_exec(all.replies[f][1]);
		snprintf(replies + strlen(replies), sizeof(replies) - strlen(replies), f ? ",%d" : "%d", all.replies[f][1]);
	}
	snprintf(questions, sizeof(questions), "%d", all.questions[1]);
	snprintf(parents, sizeof(parents), "%d", parent);
	snprintf(shared, sizeof(shared), "%d", all.shared);
	snprintf(indexes, sizeof(indexes), "%u", index);
	execv(args[0], args);
	fprintf(stderr, "%s: %s\n", args[0], strerror(errno));
	return 71;
}

static void child_event(struct proc_set *set, struct proc *proc, enum proc_event event, void *context)
{
	(void)set;
	(void)context;
	if (event == PROC_STARTED) {
		printf("worker %u %d\n", proc->index, (int)proc->pid);
		fflush(stdout);
	}
}

static void turn_end(struct loop *loop, void *context)
{
	(void)loop;
	(void)context;
	log_flush();
}

static bool start_lookups(void)
{
	bool ok = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, all.questions) == 0;
	all.shared = memfd_create("lookup", MFD_CLOEXEC);
	for (uint16_t f = 0; ok && f < FRONTS; f++) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, all.replies[f]) < 0)
			return false;
		struct lookup_setup setup = { .loop = &all.loop, .questions = fcntl(all.questions[0], F_DUPFD_CLOEXEC, 0), .answers = all.replies[f][0], .front = f,
			.timeout = atoll(all.arguments[2]) * LOOP_MS, .cache_ttl = atoll(all.arguments[3]) * LOOP_MS, .cache_max = CACHE };
		ok = lookup_new(&all.lookups[f], &setup) == 0;
	}
	return ok;
}

static bool start_workers(void)
{
	sigset_t set;
	const struct passwd *nobody = geteuid() == 0 ? getpwnam("nobody") : NULL;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	source_init(&all.signals, &signals_ops);
	proc_set_init(&all.procs, &all.loop);
	all.procs.event = child_event;
	if (nobody) {
		all.procs.drop = true;
		all.procs.user = "nobody";
		all.procs.uid = nobody->pw_uid;
		all.procs.gid = nobody->pw_gid;
	}
	all.role = (struct proc_role){ .name = "lookup", .run = run_lookup, .context = NULL };
	return loop_watch(&all.loop, &all.signals, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), EPOLLIN) == 0
	       && proc_add(&all.procs, &all.role, (unsigned)atoi(all.arguments[1]));
}

int main(int argc, char **argv)
{
	if (argc < 6)
		return 64;
	all.arguments = argv + 1;
	log_role("fronts");
	source_init(&all.input, &input_ops);
	if (loop_init(&all.loop, 64) < 0 || !start_lookups() || !start_workers() || loop_watch(&all.loop, &all.input, STDIN_FILENO, EPOLLIN) < 0)
		return 71;
	all.loop.turn_end = turn_end;
	proc_start_all(&all.procs);
	loop_run(&all.loop);
	proc_end_all(&all.procs);
	log_flush();
	return 0;
}
