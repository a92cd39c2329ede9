/* peers.h: what OpenSSL is told of backends: whose certificates are believed, and what each is called.
 *
 * Made from what the parent hands over (struct tlswire_backends), all at once or not at all. The last session that a backend has given is kept, in memory, so that the next handshake costs
 * neither side a signature; whose certificate was looked at is not looked at again for as long. Does not log.
 */
#ifndef TARRY_TLS_PEERS_H
#define TARRY_TLS_PEERS_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "core/buf.h"
#include "core/tlswire.h"

struct peers {
	SSL_CTX *of[CONF_BACKENDS]; /* by the backend's place in the configuration; NULL: no TLS is spoken to it */
	char names[CONF_BACKENDS][256];
};

/* False: *why says which file is wrong, and why, and nothing has changed. The descriptor stays the caller's. */
bool peers_take(struct peers *peers, int fd, struct buf *why);
/* For a connection to it, our side being the client's. NULL: there is no such backend, or no memory. */
SSL *peers_connect(const struct peers *peers, unsigned backend);
/* Its handshake has failed: not for a session that the backend does not want any more, so the next one begins anew. */
void peers_failed(SSL *ssl);
void peers_fini(struct peers *peers);

#endif
