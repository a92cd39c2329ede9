/* series.h: what the door has done over time: a point for each ten seconds of the last hour, and one for each minute of the last day.
 *
 * Counters stand there as what they rose by, gauges as the most that was seen. Times are those of the wall clock, so a machine that sleeps leaves a gap. The struct is plain memory
 * that may be kept elsewhere; nothing blocks or allocates.
 */
#ifndef TARRY_SHOW_SERIES_H
#define TARRY_SHOW_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SERIES(name, metric, another one that is added, or the same): counters first, then gauges. */
#define SERIES_ALL(COUNTER, GAUGE) \
	COUNTER(patient, patient, patient) COUNTER(exempt, exempt, exempt) COUNTER(known, known, known) COUNTER(early, early, early) COUNTER(refused, refused, refused) \
	COUNTER(banned, ban_hits, ban_hits) COUNTER(gone, gone, gone) COUNTER(limited, limited_total, limited_client) COUNTER(nobackend, nobackend, tempfail) COUNTER(would, would_early, would_refused) \
	GAUGE(held, held, asked) GAUGE(open, open, open)

enum series_what {
#define SERIES_NAME(name, metric, another) SERIES_##name,
	SERIES_ALL(SERIES_NAME, SERIES_NAME)
#undef SERIES_NAME
	SERIES_COUNT
};

struct series_point {
	int64_t at; /* seconds of the wall clock, when it begins; 0: there is none */
	uint32_t of[SERIES_COUNT];
};

#define SERIES_HOUR_STEP 10
#define SERIES_HOUR_POINTS 360
#define SERIES_DAY_STEP 60
#define SERIES_DAY_POINTS 1440

struct series {
	int64_t last[SERIES_COUNT]; /* of the counters */
	bool begun;
	struct series_point hour[SERIES_HOUR_POINTS], day[SERIES_DAY_POINTS]; /* point n of time at index n % POINTS */
};

const char *series_name(enum series_what what);
/* So far (counters), or now (gauges). */
int64_t series_value(enum series_what what);
/* Looks at the counters, now; as often as is liked, at best every second. */
void series_look(struct series *series, int64_t now);
/* The finished points that begin at `from` or later, oldest first: those of a time at which nobody looked are missing. day: of the day; else of the hour. Their number; out: room for
 * SERIES_DAY_POINTS. */
size_t series_points(const struct series *series, bool day, int64_t from, int64_t now, struct series_point *out);
void series_tidy(struct series *series);

#endif
