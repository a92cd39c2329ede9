/* map_hash.h: "hash:/etc/mail/access": the access.db that Sendmail's makemap writes, hash or btree. What tests need of it beside its driver. */
#ifndef TARRY_LOOKUP_MAP_HASH_H
#define TARRY_LOOKUP_MAP_HASH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

#define MAP_HASH_FILE_MAX (512u << 20) /* bytes of the file */
#define MAP_HASH_PATH_MAX 1024

/* "hash:/etc/mail/access" and "hash:/etc/mail/access.db" are the same file. */
bool map_hash_path(const char *spec, char out[MAP_HASH_PATH_MAX], struct buf *why);

#endif
