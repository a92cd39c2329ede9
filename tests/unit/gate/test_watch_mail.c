/* MAIL, RCPT, DATA and BDAT in the watch: in what order they come, what is refused among them, and decisions that come later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "watch_rig.h"

#define ENVELOPE "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
#define NO(address) "550 5.7.1 <" address ">... Access denied\r\n"

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

static void one_message(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME RET=HDRS\r\n");
	rig_reply("250 ok\r\n");
	rig_say("RCPT TO:<c@d> NOTIFY=NEVER\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME RET=HDRS\r\nRCPT TO:<c@d> NOTIFY=NEVER\r\n", "250 ok\r\n250 ok\r\n");
	rig_say("DATA\r\n");
	rig_expect("DATA\r\n", "");
	rig_reply("354 go\r\n");
	rig_say("Subject: x\r\n\r\n..\r\n.\r\n");
	rig_reply("250 2.0.0 queued\r\n");
	rig_say("QUIT\r\n");
	rig_reply("221 bye\r\n");
	rig_expect("Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n", "354 go\r\n250 2.0.0 queued\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
}

static void refused_among_others(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<no1@d>\r\nRCPT TO:<c@d>\r\nRCPT TO:<no2@d>\r\nRCPT TO:<e@d>\r\nRCPT TO:<no3@d>\r\nDATA\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\n", "");
	rig_reply("250 1\r\n");
	rig_expect("", "250 1\r\n" NO("no1@d"));
	rig_reply("250-2\r\n");
	rig_expect("", "250-2\r\n");
	rig_reply("250 2\r\n550 3\r\n");
	rig_expect("DATA\r\n", "250 2\r\n" NO("no2@d") "550 3\r\n" NO("no3@d"));
	assert_int_equal(rig_rules.recipients, 1);
	rig_reply("354 go\r\n");
	rig_expect("", "354 go\r\n");
}

static void nobody_left(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<no1@d>\r\nRCPT TO:<no2@d>\r\nDATA\r\nRSET\r\nMAIL FROM:<e@f>\r\nRCPT TO:<unknown@d>\r\nDATA\r\n");
	rig_expect("MAIL FROM:<a@b>\r\n", "");
	rig_reply("250 1\r\n");
	rig_expect("RSET\r\n", "250 1\r\n" NO("no1@d") NO("no2@d") "503 5.0.0 Need RCPT (recipient)\r\n");
	rig_reply("250 2\r\n");
	rig_expect("MAIL FROM:<e@f>\r\nRCPT TO:<unknown@d>\r\n", "250 2\r\n");
	rig_reply("250 3\r\n550 4\r\n");
	rig_expect("", "250 3\r\n550 4\r\n503 5.0.0 Need RCPT (recipient)\r\n");
	assert_int_equal(rig_rules.recipients, 0);
}

static void out_of_order(void **state)
{
	(void)state;
	rig_greet();
	rig_say("DATA\r\nRCPT TO:<c@d>\r\n");
	rig_expect("", "503 5.0.0 Need MAIL command\r\n503 5.0.0 Need MAIL before RCPT\r\n");
	/* MAIL refused by the backend: the recipients that were sent along are not counted. */
	rig_say(ENVELOPE "DATA\r\n");
	rig_reply("550 no\r\n250 odd\r\n");
	rig_expect(ENVELOPE, "550 no\r\n250 odd\r\n503 5.0.0 Need MAIL command\r\n");
	/* A second MAIL: the first one stays, and no recipient of it is got under the name of the second, nor the other way round. */
	rig_say(ENVELOPE);
	rig_reply("250 1\r\n250 2\r\n");
	rig_say("MAIL FROM:<e@f>\r\nRCPT TO:<g@h>\r\n");
	rig_reply("250 3\r\n");
	rig_say("DATA\r\n");
	rig_reply("550 no\r\n");
	rig_expect(ENVELOPE "RCPT TO:<g@h>\r\nDATA\r\n", "250 1\r\n250 2\r\n503 5.5.0 Sender already specified\r\n250 3\r\n550 no\r\n");
	/* After that DATA nobody knows whether the backend still has it. If it has, */
	rig_say("MAIL FROM:<e@f>\r\n");
	rig_reply("503 again\r\n");
	rig_say("RCPT TO:<g@h>\r\nDATA\r\nRSET\r\n");
	rig_reply("250 reset\r\n");
	rig_expect("MAIL FROM:<e@f>\r\nRSET\r\n", "503 again\r\n503 5.0.0 Need MAIL before RCPT\r\n503 5.0.0 Need MAIL command\r\n250 reset\r\n");
	/* and if not. */
	rig_say(ENVELOPE "DATA\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	rig_reply("550 no\r\n");
	rig_say("MAIL FROM:<e@f>\r\n");
	rig_reply("250 3\r\n");
	rig_say("DATA\r\nMAIL FROM:<i@j>\r\nRSET\r\n");
	rig_reply("250 reset\r\n");
	rig_expect(ENVELOPE "DATA\r\nMAIL FROM:<e@f>\r\nRSET\r\n",
		"250 1\r\n250 2\r\n550 no\r\n250 3\r\n503 5.0.0 Need RCPT (recipient)\r\n503 5.5.0 Sender already specified\r\n250 reset\r\n");
	/* EHLO is a RSET. */
	rig_say(ENVELOPE);
	rig_reply("250 1\r\n250 2\r\n");
	rig_say("EHLO again\r\n");
	rig_reply("250 b\r\n");
	rig_say("DATA\r\n");
	rig_expect(ENVELOPE "EHLO again\r\n", "250 1\r\n250 2\r\n250 b\r\n503 5.0.0 Need MAIL command\r\n");
	/* DATA refused by the backend: what follows are commands. */
	rig_say(ENVELOPE);
	rig_reply("250 1\r\n250 2\r\n");
	rig_say("DATA\r\nNOOP\r\n");
	rig_expect(ENVELOPE "DATA\r\n", "250 1\r\n250 2\r\n");
	rig_reply("451 not now\r\n");
	rig_expect("NOOP\r\n", "451 not now\r\n");
	rig_reply("250 noop\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_say(".\r\n");
	rig_expect("DATA\r\n.\r\n", "250 noop\r\n354 go\r\n");
}

static void refused_senders(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<no@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<>\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("MAIL FROM:<>\r\n", NO("no@b") "503 5.0.0 Need MAIL before RCPT\r\n503 5.0.0 Need MAIL command\r\n250 ok\r\n");
}

static void decided_later(void **state)
{
	(void)state;
	rig_greet();
	rig_say("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<later.no@d>\r\nRCPT TO:<e@d>\r\nRCPT TO:<later@d>\r\n");
	rig_expect("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", "");
	rig_reply("250 1\r\n250 2\r\n"); /* meanwhile what is under way goes on */
	rig_expect("", "250 1\r\n250 2\r\n");
	rig_decide();
	rig_expect("RCPT TO:<e@d>\r\n", NO("later.no@d"));
	rig_decide();
	rig_expect("RCPT TO:<later@d>\r\n", "");
	rig_reply("250 3\r\n250 4\r\n");
	rig_expect("", "250 3\r\n250 4\r\n");
	/* Also MAIL, and the client's end comes while it is pending. */
	rig_say("RSET\r\n");
	rig_reply("250 reset\r\n");
	rig_say("MAIL FROM:<later@b>\r\n");
	rig_client_ends();
	assert_false(rig.client_ended);
	rig_decide();
	rig_client_ends();
	assert_true(rig.client_ended);
	rig_reply("250 5\r\n");
	rig_expect("RSET\r\nMAIL FROM:<later@b>\r\n", "250 reset\r\n250 5\r\n");
	/* Nobody has asked. */
	watch_decided(&rig, WATCH_ANSWER, slice_of("550 what\r\n"));
	rig_expect("", "");
}

static enum watch_decision data_waits(void *context, unsigned recipients, unsigned accepted, struct buf *reply)
{
	(void)context;
	(void)accepted;
	(void)reply;
	assert_int_equal(recipients, 1);
	return WATCH_WAIT;
}

/* DATA and BDAT can wait, too; the text stays where it is. */
static void messages_decided_later(void **state)
{
	static const struct watch_rules rules = { .hostname = "door.test", .data = data_waits };
	(void)state;
	rig_end();
	rig_begin_with(&rules);
	rig_greet();
	rig_say(ENVELOPE "DATA\r\n1\r\n.\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	rig_expect(ENVELOPE, "250 1\r\n250 2\r\n");
	watch_decided(&rig, WATCH_PASS, slice_of(""));
	rig_reply("354 go\r\n");
	rig_reply("250 taken\r\n");
	rig_expect("DATA\r\n1\r\n.\r\n", "354 go\r\n250 taken\r\n");
	rig_say(ENVELOPE "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	watch_decided(&rig, WATCH_DISCARD, slice_of("250 gone\r\n"));
	rig_say("");
	rig_reply("250 reset\r\n");
	rig_reply("250 noop\r\n");
	rig_expect(ENVELOPE "RSET\r\nNOOP\r\n", "250 1\r\n250 2\r\n250 gone\r\n250 noop\r\n");
}

static enum watch_decision always(void *context, const struct command_path *path, struct slice parameters, struct buf *reply)
{
	(void)path;
	(void)parameters;
	if (*(enum watch_decision *)context != WATCH_ANSWER)
		buf_put_text(reply, "250 what I would have said\r\n");
	return *(enum watch_decision *)context;
}

static void no_rules(void **state)
{
	static const struct watch_rules none = { .hostname = "door.test", .max_bad_commands = 2 };
	(void)state;
	rig_end();
	rig_begin_with(&none);
	rig_greet();
	rig_say("MAIL FROM what is this\r\nRCPT TO:no@b\xe9\r\nDATA\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	rig_expect("MAIL FROM what is this\r\nRCPT TO:no@b\xe9\r\nDATA\r\n", "250 1\r\n250 2\r\n");
}

/* A decision without a reply is a 451, not silence. */
static void decision_without_reply(void **state)
{
	static const struct watch_rules rules = { .hostname = "door.test", .rcpt = always };
	static enum watch_decision decision = WATCH_ANSWER;
	(void)state;
	rig_end();
	rig_begin_with(&rules);
	rig_greet();
	rig.context = &decision;
	rig_say(ENVELOPE);
	rig_reply("250 1\r\n");
	rig_expect("MAIL FROM:<a@b>\r\n", "250 1\r\n451 4.3.0 Temporary system failure. Please try again later.\r\n");
}

/* What a rule wrote counts only with a decision that needs it. */
static void reply_without_need(void **state)
{
	static const struct watch_rules rules = { .hostname = "door.test", .max_bad_commands = 1, .rcpt = always };
	static enum watch_decision decision = WATCH_PASS;
	(void)state;
	rig_end();
	rig_begin_with(&rules);
	rig_greet();
	rig.context = &decision;
	rig_say(ENVELOPE "XCLIENT\r\n");
	decision = WATCH_WAIT;
	rig_say("RCPT TO:<e@f>\r\n");
	watch_decided(&rig, WATCH_ANSWER, slice_of("550 no\r\n"));
	rig_reply("250 1\r\n250 2\r\n");
	rig_expect(ENVELOPE, "250 1\r\n250 2\r\n550 5.7.1 Not allowed\r\n550 no\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_message, begin, end),
		cmocka_unit_test_setup_teardown(refused_among_others, begin, end),
		cmocka_unit_test_setup_teardown(nobody_left, begin, end),
		cmocka_unit_test_setup_teardown(out_of_order, begin, end),
		cmocka_unit_test_setup_teardown(refused_senders, begin, end),
		cmocka_unit_test_setup_teardown(decided_later, begin, end),
		cmocka_unit_test_setup_teardown(messages_decided_later, begin, end),
		cmocka_unit_test_setup_teardown(no_rules, begin, end),
		cmocka_unit_test_setup_teardown(decision_without_reply, begin, end),
		cmocka_unit_test_setup_teardown(reply_without_need, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
