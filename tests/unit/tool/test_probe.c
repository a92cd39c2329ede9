/* tarry probe: the target on the command line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tool/probe.h"

static void test_targets(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host;
		uint16_t port;
	} rows[] = {
		{ "mx.example.org", "mx.example.org", 25 }, { "mx.example.org:2525", "mx.example.org", 2525 },
		{ "192.0.2.1", "192.0.2.1", 25 }, { "192.0.2.1:65535", "192.0.2.1", 65535 },
		{ "2001:db8::1", "2001:db8::1", 25 }, { "::1", "::1", 25 },
		{ "[2001:db8::1]", "2001:db8::1", 25 }, { "[2001:db8::1]:26", "2001:db8::1", 26 },
		{ "", NULL, 0 }, { ":25", NULL, 0 }, { "a:", NULL, 0 }, { "a:0", NULL, 0 }, { "a:65536", NULL, 0 }, { "a:-1", NULL, 0 },
		{ "a:+25", NULL, 0 }, { "a: 25", NULL, 0 }, { "a:25x", NULL, 0 }, { "a:000025", NULL, 0 }, { "[::1", NULL, 0 }, { "[::1]x", NULL, 0 },
		{ "[::1]:", NULL, 0 }, { "[]", NULL, 0 }, { "[a]:25", NULL, 0 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char host[PROBE_HOST] = "untouched";
		uint16_t port = 1;
		bool ok = probe_target(rows[i].text, host, &port);
		assert_int_equal(ok, rows[i].host != NULL);
		assert_string_equal(host, ok ? rows[i].host : "untouched");
		assert_int_equal(port, ok ? rows[i].port : 1);
	}
	char longest[PROBE_HOST + 1], host[PROBE_HOST];
	uint16_t port;
	memset(longest, 'a', PROBE_HOST);
	longest[PROBE_HOST] = '\0';
	assert_false(probe_target(longest, host, &port));
	longest[PROBE_HOST - 1] = '\0';
	assert_true(probe_target(longest, host, &port));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_targets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
