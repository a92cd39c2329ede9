/* waited.h: who has waited once and was not seen after that: it is known when it has done so again, some time later.
 *
 * In the keeper's memory alone and of one size: with more than there is room for, the ones who waited longest ago are forgotten, and have to come once more; so have all when the keeper is started again.
 */
#ifndef TARRY_KEEPER_WAITED_H
#define TARRY_KEEPER_WAITED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/siphash.h"
#include "known/known_table.h"

#define WAITED_ROWS 65536 /* of 16 bytes; those that were never used cost nothing */
#define WAITED_WAYS 4     /* places that one may have */

struct waited_row {
	uint64_t print; /* of its id, under a key that nobody else has */
	uint32_t first; /* when it waited, seconds; 0: the row is free */
};

struct waited {
	struct waited_row *rows;
	struct siphash_key key;
	uint32_t apart, ttl; /* seconds */
};

/* 0 or -errno. */
int waited_init(struct waited *waited, int64_t apart, int64_t ttl);
void waited_fini(struct waited *waited);
/* It has waited now. True: and before, at least `apart` ago and no longer than `ttl`; it is forgotten then. */
bool waited_again(struct waited *waited, const struct known_id *id, uint32_t now);
/* It has broken a rule. */
void waited_forget(struct waited *waited, const struct known_id *id);

#endif
