/* Bans: networks of any length, looked up by a client's address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "known/ban_table.h"

#define MAX 2000

static struct ban_table table, reader;
static int fds[2];

static int begin(void **context)
{
	(void)context;
	assert_int_equal(ban_table_create(MAX, fds), 0);
	assert_int_equal(ban_table_open(&table, fds, MAX, true), 0);
	assert_int_equal(known_table_reset(&table.rows, fds[0]), 0);
	assert_int_equal(ban_table_open(&reader, fds, MAX, false), 0);
	return 0;
}

static int end(void **context)
{
	(void)context;
	ban_table_close(&reader);
	ban_table_close(&table);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static struct addr address(const char *text)
{
	struct addr a;
	assert_true(addr_parse(slice_of(text), &a));
	return a;
}

/* As a keeper does it. */
static uint32_t add(const char *text, uint32_t until, uint32_t note)
{
	struct known_key key;
	struct prefix p;
	assert_true(known_key_parse_network(slice_of(text), &key) && known_key_prefix(&key, &p));
	struct known_id id = known_table_id(&table.rows, &key);
	atomic_fetch_or(&table.rows.head->lengths[!addr_is4(&p.base)], UINT64_C(1) << (p.bits - 1));
	return known_table_add(&table.rows, &id, (struct known_times){ 1, until, note });
}

static uint32_t find(const char *client, uint32_t now)
{
	struct addr a = address(client);
	struct known_times times = { 0, 0, 0 };
	uint32_t row = ban_table_find(&reader, &a, now, &times);
	assert_true(row == 0 || times.passed > now);
	return row;
}

static void the_longest_that_is_not_over(void **context)
{
	(void)context;
	assert_int_equal(find("192.0.2.1", 0), 0);
	uint32_t one = add("192.0.2.1", 100, 1), net = add("192.0.2.0/24", 200, 1), wide = add("192.0.0.0/8", 300, 1), six = add("2001:db8:1:2::/64", 100, 1), wide6 = add("2001:db8::/32", 50, 1);
	assert_int_equal(find("192.0.2.1", 0), one);
	assert_int_equal(find("::ffff:192.0.2.1", 0), one); /* as a client of a socket for both families is */
	assert_int_equal(find("192.0.2.1", 99), one);
	assert_int_equal(find("192.0.2.1", 100), net);
	assert_int_equal(find("192.0.2.2", 0), net);
	assert_int_equal(find("192.0.2.1", 200), wide);
	assert_int_equal(find("192.0.2.1", 300), 0);
	assert_int_equal(find("191.0.2.1", 0), 0);
	assert_int_equal(find("2001:db8:1:2:ffff::1", 0), six);
	assert_int_equal(find("2001:db8:1:3::1", 49), wide6);
	assert_int_equal(find("2001:db8:1:3::1", 50), 0);
	assert_int_equal(find("2001:db9::1", 0), 0);
	uint32_t over = add("198.51.100.1", 100, 1 | BAN_OVER);
	assert_true(over > 0);
	assert_int_equal(find("198.51.100.1", 0), 0);
	uint32_t door = add("198.51.100.2", 100, 1 | BAN_DOOR);
	assert_int_equal(find("198.51.100.2", 0), door);
}

/* As far as a row has room for it: nothing else of the row changes. */
static void why_it_is_banned(void **context)
{
	static const char *const words[] = { "smtp", "session", "binary", "early", "later", "refused", "limited", "forbidden", "by hand" };
	(void)context;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		uint32_t note = ban_reason_note(slice_of(words[i]));
		assert_true(note != 0 && (note & ~BAN_WORD) == 0);
		assert_string_equal(ban_reason_word(note | BAN_NOTE), words[i]);
	}
	assert_int_equal(BAN_WORD & BAN_NOTE, 0);
	assert_int_equal(ban_reason_note(slice_of("")), 0);
	assert_int_equal(ban_reason_note(slice_of("early ")), 0);
	assert_string_equal(ban_reason_word(BAN_NOTE), "");
	assert_string_equal(ban_reason_word(UINT32_MAX), ""); /* of a keeper that has more */
}

static void who_is_turned_away_is_counted(void **context)
{
	(void)context;
	uint32_t row = add("192.0.2.1", 100, 1);
	for (unsigned i = 0; i < 3; i++)
		ban_table_hit(&reader, row);
	assert_int_equal(ban_table_hits(&table, row), 3);
	assert_int_equal(ban_table_hits(&table, row + 1), 0);
	ban_table_hit(&reader, 0); /* no row's */
	ban_table_hit(&reader, MAX + 1);
	ban_table_forget_hits(&table, row);
	assert_int_equal(ban_table_hits(&reader, row), 0);
	ban_table_set_count(&reader, BAN_COUNT_KERNEL, 7);
	ban_table_counted(&reader, BAN_COUNT_KERNEL_FAILED, 2);
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 7);
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL_FAILED), 2);
	ban_table_hit(&reader, MAX);
	assert_int_equal(ban_table_hits(&table, MAX), 1);
}

static void memory(void **context)
{
	struct ban_table other;
	(void)context;
	assert_int_equal(ftruncate(fds[0], 0), -1); /* not under those who read it */
	assert_int_equal(ftruncate(fds[1], 0), -1);
	assert_int_equal(ban_table_open(&other, fds, MAX + 1, false), -EINVAL);
	const int wrong[2] = { fds[0], fds[0] }, alone[2] = { fds[0], -1 };
	assert_int_equal(ban_table_open(&other, wrong, MAX, false), -EINVAL);
	assert_int_equal(ban_table_open(&other, alone, MAX, false), 0);
	ban_table_hit(&other, 1);
	assert_int_equal(ban_table_hits(&other, 1), 0);
	ban_table_close(&other);
}

static void as_text(const char *text, const char *expected)
{
	struct known_key key, again;
	char at[ADDR_TEXT];
	struct buf out;
	bool ok = known_key_parse_network(slice_of(text), &key);
	assert_int_equal(ok, expected != NULL);
	if (!ok)
		return;
	buf_init_fixed(&out, at, sizeof(at));
	assert_true(known_key_ok_network(key.at, key.len) && known_key_put(&out, &key));
	assert_string_equal(buf_text(&out), expected);
	assert_true(known_key_parse_network(buf_slice(&out), &again));
	assert_true(again.len == key.len && memcmp(again.at, key.at, key.len) == 0);
}

static void keys(void **context)
{
	(void)context;
	as_text("192.0.2.1", "192.0.2.1");
	as_text("192.0.2.1/24", "192.0.2.0/24");
	as_text("10.0.0.0/8", "10.0.0.0/8");
	as_text("10.0.0.0/7", NULL);
	as_text("0.0.0.0/0", NULL);
	as_text("2001:db8::1", "2001:db8::/64");
	as_text("2001:db8::1/48", "2001:db8::/48");
	as_text("2001:db8::/16", "2001::/16");
	as_text("2001:db8::/15", NULL);
	as_text("2001:db8::1/128", NULL);
	as_text("::/0", NULL);
	as_text("example.com", NULL);
	as_text("", NULL);
	const uint8_t large6[] = { KNOWN_NET6, 15, 0, 0, 0, 0, 0, 0, 0, 0 }, large4[] = { KNOWN_IPV4, 7, 0, 0, 0, 0 }, least4[] = { KNOWN_IPV4, 8, 0, 0, 0, 0 }, name[] = "da.b";
	assert_false(known_key_ok_network(large6, sizeof(large6)) || known_key_ok_network(large4, sizeof(large4)) || known_key_ok_network(name, sizeof(name) - 1));
	assert_true(known_key_ok_network(least4, sizeof(least4)) && known_key_ok(large4, sizeof(large4)) && known_key_ok(name, sizeof(name) - 1));
	const uint8_t bits[] = { KNOWN_NET6, 65, 0, 0, 0, 0, 0, 0, 0, 0 }, host[] = { KNOWN_NET6, 48, 0x20, 1, 0, 0, 0, 0, 0, 1 };
	assert_false(known_key_ok_network(bits, sizeof(bits)));
	assert_false(known_key_ok_network(host, sizeof(host)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_longest_that_is_not_over, begin, end),
		cmocka_unit_test_setup_teardown(who_is_turned_away_is_counted, begin, end), cmocka_unit_test(why_it_is_banned),
		cmocka_unit_test_setup_teardown(memory, begin, end),
		cmocka_unit_test(keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
