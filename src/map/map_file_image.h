/* map_file_image.h: the memory file of an lmdb or cdb map; for the one who makes it (map_file_build) and the one who uses it (map_file).
 *
 * The file, nothing up to the next multiple of MAP_SEALED_ALIGN, the filter, the tail.
 */
#ifndef TARRY_MAP_MAP_FILE_IMAGE_H
#define TARRY_MAP_MAP_FILE_IMAGE_H

#include <string.h>

#include "map/map_file.h"
#include "map/map_filter.h"
#include "map/map_sealed.h"

#define MAP_FILE_IMAGE_MAGIC "tarrylib" /* without its NUL */
#define MAP_FILE_SLOTS_MOST (1u << 29)

static inline size_t map_file_filter_at(uint64_t size)
{
	return (size_t)((size + MAP_SEALED_ALIGN - 1) / MAP_SEALED_ALIGN * MAP_SEALED_ALIGN);
}

static inline size_t map_file_filter_size(uint32_t slots)
{
	return slots / MAP_FILTER_SLOTS * sizeof(uint64_t);
}

static inline struct slice map_file_without_nul(struct slice s)
{
	if (s.len > 0 && s.at[s.len - 1] == '\0')
		s.len--;
	return s;
}

static inline bool map_file_is_meta(struct slice key)
{
	return key.len == MAP_META_KEY_LEN && memcmp(key.at, MAP_META_KEY, MAP_META_KEY_LEN) == 0;
}

#endif
