/* model.h: what `tarry top` knows of a door at one moment: read from the memory that the door has given, and what it remembers of before.
 *
 * A plain value: a copy of it is the screen that stands still. Nothing blocks or logs.
 */
#ifndef TARRY_TOP_MODEL_H
#define TARRY_TOP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "advise/advise.h"
#include "core/health.h"
#include "core/metrics.h"
#include "show/memory.h"
#include "show/times.h"

#define MODEL_THINGS 64    /* backends and maps that are shown at most */
#define MODEL_NETWORKS 100
#define MODEL_SAMPLES 32   /* looks of which rates are made */
#define MODEL_ADVISE_S 60  /* from one advice to the next: it takes some hundredths of a second */
#define MODEL_RATE_MS 5000 /* over so long, or from one look to the next if that is longer */

struct model_times {
	uint64_t count;
	int64_t half, nine_in_ten, most; /* quantiles 0.5, 0.9, 0.99; nanoseconds */
};

struct model {
	int64_t now; /* seconds of the wall clock */
	struct model_pause {
		long long pause, explore; /* ms: greet_pause, explore_pause */
		long long share;          /* advise_share, millionths; 0: the door has not said so, and nothing is advised */
	} pause, advised_for;
	int64_t advised_at;           /* seconds of the wall clock; 0: not yet */
	struct advise_result advice;  /* if advised_at is not 0 */
	struct memory memory;
	int64_t values[METRIC_COUNT];
	int64_t totals[SERIES_COUNT];
	struct model_sample {
		int64_t at; /* milliseconds of a clock that only rises */
		int64_t of[SERIES_COUNT];
	} samples[MODEL_SAMPLES]; /* the n-th at index n % MODEL_SAMPLES */
	uint64_t samples_len;
	uint64_t talk[TIMES_BARS]; /* see times_bars() */
	struct model_times talked, gone, greeted_late;
	struct networks_top networks[MODEL_NETWORKS];
	size_t networks_len;
	struct model_thing {
		bool map;
		char name[HEALTH_NAME], at[HEALTH_AT];
		struct health health;
	} things[MODEL_THINGS];
	unsigned things_len, things_left; /* that there was no room for */
};

void model_init(struct model *model);
/* The counters are those of another door: rates begin anew. */
void model_anew(struct model *model);
/* now: seconds of the wall clock; at: see above. */
void model_look(struct model *model, int64_t now, int64_t at);
/* A second; below 0: not known yet. */
double model_rate(const struct model *model, enum series_what what);
/* What a counter rose by in the points of ten seconds that begin in the last so many seconds. */
uint64_t model_sum(const struct model *model, enum series_what what, int64_t seconds);
/* A counter or gauge by its name; -1: there is none of that name. */
int64_t model_value(const struct model *model, const char *name);

#endif
