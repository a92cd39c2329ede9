/* The tour, map: LMDB. Read: the library maps the sealed copy of a file that was checked (map_lmdb_check), without locks, for nobody writes there; one
 * read transaction lasts as long as the map is open. Written: in one transaction, entries in their order, which fills the pages. */
#include "map/map_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/reach.h"
#include "map/map_file.h"

#define WRITE_SPARE ((size_t)16 << 20) /* bytes of address space beyond what the entries should need */
#define WRITE_PROBE 65536              /* bytes more that a disk which is not full has */

struct map_lmdb {
	struct map_file file; /* first */
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
};

/* Reading. */

static int open_env(struct map_lmdb *map, int fd, size_t size)
{
	char path[REACH_PATH];
	int e = mdb_env_create(&map->env);
	if (e == 0)
		e = mdb_env_set_mapsize(map->env, size); /* the library takes more if the last page lies behind it: the check has seen to that */
	if (e == 0)
		e = mdb_env_open(map->env, reach_descriptor(fd, path), MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS, 0);
	reach_forget_descriptor();
	if (e == 0)
		e = mdb_txn_begin(map->env, NULL, MDB_RDONLY, &map->txn);
	return e == 0 ? mdb_dbi_open(map->txn, NULL, 0, &map->dbi) : e;
}

static void detach(struct map_file *file)
{
	struct map_lmdb *map = (struct map_lmdb *)file;
	if (map->txn)
		mdb_txn_abort(map->txn);
	if (map->env)
		mdb_env_close(map->env);
	map->txn = NULL;
	map->env = NULL;
}

static bool attach(struct map_file *file, int fd, size_t size)
{
	if (open_env((struct map_lmdb *)file, fd, size) == 0)
		return true;
	detach(file);
	return false;
}

static bool get(struct map_file *file, struct slice key, struct slice *value)
{
	struct map_lmdb *map = (struct map_lmdb *)file;
	MDB_val k = { key.len, (void *)(uintptr_t)key.at }, v;
	if (key.len == 0 || mdb_get(map->txn, map->dbi, &k, &v) != 0)
		return false;
	*value = (struct slice){ v.mv_data, v.mv_size };
	return true;
}

static bool walk(struct map_file *file, map_file_take *take, void *context)
{
	struct map_lmdb *map = (struct map_lmdb *)file;
	MDB_cursor *cursor;
	MDB_val k, v;
	if (mdb_cursor_open(map->txn, map->dbi, &cursor) != 0)
		return false;
	int e = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
	while (e == 0 && take(context, (struct slice){ k.mv_data, k.mv_size }, (struct slice){ v.mv_data, v.mv_size }))
		e = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	mdb_cursor_close(cursor);
	return e == MDB_NOTFOUND;
}

/* Whether the library sees what the check saw: the number of entries, and some of them, spread evenly. To have it read a million would take longer than all the rest. */

#define SAMPLES 1024 /* of each part */
#define PARTS 2      /* more processors than two are rare where a second matters */

struct seen {
	map_file_key *take;
	void *context;
	size_t stride; /* every so many entries one is a sample; */
	size_t left;   /* so many more until the next */
	size_t len;
	struct {
		struct slice key, value;
	} samples[SAMPLES];
};

static void see_entry(void *context, struct slice key, struct slice value)
{
	struct seen *seen = context;
	if (seen->take)
		seen->take(seen->context, key);
	if (seen->left-- > 0 || seen->len == SAMPLES)
		return;
	seen->left = seen->stride - 1;
	seen->samples[seen->len].key = key;
	seen->samples[seen->len++].value = value;
}

/* By mdb_get(), as every look-up later. */
static bool finds(struct map_lmdb *map, const struct seen *seen, uint64_t claimed)
{
	struct slice found;
	MDB_stat stat;
	bool same = mdb_stat(map->txn, map->dbi, &stat) == 0 && stat.ms_entries == claimed;
	for (size_t i = 0; i < seen->len && same; i++) {
		struct slice value = seen->samples[i].value;
		same = get(&map->file, seen->samples[i].key, &found) && (!value.at || (found.len == value.len && memcmp(found.at, value.at, value.len) == 0));
	}
	return same;
}

static bool check_with(struct seen *seen, const struct map_file_part *part, uint64_t *entries, struct buf *why)
{
	struct map_lmdb map = { .env = NULL };
	uint64_t claimed = map_lmdb_claimed((struct slice){ (const char *)part->at, part->size });
	seen->stride = claimed / part->of / SAMPLES + 1;
	if (!map_lmdb_walk_part(part->at, part->size, part->number, part->of, see_entry, seen, entries, why))
		return false;
	int e = open_env(&map, part->fd, part->size);
	bool same = e == 0 && finds(&map, seen, claimed);
	if (!same)
		buf_put_text(why, e != 0 ? mdb_strerror(e) : "LMDB finds other entries in it than there are");
	detach(&map.file);
	return same;
}

static bool check(const struct map_file_part *part, map_file_key *take, void *context, uint64_t *entries, struct buf *why)
{
	uint64_t count;
	struct seen *seen = calloc(1, sizeof(*seen));
	if (!seen) {
		buf_put_text(why, "no memory for its check");
		return false;
	}
	seen->take = take;
	seen->context = context;
	bool good = check_with(seen, part, &count, why);
	free(seen);
	if (good)
		*entries = count;
	return good;
}

/* Writing. */

static int in_order(const void *a, const void *b)
{
	const struct slice x = ((const struct map_record *)a)->key, y = ((const struct map_record *)b)->key;
	int c = memcmp(x.at, y.at, x.len < y.len ? x.len : y.len);
	return c != 0 ? c : x.len < y.len ? -1 : x.len > y.len;
}

/* Address space for the file, not bytes of it: a page is at worst half full. */
static size_t size_for(const struct map_record *records, size_t len)
{
	size_t size = WRITE_SPARE;
	for (size_t i = 0; i < len; i++)
		size += 2 * (records[i].key.len + records[i].value.len + 32);
	return size / 65536 * 65536;
}

static int put_all(MDB_txn *txn, MDB_dbi dbi, const struct map_record *records, size_t len)
{
	char memory[MAP_RECORD_MAX];
	int e = 0;
	for (size_t i = 0; i < len && e == 0; i++) {
		struct slice value = map_record_value(&records[i], memory);
		MDB_val k = { records[i].key.len, (void *)(uintptr_t)records[i].key.at }, v = { value.len, (void *)(uintptr_t)value.at };
		e = mdb_put(txn, dbi, &k, &v, MDB_APPEND);
	}
	return e;
}

/* The library calls a write that came to an end too early an input/output error; the system knows why it did. */
static int error_of(int fd, int e)
{
	struct stat st;
	if (e != EIO || fstat(fd, &st) < 0)
		return e;
	int more = posix_fallocate(fd, st.st_size, WRITE_PROBE);
	return more == ENOSPC || more == EDQUOT || more == EFBIG ? more : e;
}

static bool write_file(int fd, const char *path, struct map_record *records, size_t len, struct buf *why)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_dbi dbi;
	qsort(records, len, sizeof(*records), in_order);
	int e = mdb_env_create(&env);
	if (e == 0)
		e = mdb_env_set_mapsize(env, size_for(records, len));
	if (e == 0)
		e = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
	if (e == 0)
		e = mdb_txn_begin(env, NULL, 0, &txn);
	if (e == 0)
		e = mdb_dbi_open(txn, NULL, 0, &dbi);
	if (e == 0)
		e = put_all(txn, dbi, records, len);
	if (e == 0) {
		e = mdb_txn_commit(txn);
		txn = NULL;
	}
	if (txn)
		mdb_txn_abort(txn);
	if (env)
		mdb_env_close(env);
	if (e != 0)
		buf_put_text(why, mdb_strerror(error_of(fd, e)));
	return e == 0;
}

/* The driver. */

static const struct map_file_kind kind = { .driver = &map_lmdb_driver, .what = "LMDB database", .struct_size = sizeof(struct map_lmdb),
	.extent = map_lmdb_extent, .same = map_lmdb_same, .claimed = map_lmdb_claimed, .check = check, .parts = PARTS, .attach = attach, .detach = detach, .get = get, .walk = walk };

static int build(const char *path, const struct map_rules *rules, struct map_report *report)
{
	return map_file_build(&kind, path, rules, report);
}

static bool recognise(int fd)
{
	return map_file_recognise(&kind, fd);
}

static struct map *open_any(int fd)
{
	return map_file_open(&kind, fd);
}

const struct map_driver map_lmdb_driver = { .scheme = "lmdb:", .suffix = ".lmdb", .build = build, .recognise = recognise, .open = open_any,
	.close = map_file_close, .first = map_file_first, .each = map_file_each, .write = write_file, .key_max = MAP_LMDB_KEY_MAX };
