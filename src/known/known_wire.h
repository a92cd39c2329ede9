/* known_wire.h: what fronts say to the keepers of those who are known and of those who are banned, and what is said to them.
 *
 * Messages of a SOCK_SEQPACKET socket that all fronts share; answers come on one of each front's own. Nobody waits for an answer: it is good for as long as the client's pause.
 * All of them are built together: no byte order, no versions.
 */
#ifndef TARRY_KNOWN_KNOWN_WIRE_H
#define TARRY_KNOWN_KNOWN_WIRE_H

#include <stdint.h>

#include "core/addr.h"
#include "known/known_key.h"

#define KNOWN_WIRE_MAGIC UINT32_C(0x6b6e776e)
#define BAN_WIRE_MAGIC UINT32_C(0x62616e73)
#define BAN_WIRE_REASON 16

enum known_said {
	KNOWN_PASSED,    /* it has done all that is asked of a client */
	KNOWN_FORFEITED, /* it has not */
	KNOWN_ASK,       /* do other doors know it? */
	KNOWN_WAITED,    /* it has waited, and gone where nothing more is seen of it */
};

struct known_message {
	uint32_t magic;
	uint8_t said;      /* enum known_said */
	uint8_t has_domain;
	uint16_t front;
	uint32_t conn;     /* KNOWN_ASK: comes back with the answer */
	struct addr client;
	char domain[KNOWN_DOMAIN]; /* known_domain()'s; only its bytes and a NUL are sent */
};

/* To the keeper of bans: this client has offended as often as it may. */
struct ban_message {
	uint32_t magic;    /* BAN_WIRE_MAGIC */
	uint32_t count;    /* how often, within ban_window */
	struct addr client;
	uint8_t proxied;   /* it came by a load balancer */
	char reason[BAN_WIRE_REASON]; /* what it has done last, with a NUL */
};

/* They do; there is no answer that says no. */
struct known_answer {
	uint32_t magic;
	uint32_t conn;
	struct addr client;
};

#endif
