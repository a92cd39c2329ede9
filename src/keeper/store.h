/* store.h: the file of those who are known, or of those who are banned, an LMDB database that mirrors what the keeper has in memory.
 *
 * It is read once, when the keeper starts, by code that trusts nothing in it (map/map_lmdb.h; the library does not see it), and then written anew beside the old one, which it replaces when it is whole: the library never writes to a file that
 * it did not begin itself. After that each batch of changes is one transaction, which is there as a whole or not at all, whatever happens meanwhile.
 * Whatever goes wrong with a file costs those who were in it a pause, and nobody anything else. May block as long as the disk does. Never logs.
 */
#ifndef TARRY_KEEPER_STORE_H
#define TARRY_KEEPER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "known/known_key.h"
#include "known/known_table.h"

#define STORE_ROW_BYTES 640                 /* of address space that a row is reckoned with */
#define STORE_TEXT 64                       /* bytes of a text at most */
#define STORE_SPARE ((size_t)64 << 20)      /* and more */

struct store_file; /* what the library has */

/* Whether the bytes are a key that may stand in it: known_key_ok() or known_key_ok_network(). */
typedef bool store_is_key(const uint8_t *at, size_t len);

struct store {
	const char *path;
	uint32_t max; /* rows */
	store_is_key *is_key;
	int lock;     /* a file beside it; -1: not locked */
	struct store_file *file; /* NULL: not open */
	uint64_t changes; /* that are not committed */
};

/* text: what else stands there, such as the reason of a ban; empty for who is known. */
typedef void store_take(void *context, const struct known_key *key, struct known_times times, struct slice text);

struct store_report {
	uint64_t entries; /* read */
	uint64_t spoilt;  /* of which so many were not what was once written, and left out */
	bool aside;       /* the whole file was no use, and is now called PATH.damaged */
	int error;        /* -errno: there was no memory or no descriptor for it, which says nothing of the file: it stays, and is to be read another time */
};

/* path must outlive it. */
void store_init(struct store *store, const char *path, uint32_t max, store_is_key *is_key);
void store_fini(struct store *store);
/* Nobody else has the file from now on. 0, -EWOULDBLOCK: another keeper has it, or why there can be no file there. */
int store_lock(struct store *store);
/* All that is in the file, in the order of the keys, while it is being looked at; those that passed before `least` are left out. With report->aside or report->error nothing of what was taken is worth anything; *why says why. A file that is not there
 * is empty. */
void store_read(struct store *store, uint32_t least, store_take *take, void *context, struct store_report *report, struct buf *why);
/* A new file, empty, which is not the store's yet. False: *why. */
bool store_begin(struct store *store, struct buf *why);
/* Changes, and their end: all of them at once. After an error the file is closed, and what was committed before is what is on disk. */
bool store_put(struct store *store, const struct known_key *key, struct known_times times, struct slice text, struct buf *why);
bool store_drop(struct store *store, const struct known_key *key, struct buf *why);
bool store_commit(struct store *store, struct buf *why);
/* Commits, and the new file takes the place of the old one. */
bool store_replace(struct store *store, struct buf *why);

#endif
