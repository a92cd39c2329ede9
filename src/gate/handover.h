/* handover.h: a patient client's socket, handed to a program (exec) by way of the spawner.
 *
 * The front takes its last look at the client, sends the socket and waits, in DIAL, for what became of it; until then it keeps its own descriptor and neither reads nor
 * writes. Once the program runs the connection is over here, and costs nothing any more but a count: it is one of its client's (max_per_client, ClientConn:) until the program
 * ends. Private to the files of a connection.
 */
#ifndef TARRY_GATE_HANDOVER_H
#define TARRY_GATE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "gate/conn.h"

enum handover_state {
	HANDOVER_NONE,
	HANDOVER_ASKING, /* what is asked about the client decides whether it is handed over at all */
	HANDOVER_PASSED, /* its socket is with the spawner */
};

struct handover {
	struct source source; /* first: the channel to the spawner */
	uint64_t life;        /* of this front */
	uint32_t serial;
	uint64_t heard;       /* the last numbered report */
};

/* channel: to the spawner, owned from now on; -1: no backend has exec. 0 or -errno. */
int handover_init(struct front *front, int channel);
void handover_fini(struct front *front);
/* In DIAL, for the backend session->to: CONN_NOTHING: under way, or it waits; CONN_DENIED, CONN_DROPPED: the access database refuses the client, and a program could not be told
 * at RCPT; CONN_TALK, CONN_HANGUP: found by the last look; CONN_FAILED: session->wrong says why. */
enum conn_event handover_start(struct front *front, struct session *session);
/* DIAL: the client's descriptor is none of ours at present. */
bool handover_is_passed(const struct session *session);
/* What was asked about the client is answered: whoever waited for that goes on. CONN_NOTHING for everybody else. */
enum conn_event handover_answered(struct front *front, struct session *session);
/* For whoever ceases to dial. */
void handover_leave(struct front *front, struct session *session);

#endif
