/* tarpit.h: a refused client whose every reply is delayed (refuse_tarpit): a state of a connection, a row of the table in conn.c.
 *
 * To sit there may take long, so it has to be cheap: the session is given back, and what is left of it is a struct tarpit. What the client says stays in its socket,
 * looked at and not taken, until its line is answered; the kernel's buffer is the back-pressure. Of a client that was relayed, and refused at a later stage, some has been read already: that is kept, up to a limit for
 * all of them. At its time a session is there for one reply, and gone again. Hang-up, stress and a
 * full send buffer release it: then it is like any other refused client, in the state REFUSE, and stays so.
 */
#ifndef TARRY_GATE_TARPIT_H
#define TARRY_GATE_TARPIT_H

#include <stdbool.h>
#include <stdint.h>

#include "gate/conn.h"

/* Whether the replies to this client, which is refused, are to be delayed: it is on, there is room, and no stress. */
bool tarpit_takes(const struct front *front, const struct conn *conn);

/* The row of the state. CONN_RELEASED: it does not stay. */
enum conn_event tarpit_enter(struct front *front, struct conn *conn);
enum conn_event tarpit_ready(struct front *front, struct conn *conn, uint32_t events);
enum conn_event tarpit_due(struct front *front, struct conn *conn);

/* It leaves: what it had becomes a session again. False: no memory, and nothing is left of it. */
bool tarpit_thaw(struct front *front, struct conn *conn);

#endif
