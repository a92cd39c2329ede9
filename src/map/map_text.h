/* map_text.h: a text file with makemap's syntax, as a table in a sealed memory file.
 *
 * map_text_build() reads the file (it may block), refuses it where makemap would refuse a line, and returns the descriptor of a memory
 * file that nobody can change any more. Any number of processes map it with map_open() and share its one copy; a look-up makes
 * no system call and allocates nothing. What the keys mean is not known here: rules give a key another, canonical form, look at the
 * values, and leave a few bytes of their own (meta) in the table.
 */
#ifndef TARRY_MAP_MAP_TEXT_H
#define TARRY_MAP_MAP_TEXT_H

#include <stddef.h>

#include "core/buf.h"
#include "map/map.h"

#define MAP_TEXT_FILE_MAX (256u << 20) /* bytes of the file */
#define MAP_TEXT_LINES_MAX (16u << 20) /* lines of the file */
#define MAP_TEXT_LINE_MAX 1022         /* bytes of a line: makemap's buffer is 1024, line end and NUL included */

/* Returns a sealed memfd, or -1 with one line or more in *errors. *warnings may get lines in both cases; *entries counts the keys.
 * The first of two lines whose keys are the same only by the rules counts, as the first hit of a look-up would. */
int map_text_build(const char *path, const struct map_rules *rules, struct buf *errors, struct buf *warnings, size_t *entries);

#endif
