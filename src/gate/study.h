/* study.h: what clients do that have to wait, for whoever is to say how long the pause should be (src/advise, tarry-advise(1)).
 *
 * Studied are clients that wait because greet_pause says so, and not because of what somebody knows or has written about them: when they talk, hang up, or how long they waited. Explored
 * are a few of them, which wait up to explore_pause. They are drawn by a keyed hash of the client and the day: it does not depend on what they do, so that they do what all would; who
 * comes again on that day has the same draw; and nobody can tell who it will be. Private to the files of a connection.
 */
#ifndef TARRY_GATE_STUDY_H
#define TARRY_GATE_STUDY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"

struct admit;
struct conn;
struct front;
struct session;

/* In the parent, before its first fork: the secret of the draw, the same in all fronts, and in those that take their place. told: that of the program whose place this one takes; NULL, or
 * zeros: a new one. 0 or -errno. Before it nobody is explored. */
int study_init(const uint64_t told[2]);
void study_secret(uint64_t out[2]);
/* For tests: a secret that is none. */
void study_init_with(uint64_t secret);
/* Whether a client is drawn on that day (days since 1970), of so many in a million. */
bool study_draws(const struct addr *client, int64_t day, int64_t millionths);

/* Whether the client is studied, and explored, and how long it waits then. */
void study_admit(const struct front *front, const struct conn *conn, struct admit *admit);
/* It has been judged so: takes the pause. */
void study_begin(struct conn *conn, const struct admit *admit);
/* Its verdict is there; or enforcing would have had one. The first one counts. */
void study_decided(const struct session *session);
void study_observed(const struct session *session);

#endif
