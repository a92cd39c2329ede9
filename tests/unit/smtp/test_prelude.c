/* A server's replies to the door itself, line by line, and where each of their ceilings is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/prelude.h"

static struct prelude p;

static int begin(void **context)
{
	(void)context;
	prelude_init(&p);
	return 0;
}

static int end(void **context)
{
	(void)context;
	prelude_fini(&p);
	return 0;
}

/* Takes all of it. What came of the last line; *lines: how many there were. */
static enum prelude_result take(const char *text, size_t len, bool keep, unsigned *lines)
{
	struct slice in = { text, len };
	struct prelude_line l;
	enum prelude_result got;
	*lines = 0;
	while ((got = prelude_next(&p, &in, &l)) == PRELUDE_READY) {
		++*lines;
		if (!prelude_used(&p, &in, &l, keep))
			return PRELUDE_FAILED;
		if (!l.answer.more)
			prelude_again(&p);
	}
	assert_true(got == PRELUDE_FAILED || in.len == 0);
	return got;
}

static void whole_and_in_parts(void **context)
{
	static const char text[] = "220-a\r\n220 b\r\n250 c\n";
	unsigned lines, sum = 0;
	(void)context;
	assert_int_equal(take(text, sizeof(text) - 1, true, &lines), PRELUDE_MORE);
	assert_int_equal(lines, 3);
	assert_int_equal(p.code, 250);
	assert_string_equal(buf_text(&p.reply), text);
	end(NULL);
	begin(NULL);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		char *one = malloc(1); /* nothing may be read beyond it */
		*one = text[i];
		assert_int_equal(take(one, 1, false, &lines), PRELUDE_MORE);
		sum += lines;
		free(one);
	}
	assert_int_equal(sum, 3);
	assert_int_equal(p.reply.len, 0);
}

static void fails(const char *text, const char *why)
{
	unsigned lines;
	end(NULL);
	begin(NULL);
	assert_int_equal(take(text, strlen(text), true, &lines), PRELUDE_FAILED);
	assert_string_equal(p.why, why);
}

static void odd(void **context)
{
	(void)context;
	fails("hello\r\n", "does not speak SMTP");
	fails("220-a\r\n250 b\r\n", "its reply has two codes");
}

static void fill(char *at, size_t len)
{
	memset(at, 'x', len);
	memcpy(at, "220-", 4);
	memcpy(at + len - 2, "\r\n", 3);
}

static void ceilings(void **context)
{
	static char text[PRELUDE_GREETING + PRELUDE_LINE + 1], many[7 * (PRELUDE_LINES + 1) + 1];
	unsigned lines;
	(void)context;
	fill(text, PRELUDE_LINE);
	assert_int_equal(take(text, PRELUDE_LINE, true, &lines), PRELUDE_MORE);
	assert_int_equal(lines, 1);
	fill(text, PRELUDE_LINE + 1);
	fails(text, "its line has no end");
	/* As much as is kept, and a line more. */
	for (size_t at = 0; at < PRELUDE_GREETING; at += PRELUDE_LINE / 2)
		fill(text + at, PRELUDE_LINE / 2);
	end(NULL);
	begin(NULL);
	assert_int_equal(take(text, PRELUDE_GREETING, true, &lines), PRELUDE_MORE);
	memcpy(text + PRELUDE_GREETING, "220 x\r\n", 8);
	fails(text, "its greeting is too long");
	end(NULL);
	begin(NULL);
	assert_int_equal(take(text, strlen(text), false, &lines), PRELUDE_MORE);
	for (size_t i = 0; i <= PRELUDE_LINES; i++)
		memcpy(many + 7 * i, "250-x\r\n", 8);
	fails(many, "its reply has no end");
	many[7 * PRELUDE_LINES] = '\0';
	end(NULL);
	begin(NULL);
	assert_int_equal(take(many, strlen(many), true, &lines), PRELUDE_MORE);
	assert_int_equal(lines, PRELUDE_LINES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole_and_in_parts, begin, end), cmocka_unit_test_setup_teardown(odd, begin, end), cmocka_unit_test_setup_teardown(ceilings, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
