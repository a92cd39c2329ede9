/* The tour, map: cdb, by tinycdb. That library checks each offset when it uses it, so that a bad file makes no crash; but a file may be cut, or lead
 * a look-up through a table without end, and so all of it is gone through before it is used. */
#include "map/map_cdb.h"

#include <cdb.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "map/map_file.h"

#define TABLES 256
#define TOP (TABLES * 8) /* bytes before the first record: place and slots of each table */
#define RECORD 8         /* bytes before a record's key: lengths of key and value */
#define SLOT 8           /* hash and place */

struct map_cdb {
	struct map_file file; /* first */
	struct cdb cdb;
};

/* Checking. */

static bool wrong(struct buf *why, const char *what)
{
	buf_put_text(why, what);
	return false;
}

static bool cdb_extent(struct slice head, uint64_t size, uint64_t *count, struct buf *why)
{
	if (head.len < TOP)
		return wrong(why, "it is too short to be one");
	*count = size;
	return true;
}

/* Records, one behind the other, up to the first table. */
static bool check_records(const uint8_t *at, size_t end, uint64_t *entries, struct buf *why)
{
	for (size_t place = TOP; place < end;) {
		if (end - place < RECORD)
			return wrong(why, "its records do not end where its tables begin");
		uint64_t len = (uint64_t)cdb_unpack(at + place) + cdb_unpack(at + place + 4);
		if (len > end - place - RECORD)
			return wrong(why, "a record is longer than the file");
		place += RECORD + (size_t)len;
		++*entries;
	}
	return true;
}

/* Counts the slots in use, and sees to it that no look-up goes far. */
static bool check_table(const uint8_t *slots, size_t len, size_t end, uint64_t *used, struct buf *why)
{
	size_t run = 0, longest = 0;
	/* Once more around, for the runs that go over the end; slots are counted the first time. */
	for (size_t i = 0; i < 2 * len && longest <= MAP_CDB_RUN_MAX; i++) {
		unsigned place = cdb_unpack(slots + i % len * SLOT + 4);
		if (place != 0 && (place < TOP || place > end - RECORD))
			return wrong(why, "a table leads out of the records");
		run = place != 0 ? run + 1 : 0;
		if (run > longest)
			longest = run;
		if (i < len && place != 0)
			++*used;
	}
	return longest <= MAP_CDB_RUN_MAX || wrong(why, "too many of its keys fall into one place; lmdb: does not mind");
}

bool map_cdb_check(const uint8_t *at, size_t size, uint64_t *entries, struct buf *why)
{
	uint64_t records = 0, used = 0;
	if (size < TOP)
		return wrong(why, "it is too short to be one");
	size_t end = cdb_unpack(at);
	if (end < TOP || end > size)
		return wrong(why, "it does not begin as one does, or is cut short");
	if (!check_records(at, end, &records, why))
		return false;
	for (size_t i = 0; i < TABLES; i++) {
		size_t place = cdb_unpack(at + i * 8), len = cdb_unpack(at + i * 8 + 4);
		if (len > 0 && (place < end || place > size || len > (size - place) / SLOT))
			return wrong(why, "a table lies outside; it may be cut short");
		if (len > 0 && !check_table(at + place, len, end, &used, why))
			return false;
	}
	if (used > records)
		return wrong(why, "its tables have more entries than there are records");
	*entries = records;
	return true;
}

/* Reading. */

static bool attach(struct map_file *file, int fd, size_t size)
{
	struct map_cdb *map = (struct map_cdb *)file;
	(void)size; /* what lies behind the tables is of no interest to it */
	return cdb_init(&map->cdb, fd) == 0;
}

static void detach(struct map_file *file)
{
	cdb_free(&((struct map_cdb *)file)->cdb);
}

static bool get(struct map_file *file, struct slice key, struct slice *value)
{
	struct cdb *cdb = &((struct map_cdb *)file)->cdb;
	if (key.len > UINT32_MAX || cdb_find(cdb, key.at, (unsigned)key.len) <= 0)
		return false;
	*value = (struct slice){ cdb_getdata(cdb), cdb_datalen(cdb) };
	return value->at != NULL;
}

static bool walk(struct map_file *file, map_file_take *take, void *context)
{
	struct cdb *cdb = &((struct map_cdb *)file)->cdb;
	unsigned place;
	int more;
	cdb_seqinit(&place, cdb);
	while ((more = cdb_seqnext(&place, cdb)) > 0) {
		struct slice key = { cdb_getkey(cdb), cdb_keylen(cdb) }, value = { cdb_getdata(cdb), cdb_datalen(cdb) };
		if (!key.at || !value.at || !take(context, key, value))
			return false;
	}
	return more == 0;
}

/* Whether the library sees what the check saw, and finds each key. */

struct seen {
	struct map_file *file;
	uint64_t entries;
};

static bool find_again(void *context, struct slice key, struct slice value)
{
	struct seen *seen = context;
	struct slice found;
	(void)value;
	seen->entries++;
	return get(seen->file, key, &found);
}

static bool check(const struct map_file_part *part, map_file_key *take, void *context, uint64_t *entries, struct buf *why)
{
	(void)take;
	(void)context;
	struct map_cdb map;
	uint64_t records;
	if (!map_cdb_check(part->at, part->size, &records, why))
		return false;
	if (!attach(&map.file, part->fd, part->size))
		return wrong(why, strerror(errno));
	struct seen seen = { &map.file, 0 };
	bool good = walk(&map.file, find_again, &seen) && seen.entries == records;
	detach(&map.file);
	if (!good)
		return wrong(why, "a key is in its records and not in its tables");
	*entries = records;
	return true;
}

/* Writing. */

static bool write_file(int fd, const char *path, struct map_record *records, size_t len, struct buf *why)
{
	struct cdb_make make;
	char memory[MAP_RECORD_MAX];
	(void)path;
	bool good = cdb_make_start(&make, fd) == 0;
	if (!good)
		return wrong(why, strerror(errno));
	for (size_t i = 0; i < len && good; i++) {
		struct slice value = map_record_value(&records[i], memory);
		good = cdb_make_add(&make, records[i].key.at, (unsigned)records[i].key.len, value.at, (unsigned)value.len) == 0;
	}
	int e = good ? 0 : errno;
	/* Also when something went wrong: it gives the memory back. */
	if (cdb_make_finish(&make) != 0 && good) {
		good = false;
		e = errno;
	}
	return good || wrong(why, strerror(e));
}

/* The driver. */

static const struct map_file_kind kind = { .driver = &map_cdb_driver, .what = "cdb file", .struct_size = sizeof(struct map_cdb),
	.extent = cdb_extent, .check = check, .attach = attach, .detach = detach, .get = get, .walk = walk };

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

const struct map_driver map_cdb_driver = { .scheme = "cdb:", .suffix = ".cdb", .build = build, .recognise = recognise, .open = open_any,
	.close = map_file_close, .first = map_file_first, .each = map_file_each, .write = write_file, .key_max = MAP_FILE_KEY };
