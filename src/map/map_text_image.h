/* map_text_image.h: how the memory file of a text map looks inside; for the one who writes it and the one who reads it.
 *
 * Header, slots (an open-addressing hash table), filter, pool of records. The filter is small enough for the processor's cache and knows
 * most keys that are not there. A slot leads to a record, and a record is a line number, a key and a value.
 */
#ifndef TARRY_MAP_MAP_TEXT_IMAGE_H
#define TARRY_MAP_MAP_TEXT_IMAGE_H

#include <stdint.h>

#include "map/map_filter.h"
#include "map/map_text.h"

#define MAP_TEXT_SLOTS_LEAST MAP_FILTER_SLOTS_LEAST
#define MAP_TEXT_FILTER_SLOTS MAP_FILTER_SLOTS
#define MAP_TEXT_SLOTS_MOST (1u << 25) /* twice MAP_TEXT_LINES_MAX: there is always an empty one */
#define MAP_TEXT_POOL_UNIT 4           /* records begin at multiples of it; a slot counts in it */

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
	uint8_t meta[MAP_META];
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

#endif
