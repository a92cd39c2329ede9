/* The null server alone: bytes in, bytes out. However the input is cut into pieces, the same comes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "gate/refuse.h"

#define HOST "mail.example.org"
#define FIRST "554 " HOST " ESMTP not accepting messages\r\n"
#define TOO_MANY "421 4.7.0 " HOST " Too many bad commands; closing connection\r\n"
#define BYE "221 2.0.0 " HOST " closing connection\r\n"
#define HELLO "250 " HOST " Hello [192.0.2.1], pleased to meet you\r\n"
#define EHLO "250-" HOST " Hello [192.0.2.1], pleased to meet you\r\n250 ENHANCEDSTATUSCODES\r\n"
#define OUT_MAX (1024 * 1024)

static const struct addr client = { .ip = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 }, .port = 4711 };
static const struct refuse_rules rules = { HOST, { .addr = &client }, "", 25, { "", 0 }, NULL, { "", 0 } };

/* All that a run has said. */
struct said {
	struct buf out;
	unsigned slow[64]; /* the seconds of each slow-down */
	size_t slow_len;
	bool ended;
	size_t taken; /* bytes of the input that were read before the end */
};

static void said_init(struct said *s)
{
	memset(s, 0, sizeof(*s));
	buf_init(&s->out, OUT_MAX);
}

static void flush(struct refuse *r, struct said *s)
{
	assert_true(r->out.len <= REFUSE_OUT);
	assert_false(r->out.full);
	assert_true(buf_put_slice(&s->out, buf_slice(&r->out)));
	buf_clear(&r->out);
}

/* Runs until it wants more; as a connection does, with its time standing still. */
static void run(struct refuse *r, const struct refuse_rules *with, struct said *s, bool last)
{
	for (;;) {
		enum refuse_result result = refuse_run(r, with, last);
		bool was_full = r->out.len + COMMAND_LINE >= REFUSE_OUT;
		flush(r, s);
		if (result == REFUSE_END)
			s->ended = true;
		if (result == REFUSE_SLOW) {
			assert_true(s->slow_len < 64);
			s->slow[s->slow_len++] = r->slow_s;
			continue;
		}
		if (result == REFUSE_END || !was_full)
			return;
	}
}

/* piece: bytes given at once, 0: random. */
static void feed(const char *in, size_t len, size_t piece, const struct refuse_rules *with, struct said *s)
{
	char memory[REFUSE_LINE];
	struct refuse r = { .in = memory };
	size_t at = 0;
	refuse_init(&r, with);
	flush(&r, s);
	while (at < len && !s->ended) {
		size_t n = piece ? piece : 1 + (size_t)rand() % (rand() % 3 ? 8 : REFUSE_LINE);
		size_t room = REFUSE_LINE - r.in_len;
		n = n < room ? n : room;
		n = n < len - at ? n : len - at;
		assert_true(n > 0); /* it never keeps a full line to itself */
		memcpy(r.in + r.in_len, in + at, n);
		r.in_len += n;
		at += n;
		run(&r, with, s, false);
	}
	if (!s->ended)
		run(&r, with, s, true);
	s->taken = at - r.in_len;
	refuse_fini(&r);
}

static void expect(const char *in, size_t len, const char *out)
{
	struct said s;
	said_init(&s);
	feed(in, len, REFUSE_LINE, &rules, &s);
	assert_string_equal(buf_text(&s.out), out);
	buf_fini(&s.out);
}

static void command_table(void **context)
{
	static const struct {
		const char *line, *reply;
	} table[] = {
		{ "HELO x", HELLO }, { "helo x.example-1.org_#:[]", HELLO }, { "HELO", "501 5.0.0 HELO requires domain address\r\n" },
		{ "EHLO x", EHLO }, { "EHLO  ", "501 5.0.0 EHLO requires domain address\r\n" }, { "HELO a b", "501 5.0.0 Invalid domain name\r\n" },
		{ "EHLO a;b", "501 5.0.0 Invalid domain name\r\n" }, { "NOOP", "250 2.0.0 OK\r\n" }, { "noop with words", "250 2.0.0 OK\r\n" },
		{ "NOOP\rQUIT", "250 2.0.0 OK\r\n" }, { "RSET x", "250 2.0.0 Reset state\r\n" }, { "QUIT", BYE }, { " \t quit now", BYE },
		{ "MAIL FROM:<a@b>", "550 5.0.0 Command rejected\r\n" }, { "RCPT TO:<a@b>", "550 5.0.0 Command rejected\r\n" },
		{ "DATA", "550 5.0.0 Command rejected\r\n" }, { "VRFY x", "550 5.0.0 Command rejected\r\n" }, { "EXPN", "550 5.0.0 Command rejected\r\n" },
		{ "HELP", "550 5.0.0 Command rejected\r\n" }, { "ETRN x", "550 5.0.0 Command rejected\r\n" }, { "VERB", "550 5.0.0 Command rejected\r\n" },
		{ "SEND x", "550 5.0.0 Command rejected\r\n" }, { "SAML x", "550 5.0.0 Command rejected\r\n" }, { "SOML x", "550 5.0.0 Command rejected\r\n" },
		{ "TURN", "550 5.0.0 Command rejected\r\n" }, { "debug", "550 5.0.0 Command rejected\r\n" }, { "showq", "550 5.0.0 Command rejected\r\n" },
		{ "wiz", "550 5.0.0 Command rejected\r\n" }, { "", "500 5.5.1 Command unrecognized: \"\"\r\n" },
		{ ".", "500 5.5.1 Command unrecognized: \".\"\r\n" }, { "STARTTLS", "500 5.5.1 Command unrecognized: \"STARTTLS\"\r\n" },
		{ "AUTH PLAIN x", "500 5.5.1 Command unrecognized: \"AUTH PLAIN x\"\r\n" }, { "BDAT 3 LAST", "500 5.5.1 Command unrecognized: \"BDAT 3 LAST\"\r\n" },
		{ "XCLIENT ADDR=1", "500 5.5.1 Command unrecognized: \"XCLIENT ADDR=1\"\r\n" },
		{ "GET / HTTP/1.0", "500 5.5.1 Command unrecognized: \"GET / HTTP/1.0\"\r\n" },
		{ "100% \x1b[2J\x80\xff", "500 5.5.1 Command unrecognized: \"100% ?[2J??\"\r\n" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char in[64], out[512];
		for (int lf = 0; lf < 3; lf++) { /* CRLF, LF, and no line end at all before the end */
			snprintf(in, sizeof(in), "%s%s", table[i].line, lf == 0 ? "\r\n" : lf == 1 ? "\n" : "");
			bool nothing = in[0] == '\0';
			snprintf(out, sizeof(out), FIRST "%s", nothing ? "" : table[i].reply);
			expect(in, strlen(in), out);
		}
	}
	expect("\0QUIT\r\n", 7, FIRST "500 5.5.1 Command unrecognized: \"?QUIT\"\r\n");
}

static void article(void **context)
{
	static const char in[] = "HELO localhost\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nSubject: x\r\n\r\nBody\r\n.\r\nQUIT\r\n";
	(void)context;
	expect(in, strlen(in), FIRST HELLO "550 5.0.0 Command rejected\r\n550 5.0.0 Command rejected\r\n550 5.0.0 Command rejected\r\n"
		"500 5.5.1 Command unrecognized: \"Subject: x\"\r\n500 5.5.1 Command unrecognized: \"\"\r\n"
		"500 5.5.1 Command unrecognized: \"Body\"\r\n500 5.5.1 Command unrecognized: \".\"\r\n" BYE);
}

static void bad_commands(void **context)
{
	struct said s;
	struct buf in;
	(void)context;
	buf_init(&in, OUT_MAX);
	for (int i = 0; i < 100; i++) {
		buf_put_text(&in, i % 2 ? "DATA\r\n" : "what\r\n");
		buf_put_text(&in, "RSET\r\n"); /* does not count */
	}
	said_init(&s);
	feed(in.at, in.len, 7, &rules, &s);
	assert_true(s.ended);
	unsigned rejected = 0, unknown = 0, reset = 0;
	const char *text = buf_text(&s.out);
	for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
		rejected += strncmp(at, "550 ", 4) == 0;
		unknown += strncmp(at, "500 ", 4) == 0;
		reset += strncmp(at, "250 2.0.0 Reset", 15) == 0;
	}
	assert_int_equal(rejected, 12);
	assert_int_equal(unknown, 13);
	assert_int_equal(reset, 25);
	assert_string_equal(text + strlen(text) - strlen(TOO_MANY), TOO_MANY);
	assert_true(s.taken <= 26 * 12);
	buf_fini(&s.out);
	struct refuse_rules strict = { HOST, { .addr = &client }, "", 1, { "", 0 }, NULL, { "", 0 } };
	said_init(&s);
	feed("a\nb\nQUIT\n", 9, 3, &strict, &s);
	assert_string_equal(buf_text(&s.out), FIRST "500 5.5.1 Command unrecognized: \"a\"\r\n" TOO_MANY);
	buf_fini(&s.out);
	buf_fini(&in);
}

/* 2047 bytes are a line at most, with or without a line end behind them. */
static void long_lines(void **context)
{
	struct buf in, want;
	char echo[300];
	(void)context;
	buf_init(&in, OUT_MAX);
	buf_init(&want, OUT_MAX);
	memset(echo, 'A', sizeof(echo));
	for (size_t len = REFUSE_LINE - 3; len <= REFUSE_LINE + 3; len++) {
		buf_clear(&in);
		for (size_t i = 0; i < len; i++)
			buf_put_char(&in, 'A');
		buf_put_text(&in, "\r\n");
		buf_clear(&want);
		/* What of the line and its CRLF falls into the first 2047 bytes? */
		bool whole = len + 2 <= REFUSE_LINE;
		size_t in_next = whole ? 0 : len + 2 - REFUSE_LINE; /* bytes of the next line, its LF included */
		size_t as = len < REFUSE_LINE ? len : REFUSE_LINE;
		bool cr = !whole && as < REFUSE_LINE; /* the CR is the last byte of the line that was cut */
		buf_putf(&want, FIRST "500 5.5.1 Command unrecognized: \"%.100s...%.*s%s\"\r\n", echo, cr ? 99 : 100, echo, cr ? "?" : "");
		if (!whole)
			buf_putf(&want, "500 5.5.1 Command unrecognized: \"%.*s\"\r\n", in_next > 2 ? (int)in_next - 2 : 0, echo);
		expect(in.at, in.len, buf_text(&want));
	}
	/* A verb is found in a line that was cut, too. */
	buf_clear(&in);
	buf_put_text(&in, "NOOP ");
	while (in.len < REFUSE_LINE)
		buf_put_char(&in, 'x');
	buf_put_text(&in, "QUIT\r\n");
	expect(in.at, in.len, FIRST "250 2.0.0 OK\r\n" BYE);
	/* Up to 203 characters are repeated whole. */
	buf_clear(&in);
	buf_putf(&in, "%.203s\n%.204s\n", echo, echo);
	buf_clear(&want);
	buf_putf(&want, FIRST "500 5.5.1 Command unrecognized: \"%.203s\"\r\n500 5.5.1 Command unrecognized: \"%.100s...%.100s\"\r\n", echo, echo, echo);
	expect(in.at, in.len, buf_text(&want));
	buf_fini(&in);
	buf_fini(&want);
}

static void half_a_line_at_the_end(void **context)
{
	char memory[REFUSE_LINE];
	struct refuse r = { .in = memory };
	(void)context;
	refuse_init(&r, &rules);
	buf_clear(&r.out);
	memcpy(r.in, "NOOP\r\nQUI", 9);
	r.in_len = 9;
	assert_int_equal(refuse_run(&r, &rules, false), REFUSE_MORE);
	assert_string_equal(buf_text(&r.out), "250 2.0.0 OK\r\n");
	assert_int_equal(r.in_len, 3);
	buf_clear(&r.out);
	assert_int_equal(refuse_run(&r, &rules, false), REFUSE_MORE);
	assert_int_equal(r.out.len, 0);
	assert_int_equal(refuse_run(&r, &rules, true), REFUSE_MORE);
	assert_string_equal(buf_text(&r.out), "500 5.5.1 Command unrecognized: \"QUI\"\r\n");
	assert_int_equal(r.in_len, 0);
	buf_clear(&r.out);
	assert_int_equal(refuse_run(&r, &rules, true), REFUSE_MORE); /* nothing is not a line */
	assert_int_equal(r.out.len, 0);
	assert_int_equal(r.answered, 2);
	refuse_fini(&r);
}

/* 1, 2, 4 … 128, then 240 seconds, from the third HELO or EHLO and from the twentieth NOOP on; each waits once. */
static void slow_downs(void **context)
{
	static const unsigned seconds[] = { 1, 2, 4, 8, 16, 32, 64, 128, 240, 240, 240 };
	struct said s;
	struct buf in, log, want;
	(void)context;
	buf_init(&in, OUT_MAX);
	buf_init(&log, OUT_MAX);
	buf_init(&want, OUT_MAX);
	log_capture(&log);
	buf_put_text(&want, FIRST);
	for (int i = 0; i < 13; i++) {
		buf_put_text(&in, i % 2 ? "HELO x\r\n" : "EHLO x\r\n");
		buf_put_text(&want, i % 2 ? HELLO : EHLO);
	}
	said_init(&s);
	feed(in.at, in.len, REFUSE_LINE, &rules, &s);
	assert_string_equal(buf_text(&s.out), buf_text(&want));
	assert_int_equal(s.slow_len, 11);
	assert_memory_equal(s.slow, seconds, sizeof(seconds));
	buf_fini(&s.out);
	assert_non_null(strstr(buf_text(&log), "event=attack client=192.0.2.1 command=HELO/EHLO count=3"));
	assert_null(strstr(strstr(buf_text(&log), "attack") + 1, "attack")); /* once */
	buf_clear(&in);
	for (int i = 0; i < 30; i++)
		buf_put_text(&in, "NOOP\r\n");
	said_init(&s);
	feed(in.at, in.len, 1, &rules, &s);
	assert_int_equal(s.slow_len, 11);
	assert_memory_equal(s.slow, seconds, sizeof(seconds));
	buf_fini(&s.out);
	assert_non_null(strstr(buf_text(&log), "command=NOOP count=20"));
	log_capture(NULL);
	buf_fini(&in);
	buf_fini(&log);
	buf_fini(&want);
}

/* Whom the access database refuses is greeted, and hears its reply to every command that is known. */
static void denied(void **context)
{
	struct refuse_rules with = { HOST, { .addr = &client }, "", 25, slice_of("550 5.7.1 Access denied"), NULL, { "", 0 } };
	struct said s;
	const char *in = "HELO a\nEHLO a\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nfoo\nNOOP\nRSET\nQUIT\n";
	(void)context;
	said_init(&s);
	feed(in, strlen(in), 0, &with, &s);
	const char *text = buf_text(&s.out);
	assert_int_equal(strncmp(text, "220 " HOST " ESMTP Tarry ", strlen("220 " HOST " ESMTP Tarry ")), 0);
	assert_string_equal(strchr(text, '\n') + 1, "250 " HOST " Hello [192.0.2.1], pleased to meet you\r\n"
		"250-" HOST " Hello [192.0.2.1], pleased to meet you\r\n250 ENHANCEDSTATUSCODES\r\n550 5.7.1 Access denied\r\n550 5.7.1 Access denied\r\n"
		"550 5.7.1 Access denied\r\n500 5.5.1 Command unrecognized: \"foo\"\r\n250 2.0.0 OK\r\n250 2.0.0 Reset state\r\n221 2.0.0 " HOST " closing connection\r\n");
	assert_true(s.ended);
	buf_fini(&s.out);
}

/* A 421 is the last word (RFC 5321 3.8), whoever it comes from. */
static void denied_for_now(void **context)
{
	const struct refuse_rules with = { HOST, { .addr = &client }, "", 25, slice_of("421 4.7.0 Later"), NULL, slice_of("220 " HOST " hello\r\n") };
	struct said s;
	const char *in = "HELO a\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\n";
	(void)context;
	said_init(&s);
	feed(in, strlen(in), 0, &with, &s);
	assert_string_equal(buf_text(&s.out), "220 " HOST " hello\r\n" HELLO "421 4.7.0 Later\r\n");
	assert_true(s.ended);
	buf_fini(&s.out);
}

/* Other protocols, where the client was greeted with a 220: as Sendmail has it from 8.14 on. After a 554 they are commands that nobody knows, as in 8.13. */
static void denied_other_protocols(void **context)
{
	struct refuse_rules with = { HOST, { .addr = &client }, "", 25, slice_of("550 5.7.1 Access denied"), "USER POST", slice_of("220 x\r\n") };
	static const char post[] = "POST / HTTP/1.0\n\n", get[] = "GET / HTTP/1.0\n", later[] = "NOOP\nGET / HTTP/1.0\nuser joe\nNOOP\n";
	struct said s;
	(void)context;
	said_init(&s);
	feed(get, strlen(get), 0, &with, &s);
	assert_string_equal(buf_text(&s.out), "220 x\r\n421 4.7.0 " HOST " Rejecting open proxy [192.0.2.1]\r\n");
	assert_true(s.ended);
	buf_clear(&s.out);
	s.ended = false;
	feed(later, strlen(later), 0, &with, &s);
	assert_string_equal(buf_text(&s.out), "220 x\r\n250 2.0.0 OK\r\n500 5.5.1 Command unrecognized: \"GET / HTTP/1.0\"\r\n421 4.7.0 " HOST " Rejecting open proxy [192.0.2.1]\r\n");
	buf_clear(&s.out);
	with.denied = slice_of("");
	s.ended = false;
	feed(post, strlen(post), 0, &with, &s);
	assert_string_equal(buf_text(&s.out), "220 x\r\n500 5.5.1 Command unrecognized: \"POST / HTTP/1.0\"\r\n500 5.5.1 Command unrecognized: \"\"\r\n");
	assert_false(s.ended);
	buf_fini(&s.out);
}

/* Replies to what is before a slow-down are there to be sent; what is after it waits. */
static void nothing_overtakes_a_slow_down(void **context)
{
	char memory[REFUSE_LINE];
	struct refuse r = { .in = memory };
	(void)context;
	refuse_init(&r, &rules);
	r.in_len = (size_t)snprintf(r.in, REFUSE_LINE, "HELO a\nHELO b\nHELO c\nQUIT\n");
	assert_int_equal(refuse_run(&r, &rules, false), REFUSE_SLOW);
	assert_int_equal(r.slow_s, 1);
	assert_string_equal(buf_text(&r.out), FIRST HELLO HELLO);
	assert_int_equal(r.in_len, 12);
	buf_clear(&r.out);
	assert_int_equal(refuse_run(&r, &rules, false), REFUSE_END);
	assert_string_equal(buf_text(&r.out), HELLO BYE);
	refuse_fini(&r);
}

/* A client that does not read: the replies that wait stay below their ceiling, and none is lost or doubled. */
static void ceiling_of_replies(void **context)
{
	char memory[REFUSE_LINE];
	struct refuse r = { .in = memory };
	struct said s;
	unsigned fed = 0;
	(void)context;
	said_init(&s);
	refuse_init(&r, &rules);
	flush(&r, &s);
	for (int i = 0; i < 100; i++) {
		while (r.in_len + 5 <= REFUSE_LINE) {
			memcpy(r.in + r.in_len, "RSET\n", 5);
			r.in_len += 5;
			fed++;
		}
		assert_int_equal(refuse_run(&r, &rules, false), REFUSE_MORE);
		assert_true(r.out.len <= REFUSE_OUT);
	}
	size_t waiting = r.out.len;
	assert_true(waiting + COMMAND_LINE >= REFUSE_OUT);
	assert_int_equal(refuse_run(&r, &rules, true), REFUSE_MORE);
	assert_int_equal(r.out.len, waiting);
	run(&r, &rules, &s, false);
	unsigned replies = 0;
	for (size_t i = strlen(FIRST); i < s.out.len; i += 23) {
		assert_memory_equal(s.out.at + i, "250 2.0.0 Reset state\r\n", 23);
		replies++;
	}
	assert_int_equal(replies, fed);
	assert_int_equal(r.in_len, 0);
	buf_fini(&s.out);
	refuse_fini(&r);
}

/* A line of a session as strangers write them. */
static void put_random_line(struct buf *in)
{
	static const char *const lines[] = { "HELO x\r\n", "EHLO x\n", "NOOP\r\n", "RSET\n", "MAIL FROM:<>\r\n", "\r\n", "\n", "\r\r\n", "x\ry\r\n",
		"STARTTLS\r\n", " helo\r\n", "\0QUI\n" };
	switch (rand() % 8) {
	case 0:
		for (int i = rand() % 300; i > 0; i--)
			buf_put_char(in, (char)rand());
		buf_put_char(in, '\n');
		break;
	case 1:
		for (int i = rand() % 3000; i > 0; i--)
			buf_put_char(in, "NOOP \r"[rand() % 6]);
		break;
	default:
		buf_put_text(in, lines[rand() % (int)(sizeof(lines) / sizeof(lines[0]))]);
	}
}

static void any_pieces_the_same(void **context)
{
	struct buf in, log;
	(void)context;
	srand(5);
	buf_init(&in, OUT_MAX);
	buf_init(&log, OUT_MAX);
	log_capture(&log);
	for (int i = 0; i < 60; i++) {
		struct said whole, pieces;
		buf_clear(&in);
		for (int lines = 1 + rand() % 60; lines > 0; lines--)
			put_random_line(&in);
		said_init(&whole);
		feed(in.at, in.len, REFUSE_LINE, &rules, &whole);
		for (size_t piece = 0; piece < 40; piece++) {
			said_init(&pieces);
			feed(in.at, in.len, piece, &rules, &pieces);
			assert_int_equal(pieces.out.len, whole.out.len);
			assert_memory_equal(pieces.out.at, whole.out.at, whole.out.len);
			assert_int_equal(pieces.ended, whole.ended);
			assert_int_equal(pieces.slow_len, whole.slow_len);
			assert_memory_equal(pieces.slow, whole.slow, sizeof(whole.slow));
			assert_true(!whole.ended || pieces.taken == whole.taken);
			buf_fini(&pieces.out);
		}
		buf_fini(&whole.out);
	}
	log_capture(NULL);
	buf_fini(&in);
	buf_fini(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(denied), cmocka_unit_test(denied_for_now), cmocka_unit_test(denied_other_protocols), cmocka_unit_test(command_table), cmocka_unit_test(article), cmocka_unit_test(bad_commands),
		cmocka_unit_test(long_lines), cmocka_unit_test(half_a_line_at_the_end), cmocka_unit_test(slow_downs),
		cmocka_unit_test(nothing_overtakes_a_slow_down), cmocka_unit_test(ceiling_of_replies), cmocka_unit_test(any_pieces_the_same) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
