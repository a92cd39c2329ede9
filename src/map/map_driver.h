/* map_driver.h: what a kind of map is made of: one file, one const struct, found by its scheme.
 *
 * A driver's open map begins with a struct map. See map.h for what build, open, first and each promise.
 */
#ifndef TARRY_MAP_MAP_DRIVER_H
#define TARRY_MAP_MAP_DRIVER_H

#include "map/map.h"

struct map {
	const struct map_driver *driver;
	const uint8_t *meta;
	size_t entries;
	size_t size;
	bool canonical;
};

/* What map_write() has for a driver: key, value and, if line is not 0, a NUL and the line in decimal behind the value. */
struct map_record {
	struct slice key;
	struct slice value;
	uint32_t line;
};

#define MAP_RECORD_MAX (MAP_VALUE_MAX + 12) /* bytes of a stored value */

struct map_driver {
	const char *scheme; /* "lmdb:" */
	const char *suffix; /* ".lmdb"; NULL: files have none */
	int (*build)(const char *path, const struct map_rules *rules, struct map_report *report);
	bool (*recognise)(int fd); /* whether build() made this */
	struct map *(*open)(int fd);
	void (*close)(struct map *map);
	int (*first)(struct map *map, const struct slice keys[], size_t len, struct map_value *out);
	bool (*each)(struct map *map, map_take *take, void *context);
	/* Fills an empty file, which is open as fd and has this path, and may bring the records into another order. NULL: such files are written by hand. */
	bool (*write)(int fd, const char *path, struct map_record *records, size_t len, struct buf *why);
	size_t key_max; /* bytes of a key that write() takes */
};

extern const struct map_driver map_text_driver, map_lmdb_driver, map_cdb_driver;

/* The driver of "scheme:where", and where; NULL, with a line in *why (may be NULL). */
const struct map_driver *map_driver_find(const char *spec, const char **where, struct buf *why);
/* "PATH.suffix", or path alone if it ends so already. */
bool map_driver_suffixed(const struct map_driver *driver, const char *where, struct buf *path);
/* The bytes that are stored for a record's value. */
struct slice map_record_value(const struct map_record *record, char memory[MAP_RECORD_MAX]);

#endif
