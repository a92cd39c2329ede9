/* XCLIENT as the door says it, and every way in which a server does not play its part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/xclient.h"

#define OFFER "250-mx.example.net\r\n250-PIPELINING\r\n250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\r\n250 8BITMIME\r\n"

static struct xclient_about about;
static struct buf sent;

static int begin(void **context)
{
	(void)context;
	about = (struct xclient_about){ .host = "door.example.org", .name = slice_of("client.example.com"), .named = XCLIENT_NAMED };
	assert_true(addr_parse(slice_of("192.0.2.7"), &about.client) && addr_parse(slice_of("198.51.100.1"), &about.server));
	about.client.port = 4711;
	about.server.port = 25;
	buf_init(&sent, 2 * XCLIENT_LINE);
	return 0;
}

static int end(void **context)
{
	(void)context;
	buf_fini(&sent);
	return 0;
}

static void expect_sent(const char *text)
{
	assert_string_equal(buf_text(&sent), text);
	buf_clear(&sent);
}

static enum xclient_result take(struct xclient *x, const char *text)
{
	return xclient_take(x, &about, slice_of(text), &sent);
}

/* Up to the XCLIENT command, which is in `sent` then. */
static struct xclient *asked(const char *offer)
{
	struct xclient *x = xclient_new();
	assert_non_null(x);
	assert_int_equal(take(x, "220 mx.example.net ESMTP\r\n"), XCLIENT_MORE);
	expect_sent("EHLO door.example.org\r\n");
	assert_int_equal(take(x, offer), XCLIENT_MORE);
	return x;
}

static void greets(struct xclient *x, const char *reply)
{
	assert_int_equal(take(x, reply), XCLIENT_GREETED);
	struct slice greeting = xclient_greeting(x);
	assert_int_equal(greeting.len, strlen(reply));
	assert_memory_equal(greeting.at, reply, greeting.len);
	xclient_free(x);
}

static void all_of_it(void **context)
{
	(void)context;
	struct xclient *x = asked(OFFER);
	expect_sent("XCLIENT PORT=4711 NAME=client.example.com DESTADDR=198.51.100.1 DESTPORT=25 REVERSE_NAME=client.example.com ADDR=192.0.2.7\r\n");
	greets(x, "220-mx.example.net second\r\n220 greeting\r\n");
}

static void byte_by_byte(void **context)
{
	static const char text[] = "220 mx\r\n" OFFER "220 mx\r\n";
	(void)context;
	struct xclient *x = xclient_new();
	enum xclient_result result = XCLIENT_MORE;
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		assert_int_equal(result, XCLIENT_MORE);
		char *one = malloc(1); /* nothing may be read beyond it */
		*one = text[i];
		result = xclient_take(x, &about, (struct slice){ one, 1 }, &sent);
		free(one);
	}
	assert_int_equal(result, XCLIENT_GREETED);
	assert_int_equal(xclient_greeting(x).len, 8);
	xclient_free(x);
}

static void only_what_is_offered(void **context)
{
	(void)context;
	struct xclient *x = asked("250-mx\r\n250-xclient addr name\r\n250 X\r\n");
	expect_sent("XCLIENT NAME=client.example.com ADDR=192.0.2.7\r\n");
	greets(x, "220 mx\r\n");
	x = asked("250-mx\r\n250 XCLIENT ADDR\r\n");
	expect_sent("XCLIENT ADDR=192.0.2.7\r\n");
	greets(x, "220 mx\r\n");
}

static void names_of_all_kinds(void **context)
{
	static const struct {
		enum xclient_name named;
		const char *name, *own, *reverse;
	} cases[] = {
		{ XCLIENT_FORGED, "liar.example.com", "[UNAVAILABLE]", "liar.example.com" },
		{ XCLIENT_NAMELESS, "", "[UNAVAILABLE]", "[UNAVAILABLE]" },
		{ XCLIENT_UNKNOWN, "", "[TEMPUNAVAIL]", "[TEMPUNAVAIL]" },
		{ XCLIENT_UNKNOWN, "cut.example", "[TEMPUNAVAIL]", "[TEMPUNAVAIL]" },
		{ XCLIENT_NAMED, "a+b=c d\r\nRSET", "a+2Bb+3Dc+20d+0D+0ARSET", "a+2Bb+3Dc+20d+0D+0ARSET" },
	};
	(void)context;
	assert_true(addr_parse(slice_of("2001:db8::7"), &about.client));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char memory[600];
		struct buf expected;
		buf_init_fixed(&expected, memory, sizeof(memory));
		about.name = slice_of(cases[i].name);
		about.named = cases[i].named;
		struct xclient *x = asked("250-mx\r\n250 XCLIENT NAME REVERSE_NAME ADDR\r\n");
		buf_putf(&expected, "XCLIENT NAME=%s REVERSE_NAME=%s ADDR=IPV6:2001:db8::7\r\n", cases[i].own, cases[i].reverse);
		expect_sent(buf_text(&expected));
		greets(x, "220 mx\r\n");
	}
}

/* Whatever the name, the address is in it, and it is one line that fits. */
static void long_names(void **context)
{
	char name[400];
	(void)context;
	memset(name, 'x', sizeof(name));
	assert_true(addr_parse(slice_of("2001:db8:1111:2222:3333:4444:5555:6666"), &about.client));
	about.server = about.client;
	for (size_t len = 1; len < sizeof(name); len++) {
		about.name = (struct slice){ name, len };
		struct xclient *x = asked(OFFER);
		assert_true(sent.len <= XCLIENT_LINE);
		static const char last[] = " ADDR=IPV6:2001:db8:1111:2222:3333:4444:5555:6666\r\n";
		assert_string_equal(buf_text(&sent) + sent.len - strlen(last), last);
		assert_ptr_equal(strchr(buf_text(&sent), '\n'), sent.at + sent.len - 1);
		const char *own = strstr(buf_text(&sent), " NAME=");
		assert_non_null(own);
		assert_int_equal(strncmp(own, " NAME=[UNAVAILABLE] ", 20) == 0, len > 255);
		assert_null(strstr(buf_text(&sent), "= "));
		buf_clear(&sent);
		greets(x, "220 mx\r\n");
	}
}

/* The server's own decision, before and after it knows the client. */
static void refusals_are_greetings(void **context)
{
	(void)context;
	static const char *const refusals[] = { "421 too busy\r\n", "554-no\r\n554 go away\r\n", "450 4.7.25 no name\r\n", "550 5.7.1 no\r\n", "521 no mail here\r\n" };
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		greets(xclient_new(), refusals[i]);
		assert_int_equal(sent.len, 0);
		struct xclient *x = asked(OFFER);
		greets(x, refusals[i]);
		buf_clear(&sent);
	}
}

/* greeting, offer, answer: NULL where it does not come to that. */
static void wrong(const char *greeting, const char *offer, const char *reply, const char *why)
{
	struct xclient *x = xclient_new();
	enum xclient_result result = take(x, greeting);
	if (offer) {
		assert_int_equal(result, XCLIENT_MORE);
		result = take(x, offer);
	}
	if (reply) {
		assert_int_equal(result, XCLIENT_MORE);
		result = take(x, reply);
	}
	assert_int_equal(result, XCLIENT_FAILED);
	assert_string_equal(xclient_why(x), why);
	xclient_free(x);
	buf_clear(&sent);
}

static void failures(void **context)
{
	(void)context;
	static const char unoffered[] = "does not offer XCLIENT to us (Postfix: smtpd_authorized_xclient_hosts)";
	wrong("hello\r\n", NULL, NULL, "does not speak SMTP");
	wrong("\r\n", NULL, NULL, "does not speak SMTP");
	wrong("250 mx\r\n", NULL, NULL, "its greeting is none");
	wrong("220 mx\r\n250 mx\r\n", NULL, NULL, "speaks before it is asked");
	wrong("220-mx\r\n221 mx\r\n", NULL, NULL, "its reply has two codes");
	wrong("220 mx\r\n", "502 what\r\n", NULL, "does not take our EHLO, and so not XCLIENT");
	wrong("220 mx\r\n", "250 mx\r\n", NULL, unoffered);
	wrong("220 mx\r\n", "250-XCLIENT NAME ADDR\r\n250 X\r\n", NULL, unoffered); /* its name is no offer */
	wrong("220 mx\r\n", "250-mx\r\n250 XCLIENTS NAME ADDR\r\n", NULL, unoffered);
	wrong("220 mx\r\n", "250-mx\r\n250 XCLIENT NAME\r\n", NULL, "offers XCLIENT without ADDR");
	wrong("220 mx\r\n", OFFER "220 mx\r\n", NULL, "speaks before it is asked");
	wrong("220 mx\r\n", OFFER, "501 bad\r\n", "does not understand our XCLIENT");
	wrong("220 mx\r\n", OFFER, "503 not now\r\n", "does not understand our XCLIENT");
	wrong("220 mx\r\n", OFFER, "250 ok\r\n", "its answer to XCLIENT is no greeting");
	wrong("220 mx\r\n", OFFER, "220 mx\r\n250 and more\r\n", "speaks before it is asked");
}

static void endless(void **context)
{
	char *line = malloc(100 * 1024 + 1);
	struct buf many;
	(void)context;
	memset(line, 'x', 100 * 1024);
	line[100 * 1024] = '\0';
	memcpy(line, "220 ", 4);
	wrong(line, NULL, NULL, "its line has no end");
	memcpy(line, "250-", 4);
	wrong("220 mx\r\n", line, NULL, "its line has no end");
	free(line);
	buf_init(&many, 100000);
	for (int i = 0; i < 200; i++)
		buf_put_text(&many, "250-X\r\n");
	wrong("220 mx\r\n", buf_text(&many), NULL, "its reply has no end");
	buf_clear(&many);
	for (int i = 0; i < 90; i++)
		buf_put_text(&many, "220-01234567890123456789012345678901234567890123456789\r\n");
	wrong(buf_text(&many), NULL, NULL, "its greeting is too long");
	buf_fini(&many);
}

static void xtext(void **context)
{
	char memory[10];
	struct buf out;
	(void)context;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(xclient_put_xtext(&out, slice_of("a \x7f")));
	assert_string_equal(buf_text(&out), "a+20+7F");
	assert_false(xclient_put_xtext(&out, slice_of("bb++")));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(all_of_it, begin, end), cmocka_unit_test_setup_teardown(byte_by_byte, begin, end),
		cmocka_unit_test_setup_teardown(only_what_is_offered, begin, end), cmocka_unit_test_setup_teardown(names_of_all_kinds, begin, end),
		cmocka_unit_test_setup_teardown(long_names, begin, end), cmocka_unit_test_setup_teardown(refusals_are_greetings, begin, end),
		cmocka_unit_test_setup_teardown(failures, begin, end), cmocka_unit_test_setup_teardown(endless, begin, end), cmocka_unit_test(xtext) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
