/* The pieces of a map's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "lookup/url.h"

static void cut(void **context)
{
	struct slice rest = slice_of("a?b?"), got;
	bool found;
	(void)context;
	got = url_cut(&rest, '?', &found);
	assert_true(found && slice_is(got, "a") && slice_is(rest, "b?"));
	got = url_cut(&rest, '?', NULL);
	assert_true(slice_is(got, "b") && rest.len == 0);
	got = url_cut(&rest, '?', &found);
	assert_true(!found && got.len == 0);
	rest = slice_of("whole");
	got = url_cut(&rest, '?', &found);
	assert_true(!found && slice_is(got, "whole") && rest.len == 0);
}

static void decode(void **context)
{
	char out[6] = "old";
	static const char *const bad[] = { "%", "%4", "%4g", "%g4", "a%00", "123456", "%31%32%33%34%35%36" };
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(url_decode(slice_of(bad[i]), out, sizeof(out)));
		assert_string_equal(out, "old");
	}
	assert_true(url_decode(slice_of("a%3fB%3D"), out, sizeof(out)));
	assert_string_equal(out, "a?B=");
	assert_true(url_decode(slice_of("%31%32%33%34%35"), out, sizeof(out)));
	assert_string_equal(out, "12345");
	assert_true(url_decode(slice_of(""), out, sizeof(out)));
	assert_string_equal(out, "");
}

static void hosts(void **context)
{
	static const struct { const char *text, *host; uint16_t port; } good[] = {
		{ "localhost", "localhost", 99 }, { "127.0.0.1:6379", "127.0.0.1", 6379 }, { "[::1]", "::1", 99 }, { "[::1]:1", "::1", 1 }, { "h:65535", "h", 65535 },
	};
	static const char *const bad[] = { "", ":1", "h:", "h:0", "h:65536", "h:1x", "[::1", "[::1]x", "[]:1", "h h", "a@b", "::1", "h:1:2", "h%41", "\x7f", "h\xc3\xa4" };
	char host[URL_HOST_MAX], text[400];
	(void)context;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint16_t port = 99;
		assert_true(url_host_port(slice_of(good[i].text), host, &port));
		assert_string_equal(host, good[i].host);
		assert_int_equal(port, good[i].port);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint16_t port = 99;
		if (url_host_port(slice_of(bad[i]), host, &port))
			fail_msg("\"%s\" passed", bad[i]);
		assert_int_equal(port, 99);
	}
	memset(text, 'a', sizeof(text));
	uint16_t port = 99;
	assert_true(url_host_port((struct slice){ text, URL_HOST_MAX - 1 }, host, &port));
	assert_false(url_host_port((struct slice){ text, URL_HOST_MAX }, host, &port));
}

static void numbers(void **context)
{
	uint32_t n = 7;
	(void)context;
	assert_true(url_number(slice_of("0"), 5, &n) && n == 0);
	assert_true(url_number(slice_of("4294967295"), UINT32_MAX, &n) && n == UINT32_MAX);
	n = 7;
	assert_false(url_number(slice_of("4294967296"), UINT32_MAX, &n));
	assert_false(url_number(slice_of("6"), 5, &n));
	assert_false(url_number(slice_of(""), 5, &n));
	assert_false(url_number(slice_of("-1"), 5, &n));
	assert_false(url_number(slice_of("00000000001"), 5, &n));
	assert_int_equal(n, 7);
}

static void options(void **context)
{
	char a[8] = "", b[8] = "", memory[200];
	bool flag = false, has_b = false;
	const struct url_option list[] = { { "a", a, sizeof(a), NULL }, { "b", b, sizeof(b), &has_b }, { "flag", NULL, 0, &flag }, { 0 } };
	static const struct { const char *text, *why; } bad[] = {
		{ "c=1", "no such option" }, { "a=1&a=2", "stands twice" }, { "a", "needs a value" }, { "a=", "needs a value" }, { "flag=1", "takes no value" },
		{ "a=12345678", "too long" }, { "a=%zz", "bad %-escape" }, { "&a=1", "no such option" },
	};
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(url_options(slice_of("b=x%26=&flag&a=1"), '&', list, &why));
	assert_string_equal(a, "1");
	assert_string_equal(b, "x&=");
	assert_true(flag && has_b);
	assert_true(url_options(slice_of(""), '&', list, &why));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		buf_clear(&why);
		assert_false(url_options(slice_of(bad[i].text), '&', list, &why));
		assert_non_null(strstr(buf_text(&why), bad[i].why));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(cut), cmocka_unit_test(decode), cmocka_unit_test(hosts), cmocka_unit_test(numbers), cmocka_unit_test(options) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
