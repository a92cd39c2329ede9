/* cdb maps: files as the library makes them, in every dialect; files that are cut, broken or of another kind; and tables without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <cdb.h>

#include "files.h"
#include "map/map_cdb.h"

static void pairs_of_others(void **state)
{
	struct files *f = *state;
	static const size_t sizes[] = { 0, 1, 2, 100, 20000 };
	files_name(f, "cdb:", "x.cdb");
	for (size_t extra = 0; extra < 2; extra++)
		for (size_t i = 0; i < 5; i++) {
			struct pair *pairs = files_pairs(sizes[i], 0, extra);
			struct map_value v;
			files_cdb(f, pairs, sizes[i]);
			struct map *map = files_open(f, NULL);
			unlink(f->path);
			assert_false(map_canonical(map));
			assert_int_equal(map_entries(map), sizes[i]);
			assert_int_equal(files_get(map, "", &v), -1);
			for (size_t n = 0; n < sizes[i]; n++) {
				char key[32], value[32];
				snprintf(key, sizeof(key), "key%zu", n);
				snprintf(value, sizeof(value), "value%zu", n);
				files_assert_value(map, key, value, 0);
				snprintf(key, sizeof(key), "kez%zu", n);
				assert_int_equal(files_get(map, key, &v), -1);
			}
			map_close(map);
			free(pairs);
		}
}

static void long_and_empty_values(void **state)
{
	struct files *f = *state;
	struct map_value v;
	char *value = calloc(1, 65536);
	memset(value, 'v', 65536);
	const struct pair pairs[] = {
		{ { "long", 4 }, { value, 65536 } },
		{ { "edge", 4 }, { value, MAP_VALUE_MAX } },
		{ { "", 0 }, { "x", 1 } },
		{ { "none", 4 }, { "", 0 } },
	};
	files_name(f, "cdb:", "x");
	files_cdb(f, pairs, 4);
	struct map *map = files_open(f, NULL);
	assert_non_null(strstr(buf_text(&f->warnings), ": 1 of its values are longer than 1022 bytes (the longest: 65536), the rest of them is not read\n"));
	assert_int_equal(files_get(map, "long", &v), 0);
	assert_int_equal(v.text.len, MAP_VALUE_MAX);
	assert_int_equal(files_get(map, "edge", &v), 0);
	assert_int_equal(v.text.len, MAP_VALUE_MAX);
	files_assert_value(map, "none", "", 0);
	files_assert_value(map, "", "x", 0);
	map_close(map);
	free(value);
}

/* The first of several counts, as with the library. */
static void the_same_key_twice(void **state)
{
	struct files *f = *state;
	const struct pair pairs[] = { { { "a", 1 }, { "1", 1 } }, { { "a", 1 }, { "2", 1 } } };
	files_name(f, "cdb:", "x");
	files_cdb(f, pairs, 2);
	struct map *map = files_open(f, NULL);
	files_assert_value(map, "a", "1", 0);
	map_close(map);
}

static void cut(void **state)
{
	struct files *f = *state;
	size_t len;
	struct pair *pairs = files_pairs(200, 0, 0);
	files_name(f, "cdb:", "x");
	files_cdb(f, pairs, 200);
	free(pairs);
	struct map *before = files_open(f, NULL);
	char *bytes = files_read(f, &len);
	for (size_t n = 0; n < len; n += n < len - 40 ? 1 + files_pick(80) : 1) {
		files_write(f, bytes, n);
		assert_int_equal(files_build(f, NULL), -1);
		assert_non_null(strstr(buf_text(&f->errors), ": is not a readable cdb file ("));
	}
	files_assert_value(before, "key199", "value199", 0); /* who had it open had it all the time */
	map_close(before);
	free(bytes);
}

static void broken_anywhere(void **state)
{
	struct files *f = *state;
	size_t len, refused = 0, taken = 0;
	struct pair *pairs = files_pairs(300, 0, 0);
	files_name(f, "cdb:", "x");
	files_cdb(f, pairs, 300);
	free(pairs);
	char *bytes = files_read(f, &len);
	for (int i = 0; i < 400; i++) {
		char kept[8];
		size_t at = i % 4 == 0 ? files_pick(2048) : files_pick((uint32_t)len - 8);
		memcpy(kept, bytes + at, 8);
		for (uint32_t n = 0; n < 1 + files_pick(8); n++)
			bytes[at + n] = (char)(i % 3 ? files_pick(256) : (uint8_t)bytes[at + n] ^ 1u << files_pick(8));
		files_write(f, bytes, len);
		int fd = files_build(f, NULL);
		refused += fd < 0;
		taken += fd >= 0;
		struct map *map = fd < 0 ? NULL : map_open(fd);
		if (map)
			files_use(map, 300);
		map_close(map);
		memcpy(bytes + at, kept, 8);
	}
	assert_true(refused > 50 && taken > 10);
	free(bytes);
}

static void kinds_that_are_none(void **state)
{
	struct files *f = *state;
	char *bytes = malloc(10000);
	struct pair *pairs = files_pairs(3, 0, 0);
	files_name(f, "cdb:", "x");
	files_write(f, "", 0);
	files_assert_refused(f, ": is not a readable cdb file (it is too short to be one)\n");
	memset(bytes, 0, 10000);
	files_write(f, bytes, 10000);
	files_assert_refused(f, ": is not a readable cdb file (it does not begin as one does, or is cut short)\n");
	memset(bytes, 'a', 10000);
	files_write(f, bytes, 10000);
	files_assert_refused(f, ": is not a readable cdb file (it does not begin as one does, or is cut short)\n");
	files_name(f, "cdb:", "y");
	files_lmdb(f, pairs, 3, 0);
	files_assert_refused(f, ": is not a readable cdb file (it does not begin as one does, or is cut short)\n");
	free(pairs);
	free(bytes);
}

/* One record, key "k", value "v", and a table of so many slots for its hash, of which `used` lead to it. */
static size_t one_table(uint8_t *bytes, unsigned slots, unsigned used)
{
	unsigned hash = cdb_hash("k", 1), end = 2048 + 8 + 2;
	memset(bytes, 0, 2048);
	for (unsigned i = 0; i < 256; i++)
		cdb_pack(end, bytes + 8 * i);
	cdb_pack(slots, bytes + (hash & 255) * 8 + 4);
	cdb_pack(1, bytes + 2048);
	cdb_pack(1, bytes + 2052);
	memcpy(bytes + 2056, "kv", 2);
	memset(bytes + end, 0, slots * 8);
	for (unsigned i = 0; i < used; i++) {
		unsigned slot = ((hash >> 8) + i) % slots;
		cdb_pack(hash, bytes + end + slot * 8);
		cdb_pack(2048, bytes + end + slot * 8 + 4);
	}
	return end + slots * 8;
}

static const char *checked(const uint8_t *bytes, size_t len, uint64_t *entries)
{
	static char memory[300];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	uint8_t *exact = malloc(len);
	memcpy(exact, bytes, len);
	bool good = map_cdb_check(exact, len, entries, &why);
	free(exact);
	return good ? "" : buf_text(&why);
}

static void faults(void **state)
{
	uint8_t *bytes = malloc(2058 + 8 * 10000);
	uint64_t entries = 7;
	unsigned table = cdb_hash("k", 1) & 255;
	(void)state;
	size_t len = one_table(bytes, 2, 1);
	assert_string_equal(checked(bytes, len, &entries), "");
	assert_int_equal(entries, 1);
	assert_string_equal(checked(bytes, len - 1, &entries), "a table lies outside; it may be cut short");
	cdb_pack(2050, bytes + table * 8);
	assert_string_equal(checked(bytes, len, &entries), "a table lies outside; it may be cut short");
	len = one_table(bytes, 2, 1);
	cdb_pack(UINT32_MAX, bytes + table * 8 + 4);
	assert_string_equal(checked(bytes, len, &entries), "a table lies outside; it may be cut short");
	len = one_table(bytes, 2, 2);
	assert_string_equal(checked(bytes, len, &entries), "its tables have more entries than there are records");
	len = one_table(bytes, 2, 1);
	cdb_pack(2, bytes + 2048);
	assert_string_equal(checked(bytes, len, &entries), "a record is longer than the file");
	cdb_pack(UINT32_MAX, bytes + 2048);
	assert_string_equal(checked(bytes, len, &entries), "a record is longer than the file");
	cdb_pack(0, bytes + 2048);
	assert_string_equal(checked(bytes, len, &entries), "its records do not end where its tables begin");
	static const unsigned places[] = { 1, 2047, 2051, UINT32_MAX };
	for (size_t i = 0; i < 4; i++) {
		len = one_table(bytes, 2, 1);
		cdb_pack(places[i], bytes + 2058 + (cdb_hash("k", 1) >> 8) % 2 * 8 + 4);
		assert_string_equal(checked(bytes, len, &entries), "a table leads out of the records");
	}
	len = one_table(bytes, MAP_CDB_RUN_MAX + 2, MAP_CDB_RUN_MAX + 1);
	assert_string_equal(checked(bytes, len, &entries), "too many of its keys fall into one place; lmdb: does not mind");
	len = one_table(bytes, MAP_CDB_RUN_MAX, MAP_CDB_RUN_MAX); /* no free slot at all: around and around */
	assert_string_equal(checked(bytes, len, &entries), "too many of its keys fall into one place; lmdb: does not mind");
	free(bytes);
}

/* A record that its table does not lead to. */
static void not_in_its_table(void **state)
{
	struct files *f = *state;
	uint8_t bytes[2058 + 16];
	files_name(f, "cdb:", "x");
	size_t len = one_table(bytes, 2, 1);
	files_write(f, bytes, len);
	map_close(files_open(f, NULL));
	bytes[2056] = 'j';
	files_write(f, bytes, len);
	files_assert_refused(f, ": is not a readable cdb file (a key is in its records and not in its tables)\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pairs_of_others, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(long_and_empty_values, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(the_same_key_twice, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(cut, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(broken_anywhere, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(kinds_that_are_none, files_setup, files_teardown),
		cmocka_unit_test(faults), cmocka_unit_test_setup_teardown(not_in_its_table, files_setup, files_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
