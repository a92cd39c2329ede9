/* The tour, keeper: the file. Keys are known_key's bytes; a value is two times and a check of all, so that a bit that has fallen over lets nobody in. Where there is more to say of it (a ban), a note
 * and a text stand behind that, and the check is of them, too. */
#include "keeper/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/siphash.h"
#include "map/map_lmdb.h"

#define VALUE 12      /* since, passed, check; in the machine's order, as the library's own numbers */
#define NOTED 16      /* that, and a note */
#define VALUE_MAX (NOTED + STORE_TEXT)
#define HEAD_BYTES 65536 /* with both meta pages, however large pages are */

struct store_file {
	MDB_env *env;
	MDB_txn *txn; /* NULL: nothing is being changed */
	MDB_dbi dbi;
};

void store_init(struct store *s, const char *path, uint32_t max, store_is_key *is_key)
{
	*s = (struct store){ .path = path, .max = max, .is_key = is_key, .lock = -1 };
}

static void close_file(struct store *s)
{
	if (!s->file)
		return;
	if (s->file->txn)
		mdb_txn_abort(s->file->txn);
	if (s->file->env)
		mdb_env_close(s->file->env);
	free(s->file);
	s->file = NULL;
	s->changes = 0;
}

void store_fini(struct store *s)
{
	close_file(s);
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}

static const char *beside(const struct store *s, const char *suffix, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s%s", s->path, suffix);
	return out;
}

int store_lock(struct store *s)
{
	char path[PATH_MAX];
	if (strlen(s->path) + sizeof(".damaged") > PATH_MAX)
		return -ENAMETOOLONG;
	int fd = open(beside(s, "-lock", path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int e = -errno;
		close(fd);
		return e;
	}
	s->lock = fd;
	return 0;
}

/* ---- reading ---- */

/* len: bytes of the value. */
static uint32_t check_of(struct slice key, const uint8_t *value, size_t len)
{
	static const struct siphash_key known = { UINT64_C(0x7461727279206b6e), UINT64_C(0x6f776e2066696c65) }; /* no secret: against accidents */
	uint8_t all[KNOWN_KEY_MAX + VALUE_MAX];
	memcpy(all, key.at, key.len);
	memcpy(all + key.len, value, 8);
	memcpy(all + key.len + 8, value + VALUE, len - VALUE);
	return (uint32_t)siphash_bytes(&known, all, key.len + 8 + len - VALUE);
}

struct reading {
	store_is_key *is_key;
	uint32_t least;
	store_take *take;
	void *context;
	struct store_report *report;
};

static bool is_value(struct slice v)
{
	bool text = v.len >= NOTED && v.len <= VALUE_MAX;
	for (size_t i = NOTED; i < v.len && text; i++)
		text = v.at[i] >= ' ' && v.at[i] <= '~';
	return v.len == VALUE || text;
}

static void take_entry(void *context, struct slice k, struct slice v)
{
	const struct reading *r = context;
	struct known_key key;
	struct known_times times = { .note = 0 };
	uint32_t check;
	if (k.len > KNOWN_KEY_MAX || !is_value(v) || !r->is_key((const uint8_t *)k.at, k.len)) {
		r->report->spoilt++;
		return;
	}
	memcpy(&check, v.at + 8, 4);
	if (check != check_of(k, (const uint8_t *)v.at, v.len)) {
		r->report->spoilt++;
		return;
	}
	key.len = (uint8_t)k.len;
	memcpy(key.at, k.at, k.len);
	memcpy(&times.since, v.at, 4);
	memcpy(&times.passed, v.at + 4, 4);
	if (v.len >= NOTED)
		memcpy(&times.note, v.at + VALUE, 4);
	if (times.passed >= r->least)
		r->take(r->context, &key, times, v.len > NOTED ? (struct slice){ v.at + NOTED, v.len - NOTED } : slice_of(""));
}

/* From its beginning: len bytes, or as many as there are. */
static ssize_t read_bytes(int fd, void *at, size_t len)
{
	size_t got = 0;
	ssize_t n = 0;
	while (got < len && ((n = pread(fd, (char *)at + got, len - got, (off_t)got)) > 0 || (n < 0 && errno == EINTR)))
		got += n > 0 ? (size_t)n : 0;
	return n < 0 ? -1 : (ssize_t)got;
}

/* As much of it as counts, in memory, where nobody changes it any more. */
static uint8_t *copy_file(const struct store *s, int fd, off_t size, size_t *len, struct buf *why)
{
	static char head[HEAD_BYTES];
	uint64_t count;
	ssize_t n = read_bytes(fd, head, sizeof(head));
	if (n < 0) {
		buf_put_text(why, strerror(errno));
		return NULL;
	}
	if (!map_lmdb_extent((struct slice){ head, (size_t)n }, (uint64_t)size, &count, why))
		return NULL;
	if (!map_lmdb_in_step((struct slice){ head, (size_t)n })) {
		buf_put_text(why, "one of its two meta pages is damaged");
		return NULL;
	}
	if (count > 2 * (STORE_SPARE + (size_t)s->max * STORE_ROW_BYTES)) {
		buf_put_text(why, "it is larger than known_max clients could make it");
		return NULL;
	}
	uint8_t *at = malloc((size_t)count);
	*len = (size_t)count;
	if (at && (n = read_bytes(fd, at, *len)) == (ssize_t)*len)
		return at;
	buf_put_text(why, !at || n < 0 ? strerror(errno) : "it cannot be read to its end");
	free(at);
	return NULL;
}

/* False: it is no use; what was taken of it neither. */
static bool read_file(const struct store *s, int fd, const struct reading *r, struct buf *why)
{
	struct stat st;
	size_t len;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		buf_put_text(why, "it is no file");
		return false;
	}
	if (st.st_size == 0)
		return true;
	uint8_t *at = copy_file(s, fd, st.st_size, &len, why);
	bool ok = at && map_lmdb_walk(at, len, take_entry, (void *)(uintptr_t)r, &r->report->entries, why);
	free(at);
	return ok;
}

void store_read(struct store *s, uint32_t least, store_take *take, void *context, struct store_report *report, struct buf *why)
{
	char aside[PATH_MAX];
	*report = (struct store_report){ 0 };
	errno = 0;
	int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0)
		buf_put_text(why, strerror(errno));
	const struct reading reading = { s->is_key, least, take, context, report };
	bool ok = fd >= 0 && read_file(s, fd, &reading, why);
	int e = errno;
	if (fd >= 0)
		close(fd);
	if (ok)
		return;
	if (e == ENOMEM || e == EMFILE || e == ENFILE) {
		*report = (struct store_report){ .error = -e };
		return;
	}
	rename(s->path, beside(s, ".damaged", aside)); /* if that fails the new file takes its place */
	*report = (struct store_report){ .aside = true };
}

/* ---- writing ---- */

static bool wrong(struct store *s, int e, struct buf *why)
{
	buf_put_text(why, mdb_strerror(e));
	close_file(s);
	return false;
}

static bool begin_changes(struct store *s, struct buf *why)
{
	if (!s->file)
		return false;
	int e = s->file->txn ? 0 : mdb_txn_begin(s->file->env, NULL, 0, &s->file->txn);
	return e == 0 || wrong(s, e, why);
}

bool store_begin(struct store *s, struct buf *why)
{
	char path[PATH_MAX];
	close_file(s);
	s->file = calloc(1, sizeof(*s->file));
	if (!s->file) {
		buf_put_text(why, strerror(ENOMEM));
		return false;
	}
	unlink(beside(s, ".new", path));
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int e = fd < 0 ? errno : mdb_env_create(&s->file->env);
	if (fd >= 0)
		close(fd);
	e = e ? e : mdb_env_set_mapsize(s->file->env, STORE_SPARE + (size_t)s->max * STORE_ROW_BYTES);
	e = e ? e : mdb_env_open(s->file->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS, 0600);
	if (e)
		return wrong(s, e, why);
	if (!begin_changes(s, why))
		return false;
	e = mdb_dbi_open(s->file->txn, NULL, 0, &s->file->dbi);
	return e == 0 || wrong(s, e, why);
}

bool store_put(struct store *s, const struct known_key *key, struct known_times times, struct slice text, struct buf *why)
{
	uint8_t value[VALUE_MAX];
	size_t len = times.note == 0 && text.len == 0 ? VALUE : NOTED + (text.len < STORE_TEXT ? text.len : STORE_TEXT);
	MDB_val k = { key->len, (void *)(uintptr_t)key->at }, v = { len, value };
	if (!begin_changes(s, why))
		return false;
	memcpy(value, &times.since, 4);
	memcpy(value + 4, &times.passed, 4);
	if (len > VALUE) {
		memcpy(value + VALUE, &times.note, 4);
		memcpy(value + NOTED, text.at, len - NOTED);
	}
	uint32_t sum = check_of((struct slice){ (const char *)key->at, key->len }, value, len);
	memcpy(value + 8, &sum, 4);
	int e = mdb_put(s->file->txn, s->file->dbi, &k, &v, MDB_APPEND); /* those that come in order fill their pages */
	if (e == MDB_KEYEXIST)
		e = mdb_put(s->file->txn, s->file->dbi, &k, &v, 0);
	s->changes++;
	return e == 0 || wrong(s, e, why);
}

bool store_drop(struct store *s, const struct known_key *key, struct buf *why)
{
	MDB_val k = { key->len, (void *)(uintptr_t)key->at };
	if (!begin_changes(s, why))
		return false;
	int e = mdb_del(s->file->txn, s->file->dbi, &k, NULL);
	s->changes++;
	return e == 0 || e == MDB_NOTFOUND || wrong(s, e, why);
}

bool store_commit(struct store *s, struct buf *why)
{
	if (!s->file || !s->file->txn)
		return s->file != NULL;
	int e = mdb_txn_commit(s->file->txn);
	s->file->txn = NULL;
	s->changes = 0;
	return e == 0 || wrong(s, e, why);
}

/* The folder's own entry, so that the new name outlives a loss of power. */
static void sync_folder(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

bool store_replace(struct store *s, struct buf *why)
{
	char path[PATH_MAX];
	if (!store_commit(s, why))
		return false;
	if (rename(beside(s, ".new", path), s->path) < 0)
		return wrong(s, errno, why);
	sync_folder(s->path);
	return true;
}
