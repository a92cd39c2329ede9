/* Keys and values of GreetPause:, one by one: what is read, and that one address has one key however it is spelled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "access/access.h"
#include "access/access_key.h"

static void values(void **context)
{
	/* The first column of SENDMAIL's own behaviour: the first token, by strtol. */
	static const struct {
		const char *value;
		int64_t ms;
		bool number;
	} table[] = {
		{ "300", 300, true }, { "0300", 300, true }, { "300ms", 300, false }, { "300.9", 300, false }, { "300 900", 300, false },
		{ "3e2", 3, false }, { "1s", 1, false }, { "0", 0, true }, { "00", 0, true }, { "-5", 0, false }, { "+300", 0, false }, { ".5", 0, false },
		{ "\"300\"", 0, false }, { "0x12c", 0, false }, { "OK", 0, false }, { "", 0, false }, { "<TMPF>", 0, false }, { "300<TMPF>", 0, false },
		{ "300 <tmpf> \r", 0, false }, { "300<TMPF>x", 300, false }, { "300 \t\r", 300, true }, { "300000", 300000, true }, { "300001", 300000, true },
		{ "99999999999999999999999999", 300000, true },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct slice value = slice_of(table[i].value);
		if (access_key_pause(value) != table[i].ms || access_key_is_number(value) != table[i].number)
			fail_msg("\"%s\": %lld ms, number %d", table[i].value, (long long)access_key_pause(value), access_key_is_number(value));
	}
	assert_int_equal(access_key_number(slice_of("300001")).ms, ACCESS_PAUSE_MAX_MS + 1);
	assert_int_equal(access_key_number(slice_of("12ab")).digits, 2);
	assert_int_equal(access_key_trim(slice_of(" a \r\t")).len, 2);
}

static void keys(void **context)
{
	static const struct {
		const char *key;
		enum access_sort sort;
		enum access_form form;
		unsigned bits;
		const char *base;
	} table[] = {
		{ "", ACCESS_SORT_DEFAULT, ACCESS_FORM_PLAIN, 0, NULL },
		{ "127", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 8, "127.0.0.0" },
		{ "127.0.0", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 24, "127.0.0.0" },
		{ "127.0.0.2", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 32, "127.0.0.2" },
		{ "[127.0]", ACCESS_SORT_ADDRESS, ACCESS_FORM_BRACKET, 16, "127.0.0.0" },
		{ "192.168.7.1/22", ACCESS_SORT_ADDRESS, ACCESS_FORM_CIDR, 22, "192.168.4.0" },
		{ "0.0.0.0/0", ACCESS_SORT_ADDRESS, ACCESS_FORM_CIDR, 0, "0.0.0.0" },
		{ "ipv6", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 0, "::" },
		{ "ipv6:", ACCESS_SORT_ADDRESS, ACCESS_FORM_ZERO, 0, NULL },
		{ "[ipv6:]", ACCESS_SORT_ADDRESS, ACCESS_FORM_ZERO, 1, NULL },
		{ "ipv6:2001:db8", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 32, "2001:db8::" },
		{ "ipv6:2001:db8::9", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 128, "2001:db8::9" },
		{ "2001:db8:0:0:0:0:0:9", ACCESS_SORT_ADDRESS, ACCESS_FORM_PLAIN, 128, "2001:db8::9" },
		{ "ipv6:2001:0db8::/32", ACCESS_SORT_ADDRESS, ACCESS_FORM_CIDR, 32, "2001:db8::" },
		{ "example.com", ACCESS_SORT_NAME, ACCESS_FORM_PLAIN, 0, NULL },
		{ "127.0.0.", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "127.0.0.01", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "256", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "1.2.3.4.5", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "10/8", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "10.0.0.0/33", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "ipv6:2001:db8:", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "2001:db8", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "::ffff:127.0.0.1", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "[]", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "[127.0.0.1", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
		{ "[10.0.0.0/8]", ACCESS_SORT_NEVER, ACCESS_FORM_BRACKET, 0, NULL },
		{ "[example.com]", ACCESS_SORT_NEVER, ACCESS_FORM_BRACKET, 0, NULL },
		{ "[", ACCESS_SORT_NEVER, ACCESS_FORM_PLAIN, 0, NULL },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct access_parsed p;
		char text[ADDR_TEXT];
		enum access_sort sort = access_key_parse(slice_of(table[i].key), &p);
		if (sort != table[i].sort)
			fail_msg("\"%s\": sort %d", table[i].key, (int)sort);
		if (sort == ACCESS_SORT_NEVER)
			assert_memory_equal(p.hint, "; ", 2);
		if (sort != ACCESS_SORT_ADDRESS)
			continue;
		assert_int_equal(p.form, table[i].form);
		assert_int_equal(p.bits, table[i].bits);
		if (table[i].base)
			assert_string_equal(addr_format(&p.base, text), table[i].base);
	}
}

static void marks(void **context)
{
	struct access_parsed p;
	(void)context;
	access_key_parse(slice_of("ipv6:2001:db8::"), &p);
	assert_true(p.whole);
	access_key_parse(slice_of("ipv6:2001:db8::1"), &p);
	assert_false(p.whole);
	access_key_parse(slice_of("192.168.4.1/22"), &p);
	assert_true(p.cut);
	access_key_parse(slice_of("192.168.4.0/22"), &p);
	assert_false(p.cut);
}

static struct slice written(struct access_key *key, const char *address, unsigned bits)
{
	struct addr a;
	assert_true(addr_parse(slice_of(address), &a));
	struct access_ip ip = access_key_ip(&a);
	return access_key_write(key, (struct access_spot){ ACCESS_GREETPAUSE, ACCESS_FORM_PLAIN, bits }, &ip);
}

static bool same(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static void one_key_for_one_network(void **context)
{
	struct access_key a, b;
	(void)context;
	for (unsigned bits = 0; bits <= 32; bits++) {
		bool differ = bits > 30; /* in their second last bit */
		assert_int_equal(same(written(&a, "192.0.2.1", bits), written(&b, "192.0.2.2", bits)), !differ);
	}
	for (unsigned bits = 0; bits <= 128; bits++) {
		assert_int_equal(same(written(&a, "2001:db8::1:0", bits), written(&b, "2001:db8::2:0", bits)), bits <= 110);
		assert_int_equal(same(written(&a, "2001:db8::", bits), written(&b, "2001:db9::", bits)), bits <= 31);
	}
	assert_false(same(written(&a, "192.0.2.1", 8), written(&b, "192.0.2.1", 9)));
	assert_false(same(written(&a, "0.0.0.0", 8), written(&b, "::", 8))); /* families are apart */
	assert_int_equal(((const char *)&a)[0], 0); /* no key of a file begins so */
}

static void zeros_in_front(void **context)
{
	static const struct {
		const char *address;
		bool zero;
	} table[] = { { "::", true }, { "::1", true }, { "0:0:1::", false }, { "0:0:1:2:3:4:5:6", true }, { "0:0:1:2::", false }, { "::1:0:0:0", true }, { "1::", false },
		{ "2001:db8::", false }, { "0:1::", false }, { "127.0.0.1", false } };
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct addr a;
		assert_true(addr_parse(slice_of(table[i].address), &a));
		struct access_ip ip = access_key_ip(&a);
		if (access_key_begins_zero(&ip) != table[i].zero)
			fail_msg("%s", table[i].address);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(values), cmocka_unit_test(keys), cmocka_unit_test(marks),
		cmocka_unit_test(one_key_for_one_network), cmocka_unit_test(zeros_in_front) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
