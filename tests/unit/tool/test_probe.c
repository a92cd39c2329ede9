/* tarry probe: replies, JSON strings, and the target on the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tool/probe.h"

/* Replies. */

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

static void test_json_strings(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "plain", "\"plain\"" },
		{ "\"\\\x01\x7f\n", "\"\\\"\\\\\\u0001\\u007f\\u000a\"" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7\"" },
		{ "\xff", "\"\\ufffd\"" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },             /* not the shortest form */
		{ "\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },   /* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, /* above U+10FFFF */
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },             /* cut short */
		{ "\xe2\x82x", "\"\\ufffd\\ufffdx\"" },
		{ "", "\"\"" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char memory[128];
		struct buf out;
		buf_init_fixed(&out, memory, sizeof(memory));
		probe_report_string(&out, slice_of(rows[i].in));
		assert_string_equal(buf_text(&out), rows[i].out);
	}
}

static void test_json_string_ends_with_its_bytes(void **state)
{
	(void)state;
	char memory[64];
	struct buf out;
	buf_init_fixed(&out, memory, sizeof(memory));
	probe_report_string(&out, (struct slice){ "\xe2\x82\xac", 2 });
	assert_string_equal(buf_text(&out), "\"\\ufffd\\ufffd\"");
}

static void test_targets(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host;
		uint16_t port;
	} rows[] = {
		{ "mx.example.org", "mx.example.org", 25 }, { "mx.example.org:2525", "mx.example.org", 2525 },
		{ "192.0.2.1", "192.0.2.1", 25 }, { "192.0.2.1:65535", "192.0.2.1", 65535 },
		{ "2001:db8::1", "2001:db8::1", 25 }, { "::1", "::1", 25 },
		{ "[2001:db8::1]", "2001:db8::1", 25 }, { "[2001:db8::1]:26", "2001:db8::1", 26 },
		{ "", NULL, 0 }, { ":25", NULL, 0 }, { "a:", NULL, 0 }, { "a:0", NULL, 0 }, { "a:65536", NULL, 0 }, { "a:-1", NULL, 0 },
		{ "a:+25", NULL, 0 }, { "a: 25", NULL, 0 }, { "a:25x", NULL, 0 }, { "a:000025", NULL, 0 }, { "[::1", NULL, 0 }, { "[::1]x", NULL, 0 },
		{ "[::1]:", NULL, 0 }, { "[]", NULL, 0 }, { "[a]:25", NULL, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char host[PROBE_HOST] = "untouched";
		uint16_t port = 1;
		bool ok = probe_target(rows[i].text, host, &port);
		assert_int_equal(ok, rows[i].host != NULL);
		assert_string_equal(host, ok ? rows[i].host : "untouched");
		assert_int_equal(port, ok ? rows[i].port : 1);
	}
	char longest[PROBE_HOST + 1], host[PROBE_HOST];
	uint16_t port;
	memset(longest, 'a', PROBE_HOST);
	longest[PROBE_HOST] = '\0';
	assert_false(probe_target(longest, host, &port));
	longest[PROBE_HOST - 1] = '\0';
	assert_true(probe_target(longest, host, &port));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reply_lines),
		cmocka_unit_test(test_reply_of_several_lines),
		cmocka_unit_test(test_reply_ceilings),
		cmocka_unit_test(test_reply_beginnings),
		cmocka_unit_test(test_json_strings),
		cmocka_unit_test(test_json_string_ends_with_its_bytes),
		cmocka_unit_test(test_targets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
