/* stages.h: which stages (stage.h) count for a client that is about to be relayed: what the options and the access database say of their pauses, and what follows from talk.
 *
 * Private to the files of a connection.
 */
#ifndef TARRY_GATE_STAGES_H
#define TARRY_GATE_STAGES_H

#include "core/metrics.h"
#include "gate/ask.h"
#include "gate/stage.h"

struct session;

/* While what maps elsewhere have said is there: the pauses that follow, for stages_of(). ask NULL, or nothing said: nothing. */
void stages_remember(const struct front *front, const struct conn *conn, struct ask *ask);
struct stages stages_of(const struct front *front, const struct session *session);
/* None counts: the client may talk when it likes. */
bool stages_let(const struct session *session);
/* What counts who has talked there. */
enum metric stages_counter(enum stage stage);

#endif
