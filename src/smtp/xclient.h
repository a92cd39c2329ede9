/* xclient.h: telling a server who the client is by XCLIENT (Postfix, XCLIENT_README): its greeting, our EHLO, its list, our XCLIENT, its second greeting.
 *
 * Bytes in, bytes out: no socket, no clock, no log. What the server says is bounded (prelude.h), and it may not speak before it is asked.
 * Nothing of this is for the client, but for the greeting in the end, or what the server says in place of one.
 */
#ifndef TARRY_SMTP_XCLIENT_H
#define TARRY_SMTP_XCLIENT_H

#include <stdbool.h>

#include "core/addr.h"
#include "core/buf.h"
#include "smtp/prelude.h"

#define XCLIENT_LINE 512        /* bytes of a command, CRLF included (XCLIENT_README) */
#define XCLIENT_GREETING PRELUDE_GREETING /* bytes of its greeting */

enum xclient_name {
	XCLIENT_NAMED,    /* the name leads back to the client */
	XCLIENT_FORGED,   /* it does not: told as REVERSE_NAME alone */
	XCLIENT_NAMELESS, /* there is none: [UNAVAILABLE] */
	XCLIENT_UNKNOWN,  /* the DNS did not say: [TEMPUNAVAIL] */
};

struct xclient_about {
	const char *host;           /* what we call ourselves, in EHLO */
	struct addr client, server; /* the address that the client came to */
	struct slice name;
	enum xclient_name named;
};

enum xclient_result {
	XCLIENT_MORE,
	XCLIENT_GREETED, /* the greeting for the client is in xclient_greeting(): a 220, or a refusal */
	XCLIENT_FAILED,  /* it cannot be told: xclient_why() */
};

struct xclient;

/* NULL: no memory. */
struct xclient *xclient_new(void);
void xclient_free(struct xclient *x);
/* Takes all of what the server has said; what is to be sent is appended to *out, which must have room for XCLIENT_LINE more. Not to be called again after another result than XCLIENT_MORE. */
enum xclient_result xclient_take(struct xclient *x, const struct xclient_about *about, struct slice in, struct buf *out);
struct slice xclient_greeting(const struct xclient *x);
/* A literal. */
const char *xclient_why(const struct xclient *x);

/* As a value of XCLIENT (RFC 3461 section 4: xtext). False: no room, and what was written is to be thrown away. */
bool xclient_put_xtext(struct buf *out, struct slice text);

#endif
