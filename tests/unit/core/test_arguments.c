/* The command line of the programs that the parent starts: what is no number, no list of them and no word is not taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/arguments.h"
#include "core/log.h"

static void numbers(void **context)
{
	static const char *const wrong[] = { "", " 1", "1 ", "+1", "-1", "0x1", "1a", "2147483648", "99999999999999999999", "1,2" };
	int64_t big;
	int n = 7;
	(void)context;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(arguments_int(wrong[i], &n));
	assert_int_equal(n, 7);
	assert_true(arguments_int("0", &n) && n == 0);
	assert_true(arguments_int("2147483647", &n) && n == INT32_MAX);
	assert_true(arguments_number("32", 32, &big) && big == 32);
	assert_false(arguments_number("33", 32, &big));
	assert_true(arguments_number("9223372036854775807", INT64_MAX, &big) && big == INT64_MAX);
	assert_false(arguments_number("9223372036854775808", INT64_MAX, &big));
	assert_false(arguments_number("5", 4, &big));
	assert_true(arguments_number("0", 0, &big) && big == 0);
}

static void lists(void **context)
{
	static const char *const wrong[] = { "", ",", "1,", ",1", "1,,2", "1;2", "1,2,3,4", "a" };
	int out[3];
	unsigned len;
	(void)context;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(arguments_ints(wrong[i], out, 3, &len));
	assert_true(arguments_ints("5", out, 3, &len) && len == 1 && out[0] == 5);
	assert_true(arguments_ints("5,0,17", out, 3, &len) && len == 3 && out[0] == 5 && out[1] == 0 && out[2] == 17);
}

static void words(void **context)
{
	int n = -1;
	(void)context;
	assert_true(arguments_word("log", "stderr", &n) && n == LOG_TO_STDERR);
	assert_true(arguments_word("log_level", "warning", &n) && n == LOG_LEVEL_WARNING);
	assert_false(arguments_word("log", "Stderr", &n));
	assert_false(arguments_word("log", "", &n));
	assert_false(arguments_word("greet_pause", "1", &n)); /* it has no words */
}

static bool take(int option, const char *text, void *to)
{
	int *n = to;
	if (option == 'x') {
		n[1]++;
		return true;
	}
	return arguments_int(text, n);
}

/* In a child, since it talks. What it returned; out, err: whether there was something on stdout and stderr. */
static int read_all(char *const argv[], int n[2], int *rest, bool *out, bool *err)
{
	static const struct option longs[] = { { "number", required_argument, NULL, 'n' }, { "flag", no_argument, NULL, 'x' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	int argc = 0, result[4], pipes[2];
	FILE *to_out = tmpfile(), *to_err = tmpfile();
	assert_true(to_out && to_err && pipe(pipes) == 0);
	while (argv[argc])
		argc++;
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(fileno(to_out), STDOUT_FILENO);
		dup2(fileno(to_err), STDERR_FILENO);
		optind = 0;
		int code = arguments_read(argc, (char **)(uintptr_t)argv, longs, "usage\n", take, n);
		fflush(NULL);
		int said[4] = { code, n[0], n[1], optind };
		_exit(write(pipes[1], said, sizeof(said)) == (ssize_t)sizeof(said) ? 0 : 1);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(read(pipes[0], result, sizeof(result)), sizeof(result));
	close(pipes[0]);
	close(pipes[1]);
	fseek(to_out, 0, SEEK_END);
	fseek(to_err, 0, SEEK_END);
	*out = ftell(to_out) > 0;
	*err = ftell(to_err) > 0;
	fclose(to_out);
	fclose(to_err);
	n[0] = result[1];
	n[1] = result[2];
	*rest = result[3];
	return result[0];
}

static void command_lines(void **context)
{
	static const struct {
		const char *argv[6];
		int code, number, flags, rest;
		bool out, err;
	} table[] = { { { "x", NULL }, EX_OK, -1, 0, 1, false, false }, { { "x", "--number", "7", "--flag", "--flag", NULL }, EX_OK, 7, 2, 5, false, false },
		{ { "x", "--flag", "--", "--number", NULL }, EX_OK, -1, 1, 3, false, false }, { { "x", "-h", "--number", "x", NULL }, -1, -1, 0, 2, true, false },
		{ { "x", "--help", NULL }, -1, -1, 0, 2, true, false }, { { "x", "--number", "x", NULL }, EX_USAGE, -1, 0, 3, false, true }, { { "x", "--number", NULL }, EX_USAGE, -1, 0, 2, false, true },
		{ { "x", "--none", NULL }, EX_USAGE, -1, 0, 2, false, true } };
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int n[2] = { -1, 0 }, rest;
		bool out, err;
		int code = read_all((char *const *)(uintptr_t)table[i].argv, n, &rest, &out, &err);
		if (code != table[i].code || n[0] != table[i].number || n[1] != table[i].flags || rest != table[i].rest || out != table[i].out || err != table[i].err)
			fail_msg("line %zu: code %d, number %d, flags %d, rest %d, out %d, err %d", i, code, n[0], n[1], rest, out, err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(numbers), cmocka_unit_test(lists), cmocka_unit_test(words), cmocka_unit_test(command_lines) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
