/* answer.h: a line of a server's reply → code, whether more lines follow, text.
 *
 * The other side of reply.h. Works on the caller's line, allocates nothing, never blocks or logs.
 */
#ifndef TARRY_SMTP_ANSWER_H
#define TARRY_SMTP_ANSWER_H

#include <stdbool.h>

#include "core/buf.h"

struct answer {
	int code;          /* 200 to 599 */
	bool more;         /* not the reply's last line */
	struct slice text; /* what follows the code and its separator */
};

/* line is without its line end. False: no line of a reply (RFC 5321 4.2). */
bool answer_parse(struct slice line, struct answer *out);

/* An EHLO keyword: the first word of a line's text. */
struct slice answer_keyword(const struct answer *answer);

#endif
