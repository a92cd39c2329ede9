/* health.h: what the fronts have found out about the backends, in memory that all roles of one door share, for `tarry status`.
 *
 * The parent makes it before the first fork. Each front writes rows of its own, when a client or a health check has tried a backend; anybody may read, and the newest word
 * counts. Before health_init() writing does nothing. Nothing here blocks or logs. Times are seconds of the wall clock (time(2)).
 */
#ifndef TARRY_GATE_HEALTH_H
#define TARRY_GATE_HEALTH_H

#include <stdint.h>

#define HEALTH_ERROR 64 /* bytes of an error's text, its NUL included; the rest is cut */

enum health_state { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

struct health {
	enum health_state state; /* HEALTH_UNKNOWN: nobody has tried it yet */
	int64_t since;           /* it is known to be so */
	int64_t seen;            /* when it was last tried */
	char error[HEALTH_ERROR]; /* with HEALTH_DOWN */
};

/* 0 or -errno. */
int health_init(unsigned fronts, unsigned backends);
void health_up(unsigned front, unsigned backend);
void health_down(unsigned front, unsigned backend, const char *error);
/* What all fronts together know of it. */
struct health health_of(unsigned backend);

#endif
