/* map_text_image.h: how the memory file of a text map looks inside; for the one who writes it and the one who reads it.
 *
 * Header, slots (an open-addressing hash table), filter, pool of records. The filter is small enough for the processor's cache and knows
 * most keys that are not there. A slot leads to a record, and a record is a line number, a key and a value.
 */
#ifndef TARRY_MAP_MAP_TEXT_IMAGE_H
#define TARRY_MAP_MAP_TEXT_IMAGE_H

#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "core/buf.h"
#include "map/map_text.h"

#define MAP_TEXT_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
#define MAP_TEXT_SLOTS_LEAST 16                /* a filter of one word */
#define MAP_TEXT_FILTER_SLOTS 16               /* slots for each 64-bit word of the filter: six bits or more for a key */
#define MAP_TEXT_SLOTS_MOST (1u << 25)         /* twice MAP_TEXT_LINES_MAX: there is always an empty one */
#define MAP_TEXT_POOL_UNIT 4                   /* records begin at multiples of it; a slot counts in it */

#define MAP_TEXT_IMAGE_MAGIC "tarrymap" /* without its NUL */
#define MAP_TEXT_IMAGE_VERSION 1

struct map_text_header {
	char magic[8];
	uint32_t version;
	uint32_t entries;
	uint32_t slots; /* a power of two, MAP_TEXT_SLOTS_LEAST or more */
	uint32_t reach; /* no key lies further than this behind the slot it hashes to */
	uint64_t seed;
	uint64_t pool_size;
	uint8_t meta[MAP_TEXT_META];
};

struct map_text_slot {
	uint32_t tag;   /* the upper half of the hash */
	uint32_t place; /* of the record in the pool, in units; 0: empty */
};

struct map_text_record {
	uint32_t line;
	uint16_t key_len;
	uint16_t value_len;
	/* key, value, padding */
};

_Static_assert(sizeof(struct map_text_header) % sizeof(uint64_t) == 0, "slots follow the header");

/* Hashing: the seed is drawn for each table, so that nobody can write a list of addresses that all fall into one slot. */

__extension__ typedef unsigned __int128 map_text_wide;

static inline uint64_t map_text_mix(uint64_t h)
{
	map_text_wide product = (map_text_wide)h * 0xd6e8feb86659fd93;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t map_text_load64(const char *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint64_t map_text_hash_key(uint64_t seed, struct slice key)
{
	uint64_t h = seed ^ key.len * 0x9e3779b97f4a7c15;
	uint64_t last = 0;
	if (key.len >= 8) {
		for (size_t i = 0; i + 8 < key.len; i += 8)
			h = map_text_mix(h ^ map_text_load64(key.at + i));
		last = map_text_load64(key.at + key.len - 8); /* may overlap what came before: no matter */
	} else {
		for (size_t i = 0; i < key.len; i++)
			last = last << 8 | (uint8_t)key.at[i];
	}
	return map_text_mix(map_text_mix(h ^ last) + key.len);
}

/* The bits that a key sets in its word of the filter. */
static inline uint64_t map_text_filter_bits(uint64_t hash)
{
	return UINT64_C(1) << (hash >> 40 & 63) | UINT64_C(1) << (hash >> 50 & 63);
}

static inline uint32_t map_text_filter_word(uint64_t hash, uint32_t mask)
{
	return ((uint32_t)hash & mask) / MAP_TEXT_FILTER_SLOTS;
}

#endif
