/* What the backend says: what passes, what is struck, and the many ways not to keep to SMTP, each of which ends the connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/line.h"
#include "watch_rig.h"

#define LOST "421 4.3.0 door.test Lost step with the mail server, closing connection\r\n"
#define GONE "421 4.3.0 door.test Mail server has gone, closing connection\r\n"

static int begin(void **state)
{
	(void)state;
	rig_begin(WATCH_TLS_PASS);
	return 0;
}

static int begin_without_tls(void **state)
{
	(void)state;
	rig_begin(WATCH_TLS_HIDE);
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

static void greeting(void **state)
{
	(void)state;
	rig_reply("220-b.test ESMTP\r\n220-no spam\n220 here\r\n");
	rig_expect("", "220-b.test ESMTP\r\n220-no spam\r\n220 here\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	restart();
	rig_reply("554 b.test no\r\n");
	rig_say("QUIT\r\n");
	rig_reply("221 bye\r\n");
	rig_expect("QUIT\r\n", "554 b.test no\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
}

static void offers(void **state)
{
	static const struct {
		const char *reply, *passed;
	} rows[] = {
		{ "250-b\r\n250-XCLIENT NAME\r\n250-SIZE 1\r\n250 HELP\r\n", "250-b\r\n250-SIZE 1\r\n250 HELP\r\n" },
		{ "250-b\r\n250-SIZE 1\r\n250-XFORWARD A\r\n250 PIPECONNECT\r\n", "250-b\r\n250 SIZE 1\r\n" },
		{ "250-b\r\n250 x_pipe_connect\r\n", "250 b\r\n" },
		{ "250 b\r\n", "250 b\r\n" },
		{ "250-XCLIENT\r\n250 DSN\r\n", "250-XCLIENT\r\n250 DSN\r\n" }, /* the first word of all is its name */
		{ "250-b\r\n250-\r\n250\r\n", "250-b\r\n250-\r\n250\r\n" },
		{ "502 XCLIENT no EHLO here\r\n", "502 XCLIENT no EHLO here\r\n" },
		{ "250-b\r\n250-STARTTLS\r\n250 CHUNKING\r\n", "250-b\r\n250-STARTTLS\r\n250 CHUNKING\r\n" },
	};
	(void)state;
	rig_reply("220 b\r\n");
	rig_expect("", "220 b\r\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rig_say("EHLO c\r\n");
		rig_reply(rows[i].reply);
		rig_expect("EHLO c\r\n", rows[i].passed);
	}
	/* What is not a list of offers is not read as one. */
	rig_say("HELO c\r\n");
	rig_reply("250-b\r\n250 XCLIENT\r\n");
	rig_say("HELP\r\n");
	rig_reply("214-b\r\n214 XCLIENT\r\n");
	rig_expect("HELO c\r\nHELP\r\n", "250-b\r\n250 XCLIENT\r\n214-b\r\n214 XCLIENT\r\n");
}

static void offers_without_tls(void **state)
{
	(void)state;
	rig_reply("220 b\r\n");
	rig_say("EHLO c\r\n");
	rig_reply("250-b\r\n250-SIZE\r\n250 STARTTLS\r\n");
	rig_expect("EHLO c\r\n", "220 b\r\n250-b\r\n250 SIZE\r\n");
	rig_say("STARTTLS\r\nNOOP\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("NOOP\r\n", "454 4.7.0 TLS not available due to local policy\r\n250 ok\r\n");
}

static void many_lines(void **state)
{
	char text[64];
	(void)state;
	rig_greet();
	rig_say("EXPN all\r\n");
	for (int i = 0; i < WATCH_REPLY_LINES - 1; i++)
		rig_reply("250-member\r\n");
	rig_reply("250 last\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_say("EXPN all\r\n");
	for (int i = 0; i < WATCH_REPLY_LINES; i++)
		rig_reply("250-member\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	snprintf(text, sizeof(text), "250 last\r\n");
	rig_reply(text);
	assert_int_equal(rig_result, WATCH_BROKEN);
	assert_string_equal(rig.why, "the mail server's reply has no end");
}

/* said: by the client, after the EHLO; then reply comes, and it is broken. */
static void what_is_no_smtp(void **state)
{
	static const struct {
		const char *said, *reply, *passed;
	} rows[] = {
		{ "", "250 unasked\r\n", LOST },
		{ "NOOP\r\n", "250 ok\r\n250 once more\r\n", "250 ok\r\n" LOST },
		{ "NOOP\r\n", "ok\r\n", LOST },
		{ "NOOP\r\n", "\r\n", LOST },
		{ "NOOP\r\n", "050 verbose\r\n", LOST },
		{ "NOOP\r\n", "250-ok\r\n251 other\r\n", "250-ok\r\n" }, /* no 421 in the middle of a reply */
		{ "NOOP\r\n", "250-ok\r\nnonsense\r\n", "250-ok\r\n" },
		{ "NOOP\r\n", "354 go on\r\n", LOST },
		{ "X-ODD\r\n", "334 go on\r\n", LOST },
		{ "X-ODD\r\n", "220 now TLS\r\n", LOST },
		{ "AUTH X\r\n", "354 go on\r\n", LOST },
		{ "STARTTLS\r\n", "250 well\r\n", LOST },
		{ "STARTTLS\r\n", "220 go\r\n250 injected\r\n", LOST },
		{ "STARTTLS\r\n", "220 go\r\n\x16", LOST },
		{ "MAIL FROM:<a@b>\r\n", "354 go on\r\n", LOST },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char want[64];
		restart();
		rig_greet();
		rig_say(rows[i].said);
		rig_reply(rows[i].reply);
		snprintf(want, sizeof(want), "%s", rows[i].said);
		if (rig_result != WATCH_BROKEN || !rig.why)
			fail_msg("row %zu: %s", i, rows[i].reply);
		rig_expect(want, rows[i].passed);
		/* It stays so. */
		rig_say("NOOP\r\n");
		rig_reply("250 ok\r\n");
		assert_int_equal(rig_result, WATCH_BROKEN);
		rig_expect("", "");
	}
}

static void long_lines(void **state)
{
	char line[WATCH_REPLY_LINE + 2];
	(void)state;
	rig_greet();
	for (int longer = 0; longer <= 1; longer++) {
		memset(line, 'x', sizeof(line));
		memcpy(line, "250 ", 4);
		memcpy(line + WATCH_REPLY_LINE - 2 + longer, "\r\n", 3 - (size_t)longer);
		if (longer)
			line[WATCH_REPLY_LINE + 1] = '\0';
		rig_say("NOOP\r\n");
		rig_reply(line);
		assert_int_equal(rig_result, longer ? WATCH_BROKEN : WATCH_MORE);
	}
	assert_string_equal(rig.why, "the mail server's line has no end");
	assert_true(rig.reply.len <= WATCH_REPLY_LINE);
}

static void closing(void **state)
{
	static const struct {
		const char *said, *reply, *passed, *backend;
	} rows[] = {
		{ "", "421 4.4.2 timeout\r\n", "421 4.4.2 timeout\r\n", "" },
		{ "", "421-4.3.2 down\r\n421 soon\r\n250 more\r\n", "421-4.3.2 down\r\n421 soon\r\n", "" },
		{ "NOOP\r\nNOOP\r\n", "250 ok\r\n421 no more\r\n", "250 ok\r\n421 no more\r\n", "NOOP\r\nNOOP\r\n" },
		{ "STARTTLS\r\n", "421 no\r\n", "421 no\r\n", "STARTTLS\r\n" },
		{ "EHLO x\r\n", "421 no\r\n", "421 no\r\n", "EHLO x\r\n" },
		{ "QUIT\r\n", "221 bye\r\n", "221 bye\r\n", "QUIT\r\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		restart();
		rig_greet();
		rig_say(rows[i].said);
		rig_reply(rows[i].reply);
		assert_int_equal(rig_result, WATCH_END);
		rig_expect(rows[i].backend, rows[i].passed);
	}
}

/* It comes out of turn, and no answer of the door's goes in between its lines. */
static void closing_out_of_turn(void **state)
{
	(void)state;
	rig_greet();
	rig_reply("421-4.3.2 down\r\n");
	rig_say("XCLIENT\r\n");
	rig_reply("421 soon\r\n");
	rig_expect("", "421-4.3.2 down\r\n421 soon\r\n");
	assert_int_equal(rig_result, WATCH_END);
}

static void begin_text(void)
{
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_say("half a message\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nhalf a message\r\n", "250 ok\r\n250 ok\r\n354 go\r\n");
}

static void in_the_middle_of_text(void **state)
{
	(void)state;
	begin_text();
	rig_reply("421 4.4.2 too slow\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("", "421 4.4.2 too slow\r\n");
	restart();
	begin_text();
	rig_reply("552 5.3.4 too big\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("", "552 5.3.4 too big\r\n");
	restart();
	begin_text();
	rig_reply("250 2.0.0 accepted\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
	rig_expect("", LOST);
}

static void in_the_middle_of_a_chunk(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("BDAT 10 LAST\r\n12345");
	rig_reply("552 5.3.4 too big\r\n");
	rig_say("67890NOOP\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 10 LAST\r\n1234567890NOOP\r\n", "250 ok\r\n250 ok\r\n552 5.3.4 too big\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	restart();
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("BDAT 10 LAST\r\n12345");
	rig_reply("250 taken\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
}

/* A message counts when its end has been answered with a 2xx. */
static void accepted_messages(void **state)
{
	(void)state;
	begin_text();
	rig_say(".\r\n");
	assert_int_equal(rig.messages, 0);
	rig_reply("250 taken\r\n");
	assert_int_equal(rig.messages, 1);
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_say("x\r\n.\r\n");
	rig_reply("550 5.7.1 spam\r\n");
	assert_int_equal(rig.messages, 1);
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("BDAT 2\r\nhi");
	rig_reply("250 more\r\n");
	assert_int_equal(rig.messages, 1);
	rig_say("BDAT 2 LAST\r\n\r\nRSET\r\n");
	rig_reply("250 taken\r\n");
	assert_int_equal(rig.messages, 2);
	rig_reply("250 ok\r\n");
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("BDAT 0 LAST\r\n");
	rig_reply("452 4.3.1 no\r\n");
	assert_int_equal(rig.messages, 2);
}

static void gone(void **state)
{
	(void)state;
	rig_greet();
	rig_backend_ends();
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("", "");
	restart();
	rig_greet();
	rig_say("NOOP\r\n");
	rig_reply("250");
	rig_backend_ends();
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("NOOP\r\n", GONE);
	restart();
	rig_greet();
	rig_say("NOOP\r\n");
	rig_reply("250-half\r\n");
	rig_backend_ends();
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("NOOP\r\n", "250-half\r\n");
	restart();
	rig_backend_ends();
	rig_expect("", GONE);
	restart();
	rig_greet();
	rig_say("QUIT\r\n");
	rig_backend_ends();
	rig_expect("QUIT\r\n", "");
	assert_int_equal(rig_result, WATCH_END);
}

/* A client that reads nothing: what waits for it is bounded, and the backend's end does not overtake it. */
static void a_client_that_does_not_read(void **state)
{
	struct watch w;
	struct buf said, got;
	(void)state;
	watch_init(&w, &model_rules, &rig_rules, WATCH_TLS_PASS);
	buf_init(&said, RIG_MOST);
	buf_init(&got, RIG_MOST);
	buf_put_text(&said, "220 b\r\n");
	for (int i = 0; i < 300; i++)
		buf_putf(&said, "250-%0200d\r\n", i);
	buf_put_text(&said, "250 end\r\n");
	struct slice in = slice_of("HELP\r\n"), from = buf_slice(&said);
	watch_from_client(&w, &in, false);
	while (watch_from_backend(&w, &from, true) == WATCH_MORE) {
		assert_true(w.to_client.len > 0 && w.to_client.len <= WATCH_HELD);
		size_t some = w.to_client.len < 5000 ? w.to_client.len : 5000;
		buf_put(&got, w.to_client.at, some);
		buf_drop(&w.to_client, some);
	}
	assert_int_equal(w.result, WATCH_END);
	buf_put_slice(&got, buf_slice(&w.to_client));
	assert_int_equal(got.len, said.len);
	assert_memory_equal(got.at, said.at, said.len);
	buf_fini(&said);
	buf_fini(&got);
	watch_fini(&w);
}

/* Nor does it overtake a line that came in pieces, or an answer of the door's, that wait for room. */
static void an_end_that_waits(void **state)
{
	struct slice in;
	(void)state;
	for (int answer = 0; answer <= 1; answer++) {
		restart();
		rig_greet();
		static char filler[WATCH_HELD - 4];
		memset(filler, 'x', sizeof(filler));
		if (answer) {
			assert_true(buf_put(&rig.to_client, filler, sizeof(filler)));
			in = slice_of("XCLIENT\r\n");
			watch_from_client(&rig, &in, false);
		} else {
			in = slice_of("NOOP\r\n");
			watch_from_client(&rig, &in, false);
			in = slice_of("250 o");
			watch_from_backend(&rig, &in, false);
			in = slice_of("k\r\n");
			assert_true(line_next(&rig.reply, &in, WATCH_REPLY_LINE, false, &(struct line){ .in_place = 0 }) == LINE_READY);
			assert_true(buf_put(&rig.to_client, filler, sizeof(filler)));
		}
		in = slice_of("");
		assert_int_equal(watch_from_backend(&rig, &in, true), WATCH_MORE);
		buf_clear(&rig.to_client);
		assert_int_equal(watch_from_backend(&rig, &in, true), WATCH_END);
		assert_true(slice_is(buf_slice(&rig.to_client), answer ? "550 5.7.1 Not allowed\r\n" : "250 ok\r\n"));
	}
}

/* Nothing more needs to be seen after the first MAIL: at once where the backend has been told who the client is; else only once it has shown that it does not
 * take the door's word for that, in the last EHLO. */
static void until_the_first_mail(void **state)
{
	static const struct { bool unless_trusted; const char *said, *reply; bool plain; } cases[] = {
		{ false, "HELO c\r\n", "250 b\r\n", true },
		{ false, "EHLO c\r\n", "250-b\r\n250 XCLIENT NAME\r\n", true },
		{ true, "EHLO c\r\n", "250-b\r\n250 SIZE\r\n", true },
		{ true, "EHLO c\r\n", "250-b\r\n250-XCLIENT NAME\r\n250 SIZE\r\n", false },
		{ true, "EHLO c\r\n", "250-b\r\n250 xforward name\r\n", false },
		{ true, "HELO c\r\n", "250 b\r\n", false },
		{ true, "EHLO c\r\n", "502 no\r\n", false },
		{ true, "EHLO c\r\nHELO c\r\n", "250-b\r\n250 SIZE\r\n250 b\r\n", false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rig_begin(false);
		rig.until_mail = true;
		rig.unless_trusted = cases[i].unless_trusted;
		rig_reply("220 b\r\n");
		rig_say(cases[i].said);
		rig_reply(cases[i].reply);
		assert_int_equal(rig_result, WATCH_MORE);
		rig_say("MAIL FROM:<a@b>\r\n");
		assert_int_equal(rig_result, cases[i].plain ? WATCH_PIPE : WATCH_MORE);
		rig_end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(greeting, begin, end),
		cmocka_unit_test_setup_teardown(offers, begin, end),
		cmocka_unit_test_setup_teardown(offers_without_tls, begin_without_tls, end),
		cmocka_unit_test_setup_teardown(many_lines, begin, end),
		cmocka_unit_test_setup_teardown(what_is_no_smtp, begin, end),
		cmocka_unit_test_setup_teardown(long_lines, begin, end),
		cmocka_unit_test_setup_teardown(closing, begin, end),
		cmocka_unit_test_setup_teardown(closing_out_of_turn, begin, end),
		cmocka_unit_test_setup_teardown(in_the_middle_of_text, begin, end),
		cmocka_unit_test_setup_teardown(in_the_middle_of_a_chunk, begin, end),
		cmocka_unit_test_setup_teardown(accepted_messages, begin, end),
		cmocka_unit_test_setup_teardown(gone, begin, end),
		cmocka_unit_test(until_the_first_mail),
		cmocka_unit_test_setup_teardown(a_client_that_does_not_read, begin, end),
		cmocka_unit_test_setup_teardown(an_end_that_waits, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
