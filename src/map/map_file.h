/* map_file.h: what maps have in common whose file somebody else's library reads: lmdb and cdb.
 *
 * The file is copied into a memory file, whole or as far as it counts. A child checks all of it (map_child.h). Behind the copy come a filter
 * and a tail with what is known of the table, and all is sealed: so the library never sees a byte that was not checked, however the file fares
 * afterwards, and is not even asked for most keys that are not there.
 *
 * Files come in two dialects. Canonical: map_write() made it; the keys are those of the rules, values end in NUL and the line in decimal, and
 * there is a key for meta. Plain: by postmap, cdb, mdb_load; keys and values are text, all or some with a NUL at their end, which means nothing.
 */
#ifndef TARRY_MAP_MAP_FILE_H
#define TARRY_MAP_MAP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "map/map_driver.h"

#define MAP_FILE_MAX (UINT64_C(2) << 30) /* bytes of a file: half of what a cdb can have; the copy is in memory */
#define MAP_FILE_HEAD 65536              /* bytes of a file's beginning that tell how much of it counts */
#define MAP_FILE_KEY 1024                /* bytes of a key that is asked for; a longer one is not there */

/* Nothing of what follows can change once map_file_build() is done; it is the last thing in the image. */
struct map_file_tail {
	char magic[8];
	char scheme[8];
	uint64_t size;   /* bytes of the file; the filter begins at the next multiple of MAP_SEALED_ALIGN */
	uint64_t entries;
	uint64_t seed;   /* of the filter */
	uint32_t slots;  /* of the filter, as if it stood before a hash table of so many */
	uint8_t canonical;
	uint8_t with_nul;    /* there are keys with a NUL at the end */
	uint8_t without_nul; /* there are keys without */
	uint8_t spare;
	uint8_t meta[MAP_META];
};

struct map_file {
	struct map base; /* first */
	const struct map_file_kind *kind;
	const uint64_t *filter;
	const struct map_file_tail *tail;
	size_t tail_size; /* bytes mapped, filter and tail */
};

typedef void map_file_key(void *context, struct slice key);
typedef bool map_file_take(void *context, struct slice key, struct slice value);

struct map_file_part {
	const uint8_t *at; /* all of the file */
	size_t size;
	int fd;
	unsigned number, of;
};

struct map_file_kind {
	const struct map_driver *driver;
	const char *what;   /* "an LMDB database" */
	size_t struct_size; /* of its open map, which begins with a struct map_file */
	/* How many bytes count of a file with this beginning. False: *why. */
	bool (*extent)(struct slice head, uint64_t size, uint64_t *count, struct buf *why);
	/* Whether what counts has not changed, as the file begins as it did before. NULL: the file must not have changed at all. */
	bool (*same)(struct slice before, struct slice after);
	/* How many entries a file with this beginning says it has, to be found wrong by the check; 0: it does not say. NULL: such files never do. */
	uint64_t (*claimed)(struct slice head);
	/* Everything that the library relies on, in so many parts at once. In children: they may crash, but must not take part in anything else. Where there is claimed(), take() gets each key on the way,
	 * and the entries of all parts together must be as many. */
	bool (*check)(const struct map_file_part *part, map_file_key *take, void *context, uint64_t *entries, struct buf *why);
	unsigned parts; /* that a check may have; 0: one */
	/* The library's part of an open map. fd has the bytes that were checked, and perhaps more behind them; it is not closed. */
	bool (*attach)(struct map_file *map, int fd, size_t size);
	void (*detach)(struct map_file *map);
	bool (*get)(struct map_file *map, struct slice key, struct slice *value);
	bool (*walk)(struct map_file *map, map_file_take *take, void *context);
};

int map_file_build(const struct map_file_kind *kind, const char *path, const struct map_rules *rules, struct map_report *report);
bool map_file_recognise(const struct map_file_kind *kind, int fd);
struct map *map_file_open(const struct map_file_kind *kind, int fd);
void map_file_close(struct map *map);
int map_file_first(struct map *map, const struct slice keys[], size_t len, struct map_value *out);
bool map_file_each(struct map *map, map_take *take, void *context);

#endif
