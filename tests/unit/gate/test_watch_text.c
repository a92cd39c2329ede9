/* Messages on their way: every line end that was ever used to smuggle one, and what exactly the backend sees of it; chunks; back-pressure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "watch_rig.h"

#define ENVELOPE "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"

static int begin(void **state)
{
	(void)state;
	rig_begin(WATCH_TLS_PASS);
	return 0;
}

static int end(void **state)
{
	(void)state;
	rig_end();
	return 0;
}

static void restart(void)
{
	rig_end();
	rig_begin(WATCH_TLS_PASS);
}

static void envelope(void)
{
	rig_greet();
	rig_say(ENVELOPE);
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_expect(ENVELOPE, "250 ok\r\n250 ok\r\n");
}

static void begin_data(void)
{
	envelope();
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_expect("DATA\r\n", "354 go\r\n");
}

#define TEXT(literal) { literal, sizeof(literal) - 1 }

/* text is what a client says after the 354, wire what the backend sees. One that has not seen an end gets it, as a test of its own: the text goes on. */
static void smuggling(void **state)
{
	static const struct {
		struct slice text;
		const char *wire;
		bool ends;
	} rows[] = {
		{ TEXT("a\r\n.\r\n"), "a\r\n.\r\n", true },
		{ TEXT(".\r\n"), ".\r\n", true },
		{ TEXT("a\n.\n"), "a\r\n..\r\n", false },
		{ TEXT("a\n.\r\n"), "a\r\n..\r\n", false },
		{ TEXT("a\r\n.\n"), "a\r\n\r\n", false },
		{ TEXT("a\r.\r"), "a .", false }, /* and a CR that is held until it is clear what it is */
		{ TEXT("a\r.\r\n"), "a .\r\n", false },
		{ TEXT("a\r\n.\rb"), "a\r\n b", false },
		{ TEXT("a\r\n.\r\r\n"), "a\r\n \r\n", false },
		{ TEXT("a\r\r\n.\r\r\n"), "a \r\n \r\n", false },
		{ TEXT("a\r\r\n.\r\n"), "a \r\n.\r\n", true },
		{ TEXT("a\n\r.\r\n"), "a\r\n .\r\n", false },
		{ TEXT("a\n\n.\n\n"), "a\r\n\r\n..\r\n\r\n", false },
		{ TEXT("a\r\n\0.\r\n"), "a\r\n .\r\n", false },
		{ TEXT("a\r\n.\0\r\n"), "a\r\n \r\n", false },
		{ TEXT("a\r\n.\r\0\n"), "a\r\n  \r\n", false },
		{ TEXT("a\r\n\r.\r\n"), "a\r\n .\r\n", false },
		{ TEXT("a\r\n..\r\n"), "a\r\n..\r\n", false },
		{ TEXT("a\r\n.b\r\n"), "a\r\nb\r\n", false },
		{ TEXT("a\n.b\n..c\n"), "a\r\n..b\r\n...c\r\n", false },
		{ TEXT("a\n.\nMAIL FROM:<x@y>\nRCPT TO:<no@y>\nDATA\n"), "a\r\n..\r\nMAIL FROM:<x@y>\r\nRCPT TO:<no@y>\r\nDATA\r\n", false },
		{ TEXT("\n.\n"), "\r\n..\r\n", false },
		{ TEXT("caf\xe9 \x85 \x8a\r\n"), "caf\xe9 \x85 \x8a\r\n", false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int bytewise = 0; bytewise <= 1; bytewise++) {
			restart();
			begin_data();
			for (size_t n = 0; n < rows[i].text.len; n += bytewise ? 1 : rows[i].text.len)
				rig_say_bytes(rows[i].text.at + n, bytewise ? 1 : rows[i].text.len);
			rig_expect(rows[i].wire, "");
			if ((rig.state == WATCH_COMMANDS) != rows[i].ends)
				fail_msg("row %zu: %s", i, rows[i].wire);
			if (!rows[i].ends)
				rig_say("x\r\n.\r\n");
			rig_reply("250 taken\r\n");
			rig_expect(rows[i].ends ? "" : rows[i].text.at[rows[i].text.len - 1] == '\r' ? " x\r\n.\r\n" : "x\r\n.\r\n", "250 taken\r\n");
			assert_int_equal(rig_result, WATCH_MORE);
		}
}

/* By hand, with LF alone: so ends the message, as it does at the server inside. */
static void line_feeds_alone(void **state)
{
	(void)state;
	rig_reply("220 b\r\n");
	rig_say("helo c\nmail from: <a@b>\nrcpt to: <c@d>\ndata\n");
	rig_reply("250 hello\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("354 go\r\n");
	rig_say("Subject: x\n\n1 2 3\n..4\n.\nquit\n");
	rig_reply("250 taken\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("helo c\r\nmail from: <a@b>\r\nrcpt to: <c@d>\r\ndata\r\nSubject: x\r\n\r\n1 2 3\r\n..4\r\n.\r\nquit\r\n",
		"220 b\r\n250 hello\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n221 bye\r\n");
	/* One CRLF, and it is no longer so. */
	restart();
	rig_reply("220 b\r\n");
	rig_say("helo c\r\nmail from: <a@b>\nrcpt to: <c@d>\ndata\n");
	rig_reply("250 hello\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("354 go\r\n");
	rig_say("1 2 3\n.\nquit\n");
	assert_int_equal(rig.state, WATCH_TEXT);
	rig_say("\r\n.\r\n");
	assert_int_equal(rig.state, WATCH_COMMANDS);
}

static void pipelined_after_text(void **state)
{
	(void)state;
	begin_data();
	rig_say("1\r\n.\r\nMAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\n");
	rig_expect("1\r\n.\r\n", ""); /* MAIL waits until it is known what became of the message */
	rig_reply("250 taken\r\n");
	rig_expect("MAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\n", "250 taken\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_say("2\r\n.\r\n");
	rig_reply("451 later\r\n");
	rig_expect("DATA\r\n2\r\n.\r\n", "250 ok\r\n250 ok\r\n354 go\r\n451 later\r\n");
	rig_say("DATA\r\n"); /* it is over all the same */
	rig_expect("", "503 5.0.0 Need MAIL command\r\n");
}

static void chunks(void **state)
{
	(void)state;
	envelope();
	rig_say_bytes("BDAT 9\r\n\n.\n\0\r.\r\n\rbdat 0\r\nBDAT 6  last\r\nQUIT\r\nRSET\r\n", 52);
	rig_expect_bytes((struct slice){ "BDAT 9\r\n\n.\n\0\r.\r\n\r", 17 }, slice_of(""));
	rig_reply("250 9 octets\r\n");
	rig_expect("bdat 0\r\n", "250 9 octets\r\n");
	rig_reply("250 0 octets\r\n");
	rig_expect("BDAT 6  last\r\nQUIT\r\nRSET\r\n", "250 0 octets\r\n");
	rig_reply("250 taken\r\n250 reset\r\n");
	rig_expect("", "250 taken\r\n250 reset\r\n");
	assert_int_equal(rig_rules.asked, 1);
}

static void chunks_that_are_refused(void **state)
{
	static const struct {
		const char *said, *answer;
	} rows[] = {
		{ "BDAT 18\r\nRCPT TO:<no@b.c>\r\n", "503 5.0.0 Need MAIL command\r\n" },
		{ "BDAT 0 LAST\r\n", "503 5.0.0 Need MAIL command\r\n" },
		{ "BDAT\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
		{ "BDAT 0x10\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
		{ "BDAT +5 LAST\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
		{ "BDAT -1\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
		{ "BDAT 5LAST\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
		{ "BDAT 5 LAST x\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
		{ "BDAT 1234567890123456789\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
	};
	(void)state;
	rig_greet();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rig_say(rows[i].said);
		rig_expect("", rows[i].answer);
	}
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 4 LAST\r\nNOOPRSET\r\n");
	rig_reply("250 ok\r\n550 no\r\n");
	rig_reply("250 reset\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n", "250 ok\r\n550 no\r\n503 5.0.0 Need RCPT (recipient)\r\n250 reset\r\n");
	/* Not offered: a backend that does not know BDAT would read the chunk as commands. */
	rig_say("HELO c\r\n");
	rig_reply("250 b\r\n");
	rig_say(ENVELOPE);
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("BDAT 18 LAST\r\nRCPT TO:<no@b.c>\r\nNOOP\r\n");
	rig_expect("HELO c\r\n" ENVELOPE "NOOP\r\n", "250 b\r\n250 ok\r\n250 ok\r\n502 5.5.1 Command not implemented\r\n");
}

static void discarded(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("DATA\r\n");
	rig_expect("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n", "250 ok\r\n250 ok\r\n");
	rig_reply("250 reset\r\n");
	rig_expect("", "354 Enter mail, end with \".\" on a line by itself\r\n");
	rig_say("thrown\r\n.\nRSET\r\naway\r\n.\r\nNOOP\r\n");
	rig_reply("250 noop\r\n");
	rig_expect("NOOP\r\n", "250 2.0.0 1abc Message accepted for delivery\r\n250 noop\r\n");
	assert_int_equal(rig_rules.recipients, 1);
	/* The client does not wait for the 354. */
	rig_say("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n1\r\n.\r\nQUIT\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("250 reset\r\n221 bye\r\n");
	rig_expect("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nRSET\r\nQUIT\r\n", "250 ok\r\n250 ok\r\n354 Enter mail, end with \".\" on a line by itself\r\n"
		"250 2.0.0 1abc Message accepted for delivery\r\n221 bye\r\n");
}

/* The backend never hears of it. */
static void accepted_by_the_door(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<drop@b>\r\nRCPT TO:<drop@d>\r\nRCPT TO:<drop2@d>\r\nDATA\r\n1\r\n.\r\n");
	rig_expect("", "250 2.1.5 <drop@b>... ok\r\n250 2.1.5 <drop@d>... ok\r\n250 2.1.5 <drop2@d>... ok\r\n354 Enter mail, end with \".\" on a line by itself\r\n"
		"250 2.0.0 1abc Message accepted for delivery\r\n");
	assert_int_equal(rig_rules.recipients, 0);
	assert_int_equal(rig_rules.accepted, 2);
	/* Some of them only: the others get it. */
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<drop@d>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("354 go\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "250 ok\r\n250 2.1.5 <drop@d>... ok\r\n250 ok\r\n354 go\r\n");
}

static void discarded_chunks(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nBDAT 6\r\nRSET\r\nRCPT TO:<e@f>\r\nDATA\r\nBDAT 2 LAST\r\n\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("250 reset\r\n");
	rig_expect("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n", "250 ok\r\n250 ok\r\n250 2.0.0 Chunk received\r\n503 5.0.0 Need MAIL before RCPT\r\n"
		"503 5.0.0 Need RCPT (recipient)\r\n250 2.0.0 1abc Message accepted for delivery\r\n");
	/* Given up half way. */
	rig_say("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nxRSET\r\nMAIL FROM:<a@b>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("250 reset\r\n");
	rig_reply("250 reset\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("MAIL FROM:<discard@b>\r\nRCPT TO:<c@d>\r\nRSET\r\nRSET\r\nMAIL FROM:<a@b>\r\n",
		"250 ok\r\n250 ok\r\n250 2.0.0 Chunk received\r\n250 reset\r\n250 ok\r\n");
}

static void refused_at_data(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<mute@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nBDAT 6 LAST\r\nQUIT\r\nQUIT\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_reply("221 bye\r\n");
	rig_expect("MAIL FROM:<mute@b>\r\nRCPT TO:<c@d>\r\nQUIT\r\n", "250 ok\r\n250 ok\r\n554 5.7.1 no data\r\n554 5.7.1 no data\r\n221 bye\r\n");
}

/* A backend that takes nothing: the client is not read further, and what comes in the end is all there. */
static void a_backend_that_does_not_read(void **state)
{
	static char text[200 * 1024];
	struct buf got;
	size_t sent = 0;
	(void)state;
	begin_data();
	buf_init(&got, RIG_MOST);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 70 == 68 ? '\r' : i % 70 == 69 ? '\n' : i % 70 == 0 ? '.' : 'x';
	memcpy(text + sizeof(text) - 7, "x\r\n.\r\n", 7);
	while (sent < sizeof(text) - 1) {
		struct slice in = { text + sent, sizeof(text) - 1 - sent < 30000 ? sizeof(text) - 1 - sent : 30000 };
		size_t before = in.len;
		watch_from_client(&rig, &in, false);
		sent += before - in.len;
		assert_true(rig.to_backend.len <= WATCH_HELD && rig.to_backend.len > 0);
		size_t some = rig.to_backend.len < 3000 ? rig.to_backend.len : 3000;
		buf_put(&got, rig.to_backend.at, some);
		buf_drop(&rig.to_backend, some);
	}
	buf_put_slice(&got, buf_slice(&rig.to_backend));
	buf_clear(&rig.to_backend);
	assert_int_equal(rig.state, WATCH_COMMANDS);
	assert_non_null(got.at);
	assert_memory_equal(got.at + got.len - 6, "x\r\n.\r\n", 6);
	/* Each line but the last lost the dot that it would have lost there. */
	assert_int_equal(got.len, sizeof(text) - 1 - (sizeof(text) - 1 + 69) / 70);
	buf_fini(&got);
}

static void a_backend_that_reads_no_chunk(void **state)
{
	static char chunk[50 * 1024];
	size_t sent = 0;
	(void)state;
	envelope();
	rig_say("BDAT 51200 LAST\r\n");
	rig_expect("BDAT 51200 LAST\r\n", "");
	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = (char)(i * 7);
	while (sent < sizeof(chunk)) {
		struct slice in = { chunk + sent, sizeof(chunk) - sent };
		assert_int_equal(watch_from_client(&rig, &in, false), WATCH_MORE);
		size_t took = sizeof(chunk) - sent - in.len;
		assert_true(took > 0 && rig.to_backend.len == took && took <= WATCH_HELD);
		assert_memory_equal(rig.to_backend.at, chunk + sent, took);
		buf_clear(&rig.to_backend);
		sent += took;
	}
	rig_reply("250 taken\r\n");
	rig_expect("", "250 taken\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(smuggling, begin, end),
		cmocka_unit_test_setup_teardown(line_feeds_alone, begin, end),
		cmocka_unit_test_setup_teardown(pipelined_after_text, begin, end),
		cmocka_unit_test_setup_teardown(chunks, begin, end),
		cmocka_unit_test_setup_teardown(chunks_that_are_refused, begin, end),
		cmocka_unit_test_setup_teardown(discarded, begin, end),
		cmocka_unit_test_setup_teardown(accepted_by_the_door, begin, end),
		cmocka_unit_test_setup_teardown(discarded_chunks, begin, end),
		cmocka_unit_test_setup_teardown(refused_at_data, begin, end),
		cmocka_unit_test_setup_teardown(a_backend_that_does_not_read, begin, end),
		cmocka_unit_test_setup_teardown(a_backend_that_reads_no_chunk, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
