/* watched.h: a relay whose dialogue is read: relay.h's two pumps with the watch (watch.h) between them.
 *
 * Uses the flags and counters of the session's relay; becomes that plain relay when the watch says that nothing more needs to be seen (after STARTTLS).
 * Private to the files of a connection.
 */
#ifndef TARRY_GATE_WATCHED_H
#define TARRY_GATE_WATCHED_H

#include <stdbool.h>

#include "gate/judge.h"
#include "gate/relay.h"
#include "gate/watch.h"

struct watched {
	struct watch watch;
	struct stages stages;
	uint16_t counted;                 /* bits of the stages at which it has talked, as far as they are counted */
	struct judge judge;
	bool passed; /* known_passed() was told */
	struct buf client_in, backend_in; /* what was read and the watch has not taken */
	uint32_t pause_ms;                /* how long the pause is that it is in */
	int64_t slow_until;               /* the client's command is held back; 0: none is */
};

/* How much of a dialogue is read. */
enum watched_extent {
	WATCHED_NOTHING,
	WATCHED_HELLO, /* up to the first MAIL: what the backend offers and must not, and the injection that STARTTLS allows; who is exempt */
	WATCHED_ALL,   /* to its end, or to STARTTLS: who is judged, or has to show at each stage that it waits. And what became of WATCHED_HELLO where the backend sees the door's address and offers to believe XCLIENT from there */
};

/* The mail server inside offers nothing that would have to be struck from what an exempt client sees. */
enum watched_extent watched_extent(const struct front *front, const struct session *session);
/* Begins with what the relay holds, the backend's greeting. False: no memory. */
bool watched_start(struct front *front, struct session *session, enum watched_extent extent);
/* What was asked about the client is answered: it is heard from now on. */
void watched_answered(struct front *front, struct session *session);
/* Also if it never started. */
void watched_stop(struct session *session);
/* As relay_run(). After RELAY_BACKEND_ENDED the client's last words are in session->out; after RELAY_TALK what it is owed before the refusal, and session says at which stage it talked and
 * has what it said. While session->resume is not 0, call it again then. */
enum relay_result watched_run(struct front *front, struct session *session);
/* When watched_run() wants to be called again, if nothing happens before; LOOP_NEVER: it does not. */
int64_t watched_waits(const struct session *session);
/* The door is under stress: the pause that it is in is as short as one that begins now. Before watched_waits() is asked. */
void watched_hurry(const struct front *front, struct session *session);
/* After RELAY_SEAL. */
void watched_sealed(struct session *session, enum watch_sealed sealed, const char *tell);
bool watched_blocked_on_client(const struct session *session);
bool watched_blocked_on_backend(const struct session *session);

#endif
