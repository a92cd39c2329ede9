/* turned.h: who was turned away, told to those who watch the door: an entry in the ring of those turned away lately (recent.h), and how long it took them to talk, or to go.
 *
 * Private to the files of a connection. Nothing here blocks or logs; no memory is needed.
 */
#ifndef TARRY_GATE_TURNED_H
#define TARRY_GATE_TURNED_H

#include <stdint.h>

#include "core/addr.h"
#include "gate/conn.h"

struct session;
struct session_head;

/* A verdict that does not hand the client to a backend, just now. */
void turned_away(const struct session *session);
/* The same of a client that has no session. */
void turned_away_at_once(const struct session_head *head);
/* Clients that a ban has turned away, this one and so many more; it ends in so many seconds. */
void turned_banned(const struct addr *client, uint32_t more, int64_t seconds);
/* An observed client that enforcing had turned away: what session->would says. */
void turned_observed(const struct session *session);
/* How long after it had come it talked, of who is found now to have done so. Where it was not known yet how long it has to wait, that is found later. Nanoseconds. */
int64_t turned_talked_after(const struct session *session, int64_t now);

#endif
