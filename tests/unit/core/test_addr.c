/* Addresses and prefixes: what is taken, what is refused, and how it is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "core/addr.h"
#include "core/sock.h"

static void parse_and_format(void **context)
{
	static const struct {
		const char *text, *written, *literal;
	} good[] = {
		{ "192.0.2.1", "192.0.2.1", "[192.0.2.1]" },
		{ "2001:DB8:0:0::9", "2001:db8::9", "[IPv6:2001:db8::9]" },
		{ "::1", "::1", "[IPv6:::1]" },
		{ "::ffff:192.0.2.1", "192.0.2.1", "[192.0.2.1]" }, /* a mapped address is the IPv4 one */
	};
	static const char *const bad[] = { "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "::g", "1:2:3:4:5:6:7:8:9", "[::1]", "fe80::1%lo" };
	char text[ADDR_TEXT];
	struct addr a;
	(void)context;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(addr_parse(slice_of(good[i].text), &a));
		assert_string_equal(addr_format(&a, text), good[i].written);
		assert_string_equal(addr_format_literal(&a, text), good[i].literal);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(addr_parse(slice_of(bad[i]), &a));
	assert_false(addr_parse((struct slice){ "1.2.3.4\0x", 9 }, &a));
}

static void ports(void **context)
{
	static const struct {
		const char *text, *written;
	} good[] = { { "127.0.0.1:25", "127.0.0.1:25" }, { "[::1]:2525", "[::1]:2525" }, { "*:25", "[::]:25" }, { "[::]:0", "[::]:0" } };
	static const char *const bad[] = { "127.0.0.1", "127.0.0.1:", ":25", "127.0.0.1:65536", "127.0.0.1:-1", "::1:25", "[::1]", "127.0.0.1:25x" };
	char text[ADDR_TEXT];
	struct addr a;
	(void)context;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(addr_parse_port(slice_of(good[i].text), &a));
		assert_string_equal(addr_format_port(&a, text), good[i].written);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(addr_parse_port(slice_of(bad[i]), &a));
}

static void prefixes(void **context)
{
	struct prefix p;
	struct addr a;
	(void)context;
	assert_true(addr_parse_prefix(slice_of("10.1.2.3/9"), &p));
	assert_int_equal(p.bits, 9);
	for (int i = 0; i < 256; i++) {
		char text[32];
		snprintf(text, sizeof(text), "10.%d.7.7", i);
		assert_true(addr_parse(slice_of(text), &a));
		assert_int_equal(addr_in_prefix(&a, &p), i < 128);
	}
	assert_true(addr_parse_prefix(slice_of("2001:db8::/33"), &p));
	assert_true(addr_parse(slice_of("2001:db8:7fff::1"), &a) && addr_in_prefix(&a, &p));
	assert_true(addr_parse(slice_of("2001:db8:8000::1"), &a) && !addr_in_prefix(&a, &p));
	assert_true(addr_parse_prefix(slice_of("::/0"), &p));
	assert_true(addr_in_prefix(&a, &p));
	assert_true(addr_parse(slice_of("10.0.0.1"), &a) && !addr_in_prefix(&a, &p)); /* families do not mix */
	assert_true(addr_parse_prefix(slice_of("0.0.0.0/0"), &p) && addr_in_prefix(&a, &p));
	assert_false(addr_parse_prefix(slice_of("10.0.0.0/33"), &p));
	assert_false(addr_parse_prefix(slice_of("10.0.0.0/"), &p));
	assert_false(addr_parse_prefix(slice_of("10.0.0.0/-1"), &p));
}

static void sockaddrs(void **context)
{
	struct sockaddr_storage sa;
	struct addr a, b;
	(void)context;
	assert_true(addr_parse_port(slice_of("192.0.2.7:2525"), &a));
	assert_int_equal(addr_to_sockaddr(&a, &sa), sizeof(struct sockaddr_in));
	assert_true(addr_from_sockaddr(&b, (struct sockaddr *)&sa));
	assert_memory_equal(&a, &b, sizeof(a));
	sa.ss_family = AF_UNIX;
	assert_false(addr_from_sockaddr(&b, (struct sockaddr *)&sa));
}

static void private(void **context)
{
	static const char *const yes[] = { "10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "127.0.0.1", "100.64.0.1", "100.127.255.255", "169.254.1.1",
		"::1", "fc00::1", "fdff::1", "fe80::1", "febf::1" };
	static const char *const no[] = { "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "100.63.255.255", "100.128.0.0", "169.253.0.1",
		"2001:db8::1", "fbff::1", "fec0::1", "fe7f::1", "::2" };
	struct addr a;
	(void)context;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(addr_parse(slice_of(yes[i]), &a) && addr_is_private(&a));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_true(addr_parse(slice_of(no[i]), &a) && !addr_is_private(&a));
}

/* The rule that the kernel applies is also written in C; here it must spread, and hold an IPv6 /64 together. (That both agree is tested with real fronts.) */
static void steering(void **context)
{
	unsigned seen[4] = { 0 };
	struct addr a;
	(void)context;
	for (int i = 0; i < 256; i++) {
		char text[32];
		snprintf(text, sizeof(text), "127.0.0.%d", i);
		assert_true(addr_parse(slice_of(text), &a));
		seen[sock_steered_to(&a, 4)]++;
	}
	for (int i = 0; i < 4; i++)
		assert_in_range(seen[i], 32, 128);
	assert_true(addr_parse(slice_of("2001:db8:1:2::1"), &a));
	unsigned one = sock_steered_to(&a, 61);
	assert_true(addr_parse(slice_of("2001:db8:1:2:ffff::77"), &a));
	assert_int_equal(sock_steered_to(&a, 61), one);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(parse_and_format), cmocka_unit_test(ports), cmocka_unit_test(prefixes), cmocka_unit_test(sockaddrs), cmocka_unit_test(private),
		cmocka_unit_test(steering) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
