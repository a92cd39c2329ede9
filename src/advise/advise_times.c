/* The tour, advise: a door's histograms as bins. */
#include "advise/advise_times.h"

#include <math.h>

#define NS_PER_MS 1e6

_Static_assert(METRICS_BUCKETS <= ADVISE_BINS, "each bucket is a bin");

size_t advise_times_bins(const struct advise_times *t, struct advise_bin bins[ADVISE_BINS])
{
	const double ends[] = { t->pause, t->explore };
	for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
		bins[i] = (struct advise_bin){ .lo = (double)metrics_bucket_from(i) / NS_PER_MS, .hi = (double)metrics_bucket_from(i + 1) / NS_PER_MS, .talk = (double)t->talk->buckets[i],
			.gone = (double)t->gone->buckets[i], .waited = (double)t->waited->buckets[i] };
		for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++)
			if (ends[e] >= bins[i].lo && ends[e] < bins[i].hi && bins[i].waited > 0)
				bins[i].waited_at = ends[e];
	}
	return METRICS_BUCKETS;
}

void advise_now(double pause, double explore, double share, struct advise_result *result)
{
	static struct metrics_times talk, gone, waited; /* large, all of these */
	static struct advise_bin bins[ADVISE_BINS];
	static struct advise_work work;
	metrics_times(HISTOGRAM_study_talk, &talk);
	metrics_times(HISTOGRAM_study_gone, &gone);
	metrics_times(HISTOGRAM_study_waited, &waited);
	const struct advise_times times = { &talk, &gone, &waited, pause, explore };
	const struct advise_data data = { bins, advise_times_bins(&times, bins), pause, fmax(explore, pause), share, 1 };
	advise(&data, &work, result);
}
