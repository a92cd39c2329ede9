/* backend_tls.h: TLS on the way to a backend, as a front sees it: the connection handed over to tarry-tls, one end of a stream pair in its place, and what came of the handshake.
 *
 * For dial.c, which asks backend_tls_run() whenever something has happened, until it is done. Until then nothing of the client's is said to the backend but the PROXY header. No wait in
 * here, and no log: what the queue of orders does not take now is tried again by the deadline of the session's backend.
 */
#ifndef TARRY_GATE_BACKEND_TLS_H
#define TARRY_GATE_BACKEND_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/conf.h"
#include "core/tlswire.h"

struct front;
struct session;
struct starttls;

enum backend_tls_state {
	BACKEND_TLS_ASK,       /* STARTTLS: it is asked for TLS in clear */
	BACKEND_TLS_CONNECT,   /* the connection does not stand yet, or has not taken the header */
	BACKEND_TLS_HAND,      /* it could not be handed over, so far */
	BACKEND_TLS_HANDSHAKE, /* it is handed over */
	BACKEND_TLS_DONE,
};

struct backend_tls {
	enum backend_tls_state state;
	struct starttls *starttls; /* ASK and after it, until the greeting has been used; NULL: with implicit TLS */
	int64_t until; /* HAND: when the backend has had its time; loop time */
	const char *waits; /* HAND: for what */
	uint32_t got;  /* bytes of facts */
	struct tlswire_facts facts;
};

enum backend_tls_result {
	BACKEND_TLS_MORE,
	BACKEND_TLS_OPEN, /* what is said from now on is said in TLS */
	BACKEND_TLS_REFUSED, /* its greeting in clear is a refusal, for the client to hear: nothing is to be said to it */
	BACKEND_TLS_FAILED,
};

/* How: implicit, or by STARTTLS. NULL: no memory. */
struct backend_tls *backend_tls_new(enum conf_tls how);
void backend_tls_free(struct backend_tls *tls);
/* What the backend says now is for backend_tls_ask(). */
bool backend_tls_asks(const struct session *session);
/* Takes all of it. BACKEND_TLS_MORE: also when it is handed over. Results as those of backend_tls_run(). */
enum backend_tls_result backend_tls_ask(struct front *front, struct session *session, struct slice said, const char **why);
/* Whether the session's backend is to speak TLS, and does not yet. */
bool backend_tls_is_pending(const struct session *session);
/* Goes on. BACKEND_TLS_FAILED: *why lasts as long as the front; the connection is still the session's to close. */
enum backend_tls_result backend_tls_run(struct front *front, struct session *session, const char **why);
/* The backend's deadline. True: it is over; false: it was for backend_tls_run(). */
bool backend_tls_is_over(const struct front *front, const struct session *session);
/* What a backend has not done that has had its time: a literal. */
const char *backend_tls_late(const struct session *session);

#endif
