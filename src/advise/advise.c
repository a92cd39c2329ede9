/* The tour, advise: which pause to recommend. Counting alone (advise_table.c) places the time by which 99 of 100 have talked by one talker in a hundred: of a thousand, ten. A curve
 * through all of them, or through those beyond some time, places it better, if it fits. So curves are tried, first from 0 on, then from later and later on; the first beginning at which
 * some fit decides, each of them as far as it is likely (BIC; Burnham and Anderson, "Model Selection and Multimodel Inference", 2002), and what they disagree about adds to what is
 * uncertain (Buckland, Burnham and Augustin 1997). Where none fits, or the result is at odds with the counts, the counts decide: talk that comes by a timer follows no curve. */
#include "advise/advise.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "advise/advise_inside.h"

#define FITS 0.02        /* a curve is not taken that would fit as badly by chance less often than that */
#define FITS_WELL 0.1
#define UNEVEN 2.0       /* how much more one may count than another */
#define ROUGH 1.5        /* bounds so far apart are worth a word */
#define MS 0.001
#define COUNTED "counted"
#define LEAST_CURVE 40.0 /* talkers that a curve describes at least */

/* The part of talkers before a curve's beginning: they are counted. */
static const double beginnings[] = { 0, 0.02, 0.25, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9 };

struct choice {
	double quantile, low, high; /* logarithms */
	const char *method;
	double from;
};

/* The bin that a time lies in. */
static size_t bin_at(const struct advise_work *w, double seconds)
{
	size_t i = 0;
	while (i + 1 < w->len && w->lo[i + 1] <= seconds)
		i++;
	return i;
}

static size_t first_talk(const struct advise_work *w)
{
	size_t i = 0;
	while (i + 1 < w->len && w->d[i] <= 0)
		i++;
	return i > 0 ? i : 1; /* a curve that cannot begin at 0 */
}

/* A curve with more parameters than one that fits well cannot outweigh it. */
static bool is_idle(const struct advise_family *f, const struct advise_fit *fits, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (f->whole && fits[i].misfit >= FITS_WELL)
			return true;
	return false;
}

/* The curves that fit from there on. */
static size_t fit_all(struct advise_work *w, size_t from, double share, struct advise_fit *fits)
{
	size_t len = 0;
	for (size_t i = 0; i < ADVISE_FAMILIES; i++) {
		const struct advise_family *f = &advise_families[i];
		size_t begin = from == 0 && !f->from_zero ? first_talk(w) : from;
		if (!(f->whole && from > 0) && !is_idle(f, fits, len) && advise_fit(w, f, begin, share, &fits[len]) && fits[len].misfit >= FITS)
			len++;
	}
	return len;
}

/* All of them, put together. False: none does. */
static bool try_beginning(struct advise_work *w, size_t from, double share, struct choice *c)
{
	struct advise_fit fits[ADVISE_FAMILIES], *best = NULL;
	double weights = 0, mean = 0, se = 0;
	size_t len = fit_all(w, from, share, fits);
	for (size_t i = 0; i < len; i++)
		best = !best || fits[i].bic < best->bic ? &fits[i] : best;
	if (!best)
		return false;
	for (size_t i = 0; i < len; i++) {
		double weight = exp((best->bic - fits[i].bic) / 2);
		weights += weight;
		mean += weight * fits[i].quantile;
	}
	mean /= weights;
	for (size_t i = 0; i < len; i++)
		se += exp((best->bic - fits[i].bic) / 2) / weights * hypot(fits[i].se, fits[i].quantile - mean);
	size_t bin = bin_at(w, exp(mean));
	se = hypot(se, log(w->lo[bin + 1] / fmax(w->lo[bin], MS)) / sqrt(12)); /* where in a bin is not known */
	*c = (struct choice){ mean, mean - ADVISE_Z95 * se, mean + ADVISE_Z95 * se, best->family->name, w->lo[best->from] };
	return true;
}

static struct choice by_counts(const struct advise_work *w, double share)
{
	double low, high;
	advise_table_bounds(w, share, ADVISE_Z95, &low, &high);
	return (struct choice){ log(advise_table_quantile(w, share)), log(fmax(low, 1e-4)), log(high), COUNTED, 0 };
}

/* Where those who talk begin to count alike: before, they were watched by many, and count little each; then most were greeted, and of the few who were watched on each stands for many.
 * A curve that began before would be decided by the many, about what they have not seen. */
static size_t even_from(const struct advise_work *w)
{
	double least = INFINITY;
	size_t from = w->len;
	for (size_t i = w->len; i-- > 0 && w->risk[i] > 0;) {
		double weight = w->left[i] / w->risk[i];
		if (i == w->len - 1)
			least = weight / UNEVEN;
		if (weight < least)
			break;
		from = i;
	}
	return from;
}

static struct choice choose(struct advise_work *w, double share)
{
	double low, high;
	struct choice c;
	size_t last = w->len, even = even_from(w);
	advise_table_bounds(w, share, ADVISE_Z99, &low, &high);
	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
		size_t from = beginnings[i] > 0 ? 1 + bin_at(w, advise_table_quantile(w, beginnings[i])) : 0;
		double beyond = 0;
		from = from < even ? even : from;
		for (size_t b = from; b < w->len; b++)
			beyond += w->d[b];
		if (from == last || beyond < LEAST_CURVE || beginnings[i] >= share)
			continue;
		last = from;
		if (try_beginning(w, from, share, &c) && exp(c.quantile) >= low && exp(c.quantile) <= high)
			return c;
	}
	return by_counts(w, share);
}

/* ---- the result ---- */

static void count(const struct advise_data *d, const struct advise_work *w, struct advise_result *r)
{
	double pause = d->pause / 1000, rate = 0;
	for (size_t i = 0; i < w->len; i++) {
		double beyond = fmin(fmax((w->lo[i + 1] - pause) / (w->lo[i + 1] - w->lo[i]), 0), 1);
		r->talked += w->d[i];
		r->gone += w->g[i];
		r->waited += w->c[i];
		r->talked_beyond += beyond * w->d[i];
		r->watched_beyond += beyond * (w->d[i] + w->g[i]);
		r->watched_beyond += w->lo[i] + w->part[i] * (w->lo[i + 1] - w->lo[i]) > pause + MS ? w->c[i] : 0;
		rate += w->mass[i];
	}
	double each = d->clustering > 1 ? d->clustering : 1;
	r->talked *= each;
	r->gone *= each;
	r->waited *= each;
	r->talked_beyond *= each;
	r->watched_beyond *= each;
	r->watched_to_end = each * w->c[w->len - 1] * (w->part[w->len - 1] > 0.5);
	r->rate = rate;
}

static void climb(const struct advise_data *d, const struct advise_work *w, struct advise_result *r)
{
	static const double steps[] = { 100, 200, 300, 500, 700 };
	for (double decade = 1; decade < 1e4; decade *= 10)
		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && r->ladder_len < ADVISE_LADDER - 1; i++)
			if (steps[i] * decade < d->explore)
				r->ladder[r->ladder_len++] = advise_table_share(w, steps[i] * decade / 1000, ADVISE_Z95);
	r->ladder[r->ladder_len++] = advise_table_share(w, d->explore / 1000, ADVISE_Z95);
	r->now = advise_table_share(w, fmin(d->pause, d->explore) / 1000, ADVISE_Z95);
}

static void say_good(const struct advise_data *d, struct advise_result *r)
{
	static const char *const judgements[] = { [ADVISE_KEEP] = "the pause in force is within these bounds", [ADVISE_LONGER] = "the pause in force is shorter than that",
		[ADVISE_SHORTER] = "the pause in force is longer than that" };
	char how[64] = "by count";
	if (r->from > 0 && strcmp(r->method, COUNTED) != 0)
		snprintf(how, sizeof(how), "by a curve (%s) from %.2f s on", r->method, r->from / 1000);
	else if (strcmp(r->method, COUNTED) != 0)
		snprintf(how, sizeof(how), "by a curve (%s)", r->method);
	int n = snprintf(r->reason, sizeof(r->reason), "Of those who would talk within %g s, %g %% have talked by %.2f s (%.2f to %.2f s), %s; %s.", d->explore / 1000, 100 * d->share, r->pause / 1000,
	                 r->low / 1000, r->high / 1000, how, judgements[r->judgement]);
	if (r->high > ROUGH * r->low && n > 0 && (size_t)n < sizeof(r->reason))
		snprintf(r->reason + n, sizeof(r->reason) - (size_t)n, " These bounds are far apart: so far %.0f clients were watched up to %g s, and more have to be.", r->watched_to_end, d->explore / 1000);
}

static void decide(const struct advise_data *d, struct advise_work *w, struct advise_result *r)
{
	struct choice c = choose(w, d->share);
	r->state = ADVISE_GOOD;
	r->pause = 1000 * exp(c.quantile);
	r->low = 1000 * exp(c.low);
	r->high = fmin(1000 * exp(c.high), d->explore);
	r->method = c.method;
	r->from = 1000 * c.from;
	r->judgement = d->pause < r->low ? ADVISE_LONGER : d->pause > r->high ? ADVISE_SHORTER : ADVISE_KEEP;
	say_good(d, r);
}

void advise(const struct advise_data *data, struct advise_work *work, struct advise_result *r)
{
	*r = (struct advise_result){ .state = ADVISE_MALFORMED, .method = "none" };
	snprintf(r->reason, sizeof(r->reason), "The counts make no sense.");
	if (!advise_table(data, work))
		return;
	count(data, work, r);
	climb(data, work, r);
	if (r->talked < ADVISE_LEAST) {
		r->state = ADVISE_FEW;
		snprintf(r->reason, sizeof(r->reason), "Too few early talkers seen yet: %.0f, of at least %d.", r->talked, ADVISE_LEAST);
	} else if (data->clustering > 1 && r->talked / data->clustering < ADVISE_LEAST_CLIENTS) {
		r->state = ADVISE_FEW;
		snprintf(r->reason, sizeof(r->reason), "Too few different early talkers seen yet: %.0f came so often as if there were only %.0f of them, of at least %d.", r->talked, r->talked / data->clustering,
		         ADVISE_LEAST_CLIENTS);
	} else if (r->watched_to_end < ADVISE_LEAST_TAIL) {
		r->state = ADVISE_UNSEEN;
		snprintf(r->reason, sizeof(r->reason), "What a pause longer than that in force would catch is not known: so far %.0f clients were watched up to %g s, of at least %d.", r->watched_to_end,
		         data->explore / 1000, ADVISE_LEAST_TAIL);
	} else {
		decide(data, work, r);
	}
}
