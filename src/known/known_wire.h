/* known_wire.h: what fronts say to the keeper of those who are known, and what it says to them.
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

/* They do; there is no answer that says no. */
struct known_answer {
	uint32_t magic;
	uint32_t conn;
	struct addr client;
};

#endif
