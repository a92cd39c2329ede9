/* Processes: they start, are started again later and later, and end, with nothing left behind. The clock of the loop is moved by hand; what a
 * child does is waited for, by reading from a pipe it holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/proc.h"
#include "core/sock.h"
#include "descriptors.h"

#define WAIT 10000 /* milliseconds until a test gives up */

/* What the children write, and how they shall behave. */
struct stage {
	struct loop loop;
	struct proc_set set;
	int said[2];  /* the children write one byte each time they have something to say */
	int before;   /* descriptors open before */
	unsigned started, died, ended, failed;
	int64_t delay; /* told with the last death */
};

static void on_event(struct proc_set *set, struct proc *proc, enum proc_event event, void *context)
{
	struct stage *s = context;
	assert_ptr_equal(set, &s->set);
	s->started += event == PROC_STARTED;
	s->died += event == PROC_DIED;
	s->ended += event == PROC_ENDED;
	s->failed += event == PROC_FORK_FAILED;
	if (event == PROC_DIED)
		s->delay = proc->delay;
}

static void begin(struct stage *s)
{
	memset(s, 0, sizeof(*s));
	s->before = descriptors_open();
	assert_int_equal(loop_init_manual(&s->loop, PROC_MAX), 0);
	assert_int_equal(pipe(s->said), 0);
	proc_set_init(&s->set, &s->loop);
	s->set.event = on_event;
	s->set.event_context = s;
}

/* Nobody is left: no process, no descriptor. */
static void finish(struct stage *s)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	close(s->said[0]);
	close(s->said[1]);
	loop_fini(&s->loop);
	assert_int_equal(descriptors_open(), s->before);
}

static char hear(struct stage *s)
{
	struct pollfd p = { .fd = s->said[0], .events = POLLIN };
	char c;
	assert_int_equal(poll(&p, 1, WAIT), 1);
	assert_int_equal(read(s->said[0], &c, 1), 1);
	return c;
}

static void say(struct stage *s, char c)
{
	if (write(s->said[1], &c, 1) != 1)
		_exit(9);
}

/* Collects one death; the parent would come here by SIGCHLD. */
static void reap_one(struct stage *s)
{
	siginfo_t info;
	unsigned died = s->died;
	assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
	proc_reap(&s->set);
	assert_int_equal(s->died, died + 1);
}

/* ---- roles; they run in the child, where a failed check is an exit status ---- */

static int run_exit(unsigned index, int parent, void *context)
{
	(void)parent;
	say(context, 'x');
	return 40 + (int)index;
}

/* Says what it is told, until the parent closes the channel. */
static int run_echo(unsigned index, int parent, void *context)
{
	struct pollfd p = { .fd = parent, .events = POLLIN };
	say(context, 's');
	for (;;) {
		char word;
		int fd;
		if (poll(&p, 1, WAIT) != 1)
			return 1;
		ssize_t n = sock_recv_fd(parent, &word, 1, &fd);
		if (n == 0) {
			say(context, 'e');
			return 60 + (int)index;
		}
		if (n != 1)
			return 2;
		if (fd >= 0 && write(fd, "via", 3) != 3)
			return 3;
		if (fd >= 0)
			close(fd);
		say(context, word);
	}
}

_Noreturn static int run_deaf(unsigned index, int parent, void *context)
{
	(void)index;
	(void)parent;
	say(context, 's');
	for (;;)
		pause();
}

/* Checks what a child must find: its signals, its descriptors, its row. */
static int run_look(unsigned index, int parent, void *context)
{
	struct stage *s = context;
	static const int ignored[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE };
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (raise(ignored[i]) != 0)
			return 1;
	/* The pipe and its own channel are what it has more than the test had at first: neither the loop nor its siblings' channels. */
	if (descriptors_open() != s->before + 3)
		return 2;
	sigset_t blocked;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	if (sigismember(&blocked, SIGTERM) || sigismember(&blocked, SIGCHLD))
		return 3;
	metrics_add(METRIC_messages, 1);
	metrics_add(METRIC_open, 1);
	say(s, (char)('0' + index));
	char word;
	struct pollfd p = { .fd = parent, .events = POLLIN };
	return poll(&p, 1, WAIT) == 1 && read(parent, &word, 1) == 0 ? 50 : 4;
}

/* ---- the tests ---- */

static void later_each_time(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "exit", .run = run_exit, .context = &s };
	int64_t delay = PROC_RESTART_FIRST, restarts = metrics_sum(METRIC_restarts);
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &role, 1));
	proc_start_all(&s.set);
	for (unsigned i = 1; i <= 12; i++) {
		assert_int_equal(hear(&s), 'x');
		reap_one(&s);
		assert_int_equal(s.set.all[0].pid, 0);
		assert_int_equal(s.set.all[0].channel, -1);
		assert_true(WIFEXITED(s.set.all[0].status) && WEXITSTATUS(s.set.all[0].status) == 40);
		assert_true(s.delay == delay); /* what is logged is what happens */
		assert_int_equal(s.started, i);
		loop_advance(&s.loop, delay - 1);
		assert_int_equal(s.started, i);
		loop_advance(&s.loop, 1);
		assert_int_equal(s.started, i + 1);
		if (i > PROC_SOON)
			delay = delay * 2 < PROC_RESTART_MOST ? delay * 2 : PROC_RESTART_MOST;
	}
	assert_true(delay == PROC_RESTART_MOST);
	assert_int_equal(metrics_sum(METRIC_restarts), restarts + 12);
	assert_int_equal(hear(&s), 'x');
	proc_end_all(&s.set);
	finish(&s);
}

/* The second of a role waits until it is called, or until its time has come; neither is a restart. */
static void the_rest(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "echo", .run = run_echo, .context = &s };
	int64_t restarts = metrics_sum(METRIC_restarts);
	(void)context;
	for (int called = 0; called < 2; called++) {
		begin(&s);
		assert_true(proc_add(&s.set, &role, 3));
		proc_wait(&s.set, "other", 0);
		proc_wait(&s.set, "echo", 1);
		s.set.all[2].later = true; /* and this one waits for something else */
		proc_start_all(&s.set);
		assert_int_equal(hear(&s), 's');
		loop_advance(&s.loop, PROC_REST - 2);
		assert_int_equal(s.started, 1);
		if (called)
			proc_start_rest(&s.set);
		loop_advance(&s.loop, called ? 1 : 2);
		assert_int_equal(s.started, 2);
		assert_int_equal(hear(&s), 's');
		assert_int_equal(s.set.all[2].pid, 0);
		proc_start_one(&s.set.all[2]);
		assert_int_equal(hear(&s), 's');
		proc_start_rest(&s.set);
		loop_advance(&s.loop, PROC_REST);
		assert_int_equal(s.started, 3);
		assert_int_equal(metrics_sum(METRIC_restarts), restarts);
		proc_end_all(&s.set);
		finish(&s);
	}
}

/* Who has lived for a while is started again soon, whatever was before. */
static void soon_again_when_settled(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "echo", .run = run_echo, .context = &s };
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &role, 1));
	proc_start_all(&s.set);
	for (unsigned i = 0; i < PROC_SOON + 2; i++) { /* dies young, again and again */
		assert_int_equal(hear(&s), 's');
		assert_int_equal(kill(s.set.all[0].pid, SIGKILL), 0);
		reap_one(&s);
		assert_true(WIFSIGNALED(s.set.all[0].status));
		loop_advance(&s.loop, s.delay);
	}
	assert_true(s.delay == 2 * PROC_RESTART_FIRST);
	assert_int_equal(hear(&s), 's');
	loop_advance(&s.loop, PROC_SETTLED);
	assert_int_equal(kill(s.set.all[0].pid, SIGKILL), 0);
	reap_one(&s);
	assert_true(s.delay == PROC_RESTART_FIRST);
	loop_advance(&s.loop, PROC_RESTART_FIRST);
	assert_int_equal(s.started, PROC_SOON + 4);
	assert_int_equal(hear(&s), 's');
	proc_end_all(&s.set);
	assert_int_equal(hear(&s), 'e');
	finish(&s);
}

/* A child that the program before this one has started: it is told, it is collected, its row is its own, and it is not started again. */
static void adopted(void **context)
{
	struct stage s;
	struct proc_role echo = { .name = "echo", .run = run_echo, .context = &s }, old = { .name = "echo" };
	int pair[2];
	(void)context;
	begin(&s);
	s.set.generation = 7;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		_exit(send(pair[1], "r", 1, 0) == 1 ? run_echo(4, pair[1], &s) : 99);
	}
	close(pair[1]);
	struct proc what = { .role = &old, .index = 4, .row = 1, .pid = pid, .channel = pair[0], .generation = 6, .retired_at = 5 };
	struct proc *p = proc_adopt(&s.set, &what);
	assert_non_null(p);
	assert_null(proc_adopt(&s.set, &what)); /* that row is taken */
	assert_true(proc_add(&s.set, &echo, 2));
	assert_int_equal(s.set.all[1].row, 0);
	assert_int_equal(s.set.all[2].row, 2);
	assert_int_equal(s.set.all[2].generation, 7);
	proc_start_all(&s.set);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hear(&s), 's');
	loop_advance(&s.loop, 1);
	assert_true(p->ready);
	assert_false(s.set.all[1].ready);
	proc_tell(&s.set, "echo", 'A', -1); /* that is for the newest alone */
	for (int i = 0; i < 2; i++)
		assert_int_equal(hear(&s), 'A');
	assert_true(proc_tell_one(p, 'B', -1));
	assert_int_equal(hear(&s), 'B');
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap_one(&s);
	assert_int_equal(p->pid, 0);
	loop_advance(&s.loop, 2 * PROC_RESTART_MOST);
	assert_int_equal(s.started, 2);
	proc_end_one(&s.set.all[1]);
	assert_int_equal(hear(&s), 'e');
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)s.set.all[1].pid, &info, WEXITED | WNOWAIT), 0);
	proc_reap(&s.set);
	assert_int_equal(s.died, 1);
	assert_int_equal(s.ended, 1); /* that was wanted */
	proc_end_all(&s.set);
	assert_int_equal(hear(&s), 'e');
	finish(&s);
}

/* One goes on as if this program had started it. */
static void promoted(void **context)
{
	struct stage s;
	struct proc_role echo = { .name = "echo", .run = run_echo, .context = &s }, old = { .name = "echo" };
	int pair[2];
	(void)context;
	begin(&s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		_exit(run_echo(0, pair[1], &s));
	}
	close(pair[1]);
	struct proc *p = proc_adopt(&s.set, &(struct proc){ .role = &old, .row = 0, .pid = pid, .channel = pair[0] });
	assert_non_null(p);
	proc_promote(p, &echo);
	proc_start_all(&s.set);
	assert_int_equal(hear(&s), 's');
	assert_int_equal(s.started, 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap_one(&s);
	loop_advance(&s.loop, PROC_RESTART_FIRST);
	assert_int_equal(s.started, 1);
	assert_int_equal(hear(&s), 's');
	proc_end_all(&s.set);
	assert_int_equal(hear(&s), 'e');
	finish(&s);
}

static void words_and_the_end(void **context)
{
	struct stage s;
	struct proc_role echo = { .name = "echo", .run = run_echo, .context = &s }, other = { .name = "other", .run = run_echo, .context = &s };
	int ends[2];
	char got[16];
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &echo, 3) && proc_add(&s.set, &other, 1));
	proc_start_all(&s.set);
	for (int i = 0; i < 4; i++)
		assert_int_equal(hear(&s), 's');
	assert_int_equal(pipe(ends), 0);
	proc_tell(&s.set, "echo", 'A', ends[1]);
	close(ends[1]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hear(&s), 'A');
	for (size_t n = 0; n < 9;) {
		ssize_t more = read(ends[0], got + n, sizeof(got) - n);
		assert_true(more > 0);
		n += (size_t)more;
	}
	assert_memory_equal(got, "viaviavia", 9);
	assert_int_equal(read(ends[0], got, 1), 0); /* "other" has not got it, nobody holds it any more */
	close(ends[0]);
	proc_tell(&s.set, "other", 'B', -1);
	assert_int_equal(hear(&s), 'B');
	proc_end_all(&s.set);
	for (int i = 0; i < 4; i++)
		assert_int_equal(hear(&s), 'e');
	for (unsigned i = 0; i < 4; i++) {
		assert_true(WIFEXITED(s.set.all[i].status));
		assert_int_equal(WEXITSTATUS(s.set.all[i].status), 60 + s.set.all[i].index);
		assert_int_equal(s.set.all[i].row, i);
	}
	assert_int_equal(s.died, 0); /* an end that was asked for is not a death */
	loop_advance(&s.loop, 2 * PROC_RESTART_MOST);
	assert_int_equal(s.started, 4);
	finish(&s);
}

/* The children end when the parent is gone, however it went: its ends of the channels are its alone. */
static void parent_gone(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "echo", .run = run_echo, .context = &s };
	(void)context;
	begin(&s);
	pid_t pid = fork();
	if (pid == 0) {
		if (!proc_add(&s.set, &role, 3))
			_exit(1);
		proc_start_all(&s.set);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unsigned starts = 0, ends = 0;
	while (starts + ends < 6) {
		char c = hear(&s);
		starts += c == 's';
		ends += c == 'e';
	}
	assert_int_equal(starts, 3);
	assert_int_equal(ends, 3);
	finish(&s);
}

/* Who takes nothing holds up nobody, has only a few words wait for it, and hears the last one when it listens again. */
static void missed_words_are_told_again(void **context)
{
	struct stage s;
	struct proc_role echo = { .name = "echo", .run = run_echo, .context = &s };
	unsigned told = 0;
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &echo, 1));
	proc_start_all(&s.set);
	assert_int_equal(hear(&s), 's');
	assert_int_equal(kill(s.set.all[0].pid, SIGSTOP), 0);
	assert_int_equal(waitpid(s.set.all[0].pid, NULL, WUNTRACED), s.set.all[0].pid);
	for (; !s.set.all[0].missed && told < 100; told++)
		proc_tell(&s.set, "echo", 'A', -1);
	assert_in_range(told, 2, 20);
	assert_true(proc_missed(&s.set, "echo"));
	assert_false(proc_missed(&s.set, "echo")); /* that was told */
	proc_tell(&s.set, "echo", 'B', -1);
	assert_int_equal(kill(s.set.all[0].pid, SIGCONT), 0);
	for (unsigned heard = 1; heard < told; heard++)
		assert_int_equal(hear(&s), 'A');
	assert_true(proc_missed(&s.set, "echo"));
	proc_tell(&s.set, "echo", 'B', -1);
	assert_false(proc_missed(&s.set, "echo"));
	assert_int_equal(hear(&s), 'B');
	proc_end_all(&s.set);
	assert_int_equal(hear(&s), 'e');
	finish(&s);
}

static void deaf_ones_are_killed(void **context)
{
	struct stage s;
	struct proc_role deaf = { .name = "deaf", .run = run_deaf, .context = &s }, echo = { .name = "echo", .run = run_echo, .context = &s };
	(void)context;
	begin(&s);
	s.set.end_wait = 50 * LOOP_MS;
	assert_true(proc_add(&s.set, &deaf, 2) && proc_add(&s.set, &echo, 1));
	proc_start_all(&s.set);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hear(&s), 's');
	proc_end_all(&s.set);
	assert_int_equal(hear(&s), 'e');
	for (int i = 0; i < 2; i++)
		assert_true(WIFSIGNALED(s.set.all[i].status) && WTERMSIG(s.set.all[i].status) == SIGKILL);
	assert_int_equal(WEXITSTATUS(s.set.all[2].status), 60);
	finish(&s);
}

static void what_a_child_finds(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "look", .run = run_look, .context = &s };
	bool seen[3] = { false, false, false };
	sigset_t blocked, old;
	(void)context;
	begin(&s);
	int64_t messages = metrics_sum(METRIC_messages), open = metrics_sum(METRIC_open);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, &old);
	assert_true(proc_add(&s.set, &role, 3));
	proc_start_all(&s.set);
	for (int i = 0; i < 3; i++) {
		char c = hear(&s);
		assert_in_range(c, '0', '2');
		seen[c - '0'] = true;
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	assert_int_equal(metrics_sum_rows(METRIC_messages, 3), messages + 3);
	assert_int_equal(metrics_sum(METRIC_open), open + 3);
	proc_end_all(&s.set);
	for (int i = 0; i < 3; i++) {
		assert_true(WIFEXITED(s.set.all[i].status));
		assert_int_equal(WEXITSTATUS(s.set.all[i].status), 50);
	}
	assert_int_equal(metrics_sum(METRIC_messages), messages + 3);
	assert_int_equal(metrics_sum(METRIC_open), open); /* the dead have nothing open */
	sigprocmask(SIG_SETMASK, &old, NULL);
	finish(&s);
}

static void no_more_than_the_ceiling(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "exit", .run = run_exit, .context = &s };
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &role, PROC_MAX - 1));
	assert_false(proc_add(&s.set, &role, 2));
	assert_int_equal(s.set.len, PROC_MAX - 1);
	assert_true(proc_add(&s.set, &role, 1));
	assert_false(proc_add(&s.set, &role, 1));
	proc_end_all(&s.set); /* nothing runs: nothing to wait for */
	finish(&s);
}

/* A system without descriptors: said, and tried again later. */
static void start_fails(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "echo", .run = run_echo, .context = &s };
	int hoard[4096], n = 0;
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &role, 1));
	struct rlimit old, few;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)s.before + 40;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < 4096 && (hoard[n] = dup(s.said[0])) >= 0)
		n++;
	proc_start_all(&s.set);
	assert_int_equal(s.failed, 1);
	assert_int_equal(s.set.all[0].pid, 0);
	while (n > 0)
		close(hoard[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(s.started, 0);
	loop_advance(&s.loop, PROC_RESTART_FIRST);
	assert_int_equal(s.started, 1);
	assert_int_equal(hear(&s), 's');
	proc_end_all(&s.set);
	finish(&s);
}

/* One that could not be heard is not started: its first word is what the others wait for. */
static void who_is_not_heard_does_not_start(void **context)
{
	struct stage s;
	struct proc_role role = { .name = "echo", .run = run_echo, .context = &s };
	(void)context;
	begin(&s);
	assert_true(proc_add(&s.set, &role, 1));
	int epoll = s.loop.epoll;
	s.loop.epoll = -1;
	proc_start_all(&s.set);
	s.loop.epoll = epoll;
	assert_int_equal(s.failed, 1);
	assert_int_equal(s.set.all[0].pid, 0);
	loop_advance(&s.loop, PROC_RESTART_FIRST);
	assert_int_equal(s.started, 1);
	assert_int_equal(hear(&s), 's');
	proc_end_all(&s.set);
	finish(&s);
}

static int make_rows(void **context)
{
	(void)context;
	return metrics_init() || (metrics_row(METRICS_ROWS - 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(later_each_time), cmocka_unit_test(the_rest), cmocka_unit_test(soon_again_when_settled), cmocka_unit_test(adopted), cmocka_unit_test(promoted), cmocka_unit_test(words_and_the_end),
		cmocka_unit_test(parent_gone), cmocka_unit_test(missed_words_are_told_again), cmocka_unit_test(deaf_ones_are_killed), cmocka_unit_test(what_a_child_finds),
		cmocka_unit_test(no_more_than_the_ceiling), cmocka_unit_test(start_fails),
		cmocka_unit_test(who_is_not_heard_does_not_start) };
	setvbuf(stdout, NULL, _IOLBF, 0); /* or children would write our lines once more */
	return cmocka_run_group_tests(tests, make_rows, NULL);
}
