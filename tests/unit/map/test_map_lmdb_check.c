/* What an LMDB file may not have: each fault by itself, and thousands at random. The layout of a page: number 8 bytes, padding 2, flags 2,
 * lower 2, upper 2, offsets 2 each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"
#include "map/map_lmdb.h"

#define PAGE 4096

static uint8_t *bytes;
static size_t size, meta, root, leaf, big;
static struct buf why;
static char memory[600];

static uint64_t get(size_t at, size_t width)
{
	uint64_t n = 0;
	memcpy(&n, bytes + at, width);
	return n;
}

static void set(size_t at, size_t width, uint64_t n)
{
	memcpy(bytes + at, &n, width);
}

/* Where node i of a page lies. */
static size_t node(size_t page, size_t i)
{
	return page + get(page + 16 + 2 * i, 2);
}

/* Two levels, and a value on overflow pages. */
static int make(void **state)
{
	if (files_setup(state) < 0)
		return -1;
	struct files *f = *state;
	struct pair *pairs = files_pairs(300, 0, 0);
	char *value = calloc(1, 10000);
	pairs[0].value = (struct slice){ value, 10000 };
	files_name(f, "lmdb:", "x");
	files_lmdb(f, pairs, 300, 0);
	bytes = (uint8_t *)files_read(f, &size);
	free(pairs);
	free(value);
	meta = get(16 + 128, 8) > get(PAGE + 16 + 128, 8) ? 16 : PAGE + 16;
	root = get(meta + 24 + 48 + 40, 8) * PAGE;
	leaf = get(node(root, 0), 4) * PAGE;
	big = get(node(leaf, 0) + 8 + 4, 8) * PAGE;
	return 0;
}

static int unmake(void **state)
{
	free(bytes);
	return files_teardown(state);
}

static void count_up(void *context, struct slice key, struct slice value)
{
	uint64_t *told = context;
	(void)key, (void)value;
	++*told;
}

/* In so many parts. Nothing is told twice or not at all. */
static bool check_parts(size_t len, unsigned parts)
{
	uint64_t sum = 0;
	char said[600];
	struct buf unread;
	bool good = true;
	for (unsigned part = 0; part < parts && good; part++) {
		uint64_t entries = 0, told = 0;
		buf_init_fixed(&unread, said, sizeof(said));
		good = map_lmdb_walk_part(bytes, len, part, parts, count_up, &told, &entries, &unread);
		assert_true(good ? told == entries : unread.len > 0);
		sum += entries;
	}
	return good && sum == map_lmdb_claimed((struct slice){ (const char *)bytes, len });
}

/* At once, and in parts, which say the same but for values on the same pages. */
static bool check(uint64_t *entries)
{
	uint64_t count = 0;
	buf_init_fixed(&why, memory, sizeof(memory));
	struct slice head = { (const char *)bytes, size < 65536 ? size : 65536 };
	if (!map_lmdb_extent(head, size, &count, &why) || count > size)
		return false;
	bool good = map_lmdb_check(bytes, (size_t)count, entries, &why);
	for (unsigned parts = 1; parts <= 5; parts += 2)
		if (check_parts((size_t)count, parts) != good)
			assert_true(!good && parts > 1 && strstr(buf_text(&why), "it is used twice"));
	return good;
}

static void a_good_one(void **state)
{
	uint64_t entries = 0;
	(void)state;
	assert_true(check(&entries));
	assert_int_equal(entries, 300);
	assert_int_equal(why.len, 0);
	assert_int_equal(get(root + 10, 2), 1); /* the test knows its way about */
	assert_int_equal(get(leaf + 10, 2), 2);
	assert_int_equal(get(big + 10, 2), 4);
	assert_int_equal(get(big + 12, 4), 3);
}

/* Keys that differ in their first bytes, behind them, in their last one or in length alone; bytes count without a sign. */
static void order(void **state)
{
	static const struct slice keys[] = { { "\1", 1 }, { "aaaaaaa", 7 }, { "aaaaaaaa", 8 }, { "aaaaaaaa\1", 9 }, { "aaaaaaaab", 9 }, { "aaaaaaaabc", 10 }, { "aaaaaaab", 8 },
		{ "aaaaaaab\x80", 9 }, { "zzzzzzzz", 8 }, { "\x80zzzzzzz", 8 }, { "\xffzzzzzzz", 8 } };
	enum { LEN = sizeof(keys) / sizeof(keys[0]) };
	struct files *f = *state;
	struct pair pairs[LEN];
	uint64_t entries;
	for (size_t i = 0; i < LEN; i++)
		pairs[i] = (struct pair){ keys[LEN - 1 - i], { "v", 1 } };
	free(bytes);
	files_name(f, "lmdb:", "order");
	files_lmdb(f, pairs, LEN, 0);
	bytes = (uint8_t *)files_read(f, &size);
	meta = get(16 + 128, 8) > get(PAGE + 16 + 128, 8) ? 16 : PAGE + 16;
	leaf = get(meta + 24 + 48 + 40, 8) * PAGE;
	assert_true(check(&entries));
	assert_int_equal(entries, LEN);
	for (size_t i = 0; i + 1 < LEN; i++) { /* two change places */
		uint64_t first = get(leaf + 16 + 2 * i, 2), second = get(leaf + 18 + 2 * i, 2);
		set(leaf + 16 + 2 * i, 2, second);
		set(leaf + 18 + 2 * i, 2, first);
		assert_false(check(&entries));
		assert_non_null(strstr(buf_text(&why), "its keys are not in order"));
		set(leaf + 16 + 2 * i, 2, first);
		set(leaf + 18 + 2 * i, 2, second);
	}
	set(leaf + 18, 2, get(leaf + 16, 2)); /* one twice */
	assert_false(check(&entries));
}

struct told {
	size_t entries, large;
	struct slice last;
};

static void tell(void *context, struct slice key, struct slice value)
{
	struct told *told = context;
	size_t len = key.len < told->last.len ? key.len : told->last.len;
	assert_true(told->entries == 0 || memcmp(told->last.at, key.at, len) <= 0);
	assert_true(value.at || value.len == 0);
	told->entries++;
	told->large += !value.at;
	told->last = key;
}

/* In their order, the one whose value has pages of its own as well. */
static void all_are_told(void **state)
{
	struct told told = { 0 };
	uint64_t entries;
	(void)state;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_int_equal(map_lmdb_claimed((struct slice){ (const char *)bytes, size }), 300);
	assert_true(map_lmdb_walk(bytes, size, tell, &told, &entries, &why));
	assert_true(told.entries == 300 && entries == 300 && told.large == 1);
	set(16, 4, 1);
	assert_int_equal(map_lmdb_claimed((struct slice){ (const char *)bytes, size }), 0);
}

static void faults(void **state)
{
	(void)state;
	const struct {
		size_t at, width;
		uint64_t value;
		const char *said;
	} cases[] = {
		{ 16, 4, 1, "it does not begin as one of this machine does" },
		{ 10, 2, 2, "it does not begin as one of this machine does" },
		{ PAGE + 16, 4, 1, "it does not begin as one of this machine does" },
		{ 20, 4, 999, "it is of version 999; expected 1, that of LMDB 0.9" },
		{ 16 + 24, 4, 4095, "its pages have an impossible size" },
		{ 16 + 24, 4, 256, "its pages have an impossible size" },
		{ 16 + 24, 4, 65536, "its pages have an impossible size" },
		{ 16 + 24, 4, 0, "its pages have an impossible size" },
		{ PAGE + 16 + 24, 4, 8192, "its two meta pages differ in the size of pages" },
		{ meta + 120, 8, UINT64_MAX, "it is cut short: " },
		{ meta + 120, 8, size / PAGE, "it is cut short: " },
		{ meta + 120, 8, 0, "it is cut short: " },
		{ meta + 120, 8, root / PAGE - 1, "there is no such page" },
		{ meta + 24 + 48 + 4, 2, 4, "its keys have an order of their own or several values; expected neither" },
		{ meta + 24 + 48 + 6, 2, 0, "its depth is impossible" },
		{ meta + 24 + 48 + 6, 2, 32, "its depth is impossible" },
		{ meta + 24 + 48 + 6, 2, 1, "a leaf was expected" },
		{ meta + 24 + 48 + 6, 2, 3, "a branch was expected" },
		{ meta + 24 + 48 + 32, 8, 299, "it has more or fewer entries than it says" },
		{ meta + 24 + 48 + 40, 8, UINT64_MAX, "its entries are missing" },
		{ meta + 24 + 48 + 40, 8, UINT64_MAX - 1, "there is no such page" },
		{ meta + 24 + 48 + 40, 8, 1, "there is no such page" },
		{ root, 8, 12345, "it has another number" },
		{ root + 10, 2, 8, "it is neither branch nor leaf" },
		{ root + 10, 2, 3, "it is neither branch nor leaf" },
		{ root + 10, 2, 0x21, "it is neither branch nor leaf" },
		{ root + 12, 2, 18, "it leads to one page alone" },
		{ root + 12, 2, 16, "its free space is impossible" },
		{ root + 12, 2, 0, "its free space is impossible" },
		{ root + 12, 2, 21, "its free space is impossible" },
		{ root + 12, 2, 65534, "its free space is impossible" },
		{ root + 14, 2, 65534, "its free space is impossible" },
		{ root + 16, 2, 65534, "an entry lies outside" },
		{ root + 16, 2, 16, "an entry lies outside" },
		{ root + 16, 2, PAGE - 6, "an entry lies outside" },
		{ root + 18, 2, get(root + 18, 2) + 1, "an entry lies outside" },
		{ node(root, 1) + 6, 2, 65535, "a key is longer than the page" },
		{ node(root, 1) + 6, 2, 0, "its keys are not in order" },
		{ node(root, 1) + 8, 1, 'a', "its keys are not in order" },
		{ node(root, 1) + 8, 1, 'z', "its keys are not in order" },
		{ node(root, 1), 4, root / PAGE, "it is used twice" },
		{ node(root, 1), 4, leaf / PAGE, "it is used twice" },
		{ node(root, 1) + 4, 2, 1, "there is no such page" },
		{ node(leaf, 5) + 4, 2, 2, "it has databases in it; expected entries" },
		{ node(leaf, 5) + 4, 2, 4, "it has several values for a key; expected one" },
		{ node(leaf, 5) + 0, 4, 5000, "a value is longer than the page" },
		{ node(leaf, 5) + 0, 4, UINT32_MAX, "a value is longer than the page" },
		{ node(leaf, 5) + 6, 2, 5000, "a key is longer than the page" },
		{ node(leaf, 5) + 6, 2, 0, "its keys are not in order" },
		{ node(leaf, 5) + 8, 1, 'z', "its keys are not in order" },
		{ node(leaf, 0) + 0, 4, 3 * PAGE, "a value is longer than its pages" },
		{ node(leaf, 0) + 8 + 4, 8, leaf / PAGE, "it is used twice" },
		{ node(leaf, 0) + 8 + 4, 8, 1, "there is no such page" },
		{ big + 10, 2, 2, "it is no overflow page" },
		{ big + 12, 4, 0, "it is no overflow page" },
		{ big + 12, 4, UINT32_MAX, "it is no overflow page" },
		{ big, 8, 0, "it has another number" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t before = get(cases[i].at, cases[i].width), entries = 7;
		set(cases[i].at, cases[i].width, cases[i].value);
		if (check(&entries) || !strstr(buf_text(&why), cases[i].said))
			fail_msg("case %zu: \"%s\" where \"%s\" was expected", i, buf_text(&why), cases[i].said);
		assert_int_equal(entries, 7);
		set(cases[i].at, cases[i].width, before);
	}
	uint64_t entries;
	assert_true(check(&entries));
}

/* The overflow pages of one value over those of another, and over the tree. */
static void pages_in_two_places(void **state)
{
	(void)state;
	uint64_t entries;
	set(big + 12, 4, (size - big) / PAGE);
	assert_false(check(&entries));
	assert_non_null(strstr(buf_text(&why), "it is used twice"));
	set(big + 12, 4, 3);
}

/* Never outside: the copy has exactly its size. */
static void random_faults(void **state)
{
	size_t bad = 0;
	(void)state;
	for (int i = 0; i < 20000; i++) {
		size_t pages[] = { 0, PAGE, root, leaf, big, files_pick((uint32_t)(size / PAGE)) * PAGE };
		size_t page = pages[files_pick(6)];
		size_t at = page + (files_pick(2) ? files_pick(160) : files_pick(PAGE - 8)), width = 1u << files_pick(4);
		uint64_t entries, kept = get(at, 8);
		set(at, width, (uint64_t)files_pick(1 << 16) >> files_pick(16) << files_pick(2) * 48);
		bad += !check(&entries);
		set(at, 8, kept);
	}
	assert_true(bad > 1000);
}

static void same_or_not(void **state)
{
	(void)state;
	struct slice before = { (const char *)bytes, 2 * PAGE };
	char *copy = malloc(2 * PAGE);
	memcpy(copy, bytes, 2 * PAGE);
	struct slice after = { copy, 2 * PAGE };
	assert_true(map_lmdb_same(before, after));
	copy[meta + 128] ^= 4; /* another transaction */
	assert_false(map_lmdb_same(before, after));
	copy[meta + 128] ^= 4;
	copy[16] = 0;
	assert_false(map_lmdb_same(before, after));
	assert_false(map_lmdb_same(before, (struct slice){ copy, 0 }));
	free(copy);
}

static void too_short(void **state)
{
	(void)state;
	uint64_t count = 7;
	for (size_t n = 0; n <= 2 * PAGE; n += n < 200 ? 1 : 500) {
		char *exact = malloc(n ? n : 1);
		memcpy(exact, bytes, n);
		buf_init_fixed(&why, memory, sizeof(memory));
		assert_false(map_lmdb_extent((struct slice){ exact, n }, n, &count, &why));
		free(exact);
	}
	assert_int_equal(count, 7);
}

int main(void)
{
	if (sysconf(_SC_PAGESIZE) != PAGE || sizeof(size_t) != 8) {
		print_message("1..0 # SKIP the faults are written for 64 bits and pages of 4096 bytes\n");
		return 0;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_good_one, make, unmake), cmocka_unit_test_setup_teardown(all_are_told, make, unmake), cmocka_unit_test_setup_teardown(order, make, unmake),
		cmocka_unit_test_setup_teardown(faults, make, unmake),
		cmocka_unit_test_setup_teardown(pages_in_two_places, make, unmake), cmocka_unit_test_setup_teardown(random_faults, make, unmake),
		cmocka_unit_test_setup_teardown(same_or_not, make, unmake), cmocka_unit_test_setup_teardown(too_short, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
