/* map_sealed.h: memory files that nobody can change any more: what a table is handed round in.
 *
 * Who builds a table writes it into map_sealed_new() and closes it with map_sealed_finish(); any number of processes then map it and share
 * the one copy. Nothing can change or shrink under a reader, so a mapping of it never raises SIGBUS.
 */
#ifndef TARRY_MAP_MAP_SEALED_H
#define TARRY_MAP_MAP_SEALED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A memory file to write to, or -errno. */
int map_sealed_new(void);
/* All bytes, or -errno. */
int map_sealed_write(int fd, const void *bytes, size_t len);
/* Seals it for good and returns a read-only descriptor of it, or -errno. Takes fd (and closes it, also on failure). */
int map_sealed_finish(int fd);

/* Bytes of a sealed file, or -1: it is none. */
off_t map_sealed_size(int fd);
/* From `from` (a multiple of MAP_SEALED_ALIGN) to the end of the file, which has so many bytes, pages fetched at once; or NULL. */
const void *map_sealed_map(int fd, size_t from, size_t size);
void map_sealed_unmap(const void *at, size_t len);

#define MAP_SEALED_ALIGN 65536 /* the largest page that a machine has */

#endif
