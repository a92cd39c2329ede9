/* data.h: the text of a message as it comes over the wire → as it goes into a file, and from there → as it goes over the wire again.
 *
 * Where a message ends is the one question on which two mail servers must never differ (SMTP smuggling). The rule: a client that has ended any
 * command with CRLF ends lines with CRLF and nothing else, so only CRLF "." CRLF ends its message. Its bare LFs and CRs are text: an LF goes
 * into the file as it is, but a dot after it is no dot at the start of a line, neither an end nor to be unstuffed. Only for a client that has ended all its
 * commands, DATA too, with a bare LF (a test by hand with netcat) an LF ends a line, with or without a CR before it.
 *
 * On the way out (to another server) nothing may be left that anybody could take for an end: every line end is CRLF, every dot at the start of a line is
 * stuffed, and a bare CR or a NUL, which no message may hold (RFC 5321 4.1.1.4, 2.3.8), is a space.
 *
 * A pure state machine: no file, no connection, nothing that blocks. The file has LF line ends.
 */
#ifndef TARRY_SMTP_DATA_H
#define TARRY_SMTP_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define DATA_SLACK 2 /* bytes that may come out beyond those that went in: a CR and a dot that were held back */

enum data_state {
	DATA_START,  /* at the start of a line */
	DATA_TEXT,   /* within one */
	DATA_CR,     /* after a CR, which is not in the output yet */
	DATA_DOT,    /* after a dot at the start of a line, which is not in the output */
	DATA_DOT_CR, /* and a CR after it */
	DATA_END,    /* the end was seen */
};

struct data {
	enum data_state state;
	bool lf;          /* LF alone ends a line */
	bool in_header;   /* no empty line yet */
	unsigned matched; /* bytes of "Received:" at the start of this header line; one more than it has: it is another */
	unsigned hops;    /* Received header lines so far */
	int64_t size;     /* of the text so far, as RFC 1870 counts: a line end is two bytes, stuffed dots and the end do not count */
};

void data_init(struct data *d, bool lf);
/* Take bytes up to and with the end of the message, append the text to out, which must have room for in.len + DATA_SLACK; NULL: only where it ends is asked for, and nothing is counted.
 * Returns how many were taken: all of them unless state became DATA_END. */
size_t data_take(struct data *d, struct slice in, struct buf *out);

#define DATA_STUFFED 2 /* bytes on the wire that one byte of text may become: LF → CRLF, and a dot → two */

/* Append text, as data_take() gives it, as it goes over the wire; the dot that ends a message is the caller's to add. *start: at the start of a line,
 * true in the beginning. False: out has no room for DATA_STUFFED * text.len bytes; nothing was written. */
bool data_stuff(bool *start, struct slice text, struct buf *out);

#endif
