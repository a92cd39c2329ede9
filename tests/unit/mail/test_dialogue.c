/* The conversation without a connection: each command in and out of order, what ends a transaction, limits, and a message into its Maildir. Lines are
 * copies of just their length, and replies get no more room than promised, so that a sanitizer sees a step beyond either. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/log.h"
#include "core/metrics.h"
#include "folder.h"
#include "mail/dialogue.h"

#define MAX_SIZE 100
#define MAX_BAD 3
#define HELLO "250 mail.example.org Hello [192.0.2.1], pleased to meet you\r\n"
#define SENDER_OK "250 2.1.0 <a@b.test>... Sender ok\r\n"
#define JOE_OK "250 2.1.5 <joe@example.org>... Recipient ok\r\n"
#define GO "354 Enter mail, end with \".\" on a line by itself\r\n"
#define NEED_MAIL "503 5.0.0 Need MAIL command\r\n"
#define RCPT_EARLY "503 5.0.0 Need MAIL before RCPT\r\n"
#define TOO_BAD "421 4.7.0 mail.example.org Too many bad commands; closing connection\r\n"
#define DECLINED "502 5.7.0 Sorry, we do not allow this operation\r\n"

static char *domains[] = { "example.org" };
static char no_message[] = "";
static char delimiter[] = "+", host[] = "mail.example.org";
static char root[FOLDER_PATH], template[FOLDER_PATH + 8], joe[FOLDER_PATH + 32], ann[FOLDER_PATH + 32];
static struct conf conf;
static struct loop loop;
static struct dialogue_shared shared;
static struct dialogue dialogue;
static struct buf logged;
static char reply[DIALOGUE_REPLY + 1]; /* the last one */

static void begin_reply(struct buf *out, char memory[DIALOGUE_REPLY])
{
	buf_init_fixed(out, memory, DIALOGUE_REPLY);
}

static void end_reply(const struct buf *out)
{
	assert_false(out->full);
	memcpy(reply, out->at, out->len);
	reply[out->len] = '\0';
}

static enum dialogue_next line_bytes(const char *at, size_t len, bool crlf)
{
	char memory[DIALOGUE_REPLY];
	struct buf out;
	char *copy = malloc(len > 0 ? len : 1);
	assert_non_null(copy);
	memcpy(copy, at, len);
	begin_reply(&out, memory);
	enum dialogue_next next = dialogue_line(&dialogue, (struct slice){ copy, len }, crlf, &out);
	free(copy);
	end_reply(&out);
	return next;
}

static void expect_next(const char *text, enum dialogue_next next, const char *want)
{
	assert_int_equal(line_bytes(text, strlen(text), true), next);
	assert_string_equal(reply, want);
}

/* A command after which another is expected. */
static void expect(const char *text, const char *want)
{
	expect_next(text, DIALOGUE_COMMAND, want);
}

/* Part of a message's text; returns how many bytes were left. */
static size_t data(const char *text, enum dialogue_next next)
{
	char memory[DIALOGUE_REPLY];
	struct buf out;
	struct slice in = slice_of(text);
	begin_reply(&out, memory);
	assert_int_equal(dialogue_data(&dialogue, &in, &out), next);
	assert_ptr_equal(in.at + in.len, text + strlen(text));
	end_reply(&out);
	return in.len;
}

static void expect_stored_reply(void)
{
	char want[128];
	snprintf(want, sizeof(want), "250 2.0.0 %s Message accepted for delivery\r\n", dialogue.message_id);
	assert_true(strlen(dialogue.message_id) > 0);
	assert_string_equal(reply, want);
}

static void begin_transaction(void)
{
	expect("MAIL FROM:<a@b.test>", SENDER_OK);
	expect("RCPT TO:<joe@example.org>", JOE_OK);
}

/* No transaction is open: neither sender nor recipients are left. */
static void expect_no_transaction(void)
{
	expect("RCPT TO:<joe@example.org>", RCPT_EARLY);
	expect("DATA", NEED_MAIL);
	expect("MAIL FROM:<a@b.test>", SENDER_OK);
	expect("DATA", "503 5.0.0 Need RCPT (recipient)\r\n");
	expect("RSET", "250 2.0.0 Reset state\r\n");
}

static void greet_client(bool local)
{
	struct proxyhdr header = { .local = local, .pause_ms = 1000, .has_pause = !local, .id = "s1.2-3" };
	assert_true(addr_parse(slice_of("192.0.2.1"), &header.client));
	dialogue_fini(&dialogue);
	dialogue_init(&dialogue, &shared, &header);
}

static int begin(void **state)
{
	(void)state;
	folder_make_quick(root);
	snprintf(template, sizeof(template), "%s/%%d/%%u", root);
	snprintf(joe, sizeof(joe), "%s/example.org/joe", root);
	snprintf(ann, sizeof(ann), "%s/example.org/ann", root);
	conf = (struct conf){ .hostname = host, .smtp_login_msg = no_message, .forbidden_commands = no_message, .accept_domains = { domains, 1 }, .maildir = template, .create_maildirs = true,
		.recipient_delimiter = delimiter, .max_message_size = MAX_SIZE, .max_recipients = 2, .hopcount_limit = 1, .max_bad_commands = MAX_BAD };
	assert_int_equal(loop_init_manual(&loop, 1), 0);
	shared = (struct dialogue_shared){ .conf = &conf, .loop = &loop };
	maildir_store_init(&shared.store, host, true);
	buf_init(&logged, 1 << 20);
	log_capture(&logged);
	greet_client(false);
	return 0;
}

static int end(void **state)
{
	(void)state;
	dialogue_fini(&dialogue);
	maildir_store_fini(&shared.store);
	loop_fini(&loop);
	log_capture(NULL);
	buf_fini(&logged);
	folder_remove(root);
	return 0;
}

static void greeting_and_timeout(void **state)
{
	static const char start[] = "220 mail.example.org ESMTP Tarry " TARRY_VERSION "; ";
	char memory[DIALOGUE_REPLY];
	struct buf out;
	(void)state;
	begin_reply(&out, memory);
	dialogue_greet(&dialogue, &out);
	end_reply(&out);
	assert_memory_equal(reply, start, sizeof(start) - 1);
	assert_string_equal(reply + strlen(reply) - 6, " GMT\r\n");
	begin_reply(&out, memory);
	dialogue_timeout(&dialogue, &out);
	end_reply(&out);
	assert_string_equal(reply, "421 4.4.2 mail.example.org Timeout, closing connection\r\n");
}

static void each_command(void **state)
{
	(void)state;
	expect("HELO client.example.net", HELLO);
	assert_false(dialogue.esmtp);
	expect("  ehlo client.example.net ", "250-mail.example.org Hello [192.0.2.1], pleased to meet you\r\n250-ENHANCEDSTATUSCODES\r\n"
		"250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 100\r\n250-SMTPUTF8\r\n250 HELP\r\n");
	assert_true(dialogue.esmtp);
	assert_string_equal(dialogue.helo, "client.example.net");
	expect("HELO", "501 5.0.0 HELO requires domain address\r\n");
	expect("EHLO a b", "501 5.0.0 Invalid domain name\r\n");
	assert_string_equal(dialogue.helo, "client.example.net");
	expect("NOOP x", "250 2.0.0 OK\r\n");
	expect("RSET", "250 2.0.0 Reset state\r\n");
	expect("VRFY joe", "252 2.5.2 Cannot VRFY user; try RCPT to attempt delivery (or try finger)\r\n");
	expect("VRFY", "501 5.5.2 Argument required\r\n");
	expect("HELP", "214-2.0.0 This is Tarry version " TARRY_VERSION "\r\n214-2.0.0 Commands:\r\n214-2.0.0 \tHELO\tEHLO\tMAIL\tRCPT\tDATA\r\n"
		"214-2.0.0 \tRSET\tNOOP\tQUIT\tHELP\tVRFY\r\n214-2.0.0 For local information send email to Postmaster at your site.\r\n"
		"214 2.0.0 End of HELP info\r\n");
	expect("EXPN joe", DECLINED);
	expect("VERB", "502 5.7.0 Verbose unavailable\r\n");
	expect("BDAT 1 LAST", "500 5.5.1 Command unrecognized: \"BDAT 1 LAST\"\r\n");
	expect_next("QUIT", DIALOGUE_CLOSE, "221 2.0.0 mail.example.org closing connection\r\n");
	assert_int_equal(dialogue.commands, 13);
	greet_client(true);
	expect("HELO x", "250 mail.example.org Hello localhost, pleased to meet you\r\n");
}

/* The commands of other protocols end it, wherever they come; the opening of one only at first. */
static void other_protocols(void **state)
{
	static char words[] = "GET USER";
	static const char open_proxy[] = "421 4.7.0 mail.example.org Rejecting open proxy [192.0.2.1]\r\n";
	char memory[DIALOGUE_REPLY];
	struct buf out;
	(void)state;
	int64_t before = metrics_sum(METRIC_forbidden);
	begin_reply(&out, memory);
	assert_int_equal(dialogue_opening(&dialogue, slice_of("\x16\x03"), &out), DIALOGUE_COMMAND); /* nothing is forbidden */
	conf.forbidden_commands = words;
	assert_int_equal(dialogue_opening(&dialogue, slice_of("\x16"), &out), DIALOGUE_COMMAND);
	assert_int_equal(dialogue_opening(&dialogue, slice_of("HELO x\r\n"), &out), DIALOGUE_COMMAND);
	assert_int_equal(out.len, 0);
	assert_int_equal(dialogue_opening(&dialogue, slice_of("\x16\x03"), &out), DIALOGUE_CLOSE);
	end_reply(&out);
	assert_string_equal(reply, "421 4.7.0 mail.example.org This port speaks SMTP in clear: TLS begins with STARTTLS\r\n");
	assert_non_null(strstr(buf_text(&logged), "event=forbidden"));
	assert_non_null(strstr(buf_text(&logged), "client=192.0.2.1 kind=tls data=\"\\x16\\x03\""));
	greet_client(false);
	expect("HELO x", HELLO);
	expect_next("get / HTTP/1.0", DIALOGUE_CLOSE, open_proxy);
	greet_client(false);
	expect("HELO x", HELLO);
	begin_reply(&out, memory);
	assert_int_equal(dialogue_opening(&dialogue, slice_of("POST / HTTP/1.0"), &out), DIALOGUE_COMMAND); /* not the first line, and not a word of the list */
	expect("POST / HTTP/1.0", "500 5.5.1 Command unrecognized: \"POST / HTTP/1.0\"\r\n");
	expect_next("USER joe", DIALOGUE_CLOSE, open_proxy);
	assert_int_equal(metrics_sum(METRIC_forbidden) - before, 3);
}

static void out_of_order(void **state)
{
	(void)state;
	expect("RCPT TO:<joe@example.org>", RCPT_EARLY);
	expect("DATA", NEED_MAIL);
	expect("MAIL", "501 5.5.2 Syntax error in parameters scanning \"\"\r\n");
	expect("RCPT TO:<joe@example.org>", RCPT_EARLY);
	expect("MAIL FROM:<a@b.test>", SENDER_OK);
	expect("DATA", "503 5.0.0 Need RCPT (recipient)\r\n");
	expect("MAIL FROM:<c@b.test>", "503 5.5.0 Sender already specified\r\n");
	assert_string_equal(dialogue.envelope.from, "a@b.test");
	expect("RCPT TO:<joe@elsewhere.test>", "550 5.7.1 <joe@elsewhere.test>... Relaying denied\r\n");
	expect("DATA", "503 5.0.0 Need RCPT (recipient)\r\n");
	expect("RCPT TO:<joe@example.org>", JOE_OK);
	expect_next("DATA", DIALOGUE_DATA, GO);
}

static void bytes_in_commands(void **state)
{
	(void)state;
	assert_int_equal(line_bytes("NOOP \0", 6, true), DIALOGUE_COMMAND);
	assert_string_equal(reply, "501 5.5.2 Syntax error in parameters\r\n");
	assert_int_equal(line_bytes("QUIT \xff", 6, true), DIALOGUE_COMMAND);
	assert_string_equal(reply, "501 5.5.2 Syntax error in parameters\r\n");
	assert_int_equal(line_bytes("NO\0OP\x7f", 6, true), DIALOGUE_COMMAND);
	assert_string_equal(reply, "500 5.5.1 Command unrecognized: \"NO?OP?\"\r\n");
	expect("", "500 5.5.1 Command unrecognized: \"\"\r\n");
	expect("MAIL FROM:<j\xc3\xb6@b.test>", "553 5.6.7 Address beyond ASCII needs SMTPUTF8\r\n");
	expect("MAIL FROM:<a@b.test>", SENDER_OK);
	expect("RCPT TO:<j\xc3\xb6@example.org>", "553 5.6.7 Address beyond ASCII needs SMTPUTF8\r\n");
	expect("RSET", "250 2.0.0 Reset state\r\n");
	expect("MAIL FROM:<a@b.test> SMTPUTF8", SENDER_OK);
	expect("RCPT TO:<j\xc3\xb6@example.org>", "250 2.1.5 <j\xc3\xb6@example.org>... Recipient ok\r\n");
}

/* RSET and an accepted HELO or EHLO end a transaction; nothing else does. */
static void transaction_ends(void **state)
{
	static const char *const ends[] = { "RSET", "HELO x", "EHLO x" };
	static const char *const keeps[] = { "NOOP", "VRFY joe", "HELP", "HELO", "EHLO a b", "EXPN joe", "RSET \xff", "XYZZY" };
	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		begin_transaction();
		assert_int_equal(line_bytes(ends[i], strlen(ends[i]), true), DIALOGUE_COMMAND);
		assert_memory_equal(reply, "250", 3);
		expect_no_transaction();
	}
	begin_transaction();
	for (size_t i = 0; i < sizeof(keeps) / sizeof(keeps[0]); i++)
		assert_int_equal(line_bytes(keeps[i], strlen(keeps[i]), true), DIALOGUE_COMMAND);
	assert_int_equal(dialogue.envelope.recipients, 1);
	expect_next("DATA", DIALOGUE_DATA, GO);
}

static void max_recipients(void **state)
{
	(void)state;
	int64_t before = metrics_sum(METRIC_recipients_denied);
	for (int i = 0; i < 2; i++) {
		begin_transaction();
		expect("RCPT TO:<../x@example.org>", "553 5.1.3 <../x@example.org>... Not a valid mailbox name\r\n"); /* takes no room */
		expect("RCPT TO:<ann@example.org>", "250 2.1.5 <ann@example.org>... Recipient ok\r\n");
		expect("RCPT TO:<eve@example.org>", "452 4.5.3 Too many recipients\r\n");
		assert_int_equal(dialogue.envelope.recipients, 2);
		expect("RSET", "250 2.0.0 Reset state\r\n");
	}
	assert_int_equal(metrics_sum(METRIC_recipients_denied) - before, 4);
	conf.create_maildirs = false;
	expect("MAIL FROM:<a@b.test>", SENDER_OK);
	expect("RCPT TO:<eve@example.org>", "550 5.1.1 <eve@example.org>... User unknown\r\n");
	assert_int_equal(folder_count_all(root), 0);
}

static enum dialogue_next long_line(void)
{
	char memory[DIALOGUE_REPLY];
	struct buf out;
	begin_reply(&out, memory);
	enum dialogue_next next = dialogue_long_line(&dialogue, &out);
	end_reply(&out);
	return next;
}

/* Of each kind of bad command, MAX_BAD are answered and the next one is the last; what is only wrong does not count. */
static void max_bad_commands(void **state)
{
	static const char *const bad[] = { "XYZZY", "EXPN joe", "ETRN x", "VERB", "STARTTLS", "" };
	(void)state;
	for (size_t i = 0; i <= sizeof(bad) / sizeof(bad[0]); i++) {
		bool is_long = i == sizeof(bad) / sizeof(bad[0]);
		greet_client(false);
		for (int n = 0; n < MAX_BAD; n++) {
			assert_int_equal(dialogue.bad_commands, n);
			assert_int_equal(is_long ? long_line() : line_bytes(bad[i], strlen(bad[i]), true), DIALOGUE_COMMAND);
			assert_memory_equal(reply, "50", 2);
			if (is_long)
				assert_string_equal(reply, "500 5.5.2 Line too long\r\n");
			expect("EHLO", "501 5.0.0 EHLO requires domain address\r\n");
			expect("DATA", NEED_MAIL);
			expect("HELO x", HELLO); /* nor does it forgive */
			expect("RSET", "250 2.0.0 Reset state\r\n");
		}
		assert_int_equal(dialogue.bad_commands, MAX_BAD);
		expect("NOOP", "250 2.0.0 OK\r\n");
		assert_int_equal(is_long ? long_line() : line_bytes(bad[i], strlen(bad[i]), true), DIALOGUE_CLOSE);
		assert_string_equal(reply, TOO_BAD);
	}
	conf.max_bad_commands = 0;
	greet_client(false);
	expect_next("VERB", DIALOGUE_CLOSE, TOO_BAD);
}

static void declared_size(void **state)
{
	(void)state;
	expect("MAIL FROM:<a@b.test> SIZE=101", "552 5.3.4 Message size exceeds fixed maximum message size (100)\r\n");
	expect_no_transaction();
	expect("MAIL FROM:<a@b.test> SIZE=100", SENDER_OK);
}

static void real_size(void **state)
{
	char text[MAX_SIZE + 16];
	(void)state;
	for (int over = 0; over <= 1; over++) {
		begin_transaction();
		expect_next("DATA", DIALOGUE_DATA, GO);
		snprintf(text, sizeof(text), "%0*d\r\n", over ? MAX_SIZE + 1 : MAX_SIZE - 2, 7);
		assert_int_equal(data(text, DIALOGUE_DATA), 0);
		assert_string_equal(reply, "");
		assert_int_equal(data(".\r\n", DIALOGUE_COMMAND), 0);
		if (over)
			assert_string_equal(reply, "552 5.3.4 Message is too large; 100 bytes max\r\n");
		else
			expect_stored_reply();
		assert_int_equal(folder_count_all(root), 1);
		expect_no_transaction();
	}
	assert_int_equal(dialogue.messages, 1);
}

static void too_many_hops(void **state)
{
	(void)state;
	begin_transaction();
	expect_next("DATA", DIALOGUE_DATA, GO);
	data("Received: x\r\nReceived: y\r\n\r\n.\r\n", DIALOGUE_COMMAND);
	assert_string_equal(reply, "554 5.4.6 Too many hops 2 (1 max)\r\n");
	assert_int_equal(folder_count_all(root), 0);
	expect_no_transaction();
}

/* Byte by byte, with what belongs to the next command left alone; the file is compared whole, but for the date. */
static void stores(void **state)
{
	static const char text[] = "Subject: x\r\n\r\n..dot\r\n.\nno end\r\n.\r\n";
	char want[1024];
	(void)state;
	int64_t before = metrics_sum(METRIC_messages);
	expect("HELO client.example.net", HELLO);
	expect("MAIL FROM:<a@b.test>", SENDER_OK);
	expect("RCPT TO:<Joe+x@example.org>", "250 2.1.5 <Joe+x@example.org>... Recipient ok\r\n");
	expect_next("DATA", DIALOGUE_DATA, GO);
	for (const char *at = text; at[1]; at++) {
		assert_int_equal(data((char[]){ *at, '\0' }, DIALOGUE_DATA), 0);
		assert_string_equal(reply, "");
	}
	assert_int_equal(folder_count(joe, "new", NULL), 0);
	assert_int_equal(data("\nQUIT\r\n", DIALOGUE_COMMAND), 6);
	expect_stored_reply();
	char *got = folder_read_only(joe, "new", NULL);
	char *date = strchr(got, ';');
	assert_non_null(date);
	size_t date_len = strcspn(date, "\n");
	assert_string_equal(date + date_len, "\nSubject: x\n\n.dot\n\nno end\n");
	snprintf(want, sizeof(want), "Return-Path: <a@b.test>\nReceived: from client.example.net ([192.0.2.1])\n"
		"\tby mail.example.org (Tarry " TARRY_VERSION ") with SMTP id %s (paused 1000 ms) (session s1.2-3)\n\tfor <Joe+x@example.org>", dialogue.message_id);
	*date = '\0';
	assert_string_equal(got, want);
	free(got);
	assert_int_equal(folder_count_all(root), 1);
	assert_int_equal(dialogue.messages, 1);
	assert_int_equal(metrics_sum(METRIC_messages) - before, 1);
	assert_non_null(strstr(buf_text(&logged), "event=message"));
	assert_non_null(strstr(buf_text(&logged), dialogue.message_id));
	expect_no_transaction();
}

/* Who has never sent a CRLF ends a message with LF alone. */
static void stores_lf(void **state)
{
	static const char *const lines[] = { "MAIL FROM:<>", "RCPT TO:<joe@example.org>", "RCPT TO:<ann@example.org>", "DATA" };
	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(line_bytes(lines[i], strlen(lines[i]), false), i < 3 ? DIALOGUE_COMMAND : DIALOGUE_DATA);
	assert_int_equal(data("hi\n.\nNOOP\n", DIALOGUE_COMMAND), 5);
	expect_stored_reply();
	for (int i = 0; i < 2; i++) {
		char *got = folder_read_only(i ? ann : joe, "new", NULL);
		assert_memory_equal(got, "Return-Path: <>\nReceived: from unknown ([192.0.2.1])\n", 53);
		assert_null(strstr(got, "for <"));
		assert_string_equal(got + strlen(got) - 4, "\nhi\n");
		free(got);
	}
}

/* One CRLF, however long ago, and only CRLF ends a message. */
static void one_crlf_counts(void **state)
{
	(void)state;
	begin_transaction();
	assert_int_equal(line_bytes("DATA", 4, false), DIALOGUE_DATA);
	assert_int_equal(data("hi\n.\nNOOP\n", DIALOGUE_DATA), 0);
	assert_int_equal(data("\r\n.\r\n", DIALOGUE_COMMAND), 0);
	expect_stored_reply();
}

static void forgets_half_a_message(void **state)
{
	(void)state;
	begin_transaction();
	expect_next("DATA", DIALOGUE_DATA, GO);
	data("half\r\n.", DIALOGUE_DATA);
	assert_int_equal(folder_count_all(root), 1);
	dialogue_fini(&dialogue);
	assert_int_equal(folder_count_all(root), 0);
}

static void expect_trace(const char *text)
{
	begin_transaction();
	expect_next("DATA", DIALOGUE_DATA, GO);
	data("hi\r\n.\r\n", DIALOGUE_COMMAND);
	char *got = folder_read_only(joe, "new", NULL);
	if (!strstr(got, text))
		fail_msg("no %s in %s", text, got);
	free(got);
	char name[256], path[FOLDER_PATH + 512];
	assert_int_equal(folder_count(joe, "new", name), 1);
	snprintf(path, sizeof(path), "%s/new/%s", joe, name);
	assert_int_equal(unlink(path), 0);
}

/* What the door knows of TLS, at once or later; from a client it is a command like any other that nobody knows. */
static void tls(void **state)
{
	struct proxyhdr header = { .tls = { .ok = 1, .version = "TLSv1.3", .cipher = "CIPHER-1" } };
	(void)state;
	assert_true(addr_parse(slice_of("192.0.2.1"), &header.client));
	dialogue_fini(&dialogue);
	dialogue_init(&dialogue, &shared, &header);
	line_bytes("EHLO x", 6, true);
	expect_trace("\n\t(using TLSv1.3 with cipher CIPHER-1)\n\tby mail.example.org (Tarry " TARRY_VERSION ") with ESMTPS id ");
	expect("XTLS TLSv1.2 OTHER", "500 5.5.1 Command unrecognized: \"XTLS TLSv1.2 OTHER\"\r\n");
	header.tls.ok = 0;
	header.xtls = true;
	dialogue_fini(&dialogue);
	dialogue_init(&dialogue, &shared, &header);
	line_bytes("EHLO x", 6, true);
	expect_trace(") with ESMTP id ");
	begin_transaction();
	expect("XTLS TLSv1.2", "500 5.5.1 Command unrecognized: \"XTLS TLSv1.2\"\r\n");
	expect("XTLS TLSv1.2 CIPHER-2", "250 2.0.0 Ok\r\n");
	expect_no_transaction();
	expect_trace("from unknown ([192.0.2.1])\n\t(using TLSv1.2 with cipher CIPHER-2)\n\tby mail.example.org (Tarry " TARRY_VERSION ") with SMTP id ");
	expect("XTLS TLSv1.2 OTHER", "500 5.5.1 Command unrecognized: \"XTLS TLSv1.2 OTHER\"\r\n"); /* once */
}

#define SESSION(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SESSION(greeting_and_timeout), SESSION(each_command), SESSION(out_of_order), SESSION(bytes_in_commands), SESSION(transaction_ends),
		SESSION(max_recipients), SESSION(max_bad_commands), SESSION(declared_size), SESSION(real_size), SESSION(too_many_hops), SESSION(stores),
		SESSION(stores_lf), SESSION(one_crlf_counts), SESSION(forgets_half_a_message), SESSION(tls), SESSION(other_protocols),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
