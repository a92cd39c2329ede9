/* line.h: bytes that come in pieces → lines.
 *
 * A line that came whole is looked at where it lies; only one that was cut is put together in a buf. A line that was read is not used up
 * until line_used(): who cannot do with it yet asks for it again. Allocates through the buf alone, never blocks or logs.
 */
#ifndef TARRY_SMTP_LINE_H
#define TARRY_SMTP_LINE_H

#include <stdbool.h>

#include "core/buf.h"

enum line_result {
	LINE_MORE,  /* no end of a line yet; all of *in has been taken */
	LINE_READY,
	LINE_LONG,  /* no end within `most` bytes, or no memory to put it together */
};

struct line {
	struct slice bytes; /* its LF included; without one, with `last` */
	size_t in_place;    /* bytes of *in that it is; 0: it lies in the buf */
};

/* partial: what has been put together so far, empty at first; its ceiling is at least `most`. *in loses what went into it. most: bytes of a line, its line
 * end included. last: nothing follows, so that what is left is a line too. */
enum line_result line_next(struct buf *partial, struct slice *in, size_t most, bool last, struct line *out);
/* Done with the line that line_next() gave. */
void line_used(struct buf *partial, struct slice *in, const struct line *line);
/* Keep it, also when *in is gone: the next line_next() gives it again. False: no memory. */
bool line_keep(struct buf *partial, struct slice *in, const struct line *line);
/* Throw away the rest of a line that was too long. False: its end has not come yet. */
bool line_skip(struct buf *partial, struct slice *in);

/* Without its line end, and without CRs before that, which some clients double. *crlf: it ended in CRLF. */
struct slice line_text(struct slice bytes, bool *crlf);

#endif
