/* arrive.h: connections of a load balancer, until its PROXY header has said whose they are.
 *
 * Private to the files of a connection. What is accepted on a listener with proxy = yes waits here for its whole header, proxy_timeout at most, and becomes a connection of the client then, in
 * the front that owns that client. Exactly the header is read: what stands behind it is the client's. Nothing is sent before. Memory for all arrivals is reserved at start.
 */
#ifndef TARRY_GATE_ARRIVE_H
#define TARRY_GATE_ARRIVE_H

#include <stdbool.h>

#include "core/addr.h"
#include "core/conf.h"

#define ARRIVE_MAX 4096 /* arrivals of a front at the same time at most */

struct front;
struct arrivals;
struct conn;

/* How a client came that did not connect to us. */
struct origin {
	struct addr peer;   /* who says so */
	struct addr server; /* where the client connected to */
	enum conf_tls tls;  /* what the listener has */
	char *id;           /* what the peer calls the connection, from malloc; NULL: it has no name for it */
};

/* 0 or -errno. Does nothing if no listener takes the header. */
int arrive_init(struct front *front);
/* Also half-built; closes what is still waiting. */
void arrive_fini(struct front *front);
/* A descriptor, which is the arrival's from now on, and who connected. */
void arrive_take(struct front *front, int fd, const struct addr *peer, const struct conf_listen *listen);
/* Gives what is over back. At the end of a turn only. */
void arrive_reap(struct front *front);
/* How many wait. */
unsigned arrive_waiting(const struct front *front);
/* The door is shutting down: all that wait are told so. */
void arrive_stop(struct front *front);

/* How a connection came; NULL: it connected to us. */
const struct origin *arrive_origin(const struct front *front, const struct conn *conn);
/* Where its client connected to; false: that cannot be known. */
bool arrive_server(const struct front *front, const struct conn *conn, struct addr *server);

#endif
