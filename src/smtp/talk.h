/* talk.h: what kind of early talk it is, judged by its first bytes.
 *
 * A pure function over what was read: more bytes may tell another kind ("E" is text, "EHLO x" a command), so ask when all that is there has been read.
 */
#ifndef TARRY_SMTP_TALK_H
#define TARRY_SMTP_TALK_H

#include "core/buf.h"

enum talk_kind {
	TALK_SMTP,    /* one SMTP command */
	TALK_SESSION, /* SMTP commands, more than one line: a slammer */
	TALK_TLS,     /* a ClientHello: TLS spoken to a plain port */
	TALK_HTTP,
	TALK_PROXY,   /* a PROXY header, version 1 or 2: a load balancer that is not expected here */
	TALK_SSH,
	TALK_TEXT,    /* printable, none of the above */
	TALK_BINARY,
	TALK_KINDS
};

enum talk_kind talk_kind(struct slice bytes);
const char *talk_kind_name(enum talk_kind kind);

#endif
