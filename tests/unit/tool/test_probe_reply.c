/* tarry probe: lines of a server become replies, whatever they hold and wherever they are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/probe.h"

static enum probe_reply_result add(struct probe_reply *reply, const char *line)
{
	return probe_reply_add(reply, slice_of(line), 7);
}

static void test_reply_lines(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		enum probe_reply_result result;
		int code;
		const char *text;
	} rows[] = {
		{ "220 mx ESMTP", PROBE_REPLY_DONE, 220, "mx ESMTP" },
		{ "220-mx ESMTP", PROBE_REPLY_MORE, 220, "mx ESMTP" },
		{ "220", PROBE_REPLY_DONE, 220, "" },
		{ "220 ", PROBE_REPLY_DONE, 220, "" },
		{ "220-", PROBE_REPLY_MORE, 220, "" },
		{ "599 x", PROBE_REPLY_DONE, 599, "x" },
		{ "", PROBE_REPLY_BAD, 0, "" },
		{ "22", PROBE_REPLY_BAD, 0, "" },
		{ "2200 x", PROBE_REPLY_BAD, 0, "" },
		{ "220x", PROBE_REPLY_BAD, 0, "" },
		{ "120 x", PROBE_REPLY_BAD, 0, "" },
		{ "620 x", PROBE_REPLY_BAD, 0, "" },
		{ " 220 x", PROBE_REPLY_BAD, 0, "" },
		{ "2\xb2\xb0 x", PROBE_REPLY_BAD, 0, "" },
		{ "SSH-2.0", PROBE_REPLY_BAD, 0, "" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct probe_reply reply = { .lines = 0 };
		assert_int_equal(add(&reply, rows[i].line), rows[i].result);
		assert_int_equal(reply.code, rows[i].code);
		assert_int_equal(reply.lines, rows[i].code ? 1 : 0);
		assert_int_equal(reply.text_len, strlen(rows[i].text));
		assert_memory_equal(reply.text, rows[i].text, reply.text_len);
	}
}

static void test_reply_of_several_lines(void **state)
{
	(void)state;
	struct probe_reply reply = { .lines = 0 };
	assert_int_equal(probe_reply_add(&reply, slice_of("220-mx one"), 5), PROBE_REPLY_MORE);
	assert_int_equal(probe_reply_add(&reply, slice_of("220-two"), 6), PROBE_REPLY_MORE);
	assert_int_equal(probe_reply_add(&reply, slice_of("220 three"), 9), PROBE_REPLY_DONE);
	assert_int_equal(reply.first_at, 5);
	assert_int_equal(reply.at, 9);
	assert_int_equal(reply.lines, 3);
	assert_true(slice_is((struct slice){ reply.text, reply.text_len }, "mx one\ntwo\nthree"));
	assert_true(slice_is(probe_reply_text(&reply), "mx one"));
	/* postscreen: the last line decides, and says why. */
	struct probe_reply turned = { .lines = 0 };
	add(&turned, "220-mx wait");
	add(&turned, "220-still");
	assert_int_equal(add(&turned, "521 no"), PROBE_REPLY_DONE);
	assert_int_equal(turned.first_code, 220);
	assert_int_equal(turned.code, 521);
	assert_true(slice_is(probe_reply_text(&turned), "no"));
}

static void test_reply_ceilings(void **state)
{
	(void)state;
	char line[PROBE_LINE + 1];
	struct probe_reply reply = { .lines = 0 };
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	memcpy(line, "220-", 4);
	for (unsigned i = 0; i < PROBE_LINES; i++)
		assert_int_equal(add(&reply, line), PROBE_REPLY_MORE);
	assert_int_equal(reply.text_len, PROBE_TEXT);
	assert_int_equal(add(&reply, line), PROBE_REPLY_TOO_MUCH);
	assert_int_equal(reply.lines, PROBE_LINES);
}

static void test_reply_beginnings(void **state)
{
	(void)state;
	static const char *const good[] = { "", "2", "55", "220", "220 ", "220-x", "220\r" };
	static const char *const bad[] = { "1", "6", "x", "2x", "22 ", "220x", "\x15\x03", "\n" };
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(probe_reply_possible(slice_of(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(probe_reply_possible(slice_of(bad[i])));
	assert_string_equal(probe_reply_guess(slice_of("SSH-2.0-x")), "an SSH server");
	assert_non_null(probe_reply_guess((struct slice){ "\x15\x03\x03\x00\x02\x02\x28", 7 }));
	assert_null(probe_reply_guess(slice_of("hello")));
	assert_null(probe_reply_guess(slice_of("")));
}

/* A copy that ends where the bytes end, so that a read past them is seen. */
static char *exact(const char *bytes, size_t len)
{
	char *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

/* Cut anywhere, a good line is a beginning of one, and what is left of it is a reply from its third byte on. */
static void test_cut_at_every_byte(void **state)
{
	(void)state;
	static const char *const lines[] = { "250-mx.example SIZE", "554 5.7.1 no", "220\r", "421", "220-\r", "250 \xff\xfe" };
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		for (size_t len = 0; len <= strlen(lines[i]); len++) {
			struct probe_reply reply = { .lines = 0 };
			char *bytes = exact(lines[i], len);
			struct slice cut = { bytes, len };
			assert_true(probe_reply_possible(cut));
			assert_null(probe_reply_guess(cut));
			enum probe_reply_result expected = len < 3 ? PROBE_REPLY_BAD : len > 3 && lines[i][3] == '-' ? PROBE_REPLY_MORE : PROBE_REPLY_DONE;
			assert_int_equal(probe_reply_add(&reply, cut, 3), expected);
			assert_int_equal(reply.lines, len < 3 ? 0 : 1);
			assert_int_equal(reply.at, len < 3 ? 0 : 3);
			assert_int_equal(reply.text_len, len > 4 ? len - 4 : 0);
			assert_memory_equal(reply.text, lines[i] + (len > 4 ? 4 : 0), reply.text_len);
			free(bytes);
		}
}

/* Each byte value at each of the first four places. */
static void test_every_byte_value(void **state)
{
	(void)state;
	static const char *const allowed[] = { "2345", "0123456789", "0123456789", " -\r" };
	for (size_t place = 0; place < 4; place++)
		for (int value = 0; value < 256; value++) {
			char line[6] = { '2', '5', '0', ' ', 'x', 'y' };
			struct probe_reply reply = { .lines = 0 };
			line[place] = (char)value;
			bool good = value != 0 && strchr(allowed[place], value);
			assert_int_equal(probe_reply_possible((struct slice){ line, sizeof(line) }), good);
			if (place == 3 && value == '\r')
				continue;
			enum probe_reply_result got = probe_reply_add(&reply, (struct slice){ line, sizeof(line) }, 1);
			assert_int_equal(got, !good ? PROBE_REPLY_BAD : line[3] == '-' ? PROBE_REPLY_MORE : PROBE_REPLY_DONE);
		}
}

static void test_binary_text_is_kept(void **state)
{
	(void)state;
	struct probe_reply reply = { .lines = 0 };
	assert_int_equal(probe_reply_add(&reply, (struct slice){ "220-\0\x01\xff", 7 }, 1), PROBE_REPLY_MORE);
	assert_int_equal(probe_reply_add(&reply, (struct slice){ "220 \r\0", 6 }, 2), PROBE_REPLY_DONE);
	assert_int_equal(reply.text_len, 6);
	assert_memory_equal(reply.text, "\0\x01\xff\n\r\0", 6);
	assert_int_equal(probe_reply_text(&reply).len, 3);
}

static void test_bad_line_changes_nothing(void **state)
{
	(void)state;
	struct probe_reply reply, before;
	memset(&reply, 0, sizeof(reply));
	add(&reply, "220-mx");
	memcpy(&before, &reply, sizeof(reply));
	static const char *const bad[] = { "", "2", "HTTP/1.0 200", "22x", "999 x" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(add(&reply, bad[i]), PROBE_REPLY_BAD);
		assert_memory_equal(&reply, &before, sizeof(reply));
	}
}

/* The text around its ceiling: never past it, and the line break counts. */
static void test_text_ceiling_at_every_length(void **state)
{
	(void)state;
	char line[PROBE_LINE];
	memset(line, 'a', sizeof(line));
	memcpy(line, "220-", 4);
	for (size_t text = PROBE_TEXT - 4; text <= PROBE_TEXT + 4; text++) {
		struct { struct probe_reply reply; char after[8]; } in = { .after = "unhurt" };
		assert_int_equal(probe_reply_add(&in.reply, (struct slice){ line, 4 + text }, 1), PROBE_REPLY_MORE);
		assert_int_equal(in.reply.text_len, text < PROBE_TEXT ? text : PROBE_TEXT);
		assert_int_equal(add(&in.reply, "220 bc"), PROBE_REPLY_DONE);
		assert_int_equal(in.reply.text_len, text + 3 < PROBE_TEXT ? text + 3 : PROBE_TEXT);
		assert_string_equal(in.after, "unhurt");
		assert_int_equal(in.reply.lines, 2);
		assert_int_equal(probe_reply_text(&in.reply).len, text < PROBE_TEXT ? text : PROBE_TEXT);
	}
}

static void test_steps_have_names(void **state)
{
	(void)state;
	for (int i = PROBE_STEP_GREETING; i <= PROBE_STEP_NONE; i++)
		for (int k = PROBE_STEP_GREETING; k < i; k++)
			assert_string_not_equal(probe_reply_step((enum probe_step)i), probe_reply_step((enum probe_step)k));
	assert_string_equal(probe_reply_step(PROBE_STEP_HELO), "HELO");
	assert_string_equal(probe_reply_step(PROBE_STEP_EOM), "message");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply_lines),
		cmocka_unit_test(test_reply_of_several_lines),
		cmocka_unit_test(test_reply_ceilings),
		cmocka_unit_test(test_reply_beginnings),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_every_byte_value),
		cmocka_unit_test(test_binary_text_is_kept),
		cmocka_unit_test(test_bad_line_changes_nothing),
		cmocka_unit_test(test_text_ceiling_at_every_length),
		cmocka_unit_test(test_steps_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
