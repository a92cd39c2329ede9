/* Fuzz target: real lmdb and cdb files, broken. The first byte chooses a file, made at the start with the libraries themselves; each five bytes
 * that follow are one change: where (three bytes), what to do, and a value. What the check lets pass is then taken in and used as a front would:
 * the libraries must be safe with whatever the check has approved. The check's child is left out: here a crash shall be seen. */
#include <cdb.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "map/map.h"
#include "map/map_cdb.h"
#include "map/map_child.h"
#include "map/map_lmdb.h"

#define BASES 7
#define CHANGE 5
#define CHANGES_MAX 32
#define PAGE 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct base {
	uint8_t *at;
	size_t len;
	bool lmdb;
	int keys, value; /* so many, of so many bytes */
} bases[BASES] = {
	{ .lmdb = true },
	{ .lmdb = true, .keys = 5, .value = 3 },
	{ .lmdb = true, .keys = 200, .value = 60 },
	{ .lmdb = true, .keys = 3, .value = 9000 },
	{ .keys = 0 },
	{ .keys = 3, .value = 5 },
	{ .keys = 100, .value = 2 },
};

/* In the place of the library's. */
bool map_child_run(map_child_check *one, void *context, unsigned parts, unsigned limit, uint64_t *count, struct buf *why)
{
	(void)limit;
	check(parts == 1); /* such small files are checked at once */
	return one(context, 0, count, why);
}

static void fill_lmdb(int fd, const struct base *base, const char *value)
{
	char path[64], key[16];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	check(mdb_env_create(&env) == 0 && mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600) == 0);
	check(mdb_txn_begin(env, NULL, 0, &txn) == 0 && mdb_dbi_open(txn, NULL, 0, &dbi) == 0);
	for (int i = 0; i < base->keys; i++) {
		MDB_val k = { (size_t)snprintf(key, sizeof(key), "key%d", i), key }, v = { (size_t)base->value, (void *)(uintptr_t)value };
		check(mdb_put(txn, dbi, &k, &v, 0) == 0);
	}
	check(mdb_txn_commit(txn) == 0);
	mdb_env_close(env);
}

static void fill_cdb(int fd, const struct base *base, const char *value)
{
	struct cdb_make make;
	char key[16];
	check(cdb_make_start(&make, fd) == 0);
	for (int i = 0; i < base->keys; i++)
		check(cdb_make_add(&make, key, (unsigned)snprintf(key, sizeof(key), "key%d", i), value, (unsigned)base->value) == 0);
	check(cdb_make_finish(&make) == 0);
}

static void make_bases(void)
{
	static char value[9000];
	memset(value, 'v', sizeof(value));
	for (size_t i = 0; i < BASES; i++) {
		struct stat st;
		int fd = memfd_create("base", MFD_CLOEXEC);
		check(fd >= 0);
		if (bases[i].lmdb)
			fill_lmdb(fd, &bases[i], value);
		else
			fill_cdb(fd, &bases[i], value);
		check(fstat(fd, &st) == 0);
		bases[i].len = (size_t)st.st_size;
		bases[i].at = malloc(bases[i].len);
		check(bases[i].at && pread(fd, bases[i].at, bases[i].len, 0) == st.st_size);
		close(fd);
	}
}

/* Returns the new length. */
static size_t change(uint8_t *at, size_t len, bool lmdb, const uint8_t *how)
{
	size_t offset = (size_t)how[1] << 8 | how[2], place = (size_t)how[0] << 16 | offset;
	if (lmdb)
		place = how[0] * (size_t)PAGE + (how[3] & 0x80 ? offset % 64 : offset % PAGE);
	if (len < 8)
		return len;
	place %= len - 7;
	switch (how[3] & 7) {
	case 0:
		return place;
	case 1:
		at[place] ^= (uint8_t)(1u << how[4] % 8);
		break;
	case 2:
		memset(at + place, how[4], 8);
		break;
	case 3:
		memset(at + place, how[4], 2);
		break;
	case 4:
		memcpy(at + place, at + how[4] * (size_t)16 % (len - 7), 8);
		break;
	default:
		at[place] = how[4];
	}
	return len;
}

/* In two parts it is found as good as at once, but for values that share their pages. */
static void check_parts(const uint8_t *at, size_t len, uint64_t entries, bool good)
{
	uint64_t sum = 0;
	bool parts = true;
	for (unsigned part = 0; part < 2; part++) {
		char memory[600];
		struct buf why;
		uint64_t count = 0;
		buf_init_fixed(&why, memory, sizeof(memory));
		parts = map_lmdb_walk_part(at, len, part, 2, NULL, NULL, &count, &why) && parts;
		sum += count;
	}
	check(!good || (parts && sum == entries));
}

static bool approved(const uint8_t *at, size_t len, bool lmdb, uint64_t *entries)
{
	char memory[600];
	struct buf why;
	uint64_t count = len;
	buf_init_fixed(&why, memory, sizeof(memory));
	bool good = lmdb ? map_lmdb_extent((struct slice){ (const char *)at, len }, len, &count, &why) && map_lmdb_check(at, (size_t)count, entries, &why) :
		map_cdb_check(at, len, entries, &why);
	check(count <= len || !good);
	if (lmdb && count <= len)
		check_parts(at, (size_t)count, *entries, good);
	check(good || why.len > 0);
	return good;
}

static bool add_up(void *context, struct slice key, const struct map_value *value)
{
	unsigned *sum = context;
	for (size_t i = 0; i < key.len; i++)
		*sum += (uint8_t)key.at[i];
	for (size_t i = 0; i < value->text.len; i++)
		*sum += (uint8_t)value->text.at[i];
	return true;
}

static void use(const uint8_t *at, size_t len, bool lmdb, uint64_t entries)
{
	static const struct map_rules none = { .entry = NULL };
	char spec[64], memory[2000], key[16];
	struct buf said;
	struct map_report report = { &said, &said, 0 };
	unsigned sum = 0;
	int fd = memfd_create("broken", MFD_CLOEXEC);
	check(fd >= 0 && write(fd, at, len) == (ssize_t)len);
	snprintf(spec, sizeof(spec), "%s/proc/self/fd/%d", lmdb ? "lmdb:" : "cdb:", fd);
	buf_init_fixed(&said, memory, sizeof(memory));
	int image = map_build(spec, &none, &report);
	close(fd);
	struct map *map = image < 0 ? NULL : map_open(image);
	check((map == NULL) == (image < 0));
	check(!lmdb || map); /* what the check approved, LMDB takes */
	if (!map)
		return;
	check(map_entries(map) == entries);
	for (int i = 0; i < 210; i++) {
		struct slice s = { key, (size_t)snprintf(key, sizeof(key), "key%d", i) };
		struct map_value value;
		if (map_first(map, &s, 1, &value) == 0)
			add_up(&sum, s, &value);
	}
	map_each(map, add_up, &sum);
	map_close(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t entries;
	if (!bases[0].at)
		make_bases();
	if (size < 1)
		return 0;
	const struct base *base = &bases[data[0] % BASES];
	size_t len = base->len;
	uint8_t *broken = malloc(len);
	check(broken);
	memcpy(broken, base->at, len);
	for (size_t i = 0; i < CHANGES_MAX && 1 + (i + 1) * CHANGE <= size; i++)
		len = change(broken, len, base->lmdb, data + 1 + i * CHANGE);
	/* Exactly as long as it is, so that a sanitizer sees the first byte read beyond it. */
	uint8_t *exact = malloc(len ? len : 1);
	check(exact);
	memcpy(exact, broken, len);
	free(broken);
	if (approved(exact, len, base->lmdb, &entries))
		use(exact, len, base->lmdb, entries);
	free(exact);
	return 0;
}
