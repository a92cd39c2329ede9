/* Taking files in: what is no file, what rules are told, and what the image has. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"
#include "map/map_file.h"

static void no_files(void **state)
{
	struct files *f = *state;
	static const char *const schemes[] = { "lmdb:", "cdb:" };
	for (size_t i = 0; i < 2; i++) {
		files_name(f, schemes[i], "x");
		files_assert_refused(f, ": cannot be read: No such file or directory\n");
		assert_int_equal(mkdir(f->path, 0700), 0);
		files_assert_refused(f, ": is a directory; expected a file\n");
		rmdir(f->path);
		assert_int_equal(mkfifo(f->path, 0600), 0);
		files_assert_refused(f, ": is no regular file\n");
		unlink(f->path);
	}
	files_name(f, "cdb:", "large");
	int fd = open(f->path, O_CREAT | O_RDWR, 0600);
	assert_int_equal(ftruncate(fd, (off_t)MAP_FILE_MAX + 1), 0);
	close(fd);
	files_assert_refused(f, ": is larger than 2 GB, the most that a map may have\n");
}

struct seen {
	struct buf keys;
	char memory[1000];
	size_t entries, finished;
};

static void entry(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *warnings)
{
	(void)context, (void)line, (void)own_key, (void)warnings;
	fail();
}

static void plain(void *context, struct slice key, struct slice value, struct map_notes *warnings)
{
	struct seen *s = context;
	s->entries++;
	buf_put_slice(&s->keys, key);
	buf_put_char(&s->keys, '=');
	buf_put_slice(&s->keys, value);
	buf_put_char(&s->keys, ' ');
	if (!map_note_begin(warnings, 0))
		return;
	map_note_bytes(warnings, key);
	map_note_end(warnings);
}

static void finish(void *context, uint8_t meta[MAP_META], struct map_notes *warnings)
{
	struct seen *s = context;
	(void)warnings;
	s->finished++;
	meta[0] = 'f';
	meta[MAP_META - 1] = 'g';
}

/* Every entry, without its NUL, then the end; what is left as meta comes back. */
static void rules_hear_of_plain_files(void **state)
{
	struct files *f = *state;
	static const struct pair pairs[] = { { { "a", 2 }, { "1", 2 } }, { { "b", 1 }, { "2", 1 } } };
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		struct seen seen = { .entries = 0 };
		struct map_rules rules = { entry, plain, finish, &seen };
		buf_init_fixed(&seen.keys, seen.memory, sizeof(seen.memory));
		files_name(f, lmdb ? "lmdb:" : "cdb:", lmdb ? "x" : "y");
		if (lmdb)
			files_lmdb(f, pairs, 2, 0);
		else
			files_cdb(f, pairs, 2);
		struct map *map = files_open(f, &rules);
		assert_string_equal(buf_text(&seen.keys), "a=1 b=2 ");
		assert_int_equal(seen.finished, 1);
		assert_int_equal(map_meta(map)[0], 'f');
		assert_int_equal(map_meta(map)[MAP_META - 1], 'g');
		char said[400];
		snprintf(said, sizeof(said), "%s: a\n%s: b\n", f->path, f->path);
		assert_string_equal(buf_text(&f->warnings), said);
		map_close(map);
	}
}

/* Files of map_write() have their meta already. */
static void rules_do_not_hear_of_canonical_files(void **state)
{
	struct files *f = *state;
	char meta[MAP_META];
	memset(meta, 'm', sizeof(meta));
	const struct pair pairs[] = { { { MAP_META_KEY, MAP_META_KEY_LEN }, { meta, MAP_META } }, { { "b", 1 }, { "2", 1 } } };
	struct seen seen = { .entries = 0 };
	struct map_rules rules = { entry, plain, finish, &seen };
	files_name(f, "lmdb:", "x");
	files_lmdb(f, pairs, 2, 0);
	struct map *map = files_open(f, &rules);
	assert_int_equal(seen.entries + seen.finished, 0);
	assert_memory_equal(map_meta(map), meta, MAP_META);
	map_close(map);
}

/* The ceiling of warnings, and how many there were. */
static void many_warnings(void **state)
{
	struct files *f = *state;
	struct pair *pairs = files_pairs(50, 0, 0);
	struct seen seen = { .entries = 0 };
	struct map_rules rules = { entry, plain, finish, &seen };
	buf_init_fixed(&seen.keys, seen.memory, sizeof(seen.memory));
	files_name(f, "cdb:", "x");
	files_cdb(f, pairs, 50);
	map_close(files_open(f, &rules));
	assert_int_equal(seen.entries, 50);
	assert_non_null(strstr(buf_text(&f->warnings), ": key19\n"));
	assert_null(strstr(buf_text(&f->warnings), ": key20\n"));
	assert_non_null(strstr(buf_text(&f->warnings), ": and 30 more\n"));
	free(pairs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_files, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(rules_hear_of_plain_files, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(rules_do_not_hear_of_canonical_files, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(many_warnings, files_setup, files_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
