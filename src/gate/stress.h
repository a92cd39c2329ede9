/* stress.h: a front that is nearly full: pauses and time-outs are short then, and nobody sits in the tarpit.
 *
 * Begins when stress_at percent of the connections or of this process's descriptors are in use, and ends when it is seven ninths of that (90 and 70 by default). Each front finds out
 * for itself, when a client comes and by a deadline of its own; the log says it once for all. What was decided before is gone through a few connections a turn.
 */
#ifndef TARRY_GATE_STRESS_H
#define TARRY_GATE_STRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"

struct front;

struct stress {
	struct source source; /* to look again */
	bool on;
	uint32_t at;          /* with on: the connections before this one have been gone through */
};

void stress_init(struct front *front);
/* The front ends. */
void stress_fini(struct front *front);
/* A client has come; with it, so many connections are open over all fronts. */
void stress_came(struct front *front, int64_t open);

/* The policy: whether it is on when `used` of `most` are in use, given whether it was. */
bool stress_follows(bool was, int64_t used, int64_t most, int64_t percent);

/* What counts now in place of a pause, of refuse_timeout, of refuse_lifetime: never more. */
uint32_t stress_pause_ms(const struct front *front, uint32_t pause_ms);
int64_t stress_refuse_timeout(const struct front *front);
int64_t stress_refuse_lifetime(const struct front *front);

#endif
