/* makemap's job: what is written can be read again, by us and by the libraries; and whatever goes wrong, the folder is as it was. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "files.h"
#include "map/map_lmdb.h"

static char source[200];

static void write_source(struct files *f, const char *text, size_t len)
{
	files_name(f, "text:", "access");
	files_write(f, text, len);
	snprintf(source, sizeof(source), "%s", f->path);
}

/* "x…" keys become own ones. */
static void entry(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *warnings)
{
	(void)context;
	if (line->key.at[0] == 'w' && map_note_begin(warnings, line->number)) {
		map_note_bytes(warnings, line->key);
		map_note_end(warnings);
	}
	if (line->key.at[0] != 'x')
		return;
	buf_put_char(own_key, '\0');
	buf_put(own_key, line->key.at + 1, line->key.len - 1);
}

static void finish(void *context, uint8_t meta[MAP_META], struct map_notes *warnings)
{
	(void)context;
	(void)warnings;
	memset(meta, 'm', MAP_META);
}

static const struct map_rules rules = { .entry = entry, .finish = finish };

/* From access to the file at hand. */
static bool make(struct files *f)
{
	buf_init_fixed(&f->errors, f->errors_memory, sizeof(f->errors_memory));
	buf_init_fixed(&f->warnings, f->warnings_memory, sizeof(f->warnings_memory));
	f->report = (struct map_report){ &f->errors, &f->warnings, 12345 };
	return map_write(source, f->spec, &rules, &f->report);
}

static void assert_refused(struct files *f, const char *said)
{
	size_t before = files_count(f);
	assert_false(make(f));
	assert_int_equal(f->report.entries, 12345);
	assert_string_equal(buf_text(&f->errors), said);
	assert_int_equal(files_count(f), before);
}

/* The system's calls, noted: f a file and d a folder brought to the disk, r renamed; one of them may fail. */

static char calls[64];
static char failing;

static int note(char call)
{
	size_t len = strlen(calls);
	if (len + 1 < sizeof(calls))
		calls[len] = call;
	errno = EIO;
	return call == failing ? -1 : 0;
}

int fsync(int fd)
{
	struct stat st;
	return fstat(fd, &st) < 0 ? -1 : note(S_ISDIR(st.st_mode) ? 'd' : 'f');
}

int rename(const char *from, const char *to)
{
	return note('r') < 0 ? -1 : renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void on_the_disk(void **state)
{
	struct files *f = *state;
	char said[400];
	bool before_us; /* libcdb brings it to the disk itself from 0.79 on; Debian 12 has 0.78 */
	write_source(f, "a 1\n", 4);
	files_name(f, "cdb:", "x.cdb");
	memset(calls, 0, sizeof(calls));
	assert_true(make(f));
	before_us = strncmp(calls, "ff", 2) == 0;
	assert_string_equal(calls + before_us, "frd");
	assert_string_equal(buf_text(&f->warnings), "");
	failing = 'f';
	snprintf(said, sizeof(said), "%s: %sInput/output error\n", f->path, before_us ? "" : "cannot be written: ");
	assert_refused(f, said);
	failing = 'r';
	snprintf(said, sizeof(said), "%s: cannot be put in its place: Input/output error\n", f->path);
	assert_refused(f, said);
	failing = 'd';
	assert_true(make(f));
	snprintf(said, sizeof(said), "%s: its folder cannot be written to the disk at once: Input/output error\n", f->path);
	assert_string_equal(buf_text(&f->warnings), said);
	failing = 0;
}

static void there_and_back(void **state)
{
	struct files *f = *state;
	static const char *const names[][2] = { { "lmdb:", "x.lmdb" }, { "cdb:", "x.cdb" } };
	for (size_t i = 0; i < 2; i++) {
		struct stat st;
		static const char text[] = "# c\nB 2\nxY 300 # five\nw 1\na 1\n";
		write_source(f, text, sizeof(text) - 1);
		files_name(f, names[i][0], "x"); /* the suffix comes by itself */
		assert_true(make(f));
		assert_string_equal(buf_text(&f->errors), "");
		char said[300];
		snprintf(said, sizeof(said), "%s:4: w\n", source);
		assert_string_equal(buf_text(&f->warnings), said);
		assert_int_equal(f->report.entries, 4);
		files_name(f, names[i][0], names[i][1]);
		assert_int_equal(stat(f->path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0644);
		assert_int_equal(files_count(f), 2 + i);
		struct map *map = files_open(f, NULL);
		assert_true(map_canonical(map));
		assert_int_equal(map_entries(map), 4);
		assert_int_equal(map_meta(map)[0], 'm');
		assert_int_equal(map_meta(map)[MAP_META - 1], 'm');
		files_assert_value(map, "a", "1", 5);
		files_assert_value(map, "b", "2", 2);
		struct map_value v;
		assert_int_equal(map_first(map, &(struct slice){ "\0y", 2 }, 1, &v), 0);
		assert_memory_equal(v.text.at, "300 # five", v.text.len);
		assert_int_equal(v.line, 3);
		map_close(map);
	}
}

static void many(void **state)
{
	struct files *f = *state;
	enum { N = 50000 };
	char *text = malloc(N * 32), key[32], value[32];
	size_t len = 0;
	for (int i = 0; i < N; i++)
		len += (size_t)sprintf(text + len, "Key%d value%d\n", (i * 7919) % N, i);
	write_source(f, text, len);
	free(text);
	static const char *const schemes[] = { "lmdb:", "cdb:" };
	for (size_t s = 0; s < 2; s++) {
		files_name(f, schemes[s], "x");
		assert_true(make(f));
		struct map *map = files_open(f, NULL);
		for (int i = 0; i < N; i++) {
			snprintf(key, sizeof(key), "key%d", (i * 7919) % N);
			snprintf(value, sizeof(value), "value%d", i);
			files_assert_value(map, key, value, (uint32_t)i + 1);
		}
		map_close(map);
	}
}

/* Everything wrong with the text in one run, and the file before is still there. */
static void errors_of_the_text(void **state)
{
	struct files *f = *state;
	char said[1000];
	write_source(f, "a 1\n", 4);
	files_name(f, "cdb:", "x.cdb");
	assert_true(make(f));
	write_source(f, " a 1\nb\nc 1\nc 2\n", 15);
	files_name(f, "cdb:", "x.cdb");
	snprintf(said, sizeof(said), "%s:1: syntax error (leading space)\n%s:2: no RHS for LHS b\n%s:4: key c: duplicate key\n", source, source, source);
	assert_refused(f, said);
	struct map *map = files_open(f, NULL);
	files_assert_value(map, "a", "1", 1);
	map_close(map);
}

static void keys_that_do_not_fit(void **state)
{
	struct files *f = *state;
	char text[2000], said[2000], shown[MAP_NOTE_KEY + 1];
	memset(text, 'k', sizeof(text));
	memcpy(text + 600, " 1\n", 3);
	memcpy(text + 603 + MAP_LMDB_KEY_MAX, " 1\n", 3);
	memset(shown, 'k', sizeof(shown));
	shown[MAP_NOTE_KEY] = '\0';
	write_source(f, text, 603 + MAP_LMDB_KEY_MAX + 3);
	files_name(f, "lmdb:", "x");
	snprintf(said, sizeof(said), "%s:1: %s...: the key has 600 bytes; with lmdb: it can have 511\n", source, shown);
	assert_refused(f, said);
	files_name(f, "cdb:", "x");
	assert_true(make(f));
	write_source(f, text + 603, MAP_LMDB_KEY_MAX + 3);
	files_name(f, "lmdb:", "x");
	assert_true(make(f));
	write_source(f, "xmeta 1\n", 8);
	files_name(f, "lmdb:", "x");
	snprintf(said, sizeof(said), "%s:1: \\x00meta: the map has another use for this key\n", source);
	assert_refused(f, said);
}

static void targets_that_are_none(void **state)
{
	struct files *f = *state;
	char said[1000], path[400];
	write_source(f, "a 1\n", 4);
	files_name(f, "text:", "x");
	snprintf(said, sizeof(said), "%s: a text map is written by hand; expected lmdb: or cdb: and the name of the file to be made\n", f->spec);
	assert_refused(f, said);
	files_name(f, "hash:", "x");
	snprintf(said, sizeof(said), "\"%s\" is no map that can be read; expected text:, lmdb: or cdb: and /path/to/file\n", f->spec);
	assert_refused(f, said);
	files_name(f, "cdb:", "no/x.cdb");
	snprintf(said, sizeof(said), "%s: cannot be written: No such file or directory\n", f->path);
	assert_refused(f, said);
	files_name(f, "cdb:", "folder.cdb");
	assert_int_equal(mkdir(f->path, 0700), 0);
	snprintf(said, sizeof(said), "%s: is a directory; expected the name of a file\n", f->path);
	assert_refused(f, said);
	files_name(f, "cdb:", "fifo.cdb");
	assert_int_equal(mkfifo(f->path, 0600), 0);
	snprintf(said, sizeof(said), "%s: is no regular file; it will not be replaced\n", f->path);
	assert_refused(f, said);
	files_name(f, "cdb:", "link.cdb");
	snprintf(path, sizeof(path), "%s/nowhere", f->folder);
	assert_int_equal(symlink(path, f->path), 0);
	snprintf(said, sizeof(said), "%s: is a symbolic link to a file that is not there; make the file or take away the link\n", f->path);
	assert_refused(f, said);
	files_name(f, "cdb:", "text.cdb");
	files_write(f, "a 1\n", 4);
	snprintf(source, sizeof(source), "%s", f->path);
	snprintf(said, sizeof(said), "%s: is the text that the map would be made from; expected another name\n", f->path);
	assert_refused(f, said);
	snprintf(source, sizeof(source), "%s/nothing", f->folder);
	snprintf(said, sizeof(said), "%s: cannot be read: No such file or directory\n", source);
	files_name(f, "cdb:", "x");
	assert_refused(f, said);
}

/* The file before gives its mode and owner to the new one, and a link stays one. */
static void replaced(void **state)
{
	struct files *f = *state;
	char link[200];
	struct stat st;
	write_source(f, "a 1\n", 4);
	files_name(f, "lmdb:", "x.lmdb");
	files_write(f, "old", 3);
	assert_int_equal(chmod(f->path, 0640), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(f->path, 12, 34), 0);
	snprintf(link, sizeof(link), "%s/link.lmdb", f->folder);
	assert_int_equal(symlink("x.lmdb", link), 0);
	snprintf(f->spec, sizeof(f->spec), "lmdb:%.140s", link);
	assert_true(make(f));
	assert_string_equal(buf_text(&f->warnings), "");
	assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	if (geteuid() == 0)
		assert_true(st.st_uid == 12 && st.st_gid == 34);
	struct map *map = files_open(f, NULL);
	files_assert_value(map, "a", "1", 1);
	map_close(map);
}

/* Puts a disk of so many bytes in the place of the folder, for this process alone; a copy of the text is on it. */
static bool small_disk(struct files *f, const char *text, size_t len, size_t bytes)
{
	char options[32];
	snprintf(options, sizeof(options), "size=%zu", bytes);
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", f->folder, "tmpfs", 0, options) < 0)
		return false;
	snprintf(source, sizeof(source), "/proc/self/fd/%d", memfd_create("source", 0));
	int fd = open(source, O_WRONLY);
	return write(fd, text, len) == (ssize_t)len && close(fd) == 0;
}

/* A file that is there is not replaced, and nothing is left of the new one. */
static bool refused_for_room(struct files *f, const char *scheme)
{
	files_name(f, scheme, scheme[0] == 'l' ? "x.lmdb" : "x.cdb");
	files_write(f, "old", 3);
	if (make(f) || files_count(f) != 1)
		return false;
	size_t len;
	char *bytes = files_read(f, &len);
	bool good = len == 3 && memcmp(bytes, "old", 3) == 0;
	free(bytes);
	unlink(f->path);
	char want[300];
	snprintf(want, sizeof(want), "%s: No space left on device\n", f->path);
	return good && strcmp(buf_text(&f->errors), want) == 0;
}

static int full_disk_child(struct files *f, const char *text, size_t len)
{
	static const size_t sizes[] = { 65536, 262144, 524288 };
	for (size_t i = 0; i < 3; i++) {
		if (!small_disk(f, text, len, sizes[i]))
			return 77;
		if (!refused_for_room(f, "lmdb:") || !refused_for_room(f, "cdb:"))
			return 1;
		if (umount2(f->folder, MNT_DETACH) < 0)
			return 1;
	}
	return 0;
}

static void full_disk(void **state)
{
	struct files *f = *state;
	char *text = malloc(1 << 20);
	size_t len = 0;
	int status;
	for (int i = 0; i < 20000; i++)
		len += (size_t)sprintf(text + len, "key%d value\n", i);
	pid_t pid = fork();
	if (pid == 0)
		_exit(full_disk_child(f, text, len));
	free(text);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* In a process of its own, as somebody else. Returns what make() did, and hands back what was said. */
static bool make_as(struct files *f, uid_t uid, char *said, size_t room)
{
	int ends[2], status;
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(uid, uid, uid) < 0)
			_exit(2);
		bool good = make(f);
		const struct buf *say = good ? &f->warnings : &f->errors;
		_exit(write(ends[1], say->at, say->len) < 0 ? 2 : !good);
	}
	close(ends[1]);
	ssize_t n = read(ends[0], said, room - 1);
	said[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status) == 0;
}

static void not_allowed(void **state)
{
	struct files *f = *state;
	char said[1000];
	if (geteuid() != 0)
		skip();
	write_source(f, "a 1\n", 4);
	files_name(f, "cdb:", "x.cdb");
	assert_int_equal(chmod(f->folder, 0755), 0);
	assert_false(make_as(f, 12345, said, sizeof(said)));
	assert_non_null(strstr(said, "/x.cdb: cannot be written: Permission denied\n"));
	assert_int_equal(files_count(f), 1);
	/* The owner cannot be kept: done, and said. */
	assert_int_equal(chmod(f->folder, 0777), 0);
	assert_true(make(f));
	assert_true(make_as(f, 12345, said, sizeof(said)));
	assert_non_null(strstr(said, "/x.cdb: the owner or group of the file before cannot be kept: Operation not permitted\n"));
	assert_int_equal(files_count(f), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(on_the_disk, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(there_and_back, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(many, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(errors_of_the_text, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(keys_that_do_not_fit, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(targets_that_are_none, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(replaced, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(full_disk, files_setup, files_teardown),
		cmocka_unit_test_setup_teardown(not_allowed, files_setup, files_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
