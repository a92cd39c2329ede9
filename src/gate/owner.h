/* owner.h: clients on their way to the front that owns them.
 *
 * Behind a load balancer the front that accepts is not the one that counts the client (listen.c): after the header it passes the descriptor on, with what the header said. Each
 * front has one queue, a Unix socket that the others write to; the parent keeps both of its ends, so that what waits in the queue of a front that dies is its successor's. Nothing here blocks,
 * and nobody is lost: who cannot be passed on is served by the front that has it.
 */
#ifndef TARRY_GATE_OWNER_H
#define TARRY_GATE_OWNER_H

#include <stdbool.h>

#include "core/addr.h"
#include "core/conf.h"

struct front;
struct origin;

/* in: the end of this front's own queue that is read, which is the front's from now on; -1: none. out: the other ends, one for each front, owned by the caller; NULL: none. 0 or -errno. */
int owner_start(struct front *front, int in, const int *out);
/* Passes a descriptor on to the client's own front; then both the descriptor and origin->id are gone from here. False: it is this front's, or the other one takes nobody at present. */
bool owner_give(struct front *front, int fd, const struct addr *client, const struct origin *origin);
/* The same for a client that has connected to us, on a socket that all fronts accept from. tls: what its listener has. */
bool owner_give_direct(struct front *front, int fd, const struct addr *client, enum conf_tls tls);
/* Takes all that waits in the queue. */
void owner_take_all(struct front *front);
void owner_stop(struct front *front);

#endif
