/* context.h: a certificate with its key, and how TLS is spoken with them.
 *
 * Made from a bundle (core/tlswire.h), all at once or not at all: what is in force stays until what shall take its place is known to be good. Does not log.
 */
#ifndef TARRY_TLS_CONTEXT_H
#define TARRY_TLS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "core/buf.h"
#include "core/tlswire.h"

#define CONTEXT_DAYS_LEFT 21 /* a certificate with fewer days to go is worth a warning */

/* Whose names stand in errors. */
struct context_files {
	const char *certificate, *key, *ca, *ciphers; /* ciphers: of TLS 1.2, in OpenSSL's syntax; "": ours */
};

/* NULL: *why says which file is wrong, and why. The descriptor stays the caller's. */
SSL_CTX *context_new(int bundle, const struct context_files *files, struct buf *why);
/* The keys for tickets, from now on and for all contexts. False: that is none, and the old ones stay. */
bool context_take_tickets(int fd);
/* What holds for clients and backends alike: versions, ciphers (as in context_files), buffers. False: *why. */
bool context_set_up(SSL_CTX *context, const char *ciphers, struct buf *why);
/* Who vouches for the other side; tell: it is told whom we believe. */
struct context_ca {
	const char *file, *whom;
	bool tell;
};
/* Takes all certificates; one at least. False: *why. */
bool context_take_ca(SSL_CTX *context, BIO *from, struct context_ca as, struct buf *why);
/* Appends "SUBJECT, until DATE" of the certificate in force. *days: until it ends, negative after it. */
void context_describe(SSL_CTX *context, struct buf *out, int *days);
/* What OpenSSL said last, in its words; the queue of its errors is empty then. */
const char *context_error(void);

#endif
