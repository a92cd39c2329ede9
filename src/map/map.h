/* map.h: words that all maps share. A map is a table of bytes to bytes, named "scheme:where".
 *
 * Here are what a look-up yields, how a map's name is read, and notes: what is wrong or odd in a map's source, line by line, up to
 * a ceiling. Nothing here blocks, allocates (but through the caller's buf) or logs.
 */
#ifndef TARRY_MAP_MAP_H
#define TARRY_MAP_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

/* What a key stands for. The bytes belong to the map and live as long as it is open. */
struct map_value {
	struct slice text;
	uint32_t line; /* of the source; 0: it has no lines */
};

#define MAP_SCHEMES "text:" /* the schemes there are, for messages */

/* "text:/etc/tarry/access" gives the path. NULL, with a line in *why (may be NULL), if spec has another form. */
const char *map_text_path(const char *spec, struct buf *why);

#define MAP_NOTES_SHOWN 20 /* lines at most, then "and N more" */
#define MAP_NOTE_KEY 120   /* bytes of a key or value that a note shows */

/* Errors or warnings of one source, one line each: "FILE:LINE: …\n". */
struct map_notes {
	struct buf *to;
	const char *file;
	size_t shown;
	size_t more; /* counted, not shown */
};

void map_notes_init(struct map_notes *notes, struct buf *to, const char *file);
/* Writes "FILE:LINE: "; the caller adds what is to say to notes->to and ends with map_note_end(). False: above the ceiling,
 * counted, nothing to be written. */
bool map_note_begin(struct map_notes *notes, uint32_t line);
void map_note_end(struct map_notes *notes);
/* Bytes of the source, made printable, at most MAP_NOTE_KEY of them. */
void map_note_bytes(struct map_notes *notes, struct slice bytes);
/* Says how many were not shown. */
void map_notes_finish(struct map_notes *notes);

#endif
