/* The tour, map: a text file as a table, used. What a process has mapped can neither change nor shrink under it: it is sealed. Even so
 * a look-up trusts nothing in it but its size: every offset is checked when used, and opening a table of a million keys needs not
 * walk it. */
#include "map/map_text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "map/map_driver.h"
#include "map/map_sealed.h"
#include "map/map_text_image.h"

struct map_text {
	struct map base; /* first */
	const struct map_text_header *header;
	const struct map_text_slot *slots;
	const uint64_t *filter;
	const char *pool;
	size_t pool_size;
	uint64_t seed;
	uint32_t mask;
	uint32_t reach;
};

static bool header_ok(const struct map_text_header *h, size_t size)
{
	if (memcmp(h->magic, MAP_TEXT_IMAGE_MAGIC, 8) != 0 || h->version != MAP_TEXT_IMAGE_VERSION)
		return false;
	if (h->slots < MAP_TEXT_SLOTS_LEAST || h->slots > MAP_TEXT_SLOTS_MOST || (h->slots & (h->slots - 1)) != 0 || h->reach >= h->slots)
		return false;
	size_t before_pool = sizeof(*h) + h->slots * sizeof(struct map_text_slot) + h->slots / MAP_TEXT_FILTER_SLOTS * sizeof(uint64_t);
	return before_pool <= size && h->pool_size == size - before_pool;
}

static struct map *open_image(int fd)
{
	off_t size = map_sealed_size(fd);
	struct map_text *map = NULL;
	const struct map_text_header *h = size < (off_t)sizeof(*h) ? NULL : map_sealed_map(fd, 0, (size_t)size);
	if (fd >= 0)
		close(fd); /* the mapping stays */
	if (h && header_ok(h, (size_t)size))
		map = malloc(sizeof(*map));
	if (!map) {
		map_sealed_unmap(h, (size_t)size);
		return NULL;
	}
	const struct map_text_slot *slots = (const struct map_text_slot *)(h + 1);
	const uint64_t *filter = (const uint64_t *)(slots + h->slots);
	*map = (struct map_text){ .header = h, .slots = slots, .filter = filter, .pool = (const char *)(filter + h->slots / MAP_TEXT_FILTER_SLOTS),
		.pool_size = h->pool_size, .seed = h->seed, .mask = h->slots - 1, .reach = h->reach };
	map->base = (struct map){ .driver = &map_text_driver, .meta = h->meta, .entries = h->entries, .size = (size_t)size, .canonical = true };
	return &map->base;
}

static void close_image(struct map *map)
{
	const struct map_text *text = (const struct map_text *)map;
	map_sealed_unmap(text->header, map->size);
	free(map);
}

/* The record at place, if it lies in the pool. Returns where it ends, or 0. */
static size_t record_at(const struct map_text *map, size_t at, struct slice *key, struct map_value *out)
{
	struct map_text_record r;
	if (at > map->pool_size || map->pool_size - at < sizeof(r))
		return 0;
	memcpy(&r, map->pool + at, sizeof(r));
	at += sizeof(r);
	if (map->pool_size - at < (size_t)r.key_len + r.value_len)
		return 0;
	*key = (struct slice){ map->pool + at, r.key_len };
	*out = (struct map_value){ { map->pool + at + r.key_len, r.value_len }, r.line };
	return at + r.key_len + r.value_len;
}

static bool read_record(const struct map_text *map, uint32_t place, struct slice key, struct map_value *out)
{
	struct slice has;
	struct map_value value;
	if (record_at(map, (size_t)place * MAP_TEXT_POOL_UNIT, &has, &value) == 0 || has.len != key.len || memcmp(has.at, key.at, key.len) != 0)
		return false;
	*out = value;
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

static int first(struct map *any, const struct slice keys[], size_t len, struct map_value *out)
{
	const struct map_text *map = (const struct map_text *)any;
	uint64_t hashes[MAP_BATCH];
	uint8_t likely[MAP_BATCH];
	size_t likely_len = 0;
	if (len > MAP_BATCH)
		len = MAP_BATCH;
	/* Each slot lies somewhere else in memory: ask for all of them before waiting for the first. */
	for (size_t i = 0; i < len; i++) {
		uint64_t hash = map_filter_hash(map->seed, keys[i]);
		if (!map_filter_may_have(map->filter, map->mask, hash))
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

static bool recognise(int fd)
{
	char magic[8];
	return map_sealed_size(fd) >= (off_t)sizeof(magic) && pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
		memcmp(magic, MAP_TEXT_IMAGE_MAGIC, sizeof(magic)) == 0;
}

static int build(const char *path, const struct map_rules *rules, struct map_report *report)
{
	return map_text_build(path, rules, report->errors, report->warnings, &report->entries);
}

/* Record after record, in the order of the file. */
static bool each(struct map *map, map_take *take, void *context)
{
	const struct map_text *text = (const struct map_text *)map;
	struct slice key;
	struct map_value value;
	for (size_t at = MAP_TEXT_POOL_UNIT, end; (end = record_at(text, at, &key, &value)) > 0;
		at = (end + MAP_TEXT_POOL_UNIT - 1) / MAP_TEXT_POOL_UNIT * MAP_TEXT_POOL_UNIT)
		if (!take(context, key, &value))
			return false;
	return true;
}

const struct map_driver map_text_driver = { .scheme = "text:", .build = build, .recognise = recognise, .open = open_image, .close = close_image,
	.first = first, .each = each };
