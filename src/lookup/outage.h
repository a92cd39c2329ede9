/* outage.h: a map that fails, and how long it is left alone. The time is the caller's, CLOCK_MONOTONIC in nanoseconds.
 *
 * A server is there for all lookup processes or for none, so its struct outage may lie in memory that they share: then one of them finds out for all,
 * one of them tries again for all, and one of them says so. A process may die at any moment without harm: there is no lock, and every try has an end.
 */
#ifndef TARRY_LOOKUP_OUTAGE_H
#define TARRY_LOOKUP_OUTAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"

#define OUTAGE_FIRST LOOP_SECOND       /* a map that has failed is not tried again for so long, */
#define OUTAGE_MOST (30 * LOOP_SECOND) /* twice as long each time it fails again, up to this */
#define OUTAGE_TRY (2 * LOOP_SECOND)   /* finding out whether it is back takes no longer than this */

struct outage {
	atomic_bool failing;
	_Atomic int64_t since, retry_at, delay;
	_Atomic uint64_t failed; /* questions since it began, those answered without asking included */
};

enum outage_change { OUTAGE_SAME, OUTAGE_BEGUN, OUTAGE_OVER };

/* Whether to ask now. True while it is failing: the caller is the one who tries, for all, when its client has been told that it fails. False counts as one more that failed. */
bool outage_may_ask(struct outage *outage, int64_t now);
/* What came of it. With OUTAGE_OVER since and failed still tell of what is over. */
enum outage_change outage_report(struct outage *outage, bool ok, int64_t now);

#endif
