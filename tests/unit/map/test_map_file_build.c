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
#include <sys/syscall.h>
#include <time.h>
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

/* The system's calls while a file is read: what happens to it meanwhile happens here, and nobody waits. */

static struct {
	void (*before)(int call); /* before this read of the file at hand, from 1 */
	ino_t ino;
	int calls, waits;
} during;

ssize_t pread(int fd, void *at, size_t len, off_t from)
{
	struct stat st;
	if (during.before && fstat(fd, &st) == 0 && st.st_ino == during.ino)
		during.before(++during.calls);
	return syscall(SYS_pread64, fd, at, len, from);
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time, (void)left;
	during.waits++;
	return 0;
}

static struct files *at_hand;

static void build_during(struct files *f, void (*before)(int call))
{
	struct stat st;
	assert_int_equal(stat(f->path, &st), 0);
	at_hand = f;
	during.ino = st.st_ino;
	during.calls = during.waits = 0;
	during.before = before;
}

/* Other bytes in the same place, as a program writes that does not care who reads. */
static void write_over(const struct pair *pairs, size_t len)
{
	void (*before)(int call) = during.before;
	during.before = NULL;
	if (strncmp(at_hand->spec, "lmdb:", 5) == 0)
		files_lmdb(at_hand, pairs, len, 0);
	else
		files_cdb(at_hand, pairs, len);
	during.before = before;
}

static const struct pair early[] = { { { "a", 1 }, { "1", 1 } } }, late[] = { { { "a", 1 }, { "2", 1 } }, { { "b", 1 }, { "2", 1 } } };

/* The beginning and its end are read before the copy begins. */
static void change_once(int call)
{
	if (call == 3)
		write_over(late, 2);
}

static void change_always(int call)
{
	(void)call;
	write_over(late, 2);
}

static void touch(int call)
{
	(void)call;
	const struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = call } };
	utimensat(AT_FDCWD, at_hand->path, times, 0);
}

static void cut_short(int call)
{
	if (call == 3)
		assert_int_equal(truncate(at_hand->path, 5), 0);
}

/* Read again if it changed; LMDB's files may, as long as the state that was read is still the last. */
static void files_that_change(void **state)
{
	struct files *f = *state;
	for (int lmdb = 0; lmdb < 2; lmdb++) {
		files_name(f, lmdb ? "lmdb:" : "cdb:", lmdb ? "x" : "y");
		if (lmdb)
			files_lmdb(f, early, 1, 0);
		else
			files_cdb(f, early, 1);
		build_during(f, change_once);
		struct map *map = files_open(f, NULL);
		assert_int_equal(during.waits, 1);
		files_assert_value(map, "b", "2", 0);
		map_close(map);
		build_during(f, touch);
		int fd = files_build(f, NULL);
		assert_int_equal(during.waits, lmdb ? 0 : 9);
		assert_true((fd >= 0) == lmdb);
		if (fd >= 0)
			close(fd);
		build_during(f, change_always);
		files_assert_refused(f, ": changes all the while it is read; write it anew and rename it into place\n");
		assert_int_equal(during.waits, 9);
		build_during(f, cut_short);
		assert_int_equal(files_build(f, NULL), -1);
		assert_non_null(strstr(buf_text(&f->errors), " (it is too short to be one)\n"));
		during.before = NULL;
	}
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

/* As much of a value as a look-up yields. */
static void rules_hear_of_no_more(void **state)
{
	struct files *f = *state;
	struct seen seen = { .entries = 0 };
	struct map_rules rules = { .plain = plain, .context = &seen };
	struct pair *pairs = files_pairs(1, 5000, 0);
	char memory[8000];
	buf_init_fixed(&seen.keys, memory, sizeof(memory));
	files_name(f, "cdb:", "x");
	files_cdb(f, pairs, 1);
	map_close(files_open(f, &rules));
	assert_int_equal(seen.keys.len, 5 + MAP_VALUE_MAX + 1);
	free(pairs);
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
/* A file that says it has more entries than it has, be they few or more than there is memory for: it is refused all the same. */
static void claims(void **state)
{
	static const uint64_t claimed[] = { 0, 49, 51, 1000, UINT64_C(1) << 40, UINT64_MAX };
	struct files *f = *state;
	struct pair *pairs = files_pairs(50, 0, 0);
	files_name(f, "lmdb:", "x");
	files_lmdb(f, pairs, 50, 0);
	for (size_t i = 0; i < sizeof(claimed) / sizeof(claimed[0]); i++) {
		int fd = open(f->path, O_WRONLY);
		assert_true(fd >= 0);
		for (off_t page = 0; page <= 4096; page += 4096) /* the meta pages: behind 16 bytes, 24 of theirs and the free pages' tree */
			assert_int_equal(pwrite(fd, &claimed[i], sizeof(claimed[i]), page + 16 + 24 + 48 + 32), sizeof(claimed[i]));
		close(fd);
		files_assert_refused(f, ": is not a readable LMDB database (it has more or fewer entries than it says)\n");
	}
	free(pairs);
}

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
		cmocka_unit_test_setup_teardown(files_that_change, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(rules_hear_of_no_more, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(rules_hear_of_plain_files, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(rules_do_not_hear_of_canonical_files, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(claims, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(many_warnings, files_setup, files_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
