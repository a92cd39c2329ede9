/* Words of a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "keeper/words.h"
#include "known/ban_table.h"

static void words(void **context)
{
	struct slice line = slice_of("  one\ttwo 3 4294967295 4294967296 -1 12345678901 5x");
	uint32_t n = 7;
	(void)context;
	assert_true(slice_is(words_next(&line), "one"));
	assert_true(slice_is(words_next(&line), "two"));
	assert_true(words_number(&line, &n) && n == 3);
	assert_true(words_number(&line, &n) && n == UINT32_MAX);
	for (unsigned i = 0; i < 4; i++)
		assert_false(words_number(&line, &n));
	assert_false(words_number(&line, &n)); /* there is none */
	assert_int_equal(words_next(&line).len, 0);
	assert_int_equal(n, UINT32_MAX);
}

static void times(void **context)
{
	char memory[40];
	struct buf out;
	uint32_t t;
	(void)context;
	buf_init_fixed(&out, memory, sizeof(memory));
	words_put_time(&out, 1796047200);
	assert_string_equal(buf_text(&out), "2026-11-30T14:00:00Z");
	assert_true(words_take_time(buf_slice(&out), &t) && t == 1796047200);
	assert_false(words_take_time(slice_of("2026-11-30T14:00:00"), &t));
	assert_false(words_take_time(slice_of("2026-11-30T14:00:00Zx"), &t));
	assert_false(words_take_time(slice_of("2206-11-30T14:00:00Z"), &t)); /* no number of 32 bits */
	assert_false(words_take_time(slice_of("1906-11-30T14:00:00Z"), &t));
	assert_false(words_take_time(slice_of("2026-11-30T14:00:00Z and much more than a time"), &t));
}

static void reasons(void **context)
{
	char text[BAN_REASON + 1] = { 0 };
	(void)context;
	assert_true(words_is_reason(slice_of("spam trap \"x\"")));
	assert_false(words_is_reason(slice_of("")));
	assert_false(words_is_reason(slice_of("a\tb")));
	assert_false(words_is_reason(slice_of("a\nevent=unban")));
	assert_false(words_is_reason(slice_of("caf\xc3\xa9")));
	for (unsigned i = 0; i < BAN_REASON; i++)
		text[i] = 'x';
	assert_false(words_is_reason(slice_of(text)));
	assert_true(words_is_reason((struct slice){ text, BAN_REASON - 1 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(words), cmocka_unit_test(times), cmocka_unit_test(reasons) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
