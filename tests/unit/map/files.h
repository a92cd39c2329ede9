/* files.h: lmdb and cdb files for the tests, made with the libraries themselves in a folder that goes with the test. */
#ifndef TARRY_TESTS_MAP_FILES_H
#define TARRY_TESTS_MAP_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "map/map.h"

struct files {
	char folder[64];
	char path[128];      /* of the file at hand; files_name() sets it */
	char spec[160];      /* scheme and path */
	struct map_report report;
	struct buf errors, warnings;
	char errors_memory[8192], warnings_memory[8192];
};

/* cmocka's setup and teardown: *state is the struct files. */
int files_setup(void **state);
int files_teardown(void **state);

void files_name(struct files *f, const char *scheme, const char *name);
/* The bytes of the file at hand, from malloc, and new ones for it. */
char *files_read(const struct files *f, size_t *len);
void files_write(const struct files *f, const void *bytes, size_t len);
size_t files_count(const struct files *f); /* names in the folder */

/* map_build() of the file at hand; rules may be NULL. */
int files_build(struct files *f, const struct map_rules *rules);
/* The same, opened; fails the test if that cannot be done. */
struct map *files_open(struct files *f, const struct map_rules *rules);
/* What is said, without the path in front. */
void files_assert_refused(struct files *f, const char *said);

struct pair {
	struct slice key, value;
};

/* All in one transaction; flags as of mdb_dbi_open(). */
void files_lmdb(const struct files *f, const struct pair *pairs, size_t len, unsigned flags);
void files_cdb(const struct files *f, const struct pair *pairs, size_t len);
/* key%d → value%d, with so many bytes more of value; each key and value with `extra` more of its NUL-terminated text (1: the NUL). */
struct pair *files_pairs(size_t len, size_t value_more, size_t extra);

int files_get(struct map *map, const char *key, struct map_value *out);
void files_assert_value(struct map *map, const char *key, const char *value, uint32_t line);
/* Every key%d asked for and every entry gone through, for what happens and not for what is found. */
void files_use(struct map *map, size_t len);

/* A fixed series. */
uint32_t files_pick(uint32_t below);

#endif
