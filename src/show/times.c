/* The tour, show: histograms as they are shown. */
#include "show/times.h"

#include <string.h>

/* Edges within a decade, hundredths of its beginning: some of those that buckets have, nearly alike on a logarithmic scale. */
static const int edges[] = { 100, 125, 150, 200, 250, 300, 400, 500, 600, 800 };
#define EDGES (sizeof(edges) / sizeof(edges[0]))
#define FROM INT64_C(1000000) /* where the first bar ends */

_Static_assert(TIMES_BARS % EDGES == 1, "whole decades");

int64_t times_bar_from(unsigned bar)
{
	int64_t decade = FROM;
	if (bar == 0)
		return 0;
	if (bar >= TIMES_BARS)
		return INT64_MAX;
	for (bar--; bar >= EDGES; bar -= EDGES)
		decade *= 10;
	return decade / 100 * edges[bar];
}

void times_bars(const struct metrics_times *times, uint64_t bars[TIMES_BARS])
{
	unsigned b = 0;
	for (unsigned i = 0; i < TIMES_BARS; i++) {
		int64_t to = times_bar_from(i + 1);
		unsigned end = to >= metrics_bucket_from(METRICS_BUCKETS) ? METRICS_BUCKETS : metrics_bucket(to);
		bars[i] = 0;
		for (; b < end; b++)
			bars[i] += times->buckets[b];
	}
}

int64_t times_quantile(const struct metrics_times *times, double q)
{
	double wanted = q * (double)times->count, before = 0;
	unsigned last = 0;
	for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
		double n = (double)times->buckets[b];
		if (n <= 0)
			continue;
		int64_t from = metrics_bucket_from(b), to = metrics_bucket_from(b + 1);
		if (before + n >= wanted)
			return from + (int64_t)((double)(to - from) * (wanted > before ? (wanted - before) / n : 0));
		before += n;
		last = b + 1;
	}
	return last == 0 ? 0 : metrics_bucket_from(last);
}
