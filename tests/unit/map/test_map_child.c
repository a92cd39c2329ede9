/* Checks in a child: what they say, and what becomes of those that crash, run for ever or go away. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/map_child.h"

static char memory[1000];
static struct buf why;

static bool run(map_child_check *check, void *context, uint64_t *count)
{
	buf_init_fixed(&why, memory, sizeof(memory));
	return map_child_run(check, context, 1, 1, count, &why);
}

static bool good(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	buf_put_text(say, "not to be seen");
	*count = 42;
	++*(int *)context; /* its own copy */
	return true;
}

static void says_yes(void **state)
{
	(void)state;
	uint64_t count = 7;
	int context = 0;
	assert_true(run(good, &context, &count));
	assert_int_equal(count, 42);
	assert_int_equal(context, 0);
	assert_int_equal(why.len, 0);
}

static bool bad(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	*count = 42;
	for (int i = 0; i < *(int *)context; i++)
		buf_put_text(say, "no");
	return false;
}

static void says_no(void **state)
{
	(void)state;
	uint64_t count = 7;
	int times = 2;
	assert_false(run(bad, &times, &count));
	assert_string_equal(buf_text(&why), "nono");
	assert_int_equal(count, 7);
	times = 10000; /* as much as fits */
	assert_false(run(bad, &times, &count));
	assert_int_equal(why.len, 500);
}

static bool crash(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	(void)context, (void)count, (void)say;
	abort();
}

static bool go_away(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	(void)context, (void)count, (void)say;
	_exit(0);
}

static bool run_for_ever(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	(void)count, (void)say;
	while (*(volatile int *)context >= 0)
		;
	return true;
}

/* Until the clock's limit, which comes at once. */
static bool sleep_for_ever(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	(void)context, (void)count, (void)say;
	if (alarm(0) == 0)
		return true; /* there is none */
	raise(SIGALRM);
	return true;
}

static void dies(void **state)
{
	(void)state;
	uint64_t count = 7;
	int n = 0;
	assert_false(run(crash, NULL, &count));
	assert_string_equal(buf_text(&why), "its check ended with signal 6, Aborted");
	assert_false(run(go_away, NULL, &count));
	assert_string_equal(buf_text(&why), "its check did not come to an end");
	assert_false(run(run_for_ever, &n, &count));
	assert_string_equal(buf_text(&why), "its check took more than 1 seconds of processor time");
	assert_false(run(sleep_for_ever, NULL, &count));
	assert_string_equal(buf_text(&why), "its check took more than 10 seconds");
	assert_int_equal(count, 7);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* none is left */
}

static void handle(int number)
{
	(void)number;
	_exit(9);
}

/* The parent's handlers, masks and its habit of not waiting are not the child's. */
static bool look_around(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	struct sigaction action;
	sigset_t set;
	(void)context, (void)say;
	*count = 1;
	return sigaction(SIGTERM, NULL, &action) == 0 && action.sa_handler == SIG_DFL && sigprocmask(SIG_BLOCK, NULL, &set) == 0 &&
		!sigismember(&set, SIGTERM) && prctl(PR_GET_DUMPABLE) == 0;
}

static void other_signals(void **state)
{
	(void)state;
	uint64_t count = 0;
	sigset_t set, before;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &before);
	signal(SIGTERM, handle);
	signal(SIGCHLD, SIG_IGN);
	assert_true(run(look_around, NULL, &count));
	assert_int_equal(count, 1);
	assert_false(run(crash, NULL, &count)); /* nobody can tell how it ended */
	assert_string_equal(buf_text(&why), "its check did not come to an end");
	signal(SIGCHLD, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* As somebody else: root is not bound by the number of processes. */
static bool without_processes(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	(void)part;
	int seen = 0;
	uint64_t n;
	(void)context, (void)count, (void)say;
	if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
		return false;
	setrlimit(RLIMIT_NPROC, &(struct rlimit){ 0, 0 });
	return !map_child_run(good, &seen, 1, 1, &n, say) && strncmp(buf_text(say), "no process for its check: ", 26) == 0;
}

static void no_process(void **state)
{
	(void)state;
	uint64_t count;
	assert_true(run(without_processes, NULL, &count));
}

static bool part_of(void *context, unsigned part, uint64_t *count, struct buf *say)
{
	const unsigned *fails = context;
	*count = 1u << part;
	buf_putf(say, "part %u", part);
	if (part == *fails)
		return false;
	if (part + 1 == *fails % 10)
		raise(SIGKILL);
	return true;
}

/* Together they are good or not, and the first that is not says why. */
static void in_parts(void **state)
{
	(void)state;
	uint64_t count = 7;
	unsigned fails = 99;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(map_child_run(part_of, &fails, 4, 1, &count, &why));
	assert_true(count == 15 && why.len == 0);
	for (fails = 1; fails < 4; fails++) { /* and the one before it dies */
		count = 7;
		buf_clear(&why);
		assert_false(map_child_run(part_of, &fails, 4, 1, &count, &why));
		assert_int_equal(count, 7);
		assert_string_equal(buf_text(&why), "its check ended with signal 9, Killed");
	}
	fails = 0;
	buf_clear(&why);
	assert_false(map_child_run(part_of, &fails, 3, 1, &count, &why));
	assert_string_equal(buf_text(&why), "part 0");
	assert_true(waitpid(-1, NULL, 0) < 0); /* nobody is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_yes),
		cmocka_unit_test(says_no),
		cmocka_unit_test(dies),
		cmocka_unit_test(other_signals),
		cmocka_unit_test(no_process),
		cmocka_unit_test(in_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
