/* guard.h: a door that cannot see its clients says so: when nearly all of them come from one private address, that is most likely a gateway's (of a container's network, a NAT, a
 * load balancer), and pause, access database and limits are about the gateway.
 *
 * A front looks at its own clients, and at the number of all: a single address always meets the same front. No memory beyond struct guard.
 */
#ifndef TARRY_GATE_GUARD_H
#define TARRY_GATE_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/loop.h"

#define GUARD_WINDOW (3600 * LOOP_SECOND) /* looked at, and said once at most */
#define GUARD_LEAST 100                   /* connections in it, before anything is said */
#define GUARD_PERCENT 90                  /* of all that come from the one address */
#define GUARD_SPEAKS 1000                 /* bytes from a relayed client that are more than a monitor's HELO, STARTTLS and QUIT */

struct front;
struct conn;

struct guard {
	int64_t since, said; /* when the window began; when it was last said; 0: never */
	int64_t before;      /* connections of all fronts before the window */
	struct addr who;     /* the address that may be the one */
	uint32_t lead;       /* of it over all others (a vote by majority, in constant memory) */
	uint32_t seen;       /* connections from it in this window, */
	uint32_t spoke;      /* of which so many were not what a monitor does */
	bool blind;          /* it is so now */
};

/* A connection has come, and has been counted; it is no prober's. */
void guard_came(struct front *front, const struct addr *client);
/* It has ended. */
void guard_ended(struct front *front, const struct conn *conn);

#endif
