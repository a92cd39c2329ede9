/* The tour, map: a text file as a table, used. What a process has mapped can neither change nor shrink under it: it is sealed. Even so
 * a look-up trusts nothing in it but its size: every offset is checked when used, and opening a table of a million keys needs not
 * walk it. */
#include "map/map_text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map/map_text_image.h"

struct map_text {
	const struct map_text_header *header;
	const struct map_text_slot *slots;
	const uint64_t *filter;
	const char *pool;
	size_t pool_size;
	size_t size; /* of the whole mapping */
	uint64_t seed;
	uint32_t mask;
	uint32_t reach;
};

/* The whole of the file mapped, if it is sealed, or NULL. */
static const void *map_sealed(int fd, size_t *size)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & MAP_TEXT_SEALS) != MAP_TEXT_SEALS || fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct map_text_header))
		return NULL;
	/* MAP_POPULATE: the page faults come now, not one by one in look-ups. */
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	*size = (size_t)st.st_size;
	return at == MAP_FAILED ? NULL : at;
}

static bool header_ok(const struct map_text_header *h, size_t size)
{
	if (memcmp(h->magic, MAP_TEXT_IMAGE_MAGIC, 8) != 0 || h->version != MAP_TEXT_IMAGE_VERSION)
		return false;
	if (h->slots < MAP_TEXT_SLOTS_LEAST || h->slots > MAP_TEXT_SLOTS_MOST || (h->slots & (h->slots - 1)) != 0 || h->reach >= h->slots)
		return false;
	size_t before_pool = sizeof(*h) + h->slots * sizeof(struct map_text_slot) + h->slots / MAP_TEXT_FILTER_SLOTS * sizeof(uint64_t);
	return before_pool <= size && h->pool_size == size - before_pool;
}

struct map_text *map_text_open(int fd)
{
	size_t size = 0;
	struct map_text *map = NULL;
	const struct map_text_header *h = map_sealed(fd, &size);
	if (fd >= 0)
		close(fd); /* the mapping stays */
	if (h && header_ok(h, size))
		map = malloc(sizeof(*map));
	if (!map) {
		if (h)
			munmap((void *)(uintptr_t)h, size);
		return NULL;
	}
	const struct map_text_slot *slots = (const struct map_text_slot *)(h + 1);
	const uint64_t *filter = (const uint64_t *)(slots + h->slots);
	*map = (struct map_text){ .header = h, .slots = slots, .filter = filter, .pool = (const char *)(filter + h->slots / MAP_TEXT_FILTER_SLOTS),
		.pool_size = h->pool_size, .size = size, .seed = h->seed, .mask = h->slots - 1, .reach = h->reach };
	return map;
}

void map_text_close(struct map_text *map)
{
	if (!map)
		return;
	munmap((void *)(uintptr_t)map->header, map->size);
	free(map);
}

const uint8_t *map_text_meta(const struct map_text *map)
{
	return map->header->meta;
}

size_t map_text_entries(const struct map_text *map)
{
	return map->header->entries;
}

size_t map_text_size(const struct map_text *map)
{
	return map->size;
}

/* The record at place, if it lies in the pool and has this key. */
static bool read_record(const struct map_text *map, uint32_t place, struct slice key, struct map_value *out)
{
	struct map_text_record r;
	size_t at = (size_t)place * MAP_TEXT_POOL_UNIT;
	if (at > map->pool_size || map->pool_size - at < sizeof(r))
		return false;
	memcpy(&r, map->pool + at, sizeof(r));
	at += sizeof(r);
	if (r.key_len != key.len || map->pool_size - at < (size_t)r.key_len + r.value_len || memcmp(map->pool + at, key.at, key.len) != 0)
		return false;
	*out = (struct map_value){ { map->pool + at + key.len, r.value_len }, r.line };
	return true;
}

static bool find(const struct map_text *map, uint64_t hash, struct slice key, struct map_value *out)
{
	uint32_t tag = (uint32_t)(hash >> 32);
	uint32_t at = (uint32_t)hash & map->mask;
	for (uint32_t steps = 0; steps <= map->reach; steps++, at = (at + 1) & map->mask) {
		struct map_text_slot slot = map->slots[at];
		if (slot.place == 0)
			return false;
		if (slot.tag == tag && read_record(map, slot.place, key, out))
			return true;
	}
	return false;
}

int map_text_first(const struct map_text *map, const struct slice keys[], size_t len, struct map_value *out)
{
	uint64_t hashes[MAP_TEXT_BATCH];
	uint8_t likely[MAP_TEXT_BATCH];
	size_t likely_len = 0;
	if (len > MAP_TEXT_BATCH)
		len = MAP_TEXT_BATCH;
	/* Each slot lies somewhere else in memory: ask for all of them before waiting for the first. */
	for (size_t i = 0; i < len; i++) {
		uint64_t hash = map_text_hash_key(map->seed, keys[i]);
		uint64_t bits = map_text_filter_bits(hash);
		if ((map->filter[map_text_filter_word(hash, map->mask)] & bits) != bits)
			continue;
		__builtin_prefetch(&map->slots[(uint32_t)hash & map->mask]);
		hashes[likely_len] = hash;
		likely[likely_len++] = (uint8_t)i;
	}
	for (size_t i = 0; i < likely_len; i++)
		if (find(map, hashes[i], keys[likely[i]], out))
			return likely[i];
	return -1;
}
