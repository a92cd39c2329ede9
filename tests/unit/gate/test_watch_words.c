/* What never passes the door: commands and keywords. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/watch_words.h"

static void commands(void **state)
{
	static const struct {
		const char *line;
		int code; /* 0: not kept */
	} rows[] = {
		{ "XCLIENT NAME=x", 550 }, { " xclient", 550 }, { "XFORWARD ADDR=x", 550 }, { "XTLS a b", 550 }, { "BURL imap://x LAST", 502 }, { "VERB ON", 502 }, { "turn", 502 },
		{ "ATRN x", 502 }, { "SEND FROM:<a@b>", 502 }, { "SOML FROM:<a@b>", 502 }, { "SAML FROM:<a@b>", 502 }, { "XEXCH50 1 2", 502 },
		{ "X-ANONYMOUSTLS", 502 }, { "X-EXPS GSSAPI", 502 },
		{ "PIPECONNECT", 0 }, { "XCLIENTS", 0 }, { "XCLIEN", 0 }, { "ETRN x", 0 }, { "NOOP", 0 }, { "", 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command c = command_parse(slice_of(rows[i].line));
		struct command_error reply = { 0, NULL, NULL };
		assert_int_equal(watch_words_keeps(&c, &reply), rows[i].code != 0);
		assert_int_equal(reply.code, rows[i].code);
	}
}

static void resemblance(void **state)
{
	static const struct {
		const char *line;
		bool resembles;
	} rows[] = {
		{ "RCPTTO:<a@b>", true }, { "mailfrom:<a@b>", true }, { "DATA.", true }, { "Bdat10 LAST", true }, { "RCPT:", true }, { "RCPT TO:<a@b>", false },
		{ "DATA", false }, { "BDAT 10", false }, { "RCP", false }, { "XRCPT", false }, { "", false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command c = command_parse(slice_of(rows[i].line));
		if (watch_words_resembles(&c) != rows[i].resembles)
			fail_msg("%s", rows[i].line);
	}
}

static void keywords(void **state)
{
	static const char *const struck[] = { "XCLIENT", "xforward", "PIPECONNECT", "PIPE_CONNECT", "X_PIPE_CONNECT", "BURL", "VERB", "ATRN", "XEXCH50", "X-EXPS" };
	static const char *const kept[] = { "PIPELINING", "SIZE", "CHUNKING", "STARTTLS", "8BITMIME", "AUTH", "DSN", "ETRN", "", "XCLIENTX" };
	(void)state;
	for (size_t i = 0; i < sizeof(struck) / sizeof(struck[0]); i++)
		assert_true(watch_words_strikes(slice_of(struck[i])));
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		assert_false(watch_words_strikes(slice_of(kept[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(commands), cmocka_unit_test(resemblance), cmocka_unit_test(keywords) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
