/* map_lmdb.h: how an LMDB data file looks inside, as far as it takes to tell that the library may be let at it.
 *
 * LMDB trusts its file: offsets that lead out of a page, a page that is its own parent or a tree that is too deep crash or abort the process.
 * So all of a file's tree is looked at first, by code that trusts nothing. The layout is that of LMDB 0.9 (data version 1), in the machine's own
 * byte order and word size, as the library itself has it. Pure functions of bytes.
 */
#ifndef TARRY_MAP_MAP_LMDB_H
#define TARRY_MAP_MAP_LMDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define MAP_LMDB_KEY_MAX 511 /* bytes of a key; more is a matter of how the library was compiled */
#define MAP_LMDB_DEPTH_MAX 31 /* levels of a tree: the library's stack has one more */

/* How many bytes of the file count: to the end of the last page of its newest state. head: its first MAP_FILE_HEAD bytes. */
bool map_lmdb_extent(struct slice head, uint64_t size, uint64_t *count, struct buf *why);
/* Whether no other state has been written since: then the pages of this one are as they were, for LMDB never overwrites them. */
bool map_lmdb_same(struct slice before, struct slice after);
/* Whether the two meta pages are of one life: their transactions follow each other, each on its page. If not, one of them is damaged, and the state that counts may be an old one. */
bool map_lmdb_in_step(struct slice head);
/* Every page, node, key and value of the tree lies where it may, and the keys are in order. */
bool map_lmdb_check(const uint8_t *at, size_t size, uint64_t *entries, struct buf *why);
/* How many entries it says it has, which is true if the check says so; 0: that cannot be told. */
uint64_t map_lmdb_claimed(struct slice head);
/* The same as the check, and take() gets each entry, in their order, while that is being found out: what it got is only worth something if the answer is true. A value that has pages of its own comes
 * as NULL, 0. */
typedef void map_lmdb_take(void *context, struct slice key, struct slice value);
bool map_lmdb_walk(const uint8_t *at, size_t size, map_lmdb_take *take, void *context, uint64_t *entries, struct buf *why);
/* One part of it, of so many: part 0 has the first keys. Each part looks at all branches and at its own leaves; a file is good if all parts are, and their entries together are as many as it claims.
 * Not found out: that values of two parts are on the same overflow pages, which does whoever reads them no harm. */
bool map_lmdb_walk_part(const uint8_t *at, size_t size, unsigned part, unsigned parts, map_lmdb_take *take, void *context, uint64_t *entries, struct buf *why);

#endif
