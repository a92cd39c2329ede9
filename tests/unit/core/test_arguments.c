/* The command line of the programs that the parent starts: what is no number, no list of them and no word is not taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(numbers), cmocka_unit_test(lists), cmocka_unit_test(words) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
