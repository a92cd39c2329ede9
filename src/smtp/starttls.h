/* starttls.h: asking a server for TLS (RFC 3207), as its client: its greeting, our EHLO, its list, our STARTTLS, its 220.
 *
 * Bytes in, bytes out: no socket, no clock, no log. What the server says is bounded (prelude.h), and it may not speak before it is asked; nothing that came in clear may be taken for a part of
 * what comes in TLS (CVE-2011-0411), but for the greeting, which the client hears. Either TLS is to begin, or nothing is to be said to this server.
 */
#ifndef TARRY_SMTP_STARTTLS_H
#define TARRY_SMTP_STARTTLS_H

#include <stdbool.h>

#include "core/buf.h"

enum starttls_result {
	STARTTLS_MORE,
	STARTTLS_READY,   /* TLS is to begin: we are the client in it */
	STARTTLS_REFUSED, /* its greeting is a refusal, for the client to hear */
	STARTTLS_FAILED,  /* it cannot begin: starttls_why() */
};

struct starttls;

/* NULL: no memory. */
struct starttls *starttls_new(void);
void starttls_free(struct starttls *starttls);
/* Takes all of what the server has said; host: what we call ourselves. What is to be sent is appended to *out. Not to be called again after another result than STARTTLS_MORE. */
enum starttls_result starttls_take(struct starttls *starttls, const char *host, struct slice in, struct buf *out);
/* What it said first. */
struct slice starttls_greeting(const struct starttls *starttls);
/* A literal. */
const char *starttls_why(const struct starttls *starttls);

#endif
