/* lookup_cache.h: answers of slow maps, kept for a while, so that a client who returns costs no question.
 *
 * Answers are known by two keyed hashes of the question (128 bits), so that nobody can aim at another's. All are kept equally long; the oldest goes when
 * there are too many, or when they take too much memory. Whoever uses it has one front and one thread.
 */
#ifndef TARRY_GATE_LOOKUP_CACHE_H
#define TARRY_GATE_LOOKUP_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define LOOKUP_CACHE_MOST (1u << 20)  /* answers, whatever is asked for */
#define LOOKUP_CACHE_BYTES (8u << 20) /* of all answers together */

struct lookup_print {
	uint64_t a, b;
};

struct lookup_cached {
	struct lookup_print print;
	int64_t until;
	char *answer;
	uint32_t len;
	uint32_t chain; /* the next one in its bucket: index + 1 */
};

struct lookup_cache {
	struct lookup_cached *all; /* a ring, in the order of age */
	uint32_t *buckets;         /* index + 1; 0: empty */
	uint32_t cap, first, len, mask;
	size_t bytes;
	int64_t ttl;
};

/* most 0 or ttl 0: nothing is ever kept. 0 or -errno. */
int lookup_cache_init(struct lookup_cache *cache, uint32_t most, int64_t ttl);
void lookup_cache_fini(struct lookup_cache *cache);
/* The answer, valid until the next lookup_cache_put(). False: there is none. */
bool lookup_cache_get(const struct lookup_cache *cache, const struct lookup_print *print, int64_t now, struct slice *out);
/* Copied. Without memory for it, it is not kept. */
void lookup_cache_put(struct lookup_cache *cache, const struct lookup_print *print, int64_t now, struct slice answer);

#endif
