/* The tour, map: lmdb and cdb files, used. The filter knows most keys that are not there; for the others the library is asked. How values are
 * stored, and whether keys have a NUL at their end, is known here and nowhere else. */
#include "map/map_file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "map/map_file_image.h"
#include "map/map_filter.h"
#include "map/map_sealed.h"

/* The tail, if this is a sealed image of this kind. */
static bool read_tail(const struct map_file_kind *kind, int fd, struct map_file_tail *tail, size_t *filter_at, size_t *size)
{
	off_t all = map_sealed_size(fd);
	if (all < (off_t)sizeof(*tail) || pread(fd, tail, sizeof(*tail), all - (off_t)sizeof(*tail)) != sizeof(*tail))
		return false;
	if (memcmp(tail->magic, MAP_FILE_IMAGE_MAGIC, sizeof(tail->magic)) != 0 || strncmp(tail->scheme, kind->driver->scheme, sizeof(tail->scheme)) != 0)
		return false;
	if (tail->slots < MAP_FILTER_SLOTS_LEAST || tail->slots > MAP_FILE_SLOTS_MOST || (tail->slots & (tail->slots - 1)) != 0 || tail->size > MAP_FILE_MAX)
		return false;
	*filter_at = map_file_filter_at(tail->size);
	*size = (size_t)all;
	return *filter_at + map_file_filter_size(tail->slots) + sizeof(*tail) == *size;
}

bool map_file_recognise(const struct map_file_kind *kind, int fd)
{
	struct map_file_tail tail;
	size_t at, size;
	return read_tail(kind, fd, &tail, &at, &size);
}

static void drop(struct map_file *map)
{
	map_sealed_unmap(map->filter, map->tail_size);
	free(map);
}

struct map *map_file_open(const struct map_file_kind *kind, int fd)
{
	struct map_file_tail tail;
	size_t at, size;
	bool good = read_tail(kind, fd, &tail, &at, &size);
	struct map_file *map = good ? calloc(1, kind->struct_size) : NULL;
	if (map) {
		map->kind = kind;
		map->tail_size = size - at;
		map->filter = map_sealed_map(fd, at, size);
		map->tail = map->filter ? (const struct map_file_tail *)(map->filter + map_file_filter_size(tail.slots) / sizeof(uint64_t)) : NULL;
		if (!map->filter || !kind->attach(map, fd, tail.size)) {
			drop(map);
			map = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	if (!map)
		return NULL;
	map->base = (struct map){ .driver = kind->driver, .meta = map->tail->meta, .entries = tail.entries, .size = size, .canonical = tail.canonical };
	return &map->base;
}

void map_file_close(struct map *map)
{
	struct map_file *file = (struct map_file *)map;
	file->kind->detach(file);
	drop(file);
}

/* "300\0" "12": the value 300 of line 12. */
static struct map_value canonical_value(struct slice stored)
{
	uint64_t line = 0;
	const char *nul = memrchr(stored.at, '\0', stored.len);
	const char *end = stored.at + stored.len;
	const char *at = nul ? nul + 1 : end;
	if (at == end || end - at > 10)
		return (struct map_value){ stored, 0 };
	for (; at < end; at++) {
		if (*at < '0' || *at > '9')
			return (struct map_value){ stored, 0 };
		line = line * 10 + (uint64_t)(*at - '0');
	}
	return (struct map_value){ { stored.at, (size_t)(nul - stored.at) }, line <= UINT32_MAX ? (uint32_t)line : 0 };
}

static struct map_value value_of(const struct map_file_tail *tail, struct slice stored)
{
	struct map_value value = tail->canonical ? canonical_value(stored) : (struct map_value){ map_file_without_nul(stored), 0 };
	if (value.text.len > MAP_VALUE_MAX)
		value.text.len = MAP_VALUE_MAX;
	return value;
}

static bool find(struct map_file *map, struct slice key, struct map_value *out)
{
	const struct map_file_tail *tail = map->tail;
	char memory[MAP_FILE_KEY + 1];
	struct slice stored;
	bool found = tail->without_nul && map->kind->get(map, key, &stored);
	if (!found && tail->with_nul && key.len <= MAP_FILE_KEY) {
		memcpy(memory, key.at, key.len);
		memory[key.len] = '\0';
		found = map->kind->get(map, (struct slice){ memory, key.len + 1 }, &stored);
	}
	if (found)
		*out = value_of(tail, stored);
	return found;
}

int map_file_first(struct map *map, const struct slice keys[], size_t len, struct map_value *out)
{
	struct map_file *file = (struct map_file *)map;
	uint32_t mask = file->tail->slots - 1;
	for (size_t i = 0; i < len && i < MAP_BATCH; i++) {
		uint64_t hash = map_filter_hash(file->tail->seed, keys[i]);
		if (map_filter_may_have(file->filter, mask, hash) && find(file, keys[i], out))
			return (int)i;
	}
	return -1;
}

struct each {
	const struct map_file_tail *tail;
	map_take *take;
	void *context;
};

static bool take_stored(void *context, struct slice key, struct slice stored)
{
	const struct each *e = context;
	if (e->tail->canonical && map_file_is_meta(key))
		return true;
	struct map_value value = value_of(e->tail, stored);
	return e->take(e->context, e->tail->canonical ? key : map_file_without_nul(key), &value);
}

bool map_file_each(struct map *map, map_take *take, void *context)
{
	struct map_file *file = (struct map_file *)map;
	struct each e = { file->tail, take, context };
	return file->kind->walk(file, take_stored, &e);
}
