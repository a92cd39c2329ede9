/* The tour, advise: the life table. Who talks and who hangs up are two ways out of the same wait; the part of all that goes each way by a time is the estimate of Aalen and Johansen ("An
 * empirical transition matrix for non-homogeneous Markov chains based on censored observations", 1978), in bins, where those who are greeted within a bin have been there for a part of
 * it (the actuarial convention: Cutler and Ederer, "Maximum utilization of the life table method", 1958). So clients that waited a second and those that waited ten count together: up to
 * a second both tell, and beyond it the latter alone, each for as many as were there. */
#include <math.h>

#include "advise/advise_inside.h"

/* ---- the table ---- */

static bool is_sound(const struct advise_data *d)
{
	if (d->len == 0 || d->len > ADVISE_BINS || !(d->explore > 0) || !(d->share > 0 && d->share < 1) || d->bins[0].lo != 0)
		return false;
	for (size_t i = 0; i < d->len; i++) {
		const struct advise_bin *b = &d->bins[i];
		if (!(b->hi > b->lo) || (i > 0 && b->lo != d->bins[i - 1].hi) || !(b->talk >= 0 && b->gone >= 0 && b->waited >= 0) || !isfinite(b->hi + b->talk + b->gone + b->waited))
			return false;
	}
	return true;
}

static double part_of(const struct advise_bin *b, double hi)
{
	double part = b->waited_at > 0 ? (b->waited_at - b->lo) / (hi - b->lo) : 0.5;
	return fmin(fmax(part, 0), 1);
}

/* Counts up to the end; what happened beyond it was a wait to the end. */
static void take_counts(const struct advise_data *data, struct advise_work *w)
{
	double each = data->clustering > 1 ? 1 / data->clustering : 1, beyond = 0;
	w->len = 0;
	for (size_t i = 0; i < data->len; i++) {
		const struct advise_bin *b = &data->bins[i];
		if (b->lo >= data->explore) {
			beyond += b->talk + b->gone + b->waited;
			continue;
		}
		size_t at = w->len++;
		double hi = fmin(b->hi, data->explore);
		w->lo[at] = b->lo / 1000;
		w->lo[at + 1] = hi / 1000;
		w->d[at] = each * b->talk;
		w->g[at] = each * b->gone;
		w->c[at] = each * b->waited;
		w->part[at] = b->hi >= data->explore && b->waited_at <= 0 ? 1 : part_of(b, hi);
	}
	size_t last = w->len - 1;
	double all = w->c[last] + each * beyond;
	w->part[last] = all > 0 ? (w->c[last] * w->part[last] + each * beyond) / all : 1;
	w->c[last] = all;
}

bool advise_table(const struct advise_data *data, struct advise_work *w)
{
	if (!is_sound(data))
		return false;
	take_counts(data, w);
	double there = 0, left = 1, stay = 1;
	for (size_t i = 0; i < w->len; i++)
		there += w->d[i] + w->g[i] + w->c[i];
	for (size_t i = 0; i < w->len; i++) {
		double risk = fmax(there - w->g[i] / 2 - w->c[i] * (1 - w->part[i]), w->d[i]);
		double talk = risk > 0 ? w->d[i] / risk : 0, gone = risk > 0 ? fmin(w->g[i] / risk, 1 - talk) : 0;
		w->risk[i] = risk;
		w->left[i] = left;
		w->stay[i] = stay;
		w->mass[i] = left * talk;
		left *= 1 - talk - gone;
		stay *= 1 - gone;
		there -= w->d[i] + w->g[i] + w->c[i];
	}
	return true;
}

/* ---- what is read off it ---- */

/* Masses on both sides of a time, and how many talkers tell of each (of masses of unequal weight, as many as of equal weight would: Kish). */
struct sides {
	double below, above, told_below, told_above;
};

static struct sides sides(const struct advise_work *w, double at)
{
	struct sides s = { 0, 0, 0, 0 };
	for (size_t i = 0; i < w->len; i++) {
		if (w->d[i] <= 0)
			continue;
		double part = fmin(fmax((at - w->lo[i]) / (w->lo[i + 1] - w->lo[i]), 0), 1), square = w->mass[i] * w->mass[i] / w->d[i];
		s.below += part * w->mass[i];
		s.above += (1 - part) * w->mass[i];
		s.told_below += part * square;
		s.told_above += (1 - part) * square;
	}
	s.told_below = s.told_below > 0 ? s.below * s.below / s.told_below : 0;
	s.told_above = s.told_above > 0 ? s.above * s.above / s.told_above : 0;
	return s;
}

double advise_table_mass(const struct advise_work *w, double at)
{
	return sides(w, at).below;
}

/* What a count may be in truth, at most and at least (Byar; Breslow and Day, "Statistical Methods in Cancer Research" II, 1987, equation 2.13). */
static double count_high(double n, double z)
{
	double m = n + 1;
	return m * pow(1 - 1 / (9 * m) + z / (3 * sqrt(m)), 3);
}

static double count_low(double n, double z)
{
	return n > 0 ? n * pow(fmax(1 - 1 / (9 * n) - z / (3 * sqrt(n)), 0), 3) : 0;
}

/* What one who talks in the last bin that is reached by then stands for. */
static double weight_at(const struct advise_work *w, double at)
{
	size_t i = 0;
	while (i + 1 < w->len && w->lo[i + 1] < at)
		i++;
	return w->risk[i] > 0 ? w->left[i] / w->risk[i] : INFINITY;
}

/* The logarithm of how much more, or less, a mass may be in truth than so many tell. */
static double log_more(double told, double z)
{
	return told > 0 ? log(count_high(told, z) / told) : INFINITY;
}

static double log_less(double told, double z)
{
	double low = count_low(told, z);
	return low > 0 ? log(told / low) : INFINITY;
}

/* The bounds of both sides are put together as those of a ratio (Zou and Donner, "Construction of confidence limits about effect measures", 2008). Where nobody talked there may still be
 * some who would; and where nobody is watched to the end, any number. */
struct advise_share advise_table_share(const struct advise_work *w, double at, double z)
{
	struct sides s = sides(w, at);
	struct advise_share r = { .at = at * 1000, .share = 0, .low = 0, .high = 1 };
	double end = w->lo[w->len];
	if (at >= end) {
		r.share = r.low = 1;
		return r;
	}
	if (s.below + s.above <= 0)
		return r;
	r.share = s.below / (s.below + s.above);
	double most = s.told_above > 0 ? s.above * exp(hypot(log_more(s.told_above, z), log_less(s.told_below, z))) : count_high(0, z) * weight_at(w, end);
	double odds = s.told_below > 0 ? exp(hypot(log_more(s.told_below, z), log_less(s.told_above, z))) * s.below / s.above : count_high(0, z) * weight_at(w, at) / s.above;
	r.low = isfinite(most) && w->risk[w->len - 1] > 0 ? s.below / (s.below + most) : 0;
	r.high = s.above > 0 && isfinite(odds) ? odds / (1 + odds) : 1;
	return r;
}

double advise_table_reach(const struct advise_work *w, const double *mass, size_t from, double much)
{
	double sum = 0;
	for (size_t i = from; i < w->len; i++) {
		if (mass[i] > 0 && sum + mass[i] >= much)
			return w->lo[i] + (w->lo[i + 1] - w->lo[i]) * fmax(much - sum, 0) / mass[i];
		sum += mass[i];
	}
	return w->lo[w->len];
}

double advise_table_quantile(const struct advise_work *w, double share)
{
	return advise_table_reach(w, w->mass, 0, share * advise_table_mass(w, w->lo[w->len]));
}

/* The first edge at which a bound reaches the share. */
static size_t first(const struct advise_work *w, double share, double z, bool high)
{
	size_t from = 0, to = w->len;
	while (from < to) {
		size_t middle = (from + to) / 2;
		struct advise_share s = advise_table_share(w, w->lo[middle], z);
		if ((high ? s.high : s.low) >= share)
			to = middle;
		else
			from = middle + 1;
	}
	return to;
}

void advise_table_bounds(const struct advise_work *w, double share, double z, double *low, double *high)
{
	size_t below = first(w, share, z, true), above = first(w, share, z, false);
	*low = w->lo[below > 0 ? below - 1 : 0]; /* where in a bin is not known */
	*high = w->lo[above < w->len ? above + 1 : w->len];
}
