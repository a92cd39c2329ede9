/* Commands of a relayed client that are held back: which, for how long, what waits behind them and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "watch_rig.h"

#define NO(address) "550 5.7.1 <" address ">... Access denied\r\n"

static int begin(void **state)
{
	(void)state;
	rig_begin(WATCH_TLS_PASS);
	rig.slows = true;
	rig.throttle = 2;
	return 0;
}

static int end(void **state)
{
	(void)state;
	rig_end();
	return 0;
}

/* The command is held back for so many seconds; command: what is told of it, NULL: nothing. Then it goes on. */
static void held_back(unsigned seconds, const char *command, unsigned count)
{
	const struct slowdown_step *slow = watch_slowed(&rig);
	assert_non_null(slow);
	assert_int_equal(slow->seconds, seconds);
	assert_int_equal(slow->count, count);
	assert_int_equal(slow->command != NULL, command != NULL);
	if (command)
		assert_string_equal(slow->command, command);
	watch_slow_over(&rig);
	rig_say("");
}

static void hello(void **state)
{
	(void)state;
	rig_greet();
	rig_say("EHLO c.test\r\nHELO c.test\r\nQUIT\r\n");
	rig_expect("EHLO c.test\r\n", "");
	rig_reply("250-b.test\r\n250 PIPELINING\r\n"); /* the reply to what came before goes out */
	rig_expect("", "250-b.test\r\n250 PIPELINING\r\n");
	held_back(1, "HELO/EHLO", 3);
	rig_expect("HELO c.test\r\nQUIT\r\n", "");
	rig_reply("250 b.test\r\n221 bye\r\n");
	rig_expect("", "250 b.test\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
}

static void others(void **state)
{
	static const struct {
		const char *line, *name;
		unsigned from;
	} cells[] = { { "NOOP\r\n", "NOOP", 20 }, { "VRFY x\r\n", "VRFY/EXPN", 6 }, { "EXPN x\r\n", "VRFY/EXPN", 6 }, { "ETRN x\r\n", "ETRN", 8 } };
	(void)state;
	for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++) {
		if (i > 0) {
			rig_end();
			begin(NULL);
		}
		rig_greet();
		for (unsigned n = 1; n <= cells[i].from + 2; n++) {
			rig_say(cells[i].line);
			if (n >= cells[i].from) {
				rig_expect("", "");
				held_back(1U << (n - cells[i].from), n == cells[i].from ? cells[i].name : NULL, n);
			}
			assert_null(watch_slowed(&rig));
			rig_expect(cells[i].line, "");
			rig_reply("250 ok\r\n");
			rig_expect("", "250 ok\r\n");
		}
		/* RSET is never held back, and neither is what nobody knows. */
		for (unsigned n = 0; n < 40; n++) {
			rig_say(n % 2 ? "RSET\r\n" : "XYZ\r\n");
			rig_expect(n % 2 ? "RSET\r\n" : "XYZ\r\n", "");
			rig_reply("250 ok\r\n");
			rig_expect("", "250 ok\r\n");
		}
	}
}

static void not_wanted(void **state)
{
	(void)state;
	rig.slows = false;
	rig.throttle = 0;
	rig_greet();
	for (unsigned n = 0; n < 60; n++) {
		rig_say(n % 2 ? "NOOP\r\n" : "EHLO c.test\r\n");
		assert_null(watch_slowed(&rig));
		rig_reply("250 ok\r\n");
	}
	rig_say("MAIL FROM:<a@b>\r\n");
	rig_reply("250 ok\r\n");
	for (unsigned n = 0; n < 60; n++) {
		rig_say("RCPT TO:<no@d>\r\nRCPT TO:<c@d>\r\n");
		assert_null(watch_slowed(&rig));
		rig_reply("550 ok\r\n");
	}
}

/* Refused by the rules, by the backend, and for its form: all count, as in Sendmail, and an accepted one later is held back as well. */
static void recipients(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<no@d>\r\n");
	rig_reply("250 ok\r\n");
	rig_say("RCPT TO:<x@d>\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<x@d>\r\n", "250 ok\r\n" NO("no@d"));
	rig_reply("451 later\r\n");
	rig_expect("", "451 later\r\n");
	rig_say("RCPT TO:<c@d>\r\nNOOP\r\n");
	rig_expect("", "");
	held_back(1, "RCPT", 2);
	rig_expect("RCPT TO:<c@d>\r\nNOOP\r\n", "");
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("RCPT TO:<c\r\n");
	held_back(1, NULL, 2);
	rig_say("RCPT TO:<no@d>\r\n");
	held_back(1, NULL, 3);
	/* Another message begins anew (Sendmail counts from MAIL on). */
	rig_say("RSET\r\n");
	rig_reply("250 ok\r\n");
	rig_say("MAIL FROM:<a@b>\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("RSET\r\nMAIL FROM:<a@b>\r\n", "250 ok\r\n250 ok\r\n501 5.5.2 Syntax error in parameters\r\n" NO("no@d") "250 ok\r\n250 ok\r\n");
	rig_say("RCPT TO:<no@d>\r\nRCPT TO:<c@d>\r\n");
	assert_null(watch_slowed(&rig));
	rig_expect("RCPT TO:<c@d>\r\n", NO("no@d"));
	rig_reply("250 ok\r\n");
	assert_null(watch_slowed(&rig));
	rig_say("RCPT TO:<no@d>\r\nRCPT TO:<no@d>\r\n");
	held_back(1, "RCPT", 2);
}

/* A hundred at once: no more are asked of the backend than could be asked without a wait if all were refused. */
static void all_at_once(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
	for (int i = 0; i < 50; i++)
		rig_say("RCPT TO:<a@d>\r\nRCPT TO:<b@d>\r\n");
	rig_expect("RCPT TO:<a@d>\r\nRCPT TO:<b@d>\r\n", "");
	rig_reply("550 no a\r\n550 no b\r\n");
	rig_expect("", "550 no a\r\n550 no b\r\n");
	held_back(1, "RCPT", 2);
	rig_expect("RCPT TO:<a@d>\r\n", "");
	assert_non_null(watch_slowed(&rig)); /* the next one, without waiting for the reply: its time begins at once, as its turn has come */
	rig_reply("550 no a\r\n");
	rig_expect("", "550 no a\r\n");
	held_back(1, NULL, 2);
	/* Where all are accepted nobody waits, and all arrive. */
	rig_end();
	begin(NULL);
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\n");
	rig_reply("250 ok\r\n");
	for (int i = 0; i < 50; i++)
		rig_say("RCPT TO:<a@d>\r\nRCPT TO:<b@d>\r\n");
	for (int i = 0; i < 50; i++)
		rig_reply("250 ok\r\n250 ok\r\n");
	assert_int_equal(rig.recipients, 100);
	assert_null(watch_slowed(&rig));
}

/* Either side may go while a command is held back. */
static void ends(void **state)
{
	(void)state;
	rig_greet();
	rig_say("HELO x\r\n");
	rig_reply("250 ok\r\n");
	rig_say("HELO x\r\nQUIT");
	rig_client_ends();
	assert_false(rig.client_ended);
	rig_expect("HELO x\r\n", "250 ok\r\n");
	watch_slow_over(&rig);
	rig_client_ends();
	assert_true(rig.client_ended);
	rig_expect("HELO x\r\nQUIT\r\n", "");
	rig_reply("250 ok\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_end();
	begin(NULL);
	rig_greet();
	rig_say("HELO x\r\n");
	rig_reply("250 ok\r\n");
	rig_say("HELO x\r\n");
	assert_non_null(watch_slowed(&rig));
	rig_backend_ends();
	assert_int_equal(rig_result, WATCH_END);
	assert_null(watch_slowed(&rig));
	watch_slow_over(&rig); /* too late */
	rig_expect("HELO x\r\n", "250 ok\r\n");
}

/* Under TLS HELO and EHLO have to be said again, and count anew. */
static void under_tls(void **state)
{
	(void)state;
	rig.tls = WATCH_TLS_OFFER;
	rig_reply("220 b.test ESMTP\r\n");
	for (int i = 0; i < 2; i++) {
		rig_say("EHLO c.test\r\n");
		rig_reply("250 ok\r\n");
	}
	rig_say("STARTTLS\r\n");
	assert_int_equal(rig_result, WATCH_TLS);
	watch_sealed(&rig, WATCH_SEALED, NULL);
	for (int i = 0; i < 2; i++) {
		rig_say("EHLO c.test\r\n");
		assert_null(watch_slowed(&rig));
		rig_reply("250 ok\r\n");
	}
	rig_say("EHLO c.test\r\n");
	held_back(1, "HELO/EHLO", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hello, begin, end), cmocka_unit_test_setup_teardown(others, begin, end), cmocka_unit_test_setup_teardown(not_wanted, begin, end),
		cmocka_unit_test_setup_teardown(recipients, begin, end), cmocka_unit_test_setup_teardown(all_at_once, begin, end), cmocka_unit_test_setup_teardown(ends, begin, end),
		cmocka_unit_test_setup_teardown(under_tls, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
