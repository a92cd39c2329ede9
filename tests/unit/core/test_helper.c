/* What the programs have in common that a door's parent starts: their arguments, and that the end of a channel is theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/arguments.h"
#include "core/helper.h"
#include "core/log.h"

static const char usage[] = "usage: test\n";

static bool take(int option, const char *text, void *to)
{
	return option >= HELPER_OPTION && helper_take(to, option, text);
}

static int read_all(struct helper_arguments *a, char *first, char *second)
{
	static const struct option longs[] = { HELPER_LONGS, { "help", no_argument, NULL, 'h' }, { 0 } };
	char *argv[] = { (char[]){ "test" }, first, second, NULL };
	*a = (struct helper_arguments)HELPER_ARGUMENTS;
	optind = 0;
	return arguments_read(second ? 3 : 2, argv, longs, usage, take, a);
}

static void arguments(void **context)
{
	struct helper_arguments a;
	(void)context;
	assert_int_equal(read_all(&a, (char[]){ "--parent" }, (char[]){ "7" }), 0);
	assert_int_equal(a.parent, 7);
	assert_int_equal(a.target, LOG_TO_STDERR);
	assert_int_equal(a.level, LOG_LEVEL_INFO);
	assert_int_equal(read_all(&a, (char[]){ "--log" }, (char[]){ "journal" }), 0);
	assert_int_equal(a.target, LOG_TO_JOURNAL);
	assert_int_equal(a.parent, -1);
	assert_int_equal(read_all(&a, (char[]){ "--log-level" }, (char[]){ "debug" }), 0);
	assert_int_equal(a.level, LOG_LEVEL_DEBUG);
	assert_int_equal(read_all(&a, (char[]){ "--sandbox" }, (char[]){ "log" }), 0);
	assert_int_equal(a.sandbox.mode, SANDBOX_LOG);
	assert_int_equal(read_all(&a, (char[]){ "--allow" }, (char[]){ "/srv" }), 0);
	assert_int_equal(a.sandbox.allow_len, 1);
	assert_int_equal(read_all(&a, (char[]){ "--try" }, NULL), 0);
	assert_true(a.sandbox.try);
	char *const wrong[][2] = { { (char[]){ "--parent" }, (char[]){ "x" } }, { (char[]){ "--log" }, (char[]){ "nowhere" } }, { (char[]){ "--log-level" }, (char[]){ "loud" } }, { (char[]){ "--sandbox" }, (char[]){ "maybe" } } };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_not_equal(read_all(&a, wrong[i][0], wrong[i][1]), 0);
}

static void beginning(void **context)
{
	const struct helper_arguments a = HELPER_ARGUMENTS;
	char text[1000] = "";
	int ends[2], status;
	(void)context;
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		if (helper_begin(&a, "test", "lookup", 3) != 0 || signal(SIGPIPE, SIG_DFL) != SIG_IGN)
			_exit(1);
		log_event(LOG_LEVEL_ERROR, "test", "said");
		log_event(LOG_LEVEL_DEBUG, "test", "not so loud");
		log_flush();
		_exit(0);
	}
	close(ends[1]);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_non_null(strstr(text, " lookup/3 error event=test msg=\"said\""));
	assert_null(strstr(text, "not so loud"));
}

static unsigned turns;

static void count(struct loop *loop, void *context)
{
	turns++;
	helper_turn_end(loop, context);
}

/* Words are of no interest, the end is the end. Where there is no channel nothing ends it. */
static void until_the_channel_ends(void **context)
{
	struct source parent;
	struct loop loop;
	int pair[2];
	(void)context;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(loop_init(&loop, 4), 0);
	loop.turn_end = count;
	loop.turn_end_context = &parent;
	assert_int_equal(helper_watch(&loop, &parent, -1), 0);
	loop_turn(&loop, 0);
	assert_int_equal(helper_watch(&loop, &parent, pair[0]), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(send(pair[1], "word", 4, 0), 4);
		loop_turn(&loop, 0);
		assert_false(loop.stop);
	}
	close(pair[1]);
	loop_turn(&loop, LOOP_SECOND);
	assert_true(loop.stop);
	assert_int_equal(turns, 5);
	loop_unwatch(&loop, &parent);
	close(pair[0]);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(arguments), cmocka_unit_test(beginning), cmocka_unit_test(until_the_channel_ends) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
