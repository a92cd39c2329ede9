/* turned.h: who was turned away, told to those who watch the door: an entry in the ring of those turned away lately (recent.h), and how long it took them to talk, or to go.
 *
 * Private to the files of a connection. Nothing here blocks or logs; no memory is needed.
 */
#ifndef TARRY_GATE_TURNED_H
#define TARRY_GATE_TURNED_H

#include <stdint.h>

#include "core/addr.h"
#include "gate/conn.h"
#include "gate/often.h"

struct front;
struct session;
struct session_head;

/* A verdict that does not hand the client to a backend, just now. Who is over a limit has an entry now and then only (often.h). */
void turned_away(struct front *front, const struct session *session);
/* The same of a client that has no session, for it is over a limit. */
void turned_away_at_once(struct front *front, const struct session_head *head);
/* A client that comes over and over, and so many more of the same; now: of the loop's clock. */
void turned_often(const struct addr *client, const struct often_case *is, uint32_t more, int64_t now);
/* An observed client that enforcing had turned away: what session->would says. */
void turned_observed(struct front *front, const struct session *session);
/* How long after it had come it talked, of who is found now to have done so. Where it was not known yet how long it has to wait, that is found later. Nanoseconds. */
int64_t turned_talked_after(const struct session *session, int64_t now);

#endif
