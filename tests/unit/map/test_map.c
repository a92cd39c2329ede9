/* Names of maps, which file and which driver they stand for, and notes with their ceiling. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "map/map.h"
#include "map/map_driver.h"

static void paths(void **context)
{
	char memory[64];
	struct buf path, why;
	(void)context;
	buf_init(&why, 1000);
	buf_init_fixed(&path, memory, sizeof(memory));
	assert_true(map_path("text:/etc/mail/access", &path, &why));
	assert_string_equal(buf_text(&path), "/etc/mail/access");
	assert_true(map_path("text:relative:odd", &path, NULL));
	assert_string_equal(buf_text(&path), "relative:odd");
	assert_int_equal(why.len, 0);
	assert_false(map_path("hash:\x1b[2J", &path, &why)); /* what is repeated is made harmless */
	assert_null(memchr(why.at, 0x1b, why.len));
	buf_fini(&why);
}

static void drivers(void **context)
{
	static const struct {
		const char *spec, *where;
		const struct map_driver *driver;
	} right[] = { { "text:/a", "/a", &map_text_driver }, { "lmdb:/a", "/a", &map_lmdb_driver }, { "cdb:a:b", "a:b", &map_cdb_driver } };
	static const char *const wrong[] = { "", "lmdb", "lmdb:", "CDB:/x", "hash:/x", "/x", " cdb:/x", "lmdbx:/x" };
	struct buf why;
	const char *where;
	(void)context;
	buf_init(&why, 1000);
	for (size_t i = 0; i < 3; i++) {
		assert_ptr_equal(map_driver_find(right[i].spec, &where, &why), right[i].driver);
		assert_string_equal(where, right[i].where);
	}
	assert_int_equal(why.len, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		buf_clear(&why);
		assert_null(map_driver_find(wrong[i], &where, NULL));
		assert_null(map_driver_find(wrong[i], &where, &why));
		assert_non_null(strstr(buf_text(&why), "\" is no map that can be read; expected text:, lmdb: or cdb: and /path/to/file\n"));
	}
	buf_fini(&why);
}

static const char *path_of(const char *spec)
{
	static char memory[MAP_PATH_MAX + 16];
	struct buf path;
	buf_init_fixed(&path, memory, sizeof(memory));
	buf_put_text(&path, "what was there");
	return map_path(spec, &path, NULL) ? buf_text(&path) : NULL;
}

/* With the suffix if there is such a file. */
static void paths_with_suffix(void **state)
{
	struct files *f = *state;
	char bare[160], with[160], spec[8192];
	struct buf path, why;
	files_name(f, "lmdb:", "x.lmdb");
	snprintf(with, sizeof(with), "%s", f->path);
	snprintf(spec, sizeof(spec), "%s", f->spec);
	files_name(f, "lmdb:", "x");
	snprintf(bare, sizeof(bare), "%s", f->path);
	assert_string_equal(path_of(f->spec), bare);
	assert_string_equal(path_of(spec), with);
	files_write(f, "", 0);
	assert_string_equal(path_of(f->spec), bare);
	snprintf(f->path, sizeof(f->path), "%.127s", with);
	files_write(f, "", 0);
	assert_string_equal(path_of(f->spec), with);
	assert_string_equal(path_of(spec), with);
	snprintf(spec, sizeof(spec), "cdb:%s", bare);
	assert_string_equal(path_of(spec), bare);
	snprintf(spec, sizeof(spec), "text:%s", bare);
	assert_string_equal(path_of(spec), bare);
	assert_null(path_of("hash:x"));
	memset(spec, 'x', sizeof(spec));
	memcpy(spec, "cdb:", 4);
	spec[4 + MAP_PATH_MAX] = '\0';
	assert_null(path_of(spec));
	buf_init(&path, 100000);
	buf_init(&why, 1000);
	assert_false(map_path(spec, &path, &why));
	assert_string_equal(buf_text(&why), "the path of a map is longer than 4096 bytes, the most that a path may have\n");
	buf_fini(&path);
	buf_fini(&why);
}

/* One function opens what any driver has built, and nothing else. */
static void opened(void **state)
{
	struct files *f = *state;
	struct pair *pairs = files_pairs(3, 0, 0);
	static const struct map_driver *const want[] = { &map_text_driver, &map_lmdb_driver, &map_cdb_driver };
	for (size_t i = 0; i < 3; i++) {
		files_name(f, want[i]->scheme, want[i]->scheme + 1);
		if (i == 0)
			files_write(f, "key0 value0\nkey1 value1\nkey2 value2\n", 36);
		else
			i == 1 ? files_lmdb(f, pairs, 3, 0) : files_cdb(f, pairs, 3);
		struct map *map = files_open(f, NULL);
		assert_ptr_equal(map->driver, want[i]);
		assert_int_equal(map_entries(map), 3);
		assert_int_equal(map_canonical(map), i == 0);
		files_assert_value(map, "key2", "value2", i == 0 ? 3 : 0);
		const struct slice keys[] = { slice_of("key7"), slice_of("key1"), slice_of("key0") };
		struct map_value v;
		assert_int_equal(map_first(map, keys, 3, &v), 1);
		assert_memory_equal(v.text.at, "value1", 6);
		assert_int_equal(map_first(map, keys, 1, &v), -1);
		assert_int_equal(map_first(map, keys, 0, &v), -1);
		map_close(map);
		int fd = open(f->path, O_RDONLY); /* the file itself */
		assert_null(map_open(fd));
		assert_int_equal(fcntl(fd, F_GETFD), -1);
	}
	assert_null(map_open(-1));
	map_close(NULL);
	free(pairs);
}

static bool take_two(void *context, struct slice key, const struct map_value *value)
{
	(void)key;
	(void)value;
	return ++*(int *)context < 2;
}

static void each_can_end(void **state)
{
	struct files *f = *state;
	struct pair *pairs = files_pairs(5, 0, 0);
	files_name(f, "lmdb:", "x");
	files_lmdb(f, pairs, 5, 0);
	struct map *map = files_open(f, NULL);
	int n = 0;
	assert_false(map_each(map, take_two, &n));
	assert_int_equal(n, 2);
	map_close(map);
	files_name(f, "cdb:", "y");
	files_cdb(f, pairs, 5);
	map = files_open(f, NULL);
	n = 0;
	assert_false(map_each(map, take_two, &n));
	assert_int_equal(n, 2);
	map_close(map);
	files_name(f, "text:", "z");
	files_write(f, "a 1\nb 2\nc 3\n", 12);
	map = files_open(f, NULL);
	n = 0;
	assert_false(map_each(map, take_two, &n));
	assert_int_equal(n, 2);
	map_close(map);
	free(pairs);
}

static void records(void **context)
{
	char memory[MAP_RECORD_MAX], longest[MAP_VALUE_MAX];
	(void)context;
	struct map_record r = { { "k", 1 }, { "300", 3 }, 12 };
	struct slice s = map_record_value(&r, memory);
	assert_int_equal(s.len, 6);
	assert_memory_equal(s.at, "300\0" "12", 6);
	r.line = 0;
	s = map_record_value(&r, memory);
	assert_int_equal(s.len, 3);
	memset(longest, 'v', sizeof(longest));
	r = (struct map_record){ { "k", 1 }, { longest, sizeof(longest) }, UINT32_MAX };
	s = map_record_value(&r, memory);
	assert_int_equal(s.len, MAP_VALUE_MAX + 11);
	assert_memory_equal(s.at + MAP_VALUE_MAX, "\0" "4294967295", 11);
}

static void notes(void **context)
{
	struct buf to;
	struct map_notes n;
	char key[MAP_NOTE_KEY + 1], want[64];
	(void)context;
	buf_init(&to, 100000);
	map_notes_init(&n, &to, "access");
	for (uint32_t line = 1; line <= MAP_NOTES_SHOWN + 7; line++) {
		buf_clear(&to);
		bool shown = map_note_begin(&n, line);
		assert_int_equal(shown, line <= MAP_NOTES_SHOWN);
		if (!shown)
			continue;
		map_note_bytes(&n, (struct slice){ "a\0\n", 3 });
		map_note_end(&n);
		snprintf(want, sizeof(want), "access:%u: a\\x00\\n\n", line);
		assert_string_equal(buf_text(&to), want);
	}
	buf_clear(&to);
	map_notes_finish(&n);
	assert_string_equal(buf_text(&to), "access: and 7 more\n");
	buf_clear(&to);
	map_notes_init(&n, &to, "access");
	assert_true(map_note_begin(&n, 0)); /* no line */
	assert_string_equal(buf_text(&to), "access: ");
	buf_clear(&to);
	memset(key, 'k', sizeof(key));
	map_note_bytes(&n, (struct slice){ key, MAP_NOTE_KEY });
	assert_int_equal(to.len, MAP_NOTE_KEY);
	buf_clear(&to);
	map_note_bytes(&n, (struct slice){ key, sizeof(key) });
	assert_int_equal(to.len, MAP_NOTE_KEY + 3); /* "..." */
	buf_clear(&to);
	map_notes_init(&n, &to, "access");
	map_notes_finish(&n);
	assert_int_equal(to.len, 0);
	buf_fini(&to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths), cmocka_unit_test(drivers), cmocka_unit_test_setup_teardown(paths_with_suffix, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(opened, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(each_can_end, files_setup, files_teardown),
		cmocka_unit_test(records), cmocka_unit_test(notes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
