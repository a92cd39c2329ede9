/* known_table.h: who is known, in memory that one process writes and all others read, without locks.
 *
 * The parent makes the memory, the keeper alone writes, fronts map it read-only: a look-up is two reads of memory, no system call, and never waits. Rows never move. A sequence number is odd
 * while something is being changed; who reads meanwhile reads again, a few times, and then says that it does not know: the client waits once more. That is also what
 * happens when the keeper has died in the middle; the next one begins with an empty table.
 * Bounded: rows are as many as was said at first; the one who has not passed for the longest time makes room.
 */
#ifndef TARRY_KNOWN_KNOWN_TABLE_H
#define TARRY_KNOWN_KNOWN_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/siphash.h"
#include "known/known_key.h"

#define KNOWN_TABLE_MOST 16777216 /* rows at most; the option known_max says the same */

/* What the keeper has done: for the counters of the door. */
enum known_count { KNOWN_COUNT_ROWS, KNOWN_COUNT_ADDED, KNOWN_COUNT_DROPPED, KNOWN_COUNT_EVICTED, KNOWN_COUNT_EXPIRED, KNOWN_COUNT_UNSAVED, KNOWN_COUNT_SHARE_ASKED, KNOWN_COUNT_SHARE_KNOWN,
	KNOWN_COUNT_SHARE_FAILED, KNOWN_COUNT_SHARE_LOST,
	KNOWN_COUNT_BANNED /* ban_table.h: those whose ban is not over */, KNOWN_COUNTS };

struct known_row {
	_Atomic uint64_t id[2];
	_Atomic uint32_t since, passed; /* seconds of the wall clock */
	_Atomic uint32_t next;          /* in its bucket: 1 + its place; 0: none */
	uint32_t older, newer;          /* the keeper's alone: by when they passed, and of the free ones; 0: none */
	_Atomic uint32_t note;          /* what else there is to say of it: ban_table.h; 0 of who is known */
};

struct known_head {
	_Atomic uint32_t sequence;
	uint32_t used, free;     /* the keeper's: rows ever used; the first of those given back, or 0 */
	uint32_t oldest, newest; /* or 0 */
	struct siphash_key keys[3]; /* of buckets, and of domains */
	_Atomic uint64_t counts[KNOWN_COUNTS];
	_Atomic uint32_t loaded;     /* the keeper has read its file: it is whole */
	_Atomic uint64_t lengths[2]; /* of the networks that are in use: IPv4, IPv6; bit n - 1: there is a /n */
};

struct known_table {
	struct known_head *head;
	_Atomic uint32_t *buckets;
	struct known_row *rows; /* the first is rows[1] */
	uint32_t mask, max;
	size_t size;
};

struct known_times {
	uint32_t since, passed, note;
};

/* A row's name: all of an address, 120 bits of a domain's hash under a key that nobody else has. */
struct known_id {
	uint64_t half[2];
};

/* Bytes of memory for so many rows; only those that are used cost any. */
size_t known_table_size(uint32_t max);
/* A memory file of that size, which cannot be made smaller under those who read it; or -errno. */
int known_table_create(uint32_t max);
/* Maps it; the descriptor stays the caller's. 0 or -errno. */
int known_table_open(struct known_table *table, int fd, uint32_t max, bool writer);
void known_table_close(struct known_table *table);

struct known_id known_table_id(const struct known_table *table, const struct known_key *key);
/* False: it is not there, or that cannot be said now. */
bool known_table_find(const struct known_table *table, const struct known_id *id, struct known_times *out);
/* The same, with its place in *row. */
bool known_table_search(const struct known_table *table, const struct known_id *id, struct known_times *out, uint32_t *row);
uint64_t known_table_count(const struct known_table *table, enum known_count which);

/* ---- for the one who writes ---- */

/* Empty, with new keys, whatever was there. 0 or -errno. */
int known_table_reset(struct known_table *table, int fd);
/* The row of that name, or 0. */
uint32_t known_table_row(const struct known_table *table, const struct known_id *id);
/* A new row, which is the newest; there must be room (known_table_full()) and it must not be there. Returns its place. */
uint32_t known_table_add(struct known_table *table, const struct known_id *id, struct known_times times);
bool known_table_full(const struct known_table *table);
/* It has passed then: the newest. */
void known_table_renew(struct known_table *table, uint32_t row, struct known_times times);
/* Other times for it; it stays where it is among the others. */
void known_table_change(struct known_table *table, uint32_t row, struct known_times times);
void known_table_drop(struct known_table *table, uint32_t row);
struct known_times known_table_times(const struct known_table *table, uint32_t row);
/* The key of a row that is an address or a network. False: it is not in use, or a domain. */
bool known_table_key(const struct known_table *table, uint32_t row, struct known_key *out);
/* Whether that row is in use. */
bool known_table_used(const struct known_table *table, uint32_t row);
/* Who was put in out of order: in order again. 0 or -ENOMEM. */
int known_table_sort(struct known_table *table);
void known_table_counted(struct known_table *table, enum known_count which, int64_t n);

#endif
