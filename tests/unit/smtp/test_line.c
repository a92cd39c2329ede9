/* Lines out of pieces: every cut, the ceiling, a line that is kept, the rest of one that was too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/line.h"

#define MOST 10

static struct buf partial;
static struct line line;

static int begin(void **state)
{
	(void)state;
	buf_init(&partial, 2 * MOST);
	return 0;
}

static int end(void **state)
{
	(void)state;
	buf_fini(&partial);
	return 0;
}

static void in_place(void **state)
{
	struct slice in = slice_of("one\r\ntwo\nthr");
	const char *at = in.at;
	(void)state;
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY);
	assert_ptr_equal(line.bytes.at, at);
	assert_true(slice_is(line.bytes, "one\r\n"));
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY); /* again, until it is used */
	line_used(&partial, &in, &line);
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY);
	assert_true(slice_is(line.bytes, "two\n"));
	line_used(&partial, &in, &line);
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_MORE);
	assert_int_equal(in.len, 0);
	assert_int_equal(line_next(&partial, &in, MOST, true, &line), LINE_READY);
	assert_true(slice_is(line.bytes, "thr"));
	line_used(&partial, &in, &line);
	assert_null(partial.at);
	assert_int_equal(line_next(&partial, &in, MOST, true, &line), LINE_MORE);
}

static void each_cut(void **state)
{
	static const char text[] = "ab\ncde\r\n\nf\n";
	static const char *const want[] = { "ab\n", "cde\r\n", "\n", "f\n" };
	(void)state;
	for (size_t step = 1; step < sizeof(text); step++) {
		size_t lines = 0;
		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			struct slice in = { text + at, step < sizeof(text) - 1 - at ? step : sizeof(text) - 1 - at };
			while (line_next(&partial, &in, MOST, false, &line) == LINE_READY) {
				assert_true(slice_is(line.bytes, want[lines++]));
				line_used(&partial, &in, &line);
			}
			assert_int_equal(in.len, 0);
		}
		assert_int_equal(lines, 4);
	}
}

static void ceiling(void **state)
{
	static const char fits[] = "123456789\nx", longer[] = "123456789a\nnext\n";
	(void)state;
	for (size_t cut = 0; cut <= MOST; cut++) {
		struct slice in = { fits, cut };
		assert_int_equal(line_next(&partial, &in, MOST, false, &line), cut == MOST ? LINE_READY : LINE_MORE);
		if (cut < MOST) {
			in = (struct slice){ fits + cut, 11 - cut };
			assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY);
		}
		assert_true(slice_is(line.bytes, "123456789\n"));
		line_used(&partial, &in, &line);
		buf_fini(&partial);
	}
	for (size_t cut = 0; cut <= MOST; cut++) {
		struct slice in = { longer, cut };
		assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_MORE);
		in = (struct slice){ longer + cut, 16 - cut };
		assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_LONG);
		assert_true(line_skip(&partial, &in));
		assert_true(slice_is(in, "next\n"));
	}
	struct slice in = slice_of("123456789abcdef");
	assert_int_equal(line_next(&partial, &in, MOST, true, &line), LINE_LONG);
	assert_false(line_skip(&partial, &in));
	assert_int_equal(in.len, 0);
	/* One that was begun under a higher ceiling. */
	in = slice_of("123456789abcde");
	assert_int_equal(line_next(&partial, &in, 2 * MOST, false, &line), LINE_MORE);
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_LONG);
	in = slice_of("f\n");
	assert_int_equal(line_next(&partial, &in, 2 * MOST, false, &line), LINE_READY);
	assert_true(slice_is(line.bytes, "123456789abcdef\n"));
}

static void kept(void **state)
{
	struct slice in = slice_of("one\ntwo\n");
	(void)state;
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY);
	assert_true(line_keep(&partial, &in, &line));
	assert_true(slice_is(in, "two\n"));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY);
		assert_true(slice_is(line.bytes, "one\n"));
		assert_true(line_keep(&partial, &in, &line));
	}
	line_used(&partial, &in, &line);
	assert_int_equal(line_next(&partial, &in, MOST, false, &line), LINE_READY);
	assert_true(slice_is(line.bytes, "two\n"));
}

static void ends(void **state)
{
	static const struct {
		const char *line, *text;
		bool crlf;
	} rows[] = { { "a\r\n", "a", true }, { "a\n", "a", false }, { "a", "a", false }, { "a\r\r\n", "a", true }, { "a\r", "a", false },
		{ "\r\n", "", true }, { "\n", "", false }, { "", "", false }, { "a\rb\r\n", "a\rb", true } };
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		bool crlf;
		assert_true(slice_is(line_text(slice_of(rows[i].line), &crlf), rows[i].text));
		assert_int_equal(crlf, rows[i].crlf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_place, begin, end),
		cmocka_unit_test_setup_teardown(each_cut, begin, end),
		cmocka_unit_test_setup_teardown(ceiling, begin, end),
		cmocka_unit_test_setup_teardown(kept, begin, end),
		cmocka_unit_test(ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
