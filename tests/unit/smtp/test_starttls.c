/* STARTTLS as the door says it, and every way in which a server does not play its part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/starttls.h"

#define GREETING "220-mx.example.net\r\n220 ESMTP\r\n"
#define OFFER "250-mx.example.net\r\n250-PIPELINING\r\n250-starttls\r\n250 8BITMIME\r\n"
#define READY "220 2.0.0 go\r\n"
#define SAID "EHLO door.example.org\r\nSTARTTLS\r\n"

static struct buf sent;

static int begin(void **context)
{
	(void)context;
	buf_init(&sent, 1024);
	return 0;
}

static int end(void **context)
{
	(void)context;
	buf_fini(&sent);
	return 0;
}

/* The parts, each offered when the one before has been taken; step: bytes at once, 0: all. NULL ends. What came of the last. */
static enum starttls_result talk(struct starttls *x, size_t step, const char *const parts[])
{
	enum starttls_result result = STARTTLS_MORE;
	buf_clear(&sent);
	for (size_t i = 0; parts[i]; i++) {
		size_t len = strlen(parts[i]), some = step ? step : len;
		for (size_t at = 0; at < len; at += some) {
			size_t n = len - at < some ? len - at : some;
			char *bytes = malloc(n); /* nothing may be read beyond it */
			assert_int_equal(result, STARTTLS_MORE);
			memcpy(bytes, parts[i] + at, n);
			result = starttls_take(x, "door.example.org", (struct slice){ bytes, n }, &sent);
			free(bytes);
		}
	}
	return result;
}

static void all_of_it(void **context)
{
	(void)context;
	for (size_t step = 0; step < 4; step++) {
		struct starttls *x = starttls_new();
		assert_int_equal(talk(x, step, (const char *const[]){ GREETING, OFFER, READY, NULL }), STARTTLS_READY);
		assert_string_equal(buf_text(&sent), SAID);
		struct slice greeting = starttls_greeting(x);
		assert_int_equal(greeting.len, strlen(GREETING));
		assert_memory_equal(greeting.at, GREETING, greeting.len);
		starttls_free(x);
	}
}

static void refused(void **context)
{
	static const char *const greetings[] = { "554 no\r\n", "421-too\r\n421 many\r\n", "554 no\r\nand more" };
	(void)context;
	for (size_t i = 0; i < 3; i++) {
		struct starttls *x = starttls_new();
		assert_int_equal(talk(x, 0, (const char *const[]){ greetings[i], NULL }), STARTTLS_REFUSED);
		assert_int_equal(sent.len, 0);
		assert_int_equal(starttls_greeting(x).len, i == 1 ? 19 : 8);
		starttls_free(x);
	}
}

static void fails(void **context)
{
	static const struct {
		const char *parts[4], *why, *sent;
	} rows[] = {
		{ { "200 x\r\n" }, "its greeting is none", "" },
		{ { "x\r\n" }, "does not speak SMTP", "" },
		{ { "220-a\r\n250 b\r\n" }, "its reply has two codes", "" },
		{ { GREETING OFFER }, "speaks before it is asked", "EHLO door.example.org\r\n" },
		{ { GREETING "2" }, "speaks before it is asked", "EHLO door.example.org\r\n" },
		{ { GREETING, "502 x\r\n" }, "does not take our EHLO, and so not STARTTLS", "EHLO door.example.org\r\n" },
		{ { GREETING, "250-STARTTLS\r\n250 SIZE\r\n" }, "does not offer STARTTLS", "EHLO door.example.org\r\n" }, /* a name, not an offer */
		{ { GREETING, "250 STARTTLS\r\n" }, "does not offer STARTTLS", "EHLO door.example.org\r\n" },
		{ { GREETING, "250-x\r\n250 XSTARTTLS\r\n" }, "does not offer STARTTLS", "EHLO door.example.org\r\n" },
		{ { GREETING, OFFER "220 go\r\n" }, "speaks before it is asked", SAID },
		{ { GREETING, OFFER, "454 no\r\n" }, "refuses STARTTLS", SAID },
		{ { GREETING, OFFER, "250 ok\r\n" }, "refuses STARTTLS", SAID },
		{ { GREETING, OFFER, READY "250 injected\r\n" }, "speaks between its reply to STARTTLS and TLS", SAID },
		{ { GREETING, OFFER, READY "\x16" }, "speaks between its reply to STARTTLS and TLS", SAID },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct starttls *x = starttls_new();
		assert_int_equal(talk(x, 0, rows[i].parts), STARTTLS_FAILED);
		assert_string_equal(starttls_why(x), rows[i].why);
		assert_string_equal(buf_text(&sent), rows[i].sent);
		starttls_free(x);
	}
	starttls_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_of_it, begin, end), cmocka_unit_test_setup_teardown(refused, begin, end), cmocka_unit_test_setup_teardown(fails, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
