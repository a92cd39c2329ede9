/* Sets of nftables: names, and what the kernel makes of what it is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ban/nft.h"
#include "kernel.h"
#include "untested.h"

static bool have;
static struct nft nft;
static struct nft_set sets[2];

static int begin(void **context)
{
	char memory[300];
	struct buf why;
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	have = kernel_begin() && nft_open(&nft, &why);
	assert_int_equal(nft_parse("nftables inet t x", sets), 2);
	return 0;
}

static int end(void **context)
{
	(void)context;
	nft_close(&nft);
	return 0;
}

static void fresh(void)
{
	kernel_nft("add table inet t; delete table inet t; add table inet t; add set inet t x4 { type ipv4_addr; flags timeout, interval; }; add set inet t x6 { type ipv6_addr; flags timeout, interval; }");
}

static void names(void **context)
{
	struct nft_set s[2];
	(void)context;
	assert_int_equal(nft_parse("nftables inet tarry banned", s), 2);
	assert_string_equal(s[0].table, "tarry");
	assert_string_equal(s[0].name, "banned4");
	assert_string_equal(s[1].name, "banned6");
	assert_true(!s[0].six && s[1].six);
	assert_true(nft_parse("nftables ip a b", s) == 1 && !s[0].six);
	assert_true(nft_parse("nftables ip6 a b", s) == 1 && s[0].six);
	static const char *const wrong[] = { "", "nftables", "nftables inet a", "nftables inet a b c", "nftables bridge a b", "iptables inet a b" };
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(nft_parse(wrong[i], s), 0);
}

static struct nft_change change(const char *net, int64_t seconds)
{
	struct nft_change c = { .element.left_ms = seconds * 1000, .drop = seconds == 0 };
	assert_true(addr_parse_prefix(slice_of(net), &c.element.net));
	c.set = &sets[addr_is4(&c.element.net.base) ? 0 : 1];
	return c;
}

static struct nft_element found[8];
static size_t found_len;

static void take(void *context, const struct nft_element *element)
{
	(void)context;
	assert_true(found_len < 8);
	found[found_len++] = *element;
}

/* What is ours in it, as text. */
static const char *ours(unsigned set)
{
	static char memory[1000];
	char text[ADDR_TEXT];
	struct buf out, why;
	buf_init_fixed(&why, text, sizeof(text));
	found_len = 0;
	assert_true(nft_each(&nft, &sets[set], take, NULL, &why));
	buf_init_fixed(&out, memory, sizeof(memory));
	for (size_t i = 0; i < found_len; i++)
		buf_putf(&out, "%s%s/%u", i ? " " : "", addr_format(&found[i].net.base, text), found[i].net.bits);
	return buf_text(&out);
}

static void there_and_back(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	fresh();
	struct nft_change in[] = { change("192.0.2.1", 600), change("10.0.0.0/8", 60), change("192.0.2.128/25", 3600), change("192.0.2.2/32", 600), change("255.255.255.255", 600), change("0.0.0.0/8", 600),
		change("2001:db8:1:2::/64", 600), change("2001:db8:1:3::/64", 600), change("ffff:ffff::/32", 600) };
	assert_int_equal(nft_commit(&nft, in, 9), 0);
	assert_string_equal(kernel_elements("x4"), "0.0.0.0/8 timeout 10m comment \"tarry\", 10.0.0.0/8 timeout 1m comment \"tarry\", 192.0.2.1 timeout 10m comment \"tarry\", "
		"192.0.2.2 timeout 10m comment \"tarry\", 192.0.2.128/25 timeout 1h comment \"tarry\", 255.255.255.255 timeout 10m comment \"tarry\"");
	assert_string_equal(kernel_elements("x6"), "2001:db8:1:2::/64 timeout 10m comment \"tarry\", 2001:db8:1:3::/64 timeout 10m comment \"tarry\", ffff:ffff::/32 timeout 10m comment \"tarry\"");
	assert_string_equal(ours(0), "0.0.0.0/8 10.0.0.0/8 192.0.2.1/32 192.0.2.2/32 192.0.2.128/25 255.255.255.255/32");
	assert_true(found[1].left_ms > 50000 && found[1].left_ms <= 60000);
	assert_string_equal(ours(1), "2001:db8:1:2::/64 2001:db8:1:3::/64 ffff:ffff::/32");
	struct nft_change out[] = { change("192.0.2.1", 0), change("255.255.255.255", 0), change("2001:db8:1:2::/64", 0), change("192.0.2.128/25", 0) };
	assert_int_equal(nft_commit(&nft, out, 4), 0);
	assert_string_equal(ours(0), "0.0.0.0/8 10.0.0.0/8 192.0.2.2/32");
	assert_string_equal(ours(1), "2001:db8:1:3::/64 ffff:ffff::/32");
}

static void not_ours(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	fresh();
	kernel_nft("add element inet t x4 { 192.0.2.1 timeout 1h comment \\\"x\\\", 192.0.2.9-192.0.2.17 timeout 1h comment \\\"tarry\\\", 198.51.100.0/24 }");
	assert_string_equal(ours(0), ""); /* what is no network is not ours, whatever its comment says */
	struct nft_change in[] = { change("203.0.113.1", 60), change("192.0.2.1", 60), change("198.51.100.7", 60), change("203.0.113.2", 60) };
	assert_int_equal(nft_commit(&nft, in, 4), -EEXIST);
	assert_true(in[0].error == 0 && in[1].error == EEXIST && in[2].error == EEXIST && in[3].error == 0);
	assert_string_equal(ours(0), ""); /* all, or nothing */
	struct nft_change out[] = { change("203.0.113.1", 0) };
	assert_int_equal(nft_commit(&nft, out, 1), -ENOENT);
	assert_int_equal(out[0].error, ENOENT);
	assert_int_equal(nft_commit(&nft, in, 1), 0);
	assert_string_equal(ours(0), "203.0.113.1/32");
}

static void many(void **context)
{
	static struct nft_change in[NFT_BATCH];
	uint32_t before, after;
	(void)context;
	if (!have) {
		untested();
		return;
	}
	fresh();
	for (unsigned i = 0; i < NFT_BATCH; i++) {
		in[i] = change("2001:db8::/64", 600);
		in[i].element.net.base.ip[7] = (uint8_t)i;
	}
	assert_int_equal(nft_generation(&nft, &before), 0);
	assert_int_equal(nft_commit(&nft, in, NFT_BATCH), 0);
	assert_int_equal(nft_generation(&nft, &after), 0);
	assert_int_equal(after, before + 1);
	assert_int_equal(nft_commit(&nft, in, 0), 0);
	assert_int_equal(nft_generation(&nft, &before), 0);
	assert_int_equal(after, before);
}

static void what_is_wrong_with_it(void **context)
{
	static const struct {
		const char *set, *said;
	} cases[] = { { "type ipv4_addr; flags timeout, interval;", NULL }, { "type ipv4_addr; flags timeout;", "another kind" }, { "type ipv4_addr; flags interval;", "another kind" }, { "type ipv6_addr; flags timeout, interval;", "another kind" },
		{ "type ipv4_addr . inet_service; flags timeout, interval;", "another kind" } };
	char memory[400];
	struct buf why;
	(void)context;
	if (!have) {
		untested();
		return;
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char command[200];
		kernel_nft("add table inet t; delete table inet t; add table inet t");
		snprintf(command, sizeof(command), "add set inet t x4 { %s }", cases[i].set);
		kernel_nft(command);
		buf_init_fixed(&why, memory, sizeof(memory));
		assert_int_equal(nft_check(&nft, &sets[0], &why), cases[i].said == NULL);
		assert_true(!cases[i].said || strstr(buf_text(&why), cases[i].said));
	}
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_false(nft_check(&nft, &sets[1], &why));
	assert_non_null(strstr(buf_text(&why), "nft add set inet t x6 '{ type ipv6_addr; flags timeout, interval; }'"));
	struct nft_change in[] = { change("2001:db8::/64", 60) };
	assert_int_equal(nft_commit(&nft, in, 1), -ENOENT);
	buf_clear(&why);
	assert_false(nft_each(&nft, &sets[1], take, NULL, &why));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names), cmocka_unit_test(there_and_back), cmocka_unit_test(not_ours), cmocka_unit_test(many), cmocka_unit_test(what_is_wrong_with_it) };
	return cmocka_run_group_tests(tests, begin, end);
}
