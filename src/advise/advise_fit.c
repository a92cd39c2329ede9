/* The tour, advise: a curve is laid through what was counted. Its likelihood is that of lives cut off at different times where a part will never talk, however long they wait (Boag,
 * "Maximum likelihood estimates of the proportion of patients cured by cancer therapy", 1949); those who hung up are cut off, too, for what they would have said is not known, and are
 * taken into account again when the curve is turned into parts of all clients. */
#include <math.h>
#include <string.h>

#include "advise/advise_inside.h"

#define TINY 1e-300
#define FAR 30.0         /* a parameter, or its logarithm, that is beyond is on its way to nowhere */
#define CELL 8.0         /* least expected count of a cell of the test of fit, */
#define CELLS_END 4      /* of which so many are as small as that, at the end, where it matters; */
#define CELLS_BODY 16.0  /* the others are parts of all */
#define END_FIRST 5.0    /* talkers that there should have been after the first look at the end; twice as many for the next */
#define END_LOOKS 4

struct trial {
	struct advise_work *w;
	const struct advise_family *family;
	size_t from;
	double share;
	double talkers;      /* from there on */
	double would;        /* by the curve: of those who are there when it begins, the part that would talk */
	double odds;         /* of what is counted before the curve to what the curve has, changed by e to this: to see what depends on it */
};

/* ---- the likelihood ---- */

/* The curve at the edges of the bins: 1 where it begins. False: the parameters are of no use. */
static bool draw(const struct trial *t, const double *p, double *all)
{
	struct advise_work *w = t->w;
	for (unsigned k = 0; k < t->family->parameters; k++)
		if (!(fabs(p[k]) < (t->family->parameters == 1 ? 1e4 : FAR)))
			return false;
	double begin = t->family->log_survival(p, w->lo[t->from]), end = t->family->log_survival(p, w->lo[w->len]) - begin;
	*all = -expm1(end);
	if (!(begin > -600) || !isfinite(end) || fabs(*all) < 1e-9)
		return false;
	for (size_t i = t->from; i <= w->len; i++)
		w->survive[i] = exp(t->family->log_survival(p, w->lo[i]) - begin);
	return true;
}

static double done(const struct advise_work *w, double all, size_t bin, double part)
{
	return (1 - w->survive[bin] + part * (w->survive[bin] - w->survive[bin + 1])) / all;
}

/* How those who never talked pull at the part that would: the derivative of the likelihood. */
static double pull(const struct trial *t, double all, double would)
{
	const struct advise_work *w = t->w;
	double sum = t->talkers / would;
	for (size_t i = t->from; i < w->len; i++) {
		if (w->c[i] + w->g[i] <= 0)
			continue;
		double waited = done(w, all, i, w->part[i]), gone = done(w, all, i, 0.5);
		sum -= (w->c[i] > 0 ? w->c[i] * waited / (1 - would * waited) : 0) + (w->g[i] > 0 ? w->g[i] * gone / (1 - would * gone) : 0);
	}
	return sum;
}

/* The part with which the likelihood is greatest: nobody is watched further than to the end, so that it is no less than if all had been, and the pull falls. */
static double would_talk(const struct trial *t, double all)
{
	const struct advise_work *w = t->w;
	double silent = 0;
	for (size_t i = t->from; i < w->len; i++)
		silent += w->c[i] + w->g[i];
	if (silent <= 0)
		return 1;
	double low = t->talkers / (t->talkers + silent), high = 1;
	if (pull(t, all, low) <= 1e-9 * t->talkers)
		return low;
	for (int i = 0; i < 30 && high - low > 1e-7 * low; i++) {
		double middle = high - low > 0.5 * low ? sqrt(low * high) : (low + high) / 2;
		if (pull(t, all, middle) > 0)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* Its negative, for a search. */
static double unlikely(void *context, const double *p)
{
	struct trial *t = context;
	const struct advise_work *w = t->w;
	double all, sum = 0;
	if (!draw(t, p, &all))
		return 1e12;
	t->would = would_talk(t, all);
	for (size_t i = t->from; i < w->len; i++) {
		if (w->d[i] > 0)
			sum += w->d[i] * log(fmax(t->would * (w->survive[i] - w->survive[i + 1]) / all, TINY));
		if (w->c[i] > 0)
			sum += w->c[i] * log(fmax(1 - t->would * done(w, all, i, w->part[i]), TINY));
		if (w->g[i] > 0)
			sum += w->g[i] * log(fmax(1 - t->would * done(w, all, i, 0.5), TINY));
	}
	return isfinite(sum) ? -sum : 1e12;
}

/* ---- the time when the share has talked ---- */

/* Its logarithm; NAN: it lies before the curve. */
static double quantile(struct trial *t, const double *p)
{
	struct advise_work *w = t->w;
	double all, sum = 0, before = advise_table_mass(w, w->lo[t->from]) * exp(t->odds);
	if (!draw(t, p, &all))
		return NAN;
	t->would = would_talk(t, all);
	for (size_t i = t->from; i < w->len; i++) {
		double stay = w->stay[t->from] > 0 ? w->stay[i] / w->stay[t->from] : 0;
		w->model[i] = w->left[t->from] * stay * t->would * (w->survive[i] - w->survive[i + 1]) / all;
		sum += w->model[i];
	}
	double much = t->share * (before + sum) - before;
	return much > 0 ? log(advise_table_reach(w, w->model, t->from, much)) : NAN;
}

/* ---- how sure that is ---- */

/* A step of each parameter by which the likelihood changes by about a half, which is a standard error. */
static bool find_steps(struct trial *t, const double *p, double least, double *steps)
{
	for (unsigned k = 0; k < t->family->parameters; k++) {
		double at[ADVISE_PARAMETERS], rise = 0;
		memcpy(at, p, sizeof(at));
		steps[k] = 0.05;
		for (int i = 0; i < 12; i++) {
			at[k] = p[k] + steps[k];
			rise = unlikely(t, at) - least;
			if (rise > 0.1 && rise < 2)
				break;
			steps[k] *= rise <= 1e-6 ? 4 : fmin(fmax(sqrt(0.5 / rise), 0.1), 4);
		}
		if (!(rise > 0.01 && rise < 10))
			return false;
	}
	return true;
}

static double moved(struct trial *t, const double *p, const double *steps, unsigned j, double a, unsigned k, double b, double (*function)(struct trial *, const double *))
{
	double at[ADVISE_PARAMETERS];
	memcpy(at, p, sizeof(at));
	at[j] += a * steps[j];
	at[k] += b * steps[k];
	return function(t, at);
}

static double unlikely_at(struct trial *t, const double *p)
{
	return unlikely(t, p);
}

/* x of A x = b, A being symmetrical; false: it is not positive definite. Cholesky's. */
static bool solve(unsigned n, double a[ADVISE_PARAMETERS][ADVISE_PARAMETERS], const double *b, double *x)
{
	double l[ADVISE_PARAMETERS][ADVISE_PARAMETERS] = { { 0 } };
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j <= i; j++) {
			double sum = a[i][j];
			for (unsigned k = 0; k < j; k++)
				sum -= l[i][k] * l[j][k];
			if (i == j && !(sum > 1e-6))
				return false;
			l[i][j] = i == j ? sqrt(sum) : sum / l[j][j];
		}
	for (unsigned i = 0; i < n; i++) {
		x[i] = b[i];
		for (unsigned k = 0; k < i; k++)
			x[i] -= l[i][k] * x[k];
		x[i] /= l[i][i];
	}
	for (unsigned i = n; i-- > 0;) {
		for (unsigned k = i + 1; k < n; k++)
			x[i] -= l[k][i] * x[k];
		x[i] /= l[i][i];
	}
	return true;
}

/* By the curvature of the likelihood (the delta method); in units of the steps, so that all is of like size. And where the curve does not begin at 0, by the counts on both sides. */
static bool standard_error(struct trial *t, const double *p, double least, double *out)
{
	unsigned n = t->family->parameters;
	double steps[ADVISE_PARAMETERS] = { 0 }, h[ADVISE_PARAMETERS][ADVISE_PARAMETERS], slope[ADVISE_PARAMETERS], x[ADVISE_PARAMETERS];
	if (!find_steps(t, p, least, steps))
		return false;
	for (unsigned i = 0; i < n; i++) {
		h[i][i] = moved(t, p, steps, i, 1, i, 0, unlikely_at) + moved(t, p, steps, i, -1, i, 0, unlikely_at) - 2 * least;
		for (unsigned j = 0; j < i; j++)
			h[i][j] = h[j][i] = (moved(t, p, steps, i, 1, j, 1, unlikely_at) + moved(t, p, steps, i, -1, j, -1, unlikely_at) - moved(t, p, steps, i, 1, j, -1, unlikely_at)
			                     - moved(t, p, steps, i, -1, j, 1, unlikely_at)) / 4;
		slope[i] = (moved(t, p, steps, i, 1, i, 0, quantile) - moved(t, p, steps, i, -1, i, 0, quantile)) / 2;
	}
	if (!solve(n, h, slope, x))
		return false;
	double variance = 0, told = 0, before = 0, squares = 0;
	for (unsigned i = 0; i < n; i++)
		variance += slope[i] * x[i];
	for (size_t i = 0; i < t->w->len; i++)
		if (i < t->from)
			before += t->w->d[i];
		else if (t->w->d[i] > 0)
			told += t->w->mass[i], squares += t->w->mass[i] * t->w->mass[i] / t->w->d[i];
	if (before > 0) {
		t->odds = 0.1;
		double up = quantile(t, p);
		t->odds = -0.1;
		double down = quantile(t, p), by = (up - down) / 0.2;
		t->odds = 0;
		variance += by * by * (1 / before + squares / (told * told));
	}
	*out = sqrt(variance);
	return isfinite(*out);
}

/* ---- how well it fits ---- */

/* What a bin should have had: what the curve makes of those who were there. */
static double expected(const struct trial *t, double all, size_t bin)
{
	const struct advise_work *w = t->w;
	double there = 1 - t->would * done(w, all, bin, 0), part = there > 0 ? t->would * (w->survive[bin] - w->survive[bin + 1]) / all / there : 0;
	return w->risk[bin] * fmin(part, 1);
}

/* Of so many that should have been, so many were: how likely as far off is by chance (Anscombe's root, which is nearly normal for small numbers, too). */
static double chance(double count, double should)
{
	return erfc(fabs(2 * (sqrt(count + 0.375) - sqrt(should + 0.375))) * M_SQRT1_2);
}

/* Pearson's test, over cells that are small at the end. */
static double misfit_of_cells(const struct trial *t, double all)
{
	const struct advise_work *w = t->w;
	double cell = 0, count = 0, sum = 0;
	unsigned cells = 0;
	for (size_t i = w->len; i-- > t->from;) {
		cell += expected(t, all, i);
		count += w->d[i];
		if (cell >= (cells < CELLS_END ? CELL : fmax(CELL, t->talkers / CELLS_BODY)) || (i == t->from && cell > 0)) {
			sum += (count - cell) * (count - cell) / fmax(cell, 1);
			cells++;
			cell = count = 0;
		}
	}
	return cells > t->family->parameters + 1 ? advise_chi_square(sum, cells - t->family->parameters - 1.0) : 1;
}

/* That test has an eye for everything, and so not a sharp one for what matters most: whether as many talk late as the curve has it. Looked at from the end, four times. */
static double misfit_of_end(const struct trial *t, double all)
{
	const struct advise_work *w = t->w;
	double should = 0, count = 0, least = 1, next = END_FIRST;
	unsigned looks = 0;
	for (size_t i = w->len; i-- > t->from && looks < END_LOOKS;) {
		should += expected(t, all, i);
		count += w->d[i];
		if (should < next)
			continue;
		least = fmin(least, chance(count, should));
		next *= 2;
		looks++;
	}
	return fmin(END_LOOKS * least, 1);
}

static double misfit(struct trial *t, const double *p)
{
	double all;
	if (!draw(t, p, &all))
		return 0;
	t->would = would_talk(t, all);
	return fmin(misfit_of_cells(t, all), misfit_of_end(t, all));
}

/* ---- all of it ---- */

/* Sums of masses, of logarithms of times and of their squares. */
struct heap {
	double n, sum, squares;
};

static double heap_mean(const struct heap *h)
{
	return h->n > 0 ? h->sum / h->n : 0;
}

static double heap_sd(const struct heap *h)
{
	return h->n > 0 ? sqrt(fmax(h->squares / h->n - heap_mean(h) * heap_mean(h), 1e-3)) : 0.03;
}

/* Two heaps, so that what is left of the spread within them is least (Otsu 1979, who parts dark from bright so). */
static void split(const struct advise_work *w, const struct heap *whole, size_t from, struct advise_sketch *s)
{
	struct heap first = { 0, 0, 0 };
	double best = -1;
	s->split = s->begin;
	s->weight = 0.5;
	for (size_t i = from; i < w->len; i++) {
		double x = log((w->lo[i] + w->lo[i + 1]) / 2);
		first.n += w->mass[i];
		first.sum += w->mass[i] * x;
		first.squares += w->mass[i] * x * x;
		struct heap second = { whole->n - first.n, whole->sum - first.sum, whole->squares - first.squares };
		double apart = heap_mean(&first) - heap_mean(&second), between = first.n * second.n * apart * apart;
		if (w->mass[i] <= 0 || first.n <= 0.01 * whole->n || second.n <= 0.01 * whole->n || between <= best)
			continue;
		best = between;
		s->split = w->lo[i + 1];
		s->weight = first.n / whole->n;
		s->log_means[0] = heap_mean(&first), s->log_means[1] = heap_mean(&second);
		s->log_sds[0] = heap_sd(&first), s->log_sds[1] = heap_sd(&second);
	}
	if (best < 0) {
		s->log_means[0] = s->log_means[1] = s->log_mean;
		s->log_sds[0] = s->log_sds[1] = s->log_sd;
	}
}

static struct advise_sketch sketch_of(const struct advise_work *w, size_t from)
{
	struct advise_sketch s = { .begin = w->lo[from] };
	struct heap whole = { 0, 0, 0 };
	for (size_t i = from; i < w->len; i++) {
		double middle = (w->lo[i] + w->lo[i + 1]) / 2, x = log(middle);
		whole.n += w->mass[i];
		whole.sum += w->mass[i] * x;
		whole.squares += w->mass[i] * x * x;
		s.mean += w->mass[i] * (middle - s.begin);
	}
	s.mean = fmax(s.mean / whole.n, 1e-4);
	s.log_mean = heap_mean(&whole);
	s.log_sd = heap_sd(&whole);
	split(w, &whole, from, &s);
	return s;
}

bool advise_fit(struct advise_work *w, const struct advise_family *family, size_t from, double share, struct advise_fit *fit)
{
	struct trial t = { .w = w, .family = family, .from = from, .share = share };
	for (size_t i = from; i < w->len; i++)
		t.talkers += w->d[i];
	if (!(t.talkers > 0))
		return false;
	struct advise_sketch sketch = sketch_of(w, from);
	*fit = (struct advise_fit){ .family = family, .from = from, .talkers = t.talkers };
	family->start(&sketch, fit->p);
	double least = advise_search(unlikely, &t, family->parameters, fit->p, 0.3);
	if (least >= 1e12)
		return false;
	fit->likelihood = -least;
	fit->bic = 2 * least + (family->parameters + !family->from_zero) * log(t.talkers);
	fit->misfit = misfit(&t, fit->p);
	fit->quantile = quantile(&t, fit->p);
	return isfinite(fit->quantile) && standard_error(&t, fit->p, least, &fit->se);
}
