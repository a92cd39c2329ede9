/* exposition.h: the counters, gauges and histograms of a door as Prometheus and its like read them.
 *
 * Two forms: OpenMetrics 1.0 (https://openmetrics.io), and the older text format 0.0.4 of Prometheus. Times are in seconds. Nothing blocks or logs.
 */
#ifndef TARRY_DESK_EXPOSITION_H
#define TARRY_DESK_EXPOSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define EXPOSITION_MAX (1024 * 1024)
#define EXPOSITION_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define EXPOSITION_TEXT "text/plain; version=0.0.4; charset=utf-8"

struct exposition {
	const char *version; /* of the door */
	int64_t started;     /* seconds of the wall clock */
	long long fronts;    /* as configured */
	int64_t pause_ms;    /* greet_pause */
	long long listeners; /* who has the page open */
	long long requests, denied; /* so far */
	unsigned long long missed;  /* clients turned away that the desk has not seen */
};

void exposition_put(struct buf *out, bool openmetrics, const struct exposition *about);
/* Which form a client wants that has sent this Accept (NULL: none). */
bool exposition_wants_openmetrics(const char *accept);

#endif
