/* access_walk.h: the keys that are tried for a client, a sender or a recipient, one after the other.
 *
 * Private to access/. A walk is one search in one table: it writes each key that the table may have and hands it to `take`, with its rank, its place among all keys that there could be, which
 * is the same in every table; so the answers of several tables can be compared. A table elsewhere may have any key, and gets them as Sendmail writes them.
 */
#ifndef TARRY_ACCESS_ACCESS_WALK_H
#define TARRY_ACCESS_ACCESS_WALK_H

#include "access/access.h"
#include "map/map.h"

#define ACCESS_WALK_KEY (16 + ACCESS_NAME_MAX + 1) /* bytes of a key: a tag and a name */

struct access_table {
	struct map *map; /* NULL: elsewhere */
	bool written;    /* its keys are as they were written, not ours: elsewhere, or a file that others made */
	struct access_meta meta;
};

struct access {
	struct access_rules rules;
	const struct access_trace *trace; /* NULL: nobody listens */
	size_t len;
	struct access_table tables[ACCESS_MAPS];
};

struct access_walk {
	const struct access_table *table;
	const struct access_trace *trace;
	void (*take)(struct access_walk *walk); /* a key more stands at len - 1 */
	struct access_plan *plan;               /* of a table elsewhere */
	unsigned untold;                        /* for a trace of one: keys before the one that it had, which has this value */
	unsigned map;
	enum access_tag tag;
	bool untagged; /* each key without a tag too, behind the one with it */
	uint32_t rank; /* of the key that is put next */
	bool done;     /* no more keys are wanted */
	uint32_t found_rank;
	enum access_tag found_tag;
	unsigned found_bits;
	struct map_value value;
	size_t len;
	uint32_t ranks[MAP_BATCH];
	enum access_tag tags[MAP_BATCH];
	uint8_t bits[MAP_BATCH];
	struct slice slices[MAP_BATCH];
	union {
		struct access_key key;
		char text[ACCESS_WALK_KEY];
	} keys[MAP_BATCH];
};

enum access_scope { ACCESS_BY_NAME, ACCESS_BY_ADDRESS, ACCESS_BY_DEFAULT };

void access_walk_init(struct access_walk *walk, const struct access *access, unsigned map, enum access_tag tag);
void access_walk_client(struct access_walk *walk, const struct access *access, enum access_scope scope, const struct access_client *client);
/* The rank behind all those of an address: that of the default, which is the last key of the same search in a plan. */
uint32_t access_walk_default_rank(const struct addr *addr);
void access_walk_user(struct access_walk *walk, const struct access_user *user);

#endif
