/* The tour, gate: answers of slow maps that are still good. As all of them are kept equally long, the ring that makes the oldest go first is also in the order
 * in which they expire. */
#include "gate/lookup_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int lookup_cache_init(struct lookup_cache *cache, uint32_t most, int64_t ttl)
{
	memset(cache, 0, sizeof(*cache));
	if (most == 0 || ttl <= 0)
		return 0;
	uint32_t buckets = 1;
	cache->cap = most < LOOKUP_CACHE_MOST ? most : LOOKUP_CACHE_MOST;
	while (buckets < cache->cap)
		buckets *= 2;
	cache->ttl = ttl;
	cache->mask = buckets - 1;
	cache->all = calloc(cache->cap, sizeof(*cache->all));
	cache->buckets = calloc(buckets, sizeof(*cache->buckets));
	if (cache->all && cache->buckets)
		return 0;
	lookup_cache_fini(cache);
	return -ENOMEM;
}

static uint32_t *bucket_of(const struct lookup_cache *cache, const struct lookup_print *print)
{
	return &cache->buckets[(uint32_t)print->a & cache->mask];
}

static void drop_oldest(struct lookup_cache *cache)
{
	struct lookup_cached *oldest = &cache->all[cache->first];
	uint32_t *at = bucket_of(cache, &oldest->print);
	while (*at != cache->first + 1)
		at = &cache->all[*at - 1].chain;
	*at = oldest->chain;
	cache->bytes -= oldest->len;
	free(oldest->answer);
	oldest->answer = NULL;
	cache->first = cache->first + 1 == cache->cap ? 0 : cache->first + 1;
	cache->len--;
}

void lookup_cache_fini(struct lookup_cache *cache)
{
	while (cache->len > 0)
		drop_oldest(cache);
	free(cache->all);
	free(cache->buckets);
	memset(cache, 0, sizeof(*cache));
}

bool lookup_cache_get(const struct lookup_cache *cache, const struct lookup_print *print, int64_t now, struct slice *out)
{
	for (uint32_t i = cache->cap > 0 ? *bucket_of(cache, print) : 0; i != 0; i = cache->all[i - 1].chain) {
		const struct lookup_cached *c = &cache->all[i - 1];
		if (c->print.a != print->a || c->print.b != print->b || c->until <= now)
			continue;
		*out = (struct slice){ c->answer, c->len };
		return true;
	}
	return false;
}

void lookup_cache_put(struct lookup_cache *cache, const struct lookup_print *print, int64_t now, struct slice answer)
{
	if (cache->cap == 0 || answer.len > LOOKUP_CACHE_BYTES)
		return;
	while (cache->len > 0 && (cache->len == cache->cap || cache->bytes + answer.len > LOOKUP_CACHE_BYTES || cache->all[cache->first].until <= now))
		drop_oldest(cache);
	char *copy = malloc(answer.len > 0 ? answer.len : 1);
	if (!copy)
		return;
	if (answer.len > 0)
		memcpy(copy, answer.at, answer.len);
	uint32_t place = (uint32_t)(((uint64_t)cache->first + cache->len) % cache->cap), *bucket = bucket_of(cache, print);
	cache->all[place] = (struct lookup_cached){ *print, now + cache->ttl, copy, (uint32_t)answer.len, *bucket };
	*bucket = place + 1;
	cache->len++;
	cache->bytes += answer.len;
}
