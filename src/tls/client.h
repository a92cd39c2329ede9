/* client.h: one connection whose TLS ends here: the client's socket on one side, a front's stream pair on the other.
 *
 * Owns both descriptors. At most CLIENT_HELD bytes of each direction wait for a slow reader; then the other side is not read. An end is passed on as an end:
 * close_notify, and a half-close. The handshake has a deadline; how long a client may be idle is the front's to say, which ends it by closing its side.
 */
#ifndef TARRY_TLS_CLIENT_H
#define TARRY_TLS_CLIENT_H

#include <stdbool.h>

#include <openssl/ssl.h>

#include "core/buf.h"
#include "core/loop.h"

#define CLIENT_HELD (16 * 1024)
#define CLIENT_LINGER (3 * LOOP_SECOND) /* after our end: what the client still sends is thrown away, so that no reset overtakes what it was sent */
#define CLIENT_FLUSH (30 * LOOP_SECOND) /* for what a front that has gone has left for the client */

enum client_state {
	CLIENT_HANDSHAKE,
	CLIENT_OPEN,
	CLIENT_DRAIN, /* our end is sent */
	CLIENT_DONE,  /* closed; freed at the end of the turn */
};

struct clients {
	struct loop *loop;
	struct client *first; /* all of them */
	struct client *done;
	unsigned len;
	unsigned lost;  /* that ended in the middle, and neither side had anything to do with it: who owns them may tell of it and count anew */
	int lost_error; /* the errno of the last one */
};

/* ssl is new, and the client's from now on, as the descriptors are, also on failure. greet: the client waits for the reply to STARTTLS. timeout: of the handshake. */
void client_new(struct clients *all, SSL *ssl, int outer, int inner, bool greet, int64_t timeout);
/* At the end of a turn only. */
void client_reap(struct clients *all);
void client_end_all(struct clients *all);

#endif
