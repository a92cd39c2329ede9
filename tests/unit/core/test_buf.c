/* Bufs: the ceiling, what happens at it, growth, escaping; slices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"

#define CEILING 3000

static void grows_to_its_ceiling(void **context)
{
	struct buf b;
	(void)context;
	buf_init(&b, CEILING);
	assert_null(b.at);
	for (size_t i = 0; i < CEILING; i++) {
		assert_true(buf_put_char(&b, (char)i));
		assert_int_equal(b.len, i + 1);
		assert_true(b.cap >= b.len && b.cap <= CEILING);
	}
	assert_false(b.full);
	assert_false(buf_put_char(&b, 'x'));
	assert_true(b.full);
	assert_int_equal(b.len, CEILING);
	for (size_t i = 0; i < CEILING; i++)
		assert_int_equal((char)i, b.at[i]);
	buf_clear(&b);
	assert_false(b.full);
	assert_true(buf_put(&b, "abc", 3));
	buf_fini(&b);
	assert_null(b.at);
	assert_true(buf_put_text(&b, "usable again"));
	buf_fini(&b);
	buf_fini(&b);
}

/* What does not fit is not written at all, by any of the functions. */
static void whole_or_nothing(void **context)
{
	char memory[8];
	struct buf b;
	(void)context;
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(buf_put_text(&b, "123456"));
	assert_false(buf_put(&b, "abc", 3));
	assert_false(buf_put_text(&b, "abc"));
	assert_false(buf_put_slice(&b, slice_of("abc")));
	assert_false(buf_putf(&b, "%d", 789));
	assert_false(buf_put_escaped(&b, "a\x01", 2, 10));
	assert_false(buf_put_escaped(&b, "abcd", 4, 1)); /* "a" would fit, "a..." does not */
	assert_null(buf_reserve(&b, 3));
	assert_null(buf_reserve(&b, SIZE_MAX));
	assert_true(b.full);
	assert_int_equal(b.len, 6);
	assert_memory_equal(memory, "123456", 6);
	assert_true(buf_putf(&b, "%d", 78)); /* to the last byte: no room is needed for a NUL */
	assert_memory_equal(memory, "12345678", 8);
	assert_true(buf_put(&b, "", 0));
	buf_fini(&b); /* the memory is the caller's */
}

static void formats_of_any_length(void **context)
{
	struct buf b;
	char wide[2000];
	(void)context;
	buf_init(&b, CEILING);
	for (int n = 0; n < 2000; n += 37) {
		buf_clear(&b);
		memset(wide, ' ', sizeof(wide));
		wide[n] = '7';
		assert_true(buf_putf(&b, "%*d", n + 1, 7));
		assert_int_equal(b.len, n + 1);
		assert_memory_equal(b.at, wide, b.len);
	}
	buf_clear(&b);
	assert_false(buf_putf(&b, "%*d", CEILING + 1, 7));
	assert_true(b.full);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
}

static void escapes_every_byte(void **context)
{
	struct buf b;
	(void)context;
	buf_init(&b, CEILING);
	for (int c = 0; c < 256; c++) {
		char byte = (char)c, want[8];
		buf_clear(&b);
		assert_true(buf_put_escaped(&b, &byte, 1, 1));
		if (c == '"' || c == '\\')
			snprintf(want, sizeof(want), "\\%c", c);
		else if (c == '\t' || c == '\r' || c == '\n')
			snprintf(want, sizeof(want), "\\%c", c == '\t' ? 't' : c == '\r' ? 'r' : 'n');
		else if (c >= 0x20 && c <= 0x7e)
			snprintf(want, sizeof(want), "%c", c);
		else
			snprintf(want, sizeof(want), "\\x%02x", (unsigned)c);
		assert_string_equal(buf_text(&b), want);
	}
	buf_clear(&b);
	assert_true(buf_put_escaped(&b, "12345", 5, 5));
	assert_string_equal(buf_text(&b), "12345");
	buf_clear(&b);
	assert_true(buf_put_escaped(&b, "12345", 5, 4));
	assert_string_equal(buf_text(&b), "1234...");
	buf_clear(&b);
	assert_true(buf_put_escaped(&b, NULL, 0, 4));
	assert_string_equal(buf_text(&b), "");
	buf_fini(&b);
}

static void drops_from_the_front(void **context)
{
	struct buf b;
	char expected[600];
	size_t from = 0, to = 0;
	(void)context;
	buf_init(&b, sizeof(expected));
	srand(3);
	while (to < sizeof(expected)) {
		expected[to] = (char)rand();
		assert_true(buf_put_char(&b, expected[to++]));
		size_t n = (size_t)rand() % 3;
		if (n <= b.len) {
			buf_drop(&b, n);
			from += n;
		}
		assert_int_equal(b.len, to - from);
		assert_true(b.len == 0 || memcmp(b.at, expected + from, b.len) == 0);
	}
	buf_drop(&b, b.len);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
	buf_drop(&b, 0); /* also without memory */
}

static void text_of_a_full_buf(void **context)
{
	char memory[4];
	struct buf b;
	(void)context;
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_string_equal(buf_text(&b), "");
	assert_true(buf_put_text(&b, "abcd"));
	assert_string_equal(buf_text(&b), "abc");
	buf_init_fixed(&b, memory, 0);
	assert_string_equal(buf_text(&b), "");
	buf_init(&b, 0);
	assert_string_equal(buf_text(&b), "");
	buf_fini(&b);
}

static void reserve_then_write(void **context)
{
	struct buf b;
	(void)context;
	buf_init(&b, CEILING);
	char *at = buf_reserve(&b, CEILING);
	assert_non_null(at);
	assert_int_equal(b.len, 0);
	memset(at, 'r', CEILING);
	b.len = CEILING;
	assert_non_null(buf_reserve(&b, 0));
	assert_null(buf_reserve(&b, 1));
	buf_fini(&b);
}

static void slices(void **context)
{
	struct buf empty;
	(void)context;
	buf_init(&empty, 10);
	assert_true(slice_is(slice_of("abc"), "abc"));
	assert_false(slice_is(slice_of("abc"), "ab"));
	assert_false(slice_is(slice_of("ab"), "abc"));
	assert_false(slice_is(slice_of("abc"), "abC"));
	assert_true(slice_is_nocase(slice_of("aBc"), "AbC"));
	assert_false(slice_is_nocase(slice_of("aBcd"), "AbC"));
	assert_false(slice_is((struct slice){ "a\0c", 3 }, "a"));
	assert_false(slice_is_nocase((struct slice){ "a\0c", 3 }, "abc"));
	assert_true(slice_is(buf_slice(&empty), "")); /* bytes that are nowhere */
	assert_true(slice_is_nocase(buf_slice(&empty), ""));
	assert_false(slice_is(buf_slice(&empty), "a"));
	assert_true(slice_is(slice_trim(slice_of(" \t a b\t ")), "a b"));
	assert_true(slice_is(slice_trim(slice_of(" \t ")), ""));
	assert_true(slice_is(slice_trim(slice_of("\ra\n")), "\ra\n")); /* line ends are not blanks */
	assert_int_equal(slice_trim(buf_slice(&empty)).len, 0);
	assert_true(buf_put_slice(&empty, buf_slice(&empty)));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(grows_to_its_ceiling), cmocka_unit_test(whole_or_nothing),
		cmocka_unit_test(formats_of_any_length), cmocka_unit_test(escapes_every_byte), cmocka_unit_test(drops_from_the_front),
		cmocka_unit_test(text_of_a_full_buf), cmocka_unit_test(reserve_then_write), cmocka_unit_test(slices) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
