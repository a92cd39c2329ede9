/* Lines of a server: what is one, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/answer.h"

static void lines(void **state)
{
	static const struct {
		const char *line;
		int code;
		bool more;
		const char *text, *keyword;
	} rows[] = {
		{ "250 ok", 250, false, "ok", "ok" },
		{ "250-SIZE 100", 250, true, "SIZE 100", "SIZE" },
		{ "250", 250, false, "", "" },
		{ "250 ", 250, false, "", "" },
		{ "250-", 250, true, "", "" },
		{ "599 5.0.0 x", 599, false, "5.0.0 x", "5.0.0" },
		{ "250-AUTH=LOGIN\tx", 250, true, "AUTH=LOGIN\tx", "AUTH=LOGIN" },
		{ "354  two", 354, false, " two", "" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct answer a;
		assert_true(answer_parse(slice_of(rows[i].line), &a));
		assert_int_equal(a.code, rows[i].code);
		assert_int_equal(a.more, rows[i].more);
		assert_true(slice_is(a.text, rows[i].text));
		assert_true(slice_is(answer_keyword(&a), rows[i].keyword));
	}
}

static void no_lines(void **state)
{
	static const char *const rows[] = { "", "2", "25", "2x0 ok", "25x ok", "150 ok", "650 ok", "050 verbose", "250\tok", "250:ok", "2500", " 250 ok", "+OK", "HTTP/1.1 200 OK" };
	struct answer a = { .code = 7 };
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (answer_parse(slice_of(rows[i]), &a))
			fail_msg("taken: %s", rows[i]);
	assert_int_equal(a.code, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lines), cmocka_unit_test(no_lines) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
