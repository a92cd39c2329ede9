/* times.h: histograms (core/metrics.h) as they are shown: quantiles, and bars on a logarithmic scale.
 *
 * For `tarry status`, the page and `tarry top`, so that all say the same. Nothing blocks or logs.
 */
#ifndef TARRY_SHOW_TIMES_H
#define TARRY_SHOW_TIMES_H

#include <stdint.h>

#include "core/metrics.h"

#define TIMES_BARS 61 /* up to 1 ms, ten for each decade from there, and one for all that is longer */

/* Bar n: from there to where the next one begins; nanoseconds. Of n = TIMES_BARS: INT64_MAX. */
int64_t times_bar_from(unsigned bar);
void times_bars(const struct metrics_times *times, uint64_t bars[TIMES_BARS]);

/* By which time the part q of them was over, nanoseconds; within a bucket they are taken to be spread evenly. 0: there are none. */
int64_t times_quantile(const struct metrics_times *times, double q);

#endif
