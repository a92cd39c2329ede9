/* The texts of replies, byte for byte, and that a reply which does not fit leaves nothing behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/reply.h"

static char memory[1024];
static struct buf out;

static int begin(void **state)
{
	(void)state;
	buf_init_fixed(&out, memory, sizeof(memory));
	return 0;
}

static void assert_said(const char *text)
{
	assert_string_equal(buf_text(&out), text);
	buf_clear(&out);
}

static void lines(void **state)
{
	(void)state;
	assert_true(reply_put(&out, 250, "2.0.0", "OK"));
	assert_said("250 2.0.0 OK\r\n");
	assert_true(reply_put(&out, 250, "2.1.0", "%s... Sender ok", "<a@b>"));
	assert_said("250 2.1.0 <a@b>... Sender ok\r\n");
	assert_true(reply_put(&out, 354, NULL, "Enter mail, end with \".\" on a line by itself"));
	assert_said("354 Enter mail, end with \".\" on a line by itself\r\n");
	assert_true(reply_put_more(&out, 250, "SIZE %d", 7));
	assert_said("250-SIZE 7\r\n");
	assert_true(reply_refusal(&out, "mail.example.org"));
	assert_said("554 mail.example.org ESMTP not accepting messages\r\n");
	assert_true(reply_closing(&out, "mail.example.org"));
	assert_said("221 2.0.0 mail.example.org closing connection\r\n");
}

static void greeting(void **state)
{
	char date[REPLY_DATE];
	(void)state;
	assert_true(reply_greeting(&out, "mail.example.org", "", 1795373901));
	assert_said("220 mail.example.org ESMTP Tarry " TARRY_VERSION "; Sun, 22 Nov 2026 18:58:21 GMT\r\n");
	assert_true(reply_greeting(&out, "h", "mailhub", 0)); /* one word */
	assert_said("220 mailhub ESMTP\r\n");
	assert_true(reply_greeting(&out, "h", "$j Sendmail $v/$Z; $b $$1 $x\t!", 0));
	assert_said("220 h ESMTP Sendmail " TARRY_VERSION "/" TARRY_VERSION "; Thu, 1 Jan 1970 00:00:00 GMT $1  !\r\n");
	assert_string_equal(reply_date(date, 0), "Thu, 1 Jan 1970 00:00:00 +0000");
	assert_string_equal(reply_date(date, 1709164799), "Wed, 28 Feb 2024 23:59:59 +0000");
	assert_string_equal(reply_date(date, 1709164800), "Thu, 29 Feb 2024 00:00:00 +0000");
	reply_date(date, INT64_MAX); /* no such date: anything that fits */
	assert_true(strlen(date) < REPLY_DATE);
}

static void hello(void **state)
{
	struct addr client;
	(void)state;
	assert_true(addr_parse(slice_of("127.0.0.2"), &client));
	assert_true(reply_hello(&out, "h", &(struct reply_client){ .addr = &client }, false));
	assert_said("250 h Hello [127.0.0.2], pleased to meet you\r\n");
	assert_true(addr_parse(slice_of("2001:db8::1"), &client));
	assert_true(reply_hello(&out, "h", &(struct reply_client){ &client, slice_of("a.example"), false }, true));
	assert_said("250-h Hello a.example [IPv6:2001:db8::1], pleased to meet you\r\n");
	assert_true(reply_hello(&out, "h", &(struct reply_client){ &client, slice_of("a.example"), true }, false));
	assert_said("250 h Hello a.example [IPv6:2001:db8::1] (may be forged), pleased to meet you\r\n");
	assert_true(reply_hello(&out, "h", &(struct reply_client){ .addr = NULL }, false));
	assert_said("250 h Hello localhost, pleased to meet you\r\n");
}

static void echo(void **state)
{
	char line[300], want[400];
	(void)state;
	assert_true(reply_unrecognized(&out, slice_of("")));
	assert_said("500 5.5.1 Command unrecognized: \"\"\r\n");
	assert_true(reply_unrecognized(&out, slice_of("XYZZY %s%n \"q\"")));
	assert_said("500 5.5.1 Command unrecognized: \"XYZZY %s%n \"q\"\"\r\n");
	assert_true(reply_unrecognized(&out, (struct slice){ "\0\x01\r\x1b[31m\x7f\x80\xff\xfd\xe9\tA", 15 }));
	assert_said("500 5.5.1 Command unrecognized: \"????[31m???}i\tA\"\r\n");
	for (size_t i = 0; i < sizeof(line); i++)
		line[i] = (char)('A' + i % 26);
	assert_true(reply_unrecognized(&out, (struct slice){ line, 203 }));
	snprintf(want, sizeof(want), "500 5.5.1 Command unrecognized: \"%.203s\"\r\n", line);
	assert_said(want);
	assert_true(reply_unrecognized(&out, (struct slice){ line, 204 }));
	snprintf(want, sizeof(want), "500 5.5.1 Command unrecognized: \"%.100s...%.100s\"\r\n", line, line + 104);
	assert_said(want);
}

static void whole_or_nothing(void **state)
{
	struct addr client = { .port = 0 };
	(void)state;
	static const size_t lengths[] = { 16, 8, 36, 44, 39, 32 };
	for (size_t room = 0; room < 60; room++)
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			char small[64];
			struct buf b;
			buf_init_fixed(&b, small, room);
			bool ok = i == 0 ? reply_put(&b, 250, "2.0.0", "OK%s", "KO") : i == 1 ? reply_put_more(&b, 250, "x%s", "y") :
				i == 2 ? reply_refusal(&b, "h") : i == 3 ? reply_hello(&b, "h", &(struct reply_client){ .addr = &client }, false) :
				i == 4 ? reply_unrecognized(&b, slice_of("abc")) : reply_closing(&b, "h");
			assert_int_equal(ok, lengths[i] <= room);
			assert_int_equal(b.len, ok ? lengths[i] : 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(lines, begin),
		cmocka_unit_test_setup(greeting, begin),
		cmocka_unit_test_setup(hello, begin),
		cmocka_unit_test_setup(echo, begin),
		cmocka_unit_test(whole_or_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
