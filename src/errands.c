/* The tour, after serve.c: what wakes the parent: signals, questions of `tarry status` and the like, and the time. */
#include "serve_inside.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/pulse.h"
#include "core/recent.h"
#include "status.h"

#define TICK LOOP_SECOND /* how often the processes are looked at */
#define QUESTION_REST LOOP_SECOND /* without descriptors: before those who ask are heard again */

void errands_log_counters(struct parent *p)
{
	struct log_line l;
	keepers_count(&p->keepers);
	bans_count(&p->bans);
	log_begin(&l, LOG_LEVEL_NOTICE);
	log_text(&l, "event", "counters");
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		log_int(&l, metrics_name((enum metric)m), metrics_sum((enum metric)m));
	log_end(&l);
}

/* ---- signals ---- */

static void signals_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct parent *p = (struct parent *)loop;
	struct signalfd_siginfo info;
	(void)events;
	while (read(source->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			proc_reap(&p->procs);
			break;
		case SIGHUP:
			change_begin(p, false, -1);
			break;
		case SIGUSR1:
			errands_log_counters(p);
			break;
		case SIGUSR2:
			change_begin(p, true, -1);
			break;
		case SIGQUIT:
			generation_drain(p);
			break;
		default:
			loop_stop(loop);
			break;
		}
	}
}

bool errands_hurry(struct parent *p)
{
	struct signalfd_siginfo info;
	bool again = false;
	while (p->signals.fd >= 0 && read(p->signals.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		again = again || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
	log_flush();
	return again;
}

/* Only there to have a turn, at the end of which the log is flushed. */
static void wake(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops signals_ops = { signals_ready, wake };

static int watch_signals(struct parent *p)
{
	static const int wanted[] = { SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGINT, SIGTERM };
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		sigaddset(&set, wanted[i]);
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	source_init(&p->signals, &signals_ops);
	return loop_watch(&p->loop, &p->signals, fd, EPOLLIN);
}

/* ---- questions ---- */

/* The memory comes along: `tarry top` looks for itself from then on. */
static void answer_status(struct parent *p, int fd)
{
	const int fds[CONTROL_FDS] = { [CONTROL_FD_METRICS] = metrics_fd_readonly(), [CONTROL_FD_RECENT] = recent_fd_readonly(), [CONTROL_FD_HEALTH] = health_fd_readonly(),
		[CONTROL_FD_DESK] = p->desks.memory.readonly };
	unsigned all = 0;
	struct buf report;
	while (all < CONTROL_FDS && fds[all] >= 0)
		all++;
	buf_init(&report, CONTROL_TEXT);
	buf_put_char(&report, CONTROL_DONE);
	keepers_count(&p->keepers);
	bans_count(&p->bans);
	status_put(&report, &p->conf, p->fronts, p->started, p->procs.generation, generation_old(p));
	tables_put_kept(&p->tables, &report);
	tlskeys_put_kept(&p->tlskeys, &report);
	control_answer_with(fd, &report, fds, all);
	buf_fini(&report);
}

static void put_drain(struct parent *p, struct buf *report)
{
	generation_drain(p);
	buf_putf(report, "nobody is accepted any more; the door ends when its %lld clients have finished, and in ", (long long)metrics_sum(METRIC_open));
	conf_put_duration(report, p->conf.drain_timeout);
	buf_put_text(report, " at the latest\n");
}

static void answer_at_once(struct parent *p, int fd, void (*put)(struct parent *p, struct buf *report))
{
	struct buf report;
	buf_init(&report, CONTROL_TEXT);
	buf_put_char(&report, CONTROL_DONE);
	put(p, &report);
	control_answer(fd, &report);
	buf_fini(&report);
}

static void answer(struct parent *p, enum control_question question, int fd)
{
	if (question == CONTROL_STATUS)
		answer_status(p, fd);
	else if (question == CONTROL_DRAIN)
		answer_at_once(p, fd, put_drain);
	else
		change_begin(p, question == CONTROL_UPGRADE, fd);
}

static void question_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct parent *p = (struct parent *)loop;
	int fd;
	(void)events;
	while (source->fd >= 0 && ((fd = control_accept(source->fd)) >= 0 || fd == -EPERM))
		if (fd >= 0)
			answer(p, (enum control_question)(source - p->controls), fd);
	if (source->fd >= 0 && (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM)) { /* whoever asks stays in the queue, and would be told of in every turn */
		loop_rewatch(loop, source, 0);
		loop_set_due(loop, source, loop_now(loop) + QUESTION_REST);
	}
}

static void question_due(struct loop *loop, struct source *source)
{
	if (source->fd >= 0)
		loop_rewatch(loop, source, EPOLLIN);
}

static const struct source_ops question_ops = { question_ready, question_due };

static void watch_question(struct parent *p, enum control_question question, const char *consequence)
{
	struct source *source = &p->controls[question];
	int left = p->takeover ? p->takeover->controls[question] : -1;
	int fd = p->control_fds[question] = left >= 0 ? left : control_listen(question, p->path);
	bool waits = question == CONTROL_RELOAD || question == CONTROL_UPGRADE;
	source_init(source, &question_ops);
	int e = fd < 0 ? fd : waits ? 0 : loop_watch(&p->loop, source, fd, EPOLLIN);
	if (e < 0)
		log_event(LOG_LEVEL_NOTICE, "no_control", "%s: %s", consequence, e == -EADDRINUSE ? "another one runs with the same configuration file" : strerror(-e));
}

/* Without them there are signals, and the log. */
static void watch_questions(struct parent *p)
{
	watch_question(p, CONTROL_RELOAD, "tarry reload will not find this door");
	watch_question(p, CONTROL_STATUS, "tarry status will not find this door");
	watch_question(p, CONTROL_UPGRADE, "tarry upgrade will not find this door");
	watch_question(p, CONTROL_DRAIN, "tarry drain will not find this door");
}

void errands_hear(struct parent *p, bool hear)
{
	static const enum control_question changes[] = { CONTROL_RELOAD, CONTROL_UPGRADE };
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct source *source = &p->controls[changes[i]];
		if (!hear)
			loop_unwatch(&p->loop, source);
		else if (source->fd < 0 && p->control_fds[changes[i]] >= 0)
			loop_watch(&p->loop, source, p->control_fds[changes[i]], EPOLLIN);
	}
}

void errands_close(struct parent *p)
{
	close(p->signals.fd);
	for (unsigned i = 0; i < CONTROL_QUESTIONS; i++)
		if (p->control_fds[i] >= 0)
			close(p->control_fds[i]);
	change_close(p);
}

/* ---- time ---- */

static void access_due(struct loop *loop, struct source *source)
{
	struct parent *p = (struct parent *)loop;
	tables_look(&p->tables, &p->procs);
	tlskeys_look(&p->tlskeys, &p->procs);
	loop_set_due(loop, source, loop_now(loop) + TABLES_LOOK);
}

/* How long a front has been silent; 0: it is none. One that has not begun to turn has been so since it was started, unless another version has started it, whose memory is not this one. */
static int64_t silence_of(const struct parent *p, const struct proc *proc)
{
	int64_t last = pulse_last(proc->row);
	if (proc->pid == 0 || !proc_is(proc, "front") || (last == 0 && proc->generation != p->procs.generation))
		return 0;
	return loop_now(&p->loop) - (last > 0 ? last : proc->started);
}

static int64_t longest_silence(const struct parent *p)
{
	int64_t longest = 0;
	for (unsigned i = 0; i < p->procs.len; i++) {
		int64_t silent = silence_of(p, &p->procs.all[i]);
		longest = silent > longest ? silent : longest;
	}
	return longest;
}

static void log_hung(const struct proc *proc, int64_t silent, const char *signal)
{
	struct log_line l;
	log_begin(&l, LOG_LEVEL_ERROR);
	log_text(&l, "event", "front_hangs");
	log_int(&l, "index", proc->index);
	log_int(&l, "pid", proc->pid);
	log_ms(&l, "silent_ms", silent);
	log_text(&l, "signal", signal);
	log_end(&l);
}

/* SIGABRT leaves a core where those are wanted; one that is stopped, or hangs in the kernel, does not take it. */
static void end_hung(struct parent *p)
{
	int64_t limit = p->conf.hang_timeout;
	for (unsigned i = 0; i < p->procs.len && limit > 0; i++) {
		struct proc *proc = &p->procs.all[i];
		int64_t silent = silence_of(p, proc);
		if (silent < limit)
			continue;
		bool again = silent >= limit + 2 * TICK;
		log_hung(proc, silent, again ? "SIGKILL" : "SIGABRT");
		kill(proc->pid, again ? SIGKILL : SIGABRT);
	}
}

static void tick_due(struct loop *loop, struct source *source)
{
	struct parent *p = (struct parent *)loop;
	loop_set_due(loop, source, loop_now(loop) + TICK);
	end_hung(p);
	change_look(p);
	generation_look(p);
}

/* Only if all fronts turn, too: one that should be ended by now, and is not, is a matter for whoever watches us. */
static void watchdog_due(struct loop *loop, struct source *source)
{
	struct parent *p = (struct parent *)loop;
	int64_t limit = p->conf.hang_timeout > 0 ? p->conf.hang_timeout + 5 * TICK : p->notify.watchdog;
	if (longest_silence(p) < limit)
		notify_send(&p->notify, "WATCHDOG=1\n");
	loop_set_due(loop, source, loop_now(loop) + p->notify.watchdog / 2);
}

static const struct source_ops access_ops = { NULL, access_due };
static const struct source_ops tick_ops = { NULL, tick_due };
static const struct source_ops watchdog_ops = { NULL, watchdog_due };

int errands_watch(struct parent *p)
{
	int64_t now = loop_now(&p->loop);
	source_init(&p->access_watch, &access_ops);
	source_init(&p->tick, &tick_ops);
	source_init(&p->watchdog, &watchdog_ops);
	int e = watch_signals(p);
	if (e < 0)
		return e;
	watch_questions(p);
	loop_set_due(&p->loop, &p->tick, now + TICK);
	if (p->conf.access_db.len > p->tables.elsewhere || p->tlskeys.wanted)
		loop_set_due(&p->loop, &p->access_watch, now + TABLES_LOOK);
	if (p->notify.watchdog > 0)
		loop_set_due(&p->loop, &p->watchdog, now);
	return 0;
}
