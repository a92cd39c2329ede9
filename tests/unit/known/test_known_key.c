/* Keys: there and back; and for whom a name speaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "known/known_key.h"

static const char *shown(const struct known_key *key)
{
	static char memory[KNOWN_DOMAIN + ADDR_TEXT];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	assert_true(known_key_put(&text, key));
	return buf_text(&text);
}

static void there_and_back(void **context)
{
	static const struct {
		const char *text, *shown;
	} good[] = {
		{ "192.0.2.1", "192.0.2.1" }, { "192.0.2.1/32", "192.0.2.1" }, { "192.0.2.77/24", "192.0.2.0/24" }, { "255.255.255.255/1", "128.0.0.0/1" }, { "2001:db8:1:2::", "2001:db8:1:2::/64" },
		{ "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64" }, { "2001:DB8:1:2::/64", "2001:db8:1:2::/64" }, { "Example.COM", "example.com" }, { "_x.a-b.example", "_x.a-b.example" },
		{ "1.2.3.example", "1.2.3.example" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct known_key key, again;
		if (!known_key_parse(slice_of(good[i].text), &key) || strcmp(shown(&key), good[i].shown) != 0)
			fail_msg("%s", good[i].text);
		assert_true(known_key_ok(key.at, key.len));
		assert_true(known_key_parse(slice_of(shown(&key)), &again));
		assert_int_equal(again.len, key.len);
		assert_memory_equal(again.at, key.at, key.len);
	}
}

static void what_is_no_key(void **context)
{
	static const char *const bad[] = { "", ".", "localhost", "example.", ".example.com", "a..b", "192.0.2", "192.0.2.1/0", "192.0.2.1/33", "2001:db8::/48", "2001:db8::/128", "2001:db8::/0", "a b.example",
		"a\n.example", "exämple.com", "1.2.3.4.5", "192.0.2.256", "[192.0.2.1]", "*.example.com", "a/b.example", "x.\"y" };
	static const uint8_t raw[][11] = { { 10, 'n', 48, 0x20, 1, 0, 0, 0, 0, 0, 0 }, { 6, '4', 0, 1, 2, 3, 4 }, { 6, '4', 33, 1, 2, 3, 4 }, { 6, '4', 24, 1, 2, 3, 4 }, { 5, '4', 32, 1, 2, 3 }, { 3, '6', 0, 0 }, { 1, 'd' }, { 4, 'd', 'a', '.', '.' },
		{ 4, 'd', 'A', '.', 'b' }, { 4, 'x', 'a', '.', 'b' }, { 0 } };
	struct known_key key;
	char label[70], longest[400] = "";
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (known_key_parse(slice_of(bad[i]), &key))
			fail_msg("\"%s\" is taken for %s", bad[i], shown(&key));
	for (size_t i = 0; i < sizeof(raw) / sizeof(raw[0]); i++)
		if (known_key_ok(raw[i] + 1, raw[i][0]))
			fail_msg("raw %zu", i);
	memset(label, 'a', 64);
	strcpy(label + 64, ".com");
	assert_false(known_key_parse(slice_of(label), &key));
	assert_true(known_key_parse(slice_of(label + 1), &key));
	for (int i = 0; i < 7; i++)
		strcat(longest, "abcdefghijklmnopqrstuvwxyzabcdefghi.");
	strcat(longest, "d"); /* 253 bytes, as many as a name may have */
	assert_int_equal(strlen(longest), 253);
	assert_true(known_key_parse(slice_of(longest), &key) && known_key_ok(key.at, key.len));
	strcat(longest, "d");
	assert_false(known_key_parse(slice_of(longest), &key));
}

static void for_whom_a_name_speaks(void **context)
{
	static const struct {
		const char *name, *address, *domain; /* "": nobody */
	} names[] = {
		{ "mail-ej1-f41.google.com", "209.85.218.41", "google.com" }, /* an octet alone is chance */
		{ "MX1.Example.Com", "192.0.2.1", "example.com" },
		{ "out2.smtp.example.com", "192.0.2.1", "smtp.example.com" },
		{ "mail.example.co.uk", "192.0.2.1", "example.co.uk" },
		{ "mail.example.de", "192.0.2.1", "example.de" },
		{ "example.com", "192.0.2.1", "" }, /* com is everybody's */
		{ "example.co.uk", "192.0.2.1", "" },
		{ "example.asso.fr", "192.0.2.1", "" },
		{ "example.org.au", "192.0.2.1", "" },
		{ "localhost", "192.0.2.1", "" }, { "", "192.0.2.1", "" }, { ".com", "192.0.2.1", "" }, { "a..com", "192.0.2.1", "" }, { "x.y.1", "192.0.2.1", "" },
		{ "192-0-2-1.isp.example.com", "192.0.2.1", "" }, { "1.2.0.192.isp.example.com", "192.0.2.1", "" }, { "host192000002001.isp.example.com", "192.0.2.1", "" },
		{ "ip-002-001.isp.example.com", "192.0.2.1", "" }, { "c0000201.isp.example.com", "192.0.2.1", "" }, { "pC0-00-02-01.isp.example.com", "192.0.2.1", "" },
		{ "010200c0.isp.example.com", "192.0.2.1", "" }, { "n3221225985.isp.example.com", "192.0.2.1", "" },
		{ "mx.dyn.example.com", "192.0.2.1", "" }, { "dsl7.example.com", "192.0.2.1", "" }, { "a.pool-3.example.com", "192.0.2.1", "" }, { "cust17.example.com", "192.0.2.1", "" },
		{ "dynamo.example.com", "192.0.2.1", "example.com" },
		{ "mx7.example.com", "192.0.7.7", "example.com" }, { "mx7-7.example.com", "192.0.7.7", "" },
		{ "mx.example.com", "2001:db8::25", "example.com" }, { "2001-db8-0-0-0-0-0-25.example.com", "2001:db8::25", "example.com" }, /* groups without zeros are not seen, and wait */
		{ "20010db8000000000000000000000025.example.com", "2001:db8::25", "" }, { "x0db8000100020003.example.com", "2001:db8:1:2:db8:1:2:3", "" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char domain[KNOWN_DOMAIN];
		struct addr address;
		assert_true(addr_parse(slice_of(names[i].address), &address));
		bool speaks = known_domain(slice_of(names[i].name), &address, domain);
		if (speaks != (names[i].domain[0] != '\0') || strcmp(domain, names[i].domain) != 0)
			fail_msg("%s of %s: \"%s\"", names[i].name, names[i].address, domain);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(there_and_back), cmocka_unit_test(what_is_no_key), cmocka_unit_test(for_whom_a_name_speaks) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
