/* The tour, map: makemap's job. The text is read and checked as a whole before anything is written; then the file is made under another name in
 * the same folder, and takes its name when it is complete and on the disk. Whatever goes wrong, the folder is as it was. */
#include "map/map.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map/map_driver.h"

#define NEW_MODE 0644

struct job {
	const struct map_driver *driver;
	const char *from;
	struct map_report *report;
	struct map_notes errors;
	struct map_record *records; /* of the text, and one for meta */
	size_t len;
	char path[PATH_MAX];      /* what is written, behind symbolic links */
	char aside[PATH_MAX + 8]; /* what it is called meanwhile */
	struct stat old;          /* st_mode 0: there was none */
};

static bool fail(const struct job *j, const char *file, const char *what)
{
	buf_putf(j->report->errors, "%s: %s\n", file, what);
	return false;
}

static bool fail_errno(const struct job *j, const char *file, const char *what, int e)
{
	buf_putf(j->report->errors, "%s: %s: %s\n", file, what, strerror(e));
	return false;
}

/* Where to. */

/* Follows a symbolic link, so that the link stays. */
static bool resolve(struct job *j, const char *named)
{
	struct stat st;
	if (realpath(named, j->path))
		return true;
	if (errno != ENOENT)
		return fail_errno(j, named, "cannot be written", errno);
	if (lstat(named, &st) == 0)
		return fail(j, named, "is a symbolic link to a file that is not there; make the file or take away the link");
	return snprintf(j->path, sizeof(j->path), "%s", named) < (int)sizeof(j->path) || fail_errno(j, named, "cannot be written", ENAMETOOLONG);
}

static bool find_target(struct job *j, const char *to)
{
	char memory[MAP_PATH_MAX + 16];
	const char *where;
	struct buf named;
	struct stat source;
	buf_init_fixed(&named, memory, sizeof(memory));
	j->driver = map_driver_find(to, &where, j->report->errors);
	if (!j->driver)
		return false;
	if (!j->driver->write)
		return fail(j, to, "a text map is written by hand; expected lmdb: or cdb: and the name of the file to be made");
	if (!map_driver_suffixed(j->driver, where, &named))
		return fail_errno(j, to, "cannot be written", ENAMETOOLONG);
	if (!resolve(j, buf_text(&named)))
		return false;
	if (stat(j->path, &j->old) < 0) {
		j->old.st_mode = 0;
		return errno == ENOENT || fail_errno(j, j->path, "cannot be written", errno);
	}
	if (!S_ISREG(j->old.st_mode))
		return fail(j, j->path, S_ISDIR(j->old.st_mode) ? "is a directory; expected the name of a file" : "is no regular file; it will not be replaced");
	if (stat(j->from, &source) == 0 && source.st_dev == j->old.st_dev && source.st_ino == j->old.st_ino)
		return fail(j, j->path, "is the text that the map would be made from; expected another name");
	return true;
}

/* What. */

static void refuse_key(struct job *j, struct slice key, uint32_t line)
{
	if (!map_note_begin(&j->errors, line))
		return;
	map_note_bytes(&j->errors, key);
	if (key.len > j->driver->key_max)
		buf_putf(j->errors.to, ": the key has %zu bytes; with %s it can have %zu", key.len, j->driver->scheme, j->driver->key_max);
	else
		buf_put_text(j->errors.to, ": the map has another use for this key");
	map_note_end(&j->errors);
}

static bool take_record(void *context, struct slice key, const struct map_value *value)
{
	struct job *j = context;
	if (key.len > j->driver->key_max || (key.len == MAP_META_KEY_LEN && memcmp(key.at, MAP_META_KEY, MAP_META_KEY_LEN) == 0))
		refuse_key(j, key, value->line);
	else
		j->records[j->len++] = (struct map_record){ key, value->text, value->line };
	return true;
}

static bool count_record(void *context, struct slice key, const struct map_value *value)
{
	(void)key;
	(void)value;
	++*(size_t *)context;
	return true;
}

static bool gather(struct job *j, struct map *text)
{
	size_t count = 0;
	map_each(text, count_record, &count);
	j->records = malloc((count + 1) * sizeof(*j->records));
	if (!j->records)
		return fail_errno(j, j->from, "cannot be made a map", ENOMEM);
	map_each(text, take_record, j);
	map_notes_finish(&j->errors);
	if (j->errors.shown > 0)
		return false;
	j->records[j->len++] = (struct map_record){ { MAP_META_KEY, MAP_META_KEY_LEN }, { (const char *)map_meta(text), MAP_META }, 0 };
	return true;
}

/* Writing. */

/* The new file, aside, or -1. */
static int create(struct job *j)
{
	snprintf(j->aside, sizeof(j->aside), "%s.XXXXXX", j->path);
	int fd = mkostemp(j->aside, O_CLOEXEC);
	if (fd < 0) {
		fail_errno(j, j->path, "cannot be written", errno);
		j->aside[0] = '\0';
	}
	return fd;
}

static bool keep_owner(struct job *j, int fd)
{
	struct stat st;
	mode_t mode = j->old.st_mode ? j->old.st_mode & 07777 : NEW_MODE;
	bool other = j->old.st_mode && fstat(fd, &st) == 0 && (st.st_uid != j->old.st_uid || st.st_gid != j->old.st_gid);
	if (other && fchown(fd, j->old.st_uid, j->old.st_gid) < 0)
		buf_putf(j->report->warnings, "%s: the owner or group of the file before cannot be kept: %s\n", j->path, strerror(errno));
	return fchmod(fd, mode) == 0 || fail_errno(j, j->path, "cannot be given its mode", errno);
}

static bool sync_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL); /* EINVAL: a file system without it */
	if (fd >= 0)
		close(fd);
	return good;
}

static bool fill(struct job *j, int fd)
{
	char memory[256];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!j->driver->write(fd, j->aside, j->records, j->len, &why))
		return fail(j, j->path, buf_text(&why));
	if (!keep_owner(j, fd))
		return false;
	return fsync(fd) == 0 || fail_errno(j, j->path, "cannot be written", errno);
}

static bool write_target(struct job *j)
{
	int fd = create(j);
	if (fd < 0)
		return false;
	bool good = fill(j, fd);
	close(fd);
	if (good && rename(j->aside, j->path) < 0)
		good = fail_errno(j, j->path, "cannot be put in its place", errno);
	if (!good) {
		unlink(j->aside);
		return false;
	}
	if (!sync_folder(j->path)) /* it is there all the same */
		buf_putf(j->report->warnings, "%s: its folder cannot be written to the disk at once: %s\n", j->path, strerror(errno));
	return true;
}

bool map_write(const char *from, const char *to, const struct map_rules *rules, struct map_report *report)
{
	struct job j = { .from = from, .report = report };
	struct map_report text_report = *report;
	map_notes_init(&j.errors, report->errors, from);
	if (!find_target(&j, to))
		return false;
	int fd = map_text_driver.build(from, rules, &text_report);
	struct map *text = fd < 0 ? NULL : map_open(fd);
	bool good = text && gather(&j, text) && write_target(&j);
	if (fd >= 0 && !text)
		fail_errno(&j, from, "cannot be made a map", ENOMEM);
	if (good)
		report->entries = text_report.entries;
	free(j.records);
	map_close(text);
	return good;
}
