/* The server inside over a real socket, with a clock moved by hand: replies byte for byte, line ends, limits, disks that fail, clients that go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "folder.h"
#include "mail/smtpd.h"

#define CRLF "\r\n"
#define TO_JOE "MAIL FROM:<a@b.test>\r\nRCPT TO:<joe@example.org>\r\n"
#define OK_JOE "250 2.1.0 <a@b.test>... Sender ok\r\n250 2.1.5 <joe@example.org>... Recipient ok\r\n"
#define GO "354 Enter mail, end with \".\" on a line by itself\r\n"
#define BYE "221 2.0.0 mail.example.org closing connection\r\n"
#define MAX_SIZE 100000

static char *domains[] = { "example.org", "mail.example.org" };
static char no_message[] = "";
static char delimiter[] = "+", host[] = "mail.example.org";
static char root[FOLDER_PATH], template[FOLDER_PATH + 8], joe[FOLDER_PATH + 32], ann[FOLDER_PATH + 32];
static struct conf conf;
static struct loop loop;
static struct smtpd smtpd;
static struct buf logged;
static int client = -1;
static char heard[256 * 1024]; /* what the client has got, and not yet compared */
static size_t heard_len;
static bool heard_end;

static void sweep(struct loop *l, void *context)
{
	(void)l;
	smtpd_sweep(context);
}

/* Let the server do what it can, and hear what it says. */
static void turn(void)
{
	for (int quiet = 0; quiet < 2;) {
		assert_int_equal(loop_turn(&loop, 0), 0);
		size_t room = sizeof(heard) - 1 - heard_len;
		if (room == 0)
			return;
		ssize_t n = client >= 0 ? recv(client, heard + heard_len, room, MSG_DONTWAIT) : -1;
		quiet = n > 0 ? 0 : quiet + 1;
		if (n > 0)
			heard_len += (size_t)n;
		heard_end = heard_end || n == 0 || (n < 0 && client >= 0 && errno != EAGAIN);
		heard[heard_len] = '\0';
	}
}

static void say_bytes(const char *at, size_t len)
{
	while (len > 0) {
		ssize_t n = send(client, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		turn();
	}
}

static void say(const char *text)
{
	say_bytes(text, strlen(text));
}

/* All that was heard since the last time. A '*' in text is an id of letters and digits. */
static void expect(const char *text)
{
	const char *h = heard;
	for (const char *t = text; *t; t++) {
		if (*t != '*') {
			if (*h++ != *t)
				fail_msg("heard:\n%s\nnot:\n%s", heard, text);
			continue;
		}
		size_t n = strspn(h, "0123456789abcdefghijklmnopqrstuvwxyz");
		assert_true(n > 0);
		h += n;
	}
	if (*h)
		fail_msg("heard:\n%s\nnot:\n%s", heard, text);
	heard_len = 0;
	heard[0] = '\0';
}

static void expect_end(void)
{
	assert_true(heard_end);
	assert_int_equal(heard_len, 0);
}

static void expect_open(void)
{
	assert_false(heard_end);
	assert_int_equal(smtpd.sessions, 1);
}

static void connect_raw(void)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	client = pair[0];
	heard_end = false;
	heard_len = 0;
	assert_true(smtpd_add(&smtpd, pair[1]));
	turn();
}

static void hang_up(void)
{
	if (client >= 0)
		close(client);
	client = -1;
	turn();
}

static void send_header(const char *ip)
{
	char memory[PROXYHDR_V2_MAX];
	struct buf b;
	struct proxyhdr h = { .local = ip == NULL, .pause_ms = 1000, .has_pause = true, .id = "s1.2-3" };
	buf_init_fixed(&b, memory, sizeof(memory));
	if (ip) {
		assert_true(addr_parse(slice_of(ip), &h.client));
		h.server = h.client;
	}
	assert_true(proxyhdr_write_v2(&b, &h));
	say_bytes(b.at, b.len);
}

/* The greeting has the time of day in it. */
static void expect_greeting(void)
{
	static const char start[] = "220 mail.example.org ESMTP Tarry " TARRY_VERSION "; ";
	assert_memory_equal(heard, start, sizeof(start) - 1);
	char *end = strstr(heard, " GMT\r\n");
	assert_non_null(end);
	end += 6;
	heard_len -= (size_t)(end - heard);
	memmove(heard, end, heard_len + 1);
}

static void connect_client(void)
{
	connect_raw();
	send_header("192.0.2.1");
	expect_greeting();
}

static int begin(void **state)
{
	(void)state;
	folder_make_quick(root);
	snprintf(template, sizeof(template), "%s/%%d/%%u", root);
	snprintf(joe, sizeof(joe), "%s/example.org/joe", root);
	snprintf(ann, sizeof(ann), "%s/example.org/ann", root);
	conf = (struct conf){ .hostname = host, .smtp_login_msg = no_message, .forbidden_commands = no_message, .accept_domains = { domains, 2 }, .maildir = template, .create_maildirs = true,
		.recipient_delimiter = delimiter, .max_message_size = MAX_SIZE, .max_recipients = 3, .hopcount_limit = 5,
		.command_timeout = 300 * LOOP_SECOND, .max_bad_commands = 25, .linger = 3 * LOOP_SECOND, .linger_bytes = 200000 };
	assert_int_equal(loop_init_manual(&loop, SMTPD_SESSIONS), 0);
	smtpd_init(&smtpd, &loop, &conf);
	loop.turn_end = sweep;
	loop.turn_end_context = &smtpd;
	buf_init(&logged, 1 << 20);
	log_capture(&logged);
	return 0;
}

static int end(void **state)
{
	(void)state;
	hang_up();
	smtpd_fini(&smtpd);
	assert_int_equal(smtpd.sessions, 0);
	assert_int_equal(loop.heap_len, 0);
	loop_fini(&loop);
	log_capture(NULL);
	buf_fini(&logged);
	folder_remove(root);
	return 0;
}

/* Of the file in a Maildir, what follows our own lines. */
static void expect_stored(const char *maildir, const char *text)
{
	char *got = folder_read_only(maildir, "new", NULL);
	char *received = strstr(got, "Received: from ");
	assert_non_null(received);
	char *end_of_trace = strstr(received, "+0000\n");
	assert_non_null(end_of_trace);
	assert_string_equal(end_of_trace + 6, text);
	free(got);
	folder_remove(maildir);
}

/* Replies. */

static void each_command(void **state)
{
	(void)state;
	connect_client();
	say("HELO client.example.net\r\n");
	expect("250 mail.example.org Hello [192.0.2.1], pleased to meet you\r\n");
	say("HELO\r\nHELO a b\r\nEHLO\r\n");
	expect("501 5.0.0 HELO requires domain address\r\n501 5.0.0 Invalid domain name\r\n501 5.0.0 EHLO requires domain address\r\n");
	say("EHLO client.example.net\r\n");
	expect("250-mail.example.org Hello [192.0.2.1], pleased to meet you\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
		"250-SIZE 100000\r\n250-SMTPUTF8\r\n250 HELP\r\n");
	say("NOOP x\r\nRSET\r\nVRFY joe\r\nVRFY\r\nEXPN joe\r\nETRN x\r\nVERB\r\n");
	expect("250 2.0.0 OK\r\n250 2.0.0 Reset state\r\n252 2.5.2 Cannot VRFY user; try RCPT to attempt delivery (or try finger)\r\n"
		"501 5.5.2 Argument required\r\n502 5.7.0 Sorry, we do not allow this operation\r\n"
		"502 5.7.0 Sorry, we do not allow this operation\r\n502 5.7.0 Verbose unavailable\r\n");
	say("HELP\r\n");
	assert_memory_equal(heard, "214-2.0.0 This is Tarry", 23);
	assert_non_null(strstr(heard, "\r\n214 2.0.0 End of HELP info\r\n"));
	heard_len = 0;
	say("RCPT TO:<joe@example.org>\r\nDATA\r\nMAIL\r\nMAIL FROM:<a@b.test>\r\nDATA\r\nMAIL FROM:<a@b.test>\r\n");
	expect("503 5.0.0 Need MAIL before RCPT\r\n503 5.0.0 Need MAIL command\r\n501 5.5.2 Syntax error in parameters scanning \"\"\r\n"
		"250 2.1.0 <a@b.test>... Sender ok\r\n503 5.0.0 Need RCPT (recipient)\r\n503 5.5.0 Sender already specified\r\n");
	say("STARTTLS\r\nBDAT 1 LAST\r\nGET / HTTP/1.0\r\n\r\n.\r\nmailfrom:<a@example.net>\r\n");
	expect("500 5.5.1 Command unrecognized: \"STARTTLS\"\r\n500 5.5.1 Command unrecognized: \"BDAT 1 LAST\"\r\n"
		"500 5.5.1 Command unrecognized: \"GET / HTTP/1.0\"\r\n500 5.5.1 Command unrecognized: \"\"\r\n"
		"500 5.5.1 Command unrecognized: \".\"\r\n500 5.5.1 Command unrecognized: \"mailfrom:<a@example.net>\"\r\n");
	say("QUIT now\r\nNOOP\r\n");
	expect(BYE);
	expect_end();
}

static void binary_in_commands(void **state)
{
	static const char text[] = "NO\0OP\r\nNOOP \0\r\nQUIT \xff\r\nMAIL FROM:<a\0@b>\r\nHELO a\0b\r\n\xff\xfd\x06QUIT\r\nDATA\0\r\n";
	(void)state;
	connect_client();
	say_bytes(text, sizeof(text) - 1);
	expect("500 5.5.1 Command unrecognized: \"NO?OP\"\r\n501 5.5.2 Syntax error in parameters\r\n501 5.5.2 Syntax error in parameters\r\n"
		"501 5.5.2 Syntax error in parameters\r\n501 5.0.0 Invalid domain name\r\n500 5.5.1 Command unrecognized: \"?}?QUIT\"\r\n"
		"500 5.5.1 Command unrecognized: \"DATA?\"\r\n");
	expect_open();
}

static void recipients(void **state)
{
	(void)state;
	int64_t before = metrics_sum(METRIC_recipients_denied);
	connect_client();
	say("MAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nRCPT TO:<x@elsewhere.test>\r\nRCPT TO:<x%elsewhere.test@example.org>\r\n"
		"RCPT TO:<../x@example.org>\r\nRCPT TO:<>\r\nRCPT TO:joe@example.org\r\nRCPT TO:<JOE+1@EXAMPLE.ORG>\r\nRCPT TO:<ann@example.org>\r\n");
	expect("250 2.1.0 <>... Sender ok\r\n250 2.1.5 <joe@example.org>... Recipient ok\r\n550 5.7.1 <x@elsewhere.test>... Relaying denied\r\n"
		"550 5.7.1 <x%elsewhere.test@example.org>... Relaying denied\r\n553 5.1.3 <../x@example.org>... Not a valid mailbox name\r\n"
		"553 5.1.3 User address required\r\n250 2.1.5 joe@example.org... Recipient ok\r\n250 2.1.5 <JOE+1@EXAMPLE.ORG>... Recipient ok\r\n"
		"452 4.5.3 Too many recipients\r\n");
	assert_int_equal(metrics_sum(METRIC_recipients_denied) - before, 4);
	say("RSET\r\nMAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<j\xc3\xb6@example.org>\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<j\xc3\xb6@example.org>\r\nRSET\r\n"
		"MAIL FROM:<j\xc3\xb6@b>\r\n");
	expect("250 2.0.0 Reset state\r\n250 2.1.0 <a@b>... Sender ok\r\n250 2.1.5 <j\xc3\xb6@example.org>... Recipient ok\r\n250 2.0.0 Reset state\r\n"
		"250 2.1.0 <a@b>... Sender ok\r\n553 5.6.7 Address beyond ASCII needs SMTPUTF8\r\n250 2.0.0 Reset state\r\n"
		"553 5.6.7 Address beyond ASCII needs SMTPUTF8\r\n");
	conf.create_maildirs = false;
	say("MAIL FROM:<a@b>\r\nRCPT TO:<nobody@example.org>\r\n");
	expect("250 2.1.0 <a@b>... Sender ok\r\n550 5.1.1 <nobody@example.org>... User unknown\r\n");
	assert_int_equal(folder_count(root, ".", NULL), 0);
}

/* TLS has no lines, and comes in pieces; what follows is thrown away. */
static void tls_in_clear(void **state)
{
	static char words[] = "GET";
	(void)state;
	conf.forbidden_commands = words;
	connect_client();
	say_bytes("\x16", 1);
	expect_open();
	say_bytes("\x03\x01\0\xf4", 4);
	expect("421 4.7.0 mail.example.org This port speaks SMTP in clear: TLS begins with STARTTLS\r\n");
	expect_end();
}

static void bad_commands(void **state)
{
	(void)state;
	connect_client();
	for (int i = 0; i < 25; i++) {
		say("XYZZY\r\nNOOP\r\n");
		expect("500 5.5.1 Command unrecognized: \"XYZZY\"\r\n250 2.0.0 OK\r\n");
	}
	say("NOOP\r\nXYZZY\r\nNOOP\r\n");
	expect("250 2.0.0 OK\r\n421 4.7.0 mail.example.org Too many bad commands; closing connection\r\n");
	expect_end();
}

static void long_lines(void **state)
{
	char line[COMMAND_LINE * 3];
	(void)state;
	connect_client();
	memset(line, ' ', sizeof(line));
	memcpy(line, "NOOP", 4);
	line[COMMAND_LINE - 2] = '\r';
	line[COMMAND_LINE - 1] = '\n';
	say_bytes(line, COMMAND_LINE);
	expect("250 2.0.0 OK\r\n");
	line[COMMAND_LINE - 2] = ' ';
	line[COMMAND_LINE - 1] = '\r';
	line[COMMAND_LINE] = '\n';
	say_bytes(line, COMMAND_LINE + 1);
	expect("500 5.5.2 Line too long\r\n");
	line[COMMAND_LINE] = ' ';
	for (int i = 0; i < 100; i++)
		say_bytes(line, sizeof(line));
	expect("500 5.5.2 Line too long\r\n");
	say(CRLF "NOOP\r\n");
	expect("250 2.0.0 OK\r\n");
	memset(line, 'A', sizeof(line));
	memcpy(line + sizeof(line) - 8, "\r\nNOOP\r\n", 8);
	say_bytes(line, sizeof(line));
	expect("500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n");
}

/* Whole sessions. */

static const char piped[] = "HELO localhost\nMAIL FROM: <sender@example.net>\nRCPT TO: <joe@example.org>\nDATA\nSubject: slam test\n\nThis is a test message.\n.\nQUIT\n";
static const char piped_replies[] = "250 mail.example.org Hello [192.0.2.1], pleased to meet you\r\n250 2.1.0 <sender@example.net>... Sender ok\r\n"
	"250 2.1.5 <joe@example.org>... Recipient ok\r\n" GO "250 2.0.0 * Message accepted for delivery\r\n" BYE;

static void to_crlf(char *out, const char *in)
{
	for (; *in; in++) {
		if (*in == '\n')
			*out++ = '\r';
		*out++ = *in;
	}
	*out = '\0';
}

/* At once, byte by byte, cut at every place; with LF and with CRLF; with a half-close after it. */
static void piped_session(void **state)
{
	char text[400];
	(void)state;
	for (int crlf = 0; crlf <= 1; crlf++) {
		if (crlf)
			to_crlf(text, piped);
		else
			strcpy(text, piped);
		for (size_t cut = 0; cut <= strlen(text); cut++) {
			connect_client();
			say_bytes(text, cut);
			say(text + cut);
			if (cut % 2)
				shutdown(client, SHUT_WR);
			turn();
			expect(piped_replies);
			expect_end();
			expect_stored(joe, "Subject: slam test\n\nThis is a test message.\n");
			hang_up();
		}
		connect_client();
		for (const char *t = text; *t; t++)
			say_bytes(t, 1);
		expect(piped_replies);
		expect_stored(joe, "Subject: slam test\n\nThis is a test message.\n");
		hang_up();
	}
}

static void header_and_session_at_once(void **state)
{
	char memory[PROXYHDR_V2_MAX + 400];
	struct buf b;
	struct proxyhdr h = { .local = true };
	(void)state;
	connect_raw();
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&b, &h) && buf_put_text(&b, piped));
	say_bytes(b.at, b.len);
	expect_greeting();
	assert_memory_equal(heard, "250 mail.example.org Hello localhost, pleased", 45);
	assert_int_equal(folder_count(joe, "new", NULL), 1);
}

/* Replies to what came together go out together. */
static void few_segments(void **state)
{
	int pair[2];
	char got[4096];
	(void)state;
	connect_client();
	hang_up();
	/* A datagram socket shows each send() as one. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_true(smtpd_add(&smtpd, pair[1]));
	struct buf b;
	char memory[PROXYHDR_V2_MAX + 400];
	struct proxyhdr h = { .local = true };
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&b, &h) && buf_put_text(&b, piped));
	assert_int_equal(send(pair[0], b.at, b.len, 0), b.len);
	turn();
	ssize_t n = recv(pair[0], got, sizeof(got) - 1, 0);
	assert_true(n > 0);
	got[n] = '\0';
	assert_non_null(strstr(got, "220 "));
	assert_non_null(strstr(got, BYE));
	assert_int_equal(recv(pair[0], got, sizeof(got), 0), 0); /* nothing but the end after it */
	close(pair[0]);
	turn();
}

static void unterminated_last_line(void **state)
{
	(void)state;
	connect_client();
	say("HELO x\r\nXYZZY");
	expect("250 mail.example.org Hello [192.0.2.1], pleased to meet you\r\n");
	shutdown(client, SHUT_WR);
	turn();
	expect("500 5.5.1 Command unrecognized: \"XYZZY\"\r\n");
	expect_end();
}

static void two_messages(void **state)
{
	(void)state;
	connect_client();
	say("EHLO x\r\n");
	heard_len = 0;
	say(TO_JOE "DATA\r\none\r\n.\r\n" TO_JOE "DATA\r\n..two\r\n...\r\n.\r\nRSET\r\n");
	expect(OK_JOE GO "250 2.0.0 * Message accepted for delivery\r\n" OK_JOE GO "250 2.0.0 * Message accepted for delivery\r\n250 2.0.0 Reset state\r\n");
	assert_int_equal(folder_count(joe, "new", NULL), 2);
	folder_remove(joe);
	say(TO_JOE "DATA\r\n.\r\n");
	expect(OK_JOE GO "250 2.0.0 * Message accepted for delivery\r\n");
	expect_stored(joe, "");
}

static void trace_lines(void **state)
{
	char date[64];
	(void)state;
	connect_client();
	say("EHLO client.example.net\r\nMAIL FROM:<@x.test:a@b.test> BODY=8BITMIME\r\nRCPT TO:<Joe+x@example.org>\r\nDATA\r\nhi\r\n.\r\n");
	char *got = folder_read_only(joe, "new", NULL);
	char *id = strstr(heard, "250 2.0.0 ");
	assert_non_null(id);
	id += 10;
	id[strcspn(id, " ")] = '\0';
	char want[1024];
	char *semicolon = strchr(got, ';');
	assert_non_null(semicolon);
	snprintf(date, sizeof(date), "%.*s", (int)strcspn(semicolon + 2, "\n"), semicolon + 2);
	assert_string_equal(date + strlen(date) - 6, " +0000");
	snprintf(want, sizeof(want), "Return-Path: <a@b.test>\nReceived: from client.example.net ([192.0.2.1])\n"
		"\tby mail.example.org (Tarry " TARRY_VERSION ") with ESMTP id %s (paused 1000 ms) (session s1.2-3)\n\tfor <Joe+x@example.org>; %s\nhi\n", id, date);
	assert_string_equal(got, want);
	free(got);
	/* The log has the same id. */
	assert_non_null(strstr(buf_text(&logged), "event=message"));
	assert_non_null(strstr(buf_text(&logged), id));
	assert_non_null(strstr(buf_text(&logged), "client=192.0.2.1"));
	hang_up();
	folder_remove(joe);

	connect_raw();
	send_header(NULL);
	heard_len = 0;
	say("MAIL FROM:<>\nRCPT TO:<joe@example.org>\nRCPT TO:<ann@example.org>\nDATA\nhi\n.\n");
	got = folder_read_only(joe, "new", NULL);
	assert_memory_equal(got, "Return-Path: <>\nReceived: from unknown (local)\n\tby mail.example.org (Tarry " TARRY_VERSION ") with SMTP id ", 87);
	assert_null(strstr(got, "for <"));
	assert_null(strstr(got, "paused"));
	free(got);
}

static void two_recipients(void **state)
{
	(void)state;
	int64_t before = metrics_sum(METRIC_messages);
	connect_client();
	say("MAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nRCPT TO:<joe+x@example.org>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\nhi\r\n.\r\n");
	expect_stored(joe, "hi\n");
	expect_stored(ann, "hi\n");
	assert_int_equal(metrics_sum(METRIC_messages) - before, 1);
}

/* What may not end a message of a client that speaks CRLF, as a session. The end must be the real one, and the smuggled commands text. */
static void no_smuggling(void **state)
{
	static const char *const ends[] = { "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\r\n.\r\r\n", "\n\r.\r\n", "\r\n.\r\r\n", "\n.\r" };
	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		for (int mixed = 0; mixed <= 1; mixed++) {
			char text[400];
			/* mixed: only EHLO ended in CRLF, DATA itself in LF. */
			snprintf(text, sizeof(text), "EHLO x\r\nMAIL FROM:<a@b.test>%sRCPT TO:<joe@example.org>%sDATA%sfirst%sMAIL FROM:<evil@b.test>\r\n"
				"RCPT TO:<ann@example.org>\r\nDATA\r\nsecond\r\n.\r\nNOOP\r\n", mixed ? "\n" : CRLF, mixed ? "\n" : CRLF, mixed ? "\n" : CRLF, ends[i]);
			for (size_t cut = 0; cut <= strlen(text); cut += 1 + cut / 8) {
				connect_client();
				say_bytes(text, cut);
				say(text + cut);
				char *after = strstr(heard, "250 HELP\r\n");
				assert_non_null(after);
				after += 10;
				heard_len -= (size_t)(after - heard);
				memmove(heard, after, heard_len + 1);
				expect(OK_JOE GO "250 2.0.0 * Message accepted for delivery\r\n250 2.0.0 OK\r\n");
				assert_int_equal(folder_count(ann, "new", NULL), 0);
				assert_int_equal(folder_count(joe, "new", NULL), 1);
				hang_up();
				folder_remove(joe);
			}
		}
}

/* Limits. */

static void declared_size(void **state)
{
	(void)state;
	connect_client();
	say("MAIL FROM:<a@b> SIZE=100001\r\nMAIL FROM:<a@b> SIZE=100000\r\n");
	expect("552 5.3.4 Message size exceeds fixed maximum message size (100000)\r\n250 2.1.0 <a@b>... Sender ok\r\n");
}

static void real_size(void **state)
{
	char *big = malloc(MAX_SIZE + 1);
	(void)state;
	memset(big, 'x', MAX_SIZE);
	big[MAX_SIZE - 2] = '\0';
	connect_client();
	say(TO_JOE "DATA\r\n");
	expect(OK_JOE GO);
	say(big);
	say("\r\n.\r\n");
	expect("250 2.0.0 * Message accepted for delivery\r\n");
	folder_remove(joe);
	say(TO_JOE "DATA\r\n");
	expect(OK_JOE GO);
	for (int i = 0; i < 20; i++)
		say(big);
	expect("");
	assert_int_equal(folder_count_all(root), 0);
	say("\r\n.\r\nNOOP\r\n");
	expect("552 5.3.4 Message is too large; 100000 bytes max\r\n250 2.0.0 OK\r\n");
	expect_open();
	free(big);
}

static void mail_loop(void **state)
{
	(void)state;
	connect_client();
	for (int hops = 5; hops <= 6; hops++) {
		say(TO_JOE "DATA\r\n");
		expect(OK_JOE GO);
		for (int i = 0; i < hops; i++)
			say("Received: from x\r\n\tby y\r\n");
		say("\r\nReceived: not a header\r\n.\r\n");
		expect(hops == 5 ? "250 2.0.0 * Message accepted for delivery\r\n" : "554 5.4.6 Too many hops 6 (5 max)\r\n");
		assert_int_equal(folder_count_all(root), 1);
	}
}

static void timeouts(void **state)
{
	(void)state;
	connect_raw(); /* no PROXY header */
	loop_advance(&loop, 5 * LOOP_SECOND);
	turn();
	expect_end();
	hang_up();

	connect_client();
	say("NOO"); /* part of a line does not buy time */
	loop_advance(&loop, 299 * LOOP_SECOND);
	say("P");
	expect("");
	loop_advance(&loop, LOOP_SECOND);
	turn();
	expect("421 4.4.2 mail.example.org Timeout, closing connection\r\n");
	expect_end();
	hang_up();

	connect_client();
	say(TO_JOE "DATA\r\nhalf");
	expect(OK_JOE GO);
	loop_advance(&loop, 299 * LOOP_SECOND);
	say("more");
	loop_advance(&loop, 299 * LOOP_SECOND);
	turn();
	expect("");
	loop_advance(&loop, LOOP_SECOND);
	turn();
	expect("421 4.4.2 mail.example.org Timeout, closing connection\r\n");
	expect_end();
	assert_int_equal(folder_count_all(root), 0);
}

static void client_goes(void **state)
{
	static const char text[] = "MAIL FROM:<a@b.test>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\nabc\r\ndef\r\n.";
	(void)state;
	for (int how = 0; how <= 1; how++)
		for (size_t cut = 0; cut < sizeof(text); cut++) {
			connect_client();
			say_bytes(text, cut);
			if (how == 0) {
				hang_up();
			} else {
				shutdown(client, SHUT_WR);
				turn();
				assert_true(heard_end);
				hang_up();
			}
			assert_int_equal(smtpd.sessions, 0);
			assert_int_equal(folder_count_all(root), 0);
		}
}

/* Ended from outside in the middle of it all. */
static void stopped(void **state)
{
	(void)state;
	connect_client();
	say(TO_JOE "DATA\r\nabc");
	assert_int_equal(folder_count(joe, "tmp", NULL), 1);
	smtpd_fini(&smtpd);
	assert_int_equal(folder_count_all(root), 0);
	turn();
	assert_true(heard_end);
	smtpd_init(&smtpd, &loop, &conf);
}

/* A client that talks and does not listen gets no more than fits its socket and our buffer, and is cut off in the end. */
static void deaf_client(void **state)
{
	char noops[6 * 512];
	(void)state;
	connect_client();
	for (size_t i = 0; i < sizeof(noops); i += 6)
		memcpy(noops + i, "NOOP\r\n", 6);
	size_t sent = 0;
	for (int idle = 0; idle < 3;) {
		size_t at = sent % sizeof(noops);
		ssize_t n = send(client, noops + at, sizeof(noops) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_turn(&loop, 0), 0);
		assert_true(sent < 4 << 20);
	}
	/* It listens again: all that was sent is answered, in order. */
	size_t replies = 0;
	for (int i = 0; i < 100000 && replies < sent / 6; i++) {
		turn();
		replies += heard_len / 14;
		size_t left = heard_len % 14;
		memmove(heard, heard + heard_len - left, left);
		heard_len = left;
	}
	assert_int_equal(replies, sent / 6);
	expect_open();
	/* And not again: after the timeout it is gone. */
	heard_len = 0;
	for (int idle = 0; idle < 3;) {
		idle = send(client, noops, sizeof(noops), MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ? 0 : idle + 1;
		assert_int_equal(loop_turn(&loop, 0), 0);
	}
	loop_advance(&loop, 301 * LOOP_SECOND);
	assert_int_equal(smtpd.sessions, 0);
}

/* The last reply is delivered although the client goes on talking, up to a limit of bytes and of time. */
static void lingers(void **state)
{
	static char noise[50000];
	(void)state;
	memset(noise, 'x', sizeof(noise));
	connect_client();
	say("QUIT\r\n");
	expect(BYE);
	expect_end();
	assert_int_equal(smtpd.sessions, 1);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(send(client, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
		turn();
	}
	assert_int_equal(smtpd.sessions, 1);
	assert_int_equal(send(client, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
	turn();
	assert_int_equal(smtpd.sessions, 0);
	hang_up();
	connect_client();
	say("QUIT\r\n");
	loop_advance(&loop, 3 * LOOP_SECOND - 1);
	assert_int_equal(smtpd.sessions, 1);
	loop_advance(&loop, 1);
	assert_int_equal(smtpd.sessions, 0);
}

static void bad_header(void **state)
{
	(void)state;
	connect_raw();
	say("EHLO x\r\n");
	expect("");
	assert_true(heard_end);
	assert_int_equal(smtpd.sessions, 0);
	assert_non_null(strstr(buf_text(&logged), "not a PROXY version 2 header"));
}

static void too_many_sessions(void **state)
{
	static int clients[SMTPD_SESSIONS];
	(void)state;
	for (int i = 0; i < SMTPD_SESSIONS; i++) {
		assert_false(smtpd_is_full(&smtpd));
		connect_raw();
		clients[i] = client;
	}
	assert_true(smtpd_is_full(&smtpd));
	client = -1;
	for (int i = 0; i < SMTPD_SESSIONS; i++)
		close(clients[i]);
	for (int i = 0; i < SMTPD_SESSIONS && smtpd.sessions > 0; i++)
		turn();
	assert_int_equal(smtpd.sessions, 0);
	assert_false(smtpd_is_full(&smtpd));
}

/* Disks. */

static void cannot_store(void **state)
{
	char place[FOLDER_PATH + 32];
	(void)state;
	int64_t before = metrics_sum(METRIC_delivery_failed);
	snprintf(place, sizeof(place), "%s/example.org", root);
	int fd = open(place, O_CREAT | O_WRONLY, S_IRUSR); /* a file where a folder should be */
	assert_true(fd >= 0);
	close(fd);
	connect_client();
	say(TO_JOE "DATA\r\n");
	expect(OK_JOE "451 4.3.0 Temporary system failure. Please try again later.\r\n");
	assert_int_equal(metrics_sum(METRIC_delivery_failed) - before, 1);
	assert_non_null(strstr(buf_text(&logged), "event=delivery_failed"));
	assert_non_null(strstr(buf_text(&logged), "Not a directory"));
	assert_non_null(strstr(buf_text(&logged), joe));
	say("DATA\r\n");
	expect("503 5.0.0 Need MAIL command\r\n");
	assert_int_equal(unlink(place), 0);
	say(TO_JOE "DATA\r\nx\r\n.\r\n");
	expect(OK_JOE GO "250 2.0.0 * Message accepted for delivery\r\n");
}

static void second_recipient_fails(void **state)
{
	(void)state;
	connect_client();
	say("MAIL FROM:<>\r\nRCPT TO:<joe@example.org>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
	int fd = open(ann, O_CREAT | O_WRONLY, S_IRUSR);
	assert_true(fd >= 0);
	close(fd);
	heard_len = 0;
	say("x\r\n.\r\n");
	expect("451 4.3.0 Temporary system failure. Please try again later.\r\n");
	assert_int_equal(folder_count_all(root), 1);
}

#define SESSION(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SESSION(each_command), SESSION(binary_in_commands), SESSION(recipients), SESSION(bad_commands), SESSION(tls_in_clear), SESSION(long_lines),
		SESSION(piped_session), SESSION(header_and_session_at_once), SESSION(few_segments), SESSION(unterminated_last_line),
		SESSION(two_messages), SESSION(trace_lines), SESSION(two_recipients), SESSION(no_smuggling), SESSION(declared_size),
		SESSION(real_size), SESSION(mail_loop), SESSION(timeouts), SESSION(client_goes), SESSION(stopped), SESSION(deaf_client),
		SESSION(lingers), SESSION(bad_header), SESSION(too_many_sessions), SESSION(cannot_store), SESSION(second_recipient_fails),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
