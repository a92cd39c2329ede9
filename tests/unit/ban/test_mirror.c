/* The kernel's sets follow the table of bans. The test is the keeper, and the one who changes the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ban/mirror.h"
#include "core/log.h"
#include "kernel.h"
#include "untested.h"

#define MAX 4096
#define NOW 1000

static bool have;
static struct ban_table table, theirs;
static int fds[2];
static struct mirror mirror;
static struct buf logged;

static int group_begin(void **context)
{
	(void)context;
	have = kernel_begin();
	return 0;
}

static int begin(void **context)
{
	(void)context;
	buf_init(&logged, 1 << 20);
	log_capture(&logged);
	assert_int_equal(ban_table_create(MAX, fds), 0);
	assert_int_equal(ban_table_open(&table, fds, MAX, true), 0);
	assert_int_equal(known_table_reset(&table.rows, fds[0]), 0);
	atomic_store(&table.rows.head->loaded, 1);
	assert_int_equal(ban_table_open(&theirs, fds, MAX, false), 0);
	assert_int_equal(mirror_init(&mirror, &theirs, "nftables inet t x"), 0);
	if (have)
		kernel_nft("add table inet t; delete table inet t; add table inet t; add set inet t x4 { type ipv4_addr; flags timeout, interval; }; add set inet t x6 { type ipv6_addr; flags timeout, interval; }");
	return 0;
}

static int end(void **context)
{
	(void)context;
	mirror_fini(&mirror);
	ban_table_close(&theirs);
	ban_table_close(&table);
	close(fds[0]);
	close(fds[1]);
	log_capture(NULL);
	buf_fini(&logged);
	return 0;
}

static struct known_id id_of(const char *text)
{
	struct known_key key;
	assert_true(known_key_parse_network(slice_of(text), &key));
	return known_table_id(&table.rows, &key);
}

static uint32_t add(const char *text, uint32_t until, uint32_t note)
{
	struct known_id id = id_of(text);
	return known_table_add(&table.rows, &id, (struct known_times){ 1, until, note });
}

static void drop(const char *text)
{
	struct known_id id = id_of(text);
	known_table_drop(&table.rows, known_table_row(&table.rows, &id));
}

static void kernel_has(const char *four, const char *six)
{
	char plain[1000] = "";
	static const char *const names[] = { "x4", "x6" };
	const char *const expected[] = { four, six };
	for (unsigned i = 0; i < 2; i++) {
		size_t len = 0;
		for (const char *p = kernel_elements(names[i]); *p; p = strchr(p, ',') ? strchr(p, ',') + 2 : "") { /* each without its time and comment */
			size_t n = strcspn(p, " ,");
			assert_true(len + n + 2 < sizeof(plain));
			memcpy(plain + len, p, n);
			len += n;
			plain[len++] = ' ';
		}
		plain[len > 0 ? len - 1 : 0] = '\0';
		assert_string_equal(plain, expected[i]);
	}
}

static bool was_logged(const char *text)
{
	bool found = strstr(buf_text(&logged), text) != NULL;
	buf_clear(&logged);
	return found;
}

static void comes_and_goes(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	add("192.0.2.1", NOW + 600, 1);
	add("192.0.2.2", NOW + 600, 1 | BAN_DOOR);
	add("192.0.2.3", NOW + 600, 1 | BAN_OVER);
	add("192.0.2.4", NOW, 1);
	add("198.51.100.0/24", NOW + 600, 1);
	add("2001:db8::/48", NOW + 600, 1);
	mirror_turn(&mirror, NOW);
	kernel_has("192.0.2.1 198.51.100.0/24", "2001:db8::/48");
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 3);
	uint32_t generation = mirror.generation;
	mirror_turn(&mirror, NOW + 1); /* nothing has changed, and nothing is said */
	assert_int_equal(mirror.generation, generation);
	drop("192.0.2.1");
	drop("2001:db8::/48");
	add("192.0.2.9", NOW + 600, 1); /* in the row of one of those */
	struct known_id net = id_of("198.51.100.0/24");
	known_table_change(&table.rows, known_table_row(&table.rows, &net), (struct known_times){ 1, NOW + 7200, 2 });
	mirror_turn(&mirror, NOW + 2);
	kernel_has("192.0.2.9 198.51.100.0/24", "");
	assert_non_null(strstr(kernel_elements("x4"), "198.51.100.0/24 timeout 1h59m58s"));
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 2);
	known_table_change(&table.rows, known_table_row(&table.rows, &net), (struct known_times){ 1, NOW + 3, 2 | BAN_OVER });
	mirror_turn(&mirror, NOW + 3);
	kernel_has("192.0.2.9", "");
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL_FAILED), 0);
	assert_int_equal(logged.len, 0);
}

/* Another helper goes on where one was killed. */
static void another_one(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	kernel_nft("add element inet t x4 { 203.0.113.7 timeout 1h comment \\\"mine\\\", 203.0.113.8 timeout 1h }");
	add("192.0.2.1", NOW + 600, 1);
	add("192.0.2.2", NOW + 600, 1);
	add("192.0.2.3", NOW + 600, 1);
	mirror_turn(&mirror, NOW);
	mirror_fini(&mirror);
	drop("192.0.2.1");
	struct known_id longer = id_of("192.0.2.2");
	known_table_change(&table.rows, known_table_row(&table.rows, &longer), (struct known_times){ 1, NOW + 7200, 2 });
	add("203.0.113.7", NOW + 600, 1); /* which is somebody else's already */
	assert_int_equal(mirror_init(&mirror, &theirs, "nftables inet t x"), 0);
	mirror_turn(&mirror, NOW + 1);
	kernel_has("192.0.2.2 192.0.2.3 203.0.113.7 203.0.113.8", "");
	assert_non_null(strstr(kernel_elements("x4"), "192.0.2.2 timeout 1h59m59s"));
	assert_non_null(strstr(kernel_elements("x4"), "192.0.2.3 timeout 10m comment"));
	assert_non_null(strstr(kernel_elements("x4"), "203.0.113.7 timeout 1h comment \"mine\""));
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 2);
	drop("203.0.113.7");
	drop("192.0.2.2");
	drop("192.0.2.3");
	mirror_turn(&mirror, NOW + 2);
	kernel_has("203.0.113.7 203.0.113.8", ""); /* what was not ours has stayed */
}

static void others_change_the_rules(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	kernel_nft("add element inet t x4 { 192.0.2.7 }");
	add("192.0.2.0/24", NOW + 600, 1);
	add("198.51.100.1", NOW + 600, 1);
	mirror_turn(&mirror, NOW);
	kernel_has("192.0.2.7 198.51.100.1", "");
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 1);
	kernel_nft("flush set inet t x4");
	mirror_turn(&mirror, NOW + 1);
	kernel_has("192.0.2.0/24 198.51.100.1", "");
	kernel_nft("delete set inet t x4");
	mirror_turn(&mirror, NOW + 2);
	assert_true(was_logged("event=ban_kernel_failed msg=\"set x4 of table t: there is no such set: nft add table inet t; nft add set inet t x4"));
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 0);
	add("2001:db8::/64", NOW + 600, 1); /* the other one goes on */
	mirror_turn(&mirror, NOW + 3);
	mirror_turn(&mirror, NOW + 4);
	assert_false(was_logged("event=ban_kernel_failed")); /* once */
	kernel_nft("add set inet t x4 { type ipv4_addr; flags timeout, interval; size 1; }");
	for (uint32_t s = 5; s < 40; s++)
		mirror_turn(&mirror, NOW + s);
	assert_true(was_logged("it is full (its size)"));
	kernel_nft("delete set inet t x4; add set inet t x4 { type ipv4_addr; flags timeout, interval; }");
	for (uint32_t s = 40; s < 80; s++)
		mirror_turn(&mirror, NOW + s);
	assert_true(was_logged("event=ban_kernel_back"));
	kernel_has("192.0.2.0/24 198.51.100.1", "2001:db8::/64");
}

static void more_than_a_batch(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	for (unsigned i = 0; i < 3 * NFT_BATCH; i++) {
		char text[40];
		snprintf(text, sizeof(text), "10.0.%u.%u", i / 100, 2 * (i % 100));
		add(text, NOW + 600, 1);
	}
	kernel_nft("add element inet t x4 { 10.0.1.0, 10.0.2.2 }"); /* in the midst of them */
	mirror_turn(&mirror, NOW);
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 3 * NFT_BATCH - 2);
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL_FAILED), 0);
	assert_int_equal(known_table_reset(&table.rows, fds[0]), 0); /* a keeper begins anew, */
	mirror_turn(&mirror, NOW + 1);
	assert_int_equal(ban_table_count(&table, BAN_COUNT_KERNEL), 3 * NFT_BATCH - 2);
	atomic_store(&table.rows.head->loaded, 1); /* and there is nothing in its file */
	atomic_fetch_add(&table.rows.head->sequence, 2);
	mirror_turn(&mirror, NOW + 2);
	kernel_has("10.0.1.0 10.0.2.2", "");
}

/* The keeper has died while it changed the table: what was right before stays. */
static void a_table_that_is_torn(void **context)
{
	(void)context;
	if (!have) {
		untested();
		return;
	}
	add("192.0.2.1", NOW + 600, 1);
	mirror_turn(&mirror, NOW);
	add("192.0.2.2", NOW + 600, 1);
	atomic_fetch_or(&table.rows.head->sequence, 1);
	mirror_turn(&mirror, NOW + 1);
	kernel_has("192.0.2.1", "");
	atomic_fetch_add(&table.rows.head->sequence, 1);
	mirror_turn(&mirror, NOW + 2);
	kernel_has("192.0.2.1 192.0.2.2", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(comes_and_goes, begin, end), cmocka_unit_test_setup_teardown(another_one, begin, end),
		cmocka_unit_test_setup_teardown(others_change_the_rules, begin, end), cmocka_unit_test_setup_teardown(more_than_a_batch, begin, end),
		cmocka_unit_test_setup_teardown(a_table_that_is_torn, begin, end),
	};
	return cmocka_run_group_tests(tests, group_begin, NULL);
}
