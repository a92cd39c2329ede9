/* map_cdb.h: whether bytes are a cdb file that a look-up may be let at. A pure function of bytes; no offset in them is trusted. */
#ifndef TARRY_MAP_MAP_CDB_H
#define TARRY_MAP_MAP_CDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define MAP_CDB_RUN_MAX 4096 /* slots that a look-up may go through; with keys that are not chosen to collide it is a few dozen */

bool map_cdb_check(const uint8_t *at, size_t size, uint64_t *entries, struct buf *why);

#endif
