/* metrics.h: counters, gauges and histograms of metrics.def, in memory that all roles of one door share.
 *
 * The parent makes the memory before the first fork. Each process writes a row of its own, without locks, and anybody may add the rows up:
 * a sum is right to within what happens while it is read. A program of its own can have the memory too, to read it (metrics_attach()). Nothing here blocks or logs.
 */
#ifndef TARRY_CORE_METRICS_H
#define TARRY_CORE_METRICS_H

#include <stdbool.h>
#include <stdint.h>

enum metric {
#define METRIC(name, kind, sentence) METRIC_##name,
#include "metrics.def"
	METRIC_COUNT
};

enum histogram {
#define HISTOGRAM(name, sentence) HISTOGRAM_##name,
#include "metrics.def"
	HISTOGRAM_COUNT
};

#define METRICS_ROWS 1024    /* processes that can count at the same time, of all generations (core/proc.h); what nobody uses costs nothing */
#define METRICS_BUCKETS 1040 /* of a histogram: up to 500 s; what is longer is in the last one */

/* Shared memory for all rows. 0 or -errno. Before it, counting goes to a row private to the process. */
int metrics_init(void);
/* The descriptor of that memory; the callee keeps it. -1: there is none (of the second: /proc is not there). */
int metrics_fd(void);          /* to read and write */
int metrics_fd_readonly(void); /* for metrics_attach() */
/* In place of metrics_init(): to read what another process has made, whose metrics.def is ours. Takes the descriptor, also on failure. Counting stays private. 0 or -errno; -EPROTO: it is
 * another version's. */
int metrics_attach(int fd);
/* In place of metrics_init(): goes on with what the program before this one has made, whose metrics.def must be ours. Takes the descriptor, also on failure. 0 or -errno; -EPROTO: it is another version's. */
int metrics_adopt(int fd);
/* The row this process writes, below METRICS_ROWS; its gauges start at 0 again, its counters go on. */
void metrics_row(unsigned row);
/* That row's number. */
unsigned metrics_my_row(void);
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

/* Histograms: of times, in nanoseconds. Buckets are the same for all: of 2.5 us up to 100 us, and from there between 1 and 2.5 percent of the time they stand for, with bounds at
 * 1, 2, 5, 10 and so on, so that coarser ones can be made of them. */

struct metrics_times {
	uint64_t count;
	int64_t sum; /* nanoseconds */
	uint64_t buckets[METRICS_BUCKETS]; /* they add up to count */
};

/* One more; a time below 0 counts as 0. */
void metrics_observe(enum histogram h, int64_t ns);
/* Many more at once: what a version with other rows has seen. */
void metrics_times_add(enum histogram h, const struct metrics_times *more);
/* Over all rows; large: not for the stack of a deep call. */
void metrics_times(enum histogram h, struct metrics_times *out);
/* The bucket that a time belongs to, and its first nanosecond; it ends where the next one begins (bucket METRICS_BUCKETS begins at 500 s). */
unsigned metrics_bucket(int64_t ns);
int64_t metrics_bucket_from(unsigned bucket);
const char *metrics_times_name(enum histogram h);
const char *metrics_times_sentence(enum histogram h);

#endif
