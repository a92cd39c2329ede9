/* counsel.h: how long the pause should be, by what the fronts have counted so far (src/advise), for the page. Looked into once a minute: it takes some hundredths of a second. */
#ifndef TARRY_DESK_COUNSEL_H
#define TARRY_DESK_COUNSEL_H

#include <stdbool.h>
#include <stdint.h>

#include "advise/advise.h"
#include "core/buf.h"

#define COUNSEL_STEP 60 /* seconds */

struct counsel {
	double pause, explore, share; /* ms, and a part: greet_pause, explore_pause, advise_share; pause 0: there is none, and nothing to say */
	int64_t started;              /* the door, seconds of the wall clock; 0: not known */
	int64_t looked;               /* seconds of the wall clock; 0: not yet */
	struct advise_result result;
};

/* now: seconds of the wall clock. */
void counsel_look(struct counsel *counsel, int64_t now);
/* A JSON object, or null. */
void counsel_put(struct buf *out, const struct counsel *counsel);

#endif
