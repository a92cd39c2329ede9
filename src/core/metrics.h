/* metrics.h: counters of metrics.def, in memory that all roles of one door share.
 *
 * The parent makes the memory before the first fork. Each process writes a row of its own, without locks, and anybody may add the rows up:
 * a sum is right to within what happens while it is read. Nothing here blocks or logs.
 */
#ifndef TARRY_CORE_METRICS_H
#define TARRY_CORE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

enum metric {
#define METRIC(name, kind, sentence) METRIC_##name,
#include "metrics.def"
#undef METRIC
	METRIC_COUNT
};

#define METRICS_ROWS 256 /* processes that can count at the same time */

/* Shared memory for all rows. 0 or -errno. Before it, counting goes to a row private to the process. */
int metrics_init(void);
/* The row this process writes, below METRICS_ROWS; its gauges start at 0 again, its counters go on. */
void metrics_row(unsigned row);
/* Gauges of a row whose process has died. */
void metrics_clear_gauges(unsigned row);

void metrics_add(enum metric m, int64_t n);
int64_t metrics_sum(enum metric m);
/* The sum over the first n rows only: cheap enough for the accept path. */
int64_t metrics_sum_rows(enum metric m, unsigned n);
/* Of one row alone. */
int64_t metrics_row_value(enum metric m, unsigned row);
const char *metrics_name(enum metric m);
const char *metrics_sentence(enum metric m);
bool metrics_is_gauge(enum metric m);

#endif
