/* The tour, map: how a map is named, which driver it has, and how it is told what is wrong with its source. */
#include "map/map.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map/map_driver.h"

static const struct map_driver *const drivers[] = { &map_text_driver, &map_lmdb_driver, &map_cdb_driver };
#define DRIVERS (sizeof(drivers) / sizeof(drivers[0]))

/* Names. */

static void say_unknown(const char *spec, const char *expected, struct buf *why)
{
	if (!why)
		return;
	buf_put_char(why, '"');
	buf_put_escaped(why, spec, strlen(spec), MAP_NOTE_KEY);
	buf_putf(why, "\" is no map that can be read; expected %s/path/to/file\n", expected);
}

const struct map_driver *map_driver_find(const char *spec, const char **where, struct buf *why)
{
	for (size_t i = 0; i < DRIVERS; i++) {
		size_t len = strlen(drivers[i]->scheme);
		if (strncmp(spec, drivers[i]->scheme, len) != 0 || spec[len] == '\0')
			continue;
		*where = spec + len;
		return drivers[i];
	}
	say_unknown(spec, "text:, lmdb: or cdb: and ", why);
	return NULL;
}

bool map_driver_suffixed(const struct map_driver *driver, const char *where, struct buf *path)
{
	size_t len = strlen(where), suffix = driver->suffix ? strlen(driver->suffix) : 0;
	buf_clear(path);
	return buf_put(path, where, len) && ((len > suffix && memcmp(where + len - suffix, driver->suffix ? driver->suffix : "", suffix) == 0) ||
		buf_put(path, driver->suffix, suffix));
}

/* The path of what is to be read. */
static bool find_path(const struct map_driver *driver, const char *where, struct buf *path)
{
	struct stat st;
	if (strlen(where) < MAP_PATH_MAX && map_driver_suffixed(driver, where, path) && stat(buf_text(path), &st) == 0)
		return true;
	buf_clear(path);
	return strlen(where) < MAP_PATH_MAX && buf_put_text(path, where);
}

bool map_path(const char *spec, struct buf *path, struct buf *why)
{
	const char *where;
	const struct map_driver *driver = map_driver_find(spec, &where, why);
	if (!driver)
		return false;
	if (find_path(driver, where, path))
		return true;
	if (why)
		buf_putf(why, "the path of a map is longer than %d bytes, the most that a path may have\n", MAP_PATH_MAX);
	return false;
}

/* All kinds alike. */

int map_build(const char *spec, const struct map_rules *rules, struct map_report *report)
{
	char memory[MAP_PATH_MAX + 16];
	const char *where;
	struct buf path;
	buf_init_fixed(&path, memory, sizeof(memory));
	if (!map_path(spec, &path, report->errors))
		return -1;
	return map_driver_find(spec, &where, NULL)->build(buf_text(&path), rules, report);
}

struct map *map_open(int fd)
{
	for (size_t i = 0; i < DRIVERS; i++)
		if (drivers[i]->recognise(fd))
			return drivers[i]->open(fd);
	if (fd >= 0)
		close(fd);
	return NULL;
}

void map_close(struct map *map)
{
	if (map)
		map->driver->close(map);
}

bool map_canonical(const struct map *map)
{
	return map->canonical;
}

const uint8_t *map_meta(const struct map *map)
{
	return map->meta;
}

size_t map_entries(const struct map *map)
{
	return map->entries;
}

size_t map_size(const struct map *map)
{
	return map->size;
}

int map_first(struct map *map, const struct slice keys[], size_t len, struct map_value *out)
{
	return map->driver->first(map, keys, len, out);
}

bool map_each(struct map *map, map_take *take, void *context)
{
	return map->driver->each(map, take, context);
}

struct slice map_record_value(const struct map_record *record, char memory[MAP_RECORD_MAX])
{
	if (record->line == 0)
		return record->value;
	memcpy(memory, record->value.at, record->value.len);
	int n = snprintf(memory + record->value.len + 1, MAP_RECORD_MAX - record->value.len - 1, "%u", record->line);
	memory[record->value.len] = '\0';
	return (struct slice){ memory, record->value.len + 1 + (size_t)n };
}

/* Notes. */

void map_notes_init(struct map_notes *notes, struct buf *to, const char *file)
{
	*notes = (struct map_notes){ .to = to, .file = file };
}

bool map_note_begin(struct map_notes *notes, uint32_t line)
{
	if (notes->shown == MAP_NOTES_SHOWN) {
		notes->more++;
		return false;
	}
	notes->shown++;
	if (line > 0)
		buf_putf(notes->to, "%s:%u: ", notes->file, line);
	else
		buf_putf(notes->to, "%s: ", notes->file);
	return true;
}

void map_note_end(struct map_notes *notes)
{
	buf_put_char(notes->to, '\n');
}

void map_note_bytes(struct map_notes *notes, struct slice bytes)
{
	buf_put_escaped(notes->to, bytes.at, bytes.len, MAP_NOTE_KEY);
}

void map_notes_finish(struct map_notes *notes)
{
	if (notes->more > 0)
		buf_putf(notes->to, "%s: and %zu more\n", notes->file, notes->more);
}
