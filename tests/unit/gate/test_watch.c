/* The watch: conversations step by step, then thousands of random ones, cut into random pieces on both sides of a model mail server (watch_model.c),
 * each of which must come out as if it had been said slowly. */
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
#define LOST "421 4.3.0 door.test Lost step with the mail server, closing connection\r\n"

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

/* Forbids what begins with "!", as first bytes or as a command. */
static bool forbids_marked(void *context, struct slice said, const struct command *command, struct buf *reply)
{
	(void)context;
	if (said.len == 0 || said.at[0] != '!' || (!command && said.len < 3))
		return false;
	return buf_put_text(reply, command ? "421 command\r\n" : "421 opening\r\n");
}

static void forbidden(void **state)
{
	static const struct watch_rules rules = { .hostname = "door.test", .max_bad_commands = 2, .forbids = forbids_marked };
	(void)state;
	/* A command: what is owed goes out first, and nothing of it passes, nor of what is behind it. */
	rig_end();
	rig_begin_with(&rules);
	rig_greet();
	rig_say("NOOP\r\n!x\r\nMAIL FROM:<a@b>\r\n");
	rig_expect("NOOP\r\n", "");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_reply("250 ok\r\n");
	rig_expect("", "250 ok\r\n421 command\r\n");
	assert_int_equal(rig_result, WATCH_END);
	/* The first bytes, which make no line, in pieces; before the mail server has greeted. */
	rig_end();
	rig_begin_with(&rules);
	rig_say("!");
	rig_say("a");
	rig_expect("", "");
	rig_say("b");
	rig_expect("", "");
	rig_reply("220 hello\r\n");
	rig_expect("", "220 hello\r\n421 opening\r\n");
	assert_int_equal(rig_result, WATCH_END);
	/* As soon as a line has been read they are not the first ones any more; nor where there is a great deal. */
	rig_end();
	rig_begin_with(&rules);
	rig_reply("220 hello\r\n");
	rig_say("NOOP\r\n");
	rig_say("!ab");
	rig_expect("NOOP\r\n", "220 hello\r\n");
	rig_reply("250 ok\r\n");
	rig_say("\r\n");
	rig_expect("", "250 ok\r\n421 command\r\n");
	assert_int_equal(rig_result, WATCH_END);
	/* A message is none of its business. */
	rig_end();
	rig_begin_with(&rules);
	rig_greet();
	rig_say(ENVELOPE);
	rig_reply("250 ok\r\n250 ok\r\n");
	rig_say("DATA\r\n");
	rig_reply("354 go\r\n");
	rig_expect(ENVELOPE "DATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n");
	rig_say("!x\r\n.\r\n");
	rig_expect("!x\r\n.\r\n", "");
	assert_int_equal(rig_result, WATCH_MORE);
}

static void commands_of_the_door(void **state)
{
	static const struct {
		const char *line, *answer;
	} rows[] = {
		{ "XCLIENT NAME=x ADDR=127.0.0.1\r\n", "550 5.7.1 Not allowed\r\n" },
		{ "xforward ADDR=1\r\n", "550 5.7.1 Not allowed\r\n" },
		{ "BURL imap://x LAST\r\n", "502 5.5.1 Command not implemented\r\n" },
		{ "\r\n", "500 5.5.1 Command unrecognized: \"\"\r\n" },
		{ "  \r\n", "500 5.5.1 Command unrecognized: \"  \"\r\n" },
		{ "RCPTTO:<no@b>\r\n", "500 5.5.1 Command unrecognized: \"RCPTTO:<no@b>\"\r\n" },
		{ "NOOP\rRCPT TO:<no@b>\r\n", "500 5.5.2 Control character in command\r\n" },
		{ "RCPT TO:<a@b> <no@b>\r\n", "503 5.0.0 Need MAIL before RCPT\r\n" },
		{ "MAIL FROM:<a@b> <no@b>\r\n", "501 5.5.4 Syntax error in parameters\r\n" },
	};
	(void)state;
	rig_greet();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rig_say(rows[i].line);
		rig_expect("", rows[i].answer);
	}
	rig_say_bytes("NOOP\0\r\nNO\0OP\r\n", 14);
	rig_expect("", "500 5.5.2 Control character in command\r\n500 5.5.2 Control character in command\r\n");
	/* What is not the door's passes as it is, but for its line end. */
	rig_say(" noOp \t x \r\r\nXYZZY caf\xc3\xa9 \xff\nVRFY a\nHELP\r\n");
	rig_reply("250 1\r\n500 2\r\n252 3\r\n214 4\r\n");
	rig_expect(" noOp \t x \r\nXYZZY caf\xc3\xa9 \xff\r\nVRFY a\r\nHELP\r\n", "250 1\r\n500 2\r\n252 3\r\n214 4\r\n");
}

static void long_lines(void **state)
{
	static char line[20000];
	(void)state;
	rig_greet();
	memset(line, 'x', sizeof(line));
	memcpy(line, "NOOP ", 5);
	memcpy(line + COMMAND_LINE - 2, "\r\n", 2);
	rig_say_bytes(line, COMMAND_LINE);
	rig_expect_bytes((struct slice){ line, COMMAND_LINE }, slice_of(""));
	rig_reply("250 ok\r\n");
	memcpy(line + COMMAND_LINE - 2, "xxx\r\n", 5);
	rig_say_bytes(line, COMMAND_LINE + 3);
	rig_say("QUIT\r\n");
	rig_expect("QUIT\r\n", "250 ok\r\n500 5.5.2 Line too long\r\n");
	/* In pieces, and without an end. */
	restart();
	rig_greet();
	memset(line, 'x', sizeof(line));
	for (size_t i = 0; i < sizeof(line); i += 100) {
		rig_say_bytes(line + i, 100);
		assert_true(rig.line.len <= COMMAND_LINE);
	}
	rig_expect("", "500 5.5.2 Line too long\r\n");
	rig_say("RCPT TO:<no@b>\r\nNOOP\r\n");
	rig_expect("NOOP\r\n", "");
}

static void too_many_bad_commands(void **state)
{
	(void)state;
	rig_greet();
	for (unsigned i = 0; i < model_rules.max_bad_commands; i++)
		rig_say("\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_say("NOOP\r\n\r\nQUIT\r\n");
	assert_int_equal(rig_result, WATCH_MORE); /* what is owed goes out first */
	rig_reply("250 ok\r\n");
	assert_int_equal(rig_result, WATCH_END);
	assert_int_equal(rig.bad_commands, model_rules.max_bad_commands + 1);
}

static void authentication(void **state)
{
	static char line[WATCH_AUTH_LINE + 8];
	(void)state;
	rig_greet();
	rig_say("AUTH LOGIN\r\nRCPT TO:<no@b>\r\nQUIT\r\nNOOP\r\n");
	rig_expect("AUTH LOGIN\r\n", "");
	rig_reply("334 VXNlcm5hbWU6\r\n");
	rig_expect("RCPT TO:<no@b>\r\n", "334 VXNlcm5hbWU6\r\n"); /* whatever it looks like */
	rig_reply("334 UGFzc3dvcmQ6\r\n");
	rig_expect("QUIT\r\n", "334 UGFzc3dvcmQ6\r\n");
	rig_reply("535 no\r\n");
	rig_expect("NOOP\r\n", "535 no\r\n");
	rig_reply("250 noop\r\n");
	rig_say("AUTH PLAIN x\r\n");
	rig_reply("235 welcome\r\n");
	rig_expect("AUTH PLAIN x\r\n", "250 noop\r\n235 welcome\r\n");
	memset(line, 'x', sizeof(line));
	memcpy(line, "AUTH GSSAPI ", 12);
	memcpy(line + WATCH_AUTH_LINE - 2, "\r\n", 2);
	for (size_t at = 0; at < WATCH_AUTH_LINE; at += 1000)
		rig_say_bytes(line + at, WATCH_AUTH_LINE - at < 1000 ? WATCH_AUTH_LINE - at : 1000);
	rig_expect_bytes((struct slice){ line, WATCH_AUTH_LINE }, slice_of(""));
	rig_reply("334 \r\n");
	memset(line, 'x', WATCH_AUTH_LINE - 2);
	rig_say_bytes(line, WATCH_AUTH_LINE - 2);
	rig_say("\r\n");
	rig_reply("334 \r\n");
	rig_expect_bytes((struct slice){ line, WATCH_AUTH_LINE }, slice_of("334 \r\n334 \r\n"));
	rig_say_bytes(line, WATCH_AUTH_LINE - 2);
	rig_say("x\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
}

static void authentication_that_is_none(void **state)
{
	(void)state;
	rig_greet();
	rig_say("AUTH LOGIN\r\nx\rRCPT TO:<no@b>\r\n");
	rig_reply("334 x\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
	rig_expect("AUTH LOGIN\r\n", "334 x\r\n" LOST);
}

static void tls(void **state)
{
	(void)state;
	rig_greet();
	rig_say("STARTTLS\r\n");
	rig_reply("454 not now\r\n");
	rig_say("STARTTLS\r\n");
	rig_expect("STARTTLS\r\nSTARTTLS\r\n", "454 not now\r\n");
	rig_reply("220 go\r\n");
	rig_expect("", "220 go\r\n");
	assert_int_equal(rig_result, WATCH_PIPE);
}

/* Nothing is seen beyond the first MAIL that is passed on; what came with it goes on as it is. */
static void until_mail(void **state)
{
	(void)state;
	static const struct watch_rules none = { .hostname = "door.test", .max_bad_commands = 25 };
	rig_end();
	rig_begin_with(&none);
	rig.until_mail = true;
	rig_reply("220 b.test\r\n");
	rig_say("ehlo c\n");
	rig_reply("250-b.test\r\n250-XCLIENT NAME ADDR\r\n250-SIZE 1\r\n250 PIPECONNECT\r\n");
	rig_expect("ehlo c\r\n", "220 b.test\r\n250-b.test\r\n250 SIZE 1\r\n");
	rig_say("XCLIENT NAME=x\r\n");
	rig_expect("", "550 5.7.1 Not allowed\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_say("NOOP\r\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nXCLIENT\n");
	rig_expect("NOOP\r\n", "");
	rig_reply("250 ok\r\n");
	assert_int_equal(rig_result, WATCH_PIPE);
	rig_expect("MAIL FROM:<a@b>\r\n", "250 ok\r\n"); /* the rest was not taken */
}

static void tls_injection(void **state)
{
	(void)state;
	rig_greet();
	rig_say("STARTTLS\r\nRSET\r\n");
	rig_reply("220 go\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
	rig_expect("STARTTLS\r\n", LOST);
	/* A breath later, it is no better. */
	restart();
	rig_greet();
	rig_say("STARTTLS\r\n");
	rig_say("R");
	rig_reply("220 go\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
	rig_expect("STARTTLS\r\n", LOST);
	/* Where no TLS comes of it, it is only hasty. */
	restart();
	rig_greet();
	rig_say("STARTTLS\r\nNOOP\r\n");
	rig_reply("502 no\r\n");
	rig_reply("250 noop\r\n");
	rig_expect("STARTTLS\r\nNOOP\r\n", "502 no\r\n250 noop\r\n");
}

/* TLS of the door's own. */
static void offer(void)
{
	restart();
	rig_greet();
	rig.tls = WATCH_TLS_OFFER;
}

static void tls_of_the_door(void **state)
{
	(void)state;
	rig.tls = WATCH_TLS_OFFER;
	rig_reply("220 b\r\n");
	rig_say("EHLO c\r\nSTARTTLS now\r\n");
	rig_reply("250-b\r\n250-STARTTLS\r\n250 CHUNKING\r\n");
	rig_expect("EHLO c\r\n", "220 b\r\n250-b\r\n250-CHUNKING\r\n250 STARTTLS\r\n501 5.5.4 Syntax error (no parameters allowed)\r\n");
	/* What is under way comes first, and the backend never hears of it. */
	rig_say("MAIL FROM:<a@b>\r\nSTARTTLS\r\n");
	assert_int_equal(rig_result, WATCH_MORE);
	rig_reply("250 ok\r\n");
	assert_int_equal(rig_result, WATCH_TLS);
	rig_expect("MAIL FROM:<a@b>\r\n", "250 ok\r\n");
	/* Nobody is there to do it. */
	watch_sealed(&rig, WATCH_UNSEALED, NULL);
	rig_say("NOOP\r\n");
	rig_reply("250 noop\r\n");
	rig_expect("NOOP\r\n", "454 4.7.0 TLS not available due to temporary reason\r\n250 noop\r\n");
	rig_say("STARTTLS\r\n");
	assert_int_equal(rig_result, WATCH_TLS);
	watch_sealed(&rig, WATCH_SEALED, "XTLS of mine");
	rig_say("XTLS of the client's\r\n");
	rig_expect("XTLS of mine\r\n", "");
	rig_reply("250 told\r\n");
	rig_expect("", "550 5.7.1 Not allowed\r\n");
	/* Nothing of what was said in clear counts, not even who the client is. */
	rig_say("RCPT TO:<x@y>\r\nMAIL FROM:<a@b>\r\nAUTH PLAIN x\r\nDATA\r\n");
	rig_expect("", "503 5.5.1 EHLO first\r\n503 5.5.1 EHLO first\r\n503 5.5.1 EHLO first\r\n503 5.0.0 Need MAIL command\r\n");
	rig_say("EHLO d\r\n");
	rig_reply("250-b\r\n250 STARTTLS\r\n");
	rig_expect("EHLO d\r\n", "250 b\r\n");
	rig_say("MAIL FROM:<a@b>\r\nSTARTTLS\r\n");
	rig_reply("250 ok\r\n");
	rig_expect("MAIL FROM:<a@b>\r\n", "250 ok\r\n503 5.5.1 TLS has begun already\r\n");
}

static void tls_of_the_door_injection(void **state)
{
	(void)state;
	offer();
	rig_say("STARTTLS\r\nRSET\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
	rig_expect("", LOST);
	/* Also where it was waiting for its turn, */
	offer();
	rig_say("NOOP\r\nSTARTTLS\r\nRSET\r\n");
	rig_reply("250 noop\r\n");
	assert_int_equal(rig_result, WATCH_BROKEN);
	rig_expect("NOOP\r\n", "250 noop\r\n" LOST);
	/* and where its owner has seen it. */
	offer();
	rig_say("STARTTLS\r\n");
	watch_sealed(&rig, WATCH_INJECTED, NULL);
	assert_int_equal(rig.result, WATCH_BROKEN);
	rig_say("");
	rig_expect("", LOST);
}

/* Who has said in clear who it is would be that in TLS too, for the backend. */
static void tls_after_auth(void **state)
{
	(void)state;
	offer();
	rig_say("AUTH PLAIN x\r\n");
	rig_reply("535 no\r\n");
	rig_say("AUTH PLAIN y\r\n");
	rig_reply("235 yes\r\n");
	rig_say("STARTTLS\r\n");
	rig_expect("AUTH PLAIN x\r\nAUTH PLAIN y\r\n", "535 no\r\n235 yes\r\n503 5.5.1 STARTTLS comes before AUTH\r\n");
}

static void many_under_way(void **state)
{
	(void)state;
	rig_greet();
	for (int i = 0; i < 3 * WATCH_PENDING; i++)
		rig_say("NOOP\r\n");
	assert_true(rig.queue.len <= WATCH_PENDING && rig.queue.len > WATCH_PENDING - 4);
	for (int i = 0; i < 3 * WATCH_PENDING; i++)
		rig_reply("250 ok\r\n");
	assert_int_equal(rig.queue.len, 0);
	assert_int_equal(rig_result, WATCH_MORE);
}

static void the_client_ends(void **state)
{
	(void)state;
	rig_greet();
	rig_say("NOOP\r\nquit"); /* an end ends a line, too */
	rig_expect("NOOP\r\n", "");
	rig_client_ends();
	assert_true(rig.client_ended);
	rig_reply("250 ok\r\n221 bye\r\n");
	assert_int_equal(rig_result, WATCH_END);
	rig_expect("quit\r\n", "250 ok\r\n221 bye\r\n");
	/* Not before a command that waits for its turn has had it. */
	restart();
	rig_greet();
	rig_say("NOOP\r\nMAIL FR");
	rig_say("OM:<a@b>\r\n");
	rig_client_ends();
	assert_false(rig.client_ended);
	rig_reply("250 ok\r\n");
	rig_client_ends();
	assert_true(rig.client_ended);
	rig_expect("NOOP\r\nMAIL FROM:<a@b>\r\n", "250 ok\r\n");
	restart();
	rig_greet();
	rig_say(ENVELOPE "DATA\r\n");
	rig_reply("250 1\r\n250 2\r\n");
	rig_reply("354 go\r\n");
	rig_say("half\r\n.");
	rig_client_ends();
	assert_true(rig.client_ended);
	rig_expect(ENVELOPE "DATA\r\nhalf\r\n", "250 1\r\n250 2\r\n354 go\r\n"); /* half a dot is no end */
}

/* A random conversation: what the client says, and what both sides are to get. */
struct talk {
	struct buf said, replies, messages;
	unsigned numbers; /* of the model's replies so far */
	bool discard, mail;
	unsigned recipients, accepted;
};

static uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);

static unsigned pick(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 16) % below);
}

static void say(struct talk *t, const char *line)
{
	buf_put_text(&t->said, line);
	buf_put_text(&t->said, "\r\n");
}

/* The model's reply to what was just said, and the door's. */
static void model_replies(struct talk *t, const char *reply)
{
	buf_putf(&t->replies, "%s #%u\r\n", reply, t->numbers++);
}

static void door_replies(struct talk *t, const char *reply)
{
	buf_putf(&t->replies, "%s\r\n", reply);
}

static void over(struct talk *t)
{
	t->mail = t->discard = false;
	t->recipients = t->accepted = 0;
}

static void say_mail(struct talk *t)
{
	if (t->mail) {
		say(t, "RSET");
		model_replies(t, "250 reset");
		over(t);
	}
	switch (pick(8)) {
	case 0:
		say(t, "MAIL FROM:<bad@x.test>");
		model_replies(t, "550 bad sender");
		say_mail(t); /* where a RCPT behind it fails depends on what is known by then */
		return;
	case 1:
		say(t, "MAIL FROM:<no@x.test>");
		door_replies(t, "550 5.7.1 <no@x.test>... Access denied");
		return;
	case 2:
		say(t, "MAIL FROM:<discard@x.test>");
		t->discard = true;
		break;
	case 3:
		say(t, "mail from: <later@x.test> SIZE=1");
		break;
	default:
		say(t, "MAIL FROM:<good@x.test>");
		break;
	}
	model_replies(t, "250 sender ok");
	t->mail = true;
}

static void say_rcpt(struct talk *t)
{
	static const char *const rows[][2] = { { "no", "550 5.7.1 <no@d>... Access denied" }, { "later.no", "550 5.7.1 <later.no@d>... Access denied" },
		{ "drop", "250 2.1.5 <drop@d>... ok" }, { "unknown", NULL }, { "later", NULL }, { "joe", NULL }, { "ann", NULL } };
	unsigned n = pick(sizeof(rows) / sizeof(rows[0]));
	char line[64];
	snprintf(line, sizeof(line), "RCPT TO:<%s@d>", rows[n][0]);
	say(t, line);
	if (!t->mail) {
		door_replies(t, "503 5.0.0 Need MAIL before RCPT");
	} else if (rows[n][1]) {
		door_replies(t, rows[n][1]);
		t->accepted += n == 2;
	} else {
		model_replies(t, n == 3 ? "550 recipient" : "250 recipient");
		t->recipients += n != 3;
	}
}

/* Lines of text, as said and as stored. */
static void say_text(struct talk *t, bool keep)
{
	static const char *const rows[][2] = { { "plain\r\n", "plain\n" }, { "\r\n", "\n" }, { "..\r\n", ".\n" }, { ".x\r\n", "x\n" }, { "a\n.\nb\r\n", "a\n.\nb\n" },
		{ "a\r.\rb\r\n", "a . b\n" }, { "..\n..\r\n", ".\n..\n" }, { "MAIL FROM:<x@y>\r\n", "MAIL FROM:<x@y>\n" } };
	for (unsigned lines = pick(12); lines > 0; lines--) {
		unsigned n = pick(sizeof(rows) / sizeof(rows[0]));
		buf_put_text(&t->said, rows[n][0]);
		if (keep)
			buf_put_text(&t->messages, rows[n][1]);
	}
	say(t, ".");
}

/* True: a message follows the command, and its end is answered. False: it was answered, and is no message. */
static bool answered_at_once(struct talk *t)
{
	if (t->mail && t->recipients + t->accepted > 0)
		return false;
	door_replies(t, t->mail ? "503 5.0.0 Need RCPT (recipient)" : "503 5.0.0 Need MAIL command");
	return true;
}

static void message_taken(struct talk *t, bool thrown_away)
{
	if (thrown_away) {
		door_replies(t, "250 2.0.0 1abc Message accepted for delivery");
	} else {
		buf_put_text(&t->messages, "<end>\n");
		model_replies(t, "250 message taken");
	}
	over(t);
}

static void say_data(struct talk *t)
{
	bool thrown_away = t->discard || t->recipients == 0;
	if (!thrown_away && pick(6) == 0) {
		say(t, "DATA fail");
		model_replies(t, "451 data");
		return;
	}
	say(t, "DATA");
	if (answered_at_once(t))
		return;
	if (thrown_away) {
		t->numbers++; /* the model's to the RSET, which the client does not see */
		door_replies(t, "354 Enter mail, end with \".\" on a line by itself");
	} else {
		model_replies(t, "354 data");
	}
	say_text(t, !thrown_away);
	message_taken(t, thrown_away);
}

static void say_chunk(struct talk *t)
{
	static const char chunk[] = "\r\n.\r\nRSET\r\n\0\n.\nQUIT\r\n";
	bool thrown_away = t->discard || t->recipients == 0, ready = t->mail && t->recipients + t->accepted > 0;
	for (unsigned n = pick(3), last = 0; !last; n--) {
		size_t len = pick(sizeof(chunk));
		last = n == 0 || !ready;
		buf_putf(&t->said, "BDAT %zu%s\r\n", len, last ? " LAST" : "");
		buf_put(&t->said, chunk, len);
		if (!ready) {
			answered_at_once(t);
			return;
		}
		t->numbers += thrown_away && t->mail; /* as above */
		t->mail = t->mail && !thrown_away;
		if (!thrown_away)
			buf_put(&t->messages, chunk, len);
		if (!last && thrown_away)
			door_replies(t, "250 2.0.0 Chunk received");
		else if (!last)
			model_replies(t, "250 chunk taken");
	}
	message_taken(t, thrown_away);
}

static void say_hello(struct talk *t)
{
	say(t, "EHLO c");
	door_replies(t, "250-model.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-AUTH PLAIN\r\n250 STARTTLS");
	t->numbers++;
	over(t);
}

static void say_auth(struct talk *t)
{
	say(t, "AUTH LOGIN");
	model_replies(t, "334 go on");
	if (pick(2)) {
		say(t, "more");
		model_replies(t, "334 auth");
	}
	bool cancelled = pick(2);
	say(t, cancelled ? "*" : "RCPT TO:<no@d>");
	model_replies(t, cancelled ? "501 auth" : "235 auth");
}

static void say_other(struct talk *t)
{
	switch (pick(5)) {
	case 0:
		say(t, "NOOP");
		door_replies(t, "250-one");
		model_replies(t, "250 two");
		break;
	case 1:
		say(t, "XYZZY");
		model_replies(t, "500 unknown");
		break;
	case 2:
		say(t, "XCLIENT NAME=x");
		door_replies(t, "550 5.7.1 Not allowed");
		break;
	case 3:
		say(t, "RSET");
		model_replies(t, "250 reset");
		over(t);
		break;
	default:
		say(t, "");
		door_replies(t, "500 5.5.1 Command unrecognized: \"\"");
		break;
	}
}

static void say_message(struct talk *t)
{
	say_mail(t);
	for (unsigned n = 1 + pick(6); n > 0; n--)
		say_rcpt(t);
	if (pick(3))
		say_data(t);
	else
		say_chunk(t);
}

static void make_talk(struct talk *t)
{
	buf_init(&t->said, RIG_MOST);
	buf_init(&t->replies, RIG_MOST);
	buf_init(&t->messages, RIG_MOST);
	model_replies(t, "220 model.test ESMTP");
	say_hello(t);
	for (unsigned commands = pick(40); commands > 0; commands--) {
		static void (*const parts[])(struct talk *) = { say_message, say_message, say_message, say_message, say_mail, say_rcpt, say_data, say_chunk,
			say_hello, say_auth, say_other };
		parts[pick(sizeof(parts) / sizeof(parts[0]))](t);
	}
	say(t, "QUIT");
	model_replies(t, "221 bye");
}

/* As much of what there is as may be, at most `step` bytes in one piece. */
static struct slice some(const struct buf *b, unsigned step)
{
	size_t n = step < b->len ? step : b->len;
	return b->len > 0 ? (struct slice){ b->at, pick((unsigned)n + 1) } : slice_of("");
}

static unsigned held_back; /* rounds in which a command was */

static enum watch_result hold_talk(struct talk *t, struct watch *w, struct model *m, struct buf *heard, unsigned step)
{
	struct model_rules rules = { .later = false };
	enum watch_result result = WATCH_MORE;
	watch_init(w, &model_rules, &rules, WATCH_TLS_PASS);
	w->slows = pick(2) == 0; /* what is held back changes nothing but the time */
	w->throttle = pick(4);
	for (unsigned round = 0; result == WATCH_MORE && round < 400000; round++) {
		struct slice in = some(&t->said, step), before = in;
		watch_from_client(w, &in, false);
		buf_drop(&t->said, before.len - in.len);
		in = before = some(&m->out, step);
		result = watch_from_backend(w, &in, false);
		buf_drop(&m->out, before.len - in.len);
		in = some(&w->to_backend, step);
		model_take(m, in);
		buf_drop(&w->to_backend, in.len);
		in = some(&w->to_client, step);
		buf_put_slice(heard, in);
		buf_drop(&w->to_client, in.len);
		if (pick(3) == 0)
			model_decide(&rules, w);
		if (watch_slowed(w))
			held_back++;
		if (pick(3) == 0)
			watch_slow_over(w);
		assert_true(w->queue.len <= WATCH_PENDING);
	}
	model_take(m, buf_slice(&w->to_backend));
	buf_put_slice(heard, buf_slice(&w->to_client));
	return result;
}

static void same(const char *what, const struct buf *got, const struct buf *want)
{
	if (got->len == want->len && (got->len == 0 || memcmp(got->at, want->at, got->len) == 0))
		return;
	size_t n = 0;
	while (n < got->len && n < want->len && got->at[n] == want->at[n])
		n++;
	/* From a little before the first difference. */
	size_t from = n < 200 ? 0 : n - 200;
	fail_msg("%s, from %zu on:\n%.*s\nnot:\n%.*s", what, from, (int)(got->len - from < 400 ? got->len - from : 400), got->at + from,
		(int)(want->len - from < 400 ? want->len - from : 400), want->at + from);
}

static void random_conversations(void **state)
{
	static const unsigned steps[] = { 1, 3, 20, 300, 20000 };
	unsigned messages = 0;
	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		struct talk t = { .numbers = 0 };
		struct watch w;
		struct model m;
		struct buf heard;
		make_talk(&t);
		model_init(&m);
		buf_init(&heard, RIG_MOST);
		enum watch_result result = hold_talk(&t, &w, &m, &heard, steps[i % 5]);
		if (m.fault || w.why)
			fail_msg("conversation %u: %s", i, m.fault ? m.fault : w.why);
		same("the client heard", &heard, &t.replies);
		same("the mail server has", &m.messages, &t.messages);
		assert_int_equal(result, WATCH_END);
		messages += m.accepted;
		watch_fini(&w);
		model_fini(&m);
		buf_fini(&heard);
		buf_fini(&t.said);
		buf_fini(&t.replies);
		buf_fini(&t.messages);
	}
	assert_true(messages > 3000); /* or it would not mean much */
	assert_true(held_back > 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(forbidden, begin, end),
		cmocka_unit_test_setup_teardown(commands_of_the_door, begin, end),
		cmocka_unit_test_setup_teardown(long_lines, begin, end),
		cmocka_unit_test_setup_teardown(too_many_bad_commands, begin, end),
		cmocka_unit_test_setup_teardown(authentication, begin, end),
		cmocka_unit_test_setup_teardown(authentication_that_is_none, begin, end),
		cmocka_unit_test_setup_teardown(tls, begin, end),
		cmocka_unit_test_setup_teardown(until_mail, begin, end),
		cmocka_unit_test_setup_teardown(tls_injection, begin, end),
		cmocka_unit_test_setup_teardown(tls_of_the_door, begin, end),
		cmocka_unit_test_setup_teardown(tls_of_the_door_injection, begin, end),
		cmocka_unit_test_setup_teardown(tls_after_auth, begin, end),
		cmocka_unit_test_setup_teardown(many_under_way, begin, end),
		cmocka_unit_test_setup_teardown(the_client_ends, begin, end),
		cmocka_unit_test(random_conversations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
