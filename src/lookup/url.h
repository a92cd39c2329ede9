/* url.h: pieces of the names of maps: "redis://HOST:PORT/0?prefix=access:". Pure: nothing here blocks, allocates or logs.
 *
 * A name is cut first and decoded afterwards, so that "%3f" never counts as a "?". What is decoded becomes a C string, and therefore must not contain a NUL.
 */
#ifndef TARRY_LOOKUP_URL_H
#define TARRY_LOOKUP_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define URL_SPEC_MAX 4096 /* bytes of a map's name */
#define URL_HOST_MAX 256  /* bytes of a host with its NUL */

/* What stands before the first `stop`, or all of it. *rest is what stands behind; *found (may be NULL) tells whether there was one. */
struct slice url_cut(struct slice *rest, char stop, bool *found);
/* RFC 3986 2.1 into out with a NUL. False, with nothing written: a bad escape, a NUL, or more than size. */
bool url_decode(struct slice text, char *out, size_t size);
/* "HOST", "HOST:PORT", "[ADDRESS]:PORT"; without a port *port stays as it is. The host comes without brackets. */
bool url_host_port(struct slice text, char host[URL_HOST_MAX], uint16_t *port);
/* 0..most in digits. */
bool url_number(struct slice text, uint32_t most, uint32_t *out);

/* NAME=VALUE pairs: which names there are, and where the decoded value goes. A name alone sets *flag. */
struct url_option {
	const char *name;
	char *text; /* NULL: it is a flag */
	size_t size;
	bool *flag; /* set when it is there; may be NULL beside a text */
};

/* Reads all pairs between separators; names must be in the list (the one with name NULL ends it) and stand once. False, with one line in *why. */
bool url_options(struct slice text, char separator, const struct url_option *options, struct buf *why);

#endif
