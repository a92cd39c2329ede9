/* json.h: JSON (RFC 8259), ASCII alone, into a buf; and what a door says of itself as one object.
 *
 * Nothing blocks; what does not fit is missing, and the buf says so (full).
 */
#ifndef TARRY_SHOW_JSON_H
#define TARRY_SHOW_JSON_H

#include <stdint.h>

#include "core/buf.h"
#include "show/lines.h"

#define JSON_TIME 32

/* A string of bytes. What is no printable ASCII is written by its number, \u0000 to \u00ff: bytes from the network are no text in any encoding that one could rely on. */
void json_put_bytes(struct buf *out, const void *bytes, size_t len);
void json_put_text(struct buf *out, const char *text);
/* before, "name": "text" */
void json_put_pair(struct buf *out, const char *before, const char *name, const char *text);

/* Seconds of the wall clock as 2026-11-30T12:00:00Z; returns out. */
const char *json_time_text(int64_t seconds, char out[JSON_TIME]);

/* What `tarry status --json` says: one object, without an end of line. door: its line. */
void json_put_status(struct buf *out, const struct lines *lines, const struct line *door);
/* The same without its end, for who has more to say. */
void json_begin_status(struct buf *out, const struct lines *lines, const struct line *door);

#endif
