/* The kinds of early talk, each by what real clients of that kind send first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "smtp/command.h"
#include "smtp/talk.h"

struct sample {
	enum talk_kind kind;
	const char *bytes;
	size_t len; /* 0: strlen() */
};

static const struct sample samples[] = {
	{ TALK_SMTP, "HELO x\r\n", 0 },
	{ TALK_SMTP, "helo x", 0 },
	{ TALK_SMTP, "QUIT\r\n", 0 },
	{ TALK_SMTP, "QUIT\n", 0 },
	{ TALK_SMTP, " \tEHLO [192.0.2.1]\r\n", 0 },
	{ TALK_SMTP, "MAIL FROM:<\0>\r\n", 15 },
	{ TALK_SMTP, "STARTTLS\r\n", 0 },
	{ TALK_SESSION, "HELO x\r\nMAIL FROM:<a@b>\r\n", 0 },
	{ TALK_SESSION, "EHLO x\nM", 0 },
	{ TALK_SESSION, "QUIT\r\n\r\n", 0 },
	{ TALK_TLS, "\x16\x03\x01\x02\0\x01", 6 },
	{ TALK_TLS, "\x16\x03", 2 },
	{ TALK_HTTP, "GET / HTTP/1.0\r\n\r\n", 0 },
	{ TALK_HTTP, "POST / HTTP/1.1\r\nHost: x\r\n", 0 },
	{ TALK_HTTP, "CONNECT mx.example.org:25 HTTP/1.0\r\n", 0 },
	{ TALK_HTTP, "options / HTTP/1.1\r\n", 0 },
	{ TALK_HTTP, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0 },
	{ TALK_PROXY, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 0 },
	{ TALK_PROXY, "PROXY UNKNOWN\r\nEHLO x\r\n", 0 },
	{ TALK_PROXY, "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 16 },
	{ TALK_PROXY, "\r\n\r\n\0\r\nQUIT\n", 12 },
	{ TALK_SSH, "SSH-2.0-Go\r\n", 0 },
	{ TALK_TEXT, "\r\n", 0 },
	{ TALK_TEXT, "hello\tthere\r\n", 0 },
	{ TALK_TEXT, "proxy TCP4\r\n", 0 },  /* not how the header is written */
	{ TALK_TEXT, "PROXY", 0 },
	{ TALK_TEXT, "SSH", 0 },
	{ TALK_TEXT, "GETAWAY\r\n", 0 },
	{ TALK_TEXT, "HELOX\r\n", 0 },
	{ TALK_TEXT, "\r\n\r\n", 0 },
	{ TALK_TEXT, "caf\xc3\xa9\r\n", 0 }, /* beyond ASCII is not binary */
	{ TALK_BINARY, "\x16\x02", 2 },
	{ TALK_BINARY, "\0", 1 },
	{ TALK_BINARY, "\r\n\r\n\0\r\nQUIT", 11 }, /* a signature cut short */
	{ TALK_BINARY, "\xff\xfd\x18\x1b[0m", 7 },
	{ TALK_BINARY, "a\x7f", 2 },
};

static void kinds(void **context)
{
	(void)context;
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		const struct sample *s = &samples[i];
		struct slice bytes = { s->bytes, s->len ? s->len : strlen(s->bytes) };
		enum talk_kind kind = talk_kind(bytes);
		if (kind != s->kind)
			fail_msg("sample %zu \"%s\": %s, expected %s", i, s->bytes, talk_kind_name(kind), talk_kind_name(s->kind));
	}
}

/* Only the beginning decides between text and binary, and nothing beyond the bytes is looked at. */
static void long_and_empty(void **context)
{
	char bytes[COMMAND_LINE + 100];
	(void)context;
	memset(bytes, 'a', sizeof(bytes));
	bytes[sizeof(bytes) - 1] = '\0';
	assert_int_equal(talk_kind((struct slice){ bytes, sizeof(bytes) }), TALK_TEXT);
	bytes[10] = '\x01';
	assert_int_equal(talk_kind((struct slice){ bytes, 10 }), TALK_TEXT);
	assert_int_equal(talk_kind((struct slice){ bytes, 11 }), TALK_BINARY);
	/* A line that is no line: longer than any command. */
	memset(bytes, ' ', sizeof(bytes));
	memcpy(bytes, "HELO", 4);
	assert_int_equal(talk_kind((struct slice){ bytes, sizeof(bytes) }), TALK_TEXT);
	assert_int_equal(talk_kind((struct slice){ bytes, COMMAND_LINE - 1 }), TALK_SMTP);
	assert_int_equal(talk_kind((struct slice){ NULL, 0 }), TALK_TEXT);
	assert_int_equal(talk_kind((struct slice){ "\x16\x03", 1 }), TALK_BINARY);
}

/* What a client of each kind has sent, a byte more at a time: SMTP or not is known as soon as its first word is whole, and no sooner is it taken for something that it may
 * not be; a kind that is known stays, but for the second line of a session. */
static void in_pieces(void **context)
{
	static const struct {
		enum talk_kind kind;
		size_t from; /* bytes from which on it is that */
		const char *bytes;
		size_t len;
	} pieces[] = {
		{ TALK_TLS, 2, "\x16\x03\x01\x02\0\x01\0", 7 },
		{ TALK_HTTP, 4, "GET / HTTP/1.0\r\n", 16 },
		{ TALK_HTTP, 8, "CONNECT a:25 HTTP/1.0\r\n", 23 },
		{ TALK_HTTP, 10, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24 },
		{ TALK_PROXY, 6, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 36 },
		{ TALK_PROXY, 12, "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 16 },
		{ TALK_SSH, 4, "SSH-2.0-OpenSSH_9.2\r\n", 21 },
		{ TALK_SMTP, 4, "EHLO client.example.net\r\n", 25 },
		{ TALK_SMTP, 8, "STARTTLS\r\n", 10 },
		{ TALK_TEXT, 1, "hello, anybody there?\r\n", 23 },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		for (size_t n = 1; n <= pieces[i].len; n++) {
			enum talk_kind kind = talk_kind((struct slice){ pieces[i].bytes, n });
			bool whole = n >= pieces[i].from;
			if (whole ? kind != pieces[i].kind : kind != TALK_TEXT && kind != TALK_BINARY)
				fail_msg("sample %zu, %zu bytes: %s", i, n, talk_kind_name(kind));
		}
	static const char session[] = "HELO x\r\nMAIL FROM:<>\r\n";
	for (size_t n = 4; n < sizeof(session); n++)
		assert_int_equal(talk_kind((struct slice){ session, n }), n <= 8 ? TALK_SMTP : TALK_SESSION);
}

static void names(void **context)
{
	(void)context;
	assert_string_equal(talk_kind_name(TALK_SMTP), "smtp");
	assert_string_equal(talk_kind_name(TALK_SESSION), "session");
	assert_string_equal(talk_kind_name(TALK_TLS), "tls");
	assert_string_equal(talk_kind_name(TALK_HTTP), "http");
	assert_string_equal(talk_kind_name(TALK_PROXY), "proxy");
	assert_string_equal(talk_kind_name(TALK_SSH), "ssh");
	assert_string_equal(talk_kind_name(TALK_TEXT), "text");
	assert_string_equal(talk_kind_name(TALK_BINARY), "binary");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kinds), cmocka_unit_test(long_and_empty), cmocka_unit_test(in_pieces), cmocka_unit_test(names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
