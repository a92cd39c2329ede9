/* advise_times.h: the bins for advise(), of the histograms that a door keeps (study_talk, study_gone, study_waited of metrics.def): for whoever asks it, or reads its memory. */
#ifndef TARRY_ADVISE_TIMES_H
#define TARRY_ADVISE_TIMES_H

#include "advise/advise.h"
#include "core/metrics.h"

struct advise_times {
	const struct metrics_times *talk, *gone, *waited;
	double pause, explore; /* ms: the pauses to whose end clients waited; where one lies in a bucket, they did so at that point of it */
};

/* Their number; the buckets are the bins. */
size_t advise_times_bins(const struct advise_times *times, struct advise_bin bins[ADVISE_BINS]);

/* What is advised by the histograms as they are now in the memory of this process (core/metrics.h), all clients taken to be different; some hundredths of a second. pause, explore: ms; share: see
 * struct advise_data. */
void advise_now(double pause, double explore, double share, struct advise_result *result);

#endif
