/* The tour, advise: times that are known exactly, in bins so narrow that nothing is lost. */
#include <math.h>

#include "advise/advise.h"

#define NARROW 0.5 /* ms */
#define WIDENS 0.02

size_t advise_bins_init(struct advise_bin bins[ADVISE_BINS], double end)
{
	size_t len = 0;
	for (double lo = 0; lo < end && len < ADVISE_BINS; len++) {
		double hi = lo + fmax(NARROW, lo * WIDENS);
		bins[len] = (struct advise_bin){ .lo = lo, .hi = hi > end || len == ADVISE_BINS - 1 ? end : hi };
		lo = bins[len].hi;
	}
	return len;
}

/* The bin of that time; the last one for what lies beyond. */
static struct advise_bin *find(struct advise_bin *bins, size_t len, double at)
{
	size_t from = 0, to = len - 1;
	while (from < to) {
		size_t middle = (from + to) / 2;
		if (at < bins[middle].hi)
			to = middle;
		else
			from = middle + 1;
	}
	return &bins[from];
}

void advise_bins_add(struct advise_bin *bins, size_t len, enum advise_end end, double at)
{
	if (len == 0 || !(at >= 0))
		return;
	struct advise_bin *b = find(bins, len, at);
	if (at >= bins[len - 1].hi) {
		end = ADVISE_WAITED;
		at = bins[len - 1].hi;
	}
	if (end == ADVISE_TALKED) {
		b->talk++;
	} else if (end == ADVISE_GONE) {
		b->gone++;
	} else {
		b->waited++;
		b->waited_at += (at - b->waited_at) / b->waited;
	}
}
