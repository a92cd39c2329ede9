/* seal.h: TLS that ends at the door, as a front sees it: its clients handed over to tarry-tls, and what came of their handshakes.
 *
 * The client's socket goes to tarry-tls together with one end of a stream pair; the other end takes its place as the client's descriptor. What is known of TLS comes
 * out of it first (core/tlswire.h); from then on the connection is like any other. If the process that has it dies, it ends. No wait in here: what the queue of
 * orders does not take now is tried again by the connection's deadline.
 */
#ifndef TARRY_GATE_SEAL_H
#define TARRY_GATE_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/tlswire.h"
#include "gate/conn.h"

struct log_line;

/* What one connection has of it, from the beginning of its handshake to its end. */
struct seal {
	int64_t begun, took; /* the handshake; loop time, and how long it was */
	struct addr local;   /* where the client came in */
	bool has_local;
	bool sent;           /* it has been handed over */
	bool done;           /* facts are complete and good */
	uint32_t got;        /* bytes of facts */
	struct tlswire_facts facts;
};

enum seal_start {
	SEAL_SENT,
	SEAL_LATER,  /* nobody is there, or all are busy */
	SEAL_FAILED, /* memory or descriptors are used up */
};

enum seal_read { SEAL_MORE, SEAL_DONE, SEAL_BROKEN };

/* orders: the socket to tarry-tls, the front's from now on; ends_here: clients' TLS does, and not only backends' begins here. 0 or -ENOMEM. */
int seal_init(struct front *front, int orders, bool ends_here);
void seal_fini(struct front *front);
bool seal_ends_here(const struct front *front);

/* Hands a connection, a client's or a backend's, to tarry-tls, which gets a descriptor of its own; fd stays the caller's. *near: our end of the pair. */
enum seal_start seal_order(const struct front *front, const struct tlswire_order *order, int fd, int *near);
/* What comes out of that end first; *got: how much has come so far. After SEAL_BROKEN facts->error says why. */
enum seal_read seal_take_facts(int near, struct tlswire_facts *facts, uint32_t *got);

/* NULL: its TLS does not end here. */
const struct seal *seal_of(const struct front *front, const struct conn *conn);
/* After SEAL_SENT its descriptor is another one, watched as the old one was; before, nothing has changed. starttls: tarry-tls answers the command. */
enum seal_start seal_start(struct front *front, struct conn *conn, bool starttls);
/* When it is readable. SEAL_BROKEN: the handshake has failed, or whoever did it is gone. */
enum seal_read seal_read(struct front *front, struct conn *conn);
/* Does nothing to a connection that has none. */
void seal_free(struct front *front, const struct conn *conn);

/* What the line of a connection says of it; NULL: nothing. */
void seal_log(struct log_line *l, const struct seal *seal);

#endif
