/* prelude.h: what a server says before the client's dialogue begins, when the door has something to say to it first: one reply after the other, line by line, under ceilings.
 *
 * For xclient.c and starttls.c. Bytes in, lines out: no socket, no clock, no log.
 */
#ifndef TARRY_SMTP_PRELUDE_H
#define TARRY_SMTP_PRELUDE_H

#include <stdbool.h>

#include "core/buf.h"
#include "smtp/answer.h"
#include "smtp/line.h"

#define PRELUDE_LINE 2048     /* bytes of a line of the server's */
#define PRELUDE_LINES 100     /* lines of one of its replies */
#define PRELUDE_GREETING 4096 /* bytes of what is kept */

struct prelude {
	int code;         /* of the reply that is coming in */
	unsigned lines;   /* of it so far */
	struct buf line;  /* as far as it has come */
	struct buf reply; /* what was kept of it */
	const char *why;  /* it is over: a literal */
};

struct prelude_line {
	struct line line;
	struct answer answer;
};

enum prelude_result { PRELUDE_MORE, PRELUDE_READY, PRELUDE_FAILED };

void prelude_init(struct prelude *prelude);
void prelude_fini(struct prelude *prelude);
/* The next line of *in, which is valid until prelude_used(). PRELUDE_FAILED: why. */
enum prelude_result prelude_next(struct prelude *prelude, struct slice *in, struct prelude_line *out);
/* keep: it is a part of what the client may hear. False: why. */
bool prelude_used(struct prelude *prelude, struct slice *in, const struct prelude_line *line, bool keep);
/* The next reply is awaited. */
void prelude_again(struct prelude *prelude);

#endif
