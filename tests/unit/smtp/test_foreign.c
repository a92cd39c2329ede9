/* Other protocols after the greeting: what opens them, which commands are forbidden, and what is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "smtp/foreign.h"

static const char *of(const char *words, const char *line, bool first)
{
	struct command c = command_parse(slice_of(line));
	const char *what = foreign_command(words, slice_of(line), &c, first);
	return what ? what : "";
}

static void openings(void **context)
{
	(void)context;
	assert_string_equal(foreign_opening(slice_of("GET / HTTP/1.0\r\n")), "http");
	assert_string_equal(foreign_opening(slice_of("post /")), "http");
	assert_string_equal(foreign_opening(slice_of("\x16\x03\x01")), "tls");
	assert_string_equal(foreign_opening(slice_of("PROXY TCP4 ")), "proxy");
	assert_string_equal(foreign_opening((struct slice){ "\r\n\r\n\0\r\nQUIT\n\x21", 13 }), "proxy");
	assert_string_equal(foreign_opening(slice_of("SSH-2.0-x")), "ssh");
	assert_null(foreign_opening(slice_of("EHLO x\r\nGET / HTTP/1.0\r\n")));
	assert_null(foreign_opening(slice_of("hello?")));
	assert_null(foreign_opening(slice_of("\r\n")));
	assert_null(foreign_opening((struct slice){ NULL, 0 }));
}

static void commands(void **context)
{
	static const char words[] = "CONNECT  GET POST proxy ";
	(void)context;
	assert_string_equal(of(words, "GET / HTTP/1.0", false), "command");
	assert_string_equal(of(words, " get", false), "command");
	assert_string_equal(of(words, "CoNNecT\tx", false), "command");
	assert_string_equal(of(words, "PROXY UNKNOWN", false), "proxy");
	assert_string_equal(of(words, "GE", false), "");
	assert_string_equal(of(words, "GETS", false), "");
	assert_string_equal(of(words, "GET/", false), "");
	assert_string_equal(of(words, "", false), "");
	assert_string_equal(of(words, "nonletter", false), "");
	assert_string_equal(of(words, "\"x\"", false), "");
	/* What opens another protocol counts in the first line only. */
	assert_string_equal(of(words, "HEAD / HTTP/1.0", true), "http");
	assert_string_equal(of(words, "HEAD / HTTP/1.0", false), "");
	assert_string_equal(of(words, "SSH-2.0-x", true), "ssh");
	/* Nothing is forbidden. */
	assert_string_equal(of("", "GET / HTTP/1.0", true), "");
	assert_string_equal(of("  ", "GET / HTTP/1.0", false), "");
}

static void not_a_letter(void **context)
{
	(void)context;
	static const char *const bad[] = { "\x16\x03\x01", "1", "(+)", "\"a\"", "--x", "\xc3\xa9", "\x01" }, *const good[] = { "", " 1", "\t", "a", "Z", "EHLO x", "x-y" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(of("GET nonletter", bad[i], false), "nonletter");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_string_equal(of("nonletter GET", good[i], false), "");
}

static void replies(void **context)
{
	static const struct {
		const char *line, *reply;
	} table[] = {
		{ "GET / HTTP/1.0", "421 4.7.0 mail.example.org Rejecting open proxy host.example.com [192.0.2.1] (may be forged)\r\n" },
		{ "USER joe", "421 4.7.0 mail.example.org Rejecting open proxy host.example.com [192.0.2.1] (may be forged)\r\n" },
		{ "PROXY UNKNOWN", "421 4.7.0 mail.example.org No PROXY header is taken from host.example.com [192.0.2.1] (may be forged)\r\n" },
		{ "\x16\x03", "421 4.7.0 mail.example.org This port speaks SMTP in clear: TLS begins with STARTTLS\r\n" },
		{ "SSH-2.0-x", "421 4.7.0 mail.example.org This port speaks SMTP, not SSH\r\n" },
		{ "%s", "421 4.7.0 mail.example.org Not a command, closing connection\r\n" },
	};
	static const struct addr addr = { .ip = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 } };
	const struct reply_client client = { &addr, slice_of("host.example.com"), true };
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char memory[1024];
		struct buf out;
		buf_init_fixed(&out, memory, sizeof(memory));
		assert_true(foreign_put_reply(&out, "mail.example.org", of("USER nonletter", table[i].line, true), &client));
		assert_string_equal(buf_text(&out), table[i].reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(openings), cmocka_unit_test(commands), cmocka_unit_test(not_a_letter), cmocka_unit_test(replies) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
