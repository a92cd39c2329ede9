/* map_filter.h: a filter small enough for the processor's cache, which knows most keys that a table does not have.
 *
 * It has one 64-bit word for each MAP_FILTER_SLOTS slots of a hash table that is half to two thirds full, and a key sets two bits of one
 * word: one of some sixteen absent keys gets past it. The seed is drawn for each table, so that nobody can write a list of addresses
 * that all fall into one place. Inline: all of this runs for every key that a client is asked for.
 */
#ifndef TARRY_MAP_MAP_FILTER_H
#define TARRY_MAP_MAP_FILTER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/buf.h"

#define MAP_FILTER_SLOTS 16        /* slots for each word: six bits or more for a key */
#define MAP_FILTER_SLOTS_LEAST 16  /* a filter of one word */

__extension__ typedef unsigned __int128 map_filter_wide;

static inline uint64_t map_filter_mix(uint64_t h)
{
	map_filter_wide product = (map_filter_wide)h * 0xd6e8feb86659fd93;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t map_filter_load64(const char *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint64_t map_filter_hash(uint64_t seed, struct slice key)
{
	uint64_t h = seed ^ key.len * 0x9e3779b97f4a7c15;
	uint64_t last = 0;
	if (key.len >= 8) {
		for (size_t i = 0; i + 8 < key.len; i += 8)
			h = map_filter_mix(h ^ map_filter_load64(key.at + i));
		last = map_filter_load64(key.at + key.len - 8); /* may overlap what came before: no matter */
	} else {
		for (size_t i = 0; i < key.len; i++)
			last = last << 8 | (uint8_t)key.at[i];
	}
	return map_filter_mix(map_filter_mix(h ^ last) + key.len);
}

/* The bits that a key sets in its word of the filter. */
static inline uint64_t map_filter_bits(uint64_t hash)
{
	return UINT64_C(1) << (hash >> 40 & 63) | UINT64_C(1) << (hash >> 50 & 63);
}

/* mask: the number of slots, a power of two, less one. */
static inline uint32_t map_filter_word(uint64_t hash, uint32_t mask)
{
	return ((uint32_t)hash & mask) / MAP_FILTER_SLOTS;
}

static inline bool map_filter_may_have(const uint64_t *filter, uint32_t mask, uint64_t hash)
{
	uint64_t bits = map_filter_bits(hash);
	return (filter[map_filter_word(hash, mask)] & bits) == bits;
}

#endif
