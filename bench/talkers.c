#include "talkers.h"

#include <math.h>

#define ONE(kind, scale, shape) { { 1, kind, scale, shape }, { 0, kind, 0, 0 } }
#define TWO(weight, kind, scale, shape, other, other_scale, other_shape) { { weight, kind, scale, shape }, { 1 - (weight), other, other_scale, other_shape } }

/* Where even the family does not help (attainable below 95), the tail is long, and ends before `explore` does: ten talkers of a thousand are all that tells of it. */
const struct talkers_set talkers_sets[] = {
	{ TALKERS_EXPONENTIAL, "mean 0.2 s", ONE(TALKERS_EXP, 0.2, 0), 99.8 },
	{ TALKERS_EXPONENTIAL, "mean 0.5 s", ONE(TALKERS_EXP, 0.5, 0), 99.8 },
	{ TALKERS_EXPONENTIAL, "mean 1 s", ONE(TALKERS_EXP, 1, 0), 99.8 },
	{ TALKERS_EXPONENTIAL, "mean 2 s", ONE(TALKERS_EXP, 2, 0), 100 },
	{ TALKERS_EXPONENTIAL, "mean 3 s", ONE(TALKERS_EXP, 3, 0), 100 },
	{ TALKERS_BIMODAL, "80 % around 50 ms, 20 % around 2 s", TWO(0.8, TALKERS_LOGNORMAL, 0.05, 0.5, TALKERS_LOGNORMAL, 2, 0.3), 99.7 },
	{ TALKERS_BIMODAL, "80 % around 50 ms, 20 % around 3 s", TWO(0.8, TALKERS_LOGNORMAL, 0.05, 0.5, TALKERS_LOGNORMAL, 3, 0.3), 99.7 },
	{ TALKERS_BIMODAL, "80 % around 50 ms, 20 % around 4 s", TWO(0.8, TALKERS_LOGNORMAL, 0.05, 0.5, TALKERS_LOGNORMAL, 4, 0.4), 99.3 },
	{ TALKERS_BIMODAL, "90 % around 20 ms, 10 % around 3 s", TWO(0.9, TALKERS_LOGNORMAL, 0.02, 1, TALKERS_LOGNORMAL, 3, 0.3), 97.7 },
	{ TALKERS_BIMODAL, "60 % around 50 ms, 40 % around 2.5 s", TWO(0.6, TALKERS_LOGNORMAL, 0.05, 0.5, TALKERS_LOGNORMAL, 2.5, 0.5), 99.1 },
	{ TALKERS_BIMODAL, "50 % exponential 50 ms, 50 % around 2 s", TWO(0.5, TALKERS_EXP, 0.05, 0, TALKERS_LOGNORMAL, 2, 0.6), 98.8 },
	{ TALKERS_BIMODAL, "80 % exponential 0.1 s, 20 % exponential 2 s", TWO(0.8, TALKERS_EXP, 0.1, 0, TALKERS_EXP, 2, 0), 84.8 },
	{ TALKERS_BIMODAL, "80 % around 50 ms, 20 % around 2 s, wide", TWO(0.8, TALKERS_LOGNORMAL, 0.05, 0.5, TALKERS_LOGNORMAL, 2, 0.5), 92.6 },
	{ TALKERS_HEAVY, "lognormal, median 0.5 s, 1.5", ONE(TALKERS_LOGNORMAL, 0.5, 1.5), 100 },
	{ TALKERS_HEAVY, "lognormal, median 0.5 s, 2", ONE(TALKERS_LOGNORMAL, 0.5, 2), 100 },
	{ TALKERS_HEAVY, "lognormal, median 1 s, 1.2", ONE(TALKERS_LOGNORMAL, 1, 1.2), 100 },
	{ TALKERS_HEAVY, "lognormal, median 1 s, 1.5", ONE(TALKERS_LOGNORMAL, 1, 1.5), 100 },
	{ TALKERS_HEAVY, "lognormal, median 1 s, 2", ONE(TALKERS_LOGNORMAL, 1, 2), 100 },
	{ TALKERS_HEAVY, "Pareto from 0.3 s, 1", ONE(TALKERS_PARETO, 0.3, 1), 100 },
	{ TALKERS_HEAVY, "Pareto from 0.3 s, 1.2", ONE(TALKERS_PARETO, 0.3, 1.2), 99.3 },
	{ TALKERS_HEAVY, "Pareto from 0.5 s, 1", ONE(TALKERS_PARETO, 0.5, 1), 100 },
	{ TALKERS_HEAVY, "Pareto from 0.5 s, 1.5", ONE(TALKERS_PARETO, 0.5, 1.5), 99.4 },
	{ TALKERS_HEAVY, "Pareto from 1 s, 1.5", ONE(TALKERS_PARETO, 1, 1.5), 100 },
	{ TALKERS_HEAVY, "lognormal, median 0.1 s, 1.2", ONE(TALKERS_LOGNORMAL, 0.1, 1.2), 83.4 },
	{ TALKERS_HEAVY, "lognormal, median 0.3 s, 1.2", ONE(TALKERS_LOGNORMAL, 0.3, 1.2), 91.0 },
	{ TALKERS_HEAVY, "lognormal, median 0.1 s, 2", ONE(TALKERS_LOGNORMAL, 0.1, 2), 94.9 },
	{ TALKERS_HEAVY, "Pareto from 0.1 s, 1", ONE(TALKERS_PARETO, 0.1, 1), 91.5 },
	{ TALKERS_HEAVY, "Pareto from 0.2 s, 1.5", ONE(TALKERS_PARETO, 0.2, 1.5), 85.7 },
	{ TALKERS_TIMERS, "97 % around 20 ms, 3 % at 5.00 s", TWO(0.97, TALKERS_LOGNORMAL, 0.02, 0.5, TALKERS_LOGNORMAL, 5, 0.001), 0 },
};
const size_t talkers_sets_len = sizeof(talkers_sets) / sizeof(talkers_sets[0]);

const char *talkers_class_name(enum talkers_class class)
{
	static const char *const names[TALKERS_CLASSES] = { "exponential", "bimodal", "heavy-tailed", "timers" };
	return names[class];
}

/* ---- chance ---- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Not a multiple of what the state is stepped by: the runs would be one run, each a step later. */
uint64_t talkers_seed(uint64_t seed)
{
	return mix(seed + UINT64_C(0x632be59bd9b4e019));
}

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
double talkers_uniform(uint64_t *state)
{
	return ((double)(mix(*state += UINT64_C(0x9e3779b97f4a7c15)) >> 11) + 0.5) / 9007199254740992.0;
}

static double draw_part(uint64_t *state, const struct talkers_part *p)
{
	double u = talkers_uniform(state);
	if (p->kind == TALKERS_EXP)
		return -p->scale * log(u);
	if (p->kind == TALKERS_PARETO)
		return p->scale * pow(u, -1 / p->shape);
	return p->scale * exp(p->shape * sqrt(-2 * log(u)) * cos(2 * M_PI * talkers_uniform(state)));
}

double talkers_draw(uint64_t *state, const struct talkers_set *set, double within)
{
	double t;
	do
		t = draw_part(state, &set->parts[talkers_uniform(state) >= set->parts[0].weight]);
	while (t >= within);
	return t;
}

/* ---- truth ---- */

static double part_before(const struct talkers_part *p, double t)
{
	if (p->weight <= 0)
		return 0;
	if (p->kind == TALKERS_EXP)
		return p->weight * -expm1(-t / p->scale);
	if (p->kind == TALKERS_PARETO)
		return t <= p->scale ? 0 : p->weight * (1 - pow(t / p->scale, -p->shape));
	return p->weight * 0.5 * erfc(-log(t / p->scale) / p->shape * M_SQRT1_2);
}

static double before(const struct talkers_set *set, double t)
{
	return part_before(&set->parts[0], t) + part_before(&set->parts[1], t);
}

double talkers_quantile(const struct talkers_set *set, double within, double share)
{
	double low = 0, high = within, target = share * before(set, within);
	for (int i = 0; i < 60; i++) {
		double middle = (low + high) / 2;
		if (before(set, middle) < target)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* ---- the door ---- */

static void come(uint64_t *state, const struct talkers_door *door, double talks, struct advise_bin *bins, size_t len)
{
	double limit = talkers_uniform(state) < door->explored ? door->explore : door->pause;
	double goes = door->hang_up > 0 ? -log(talkers_uniform(state)) / door->hang_up : INFINITY;
	if (talks < limit && talks < goes)
		advise_bins_add(bins, len, ADVISE_TALKED, 1000 * talks);
	else if (goes < limit)
		advise_bins_add(bins, len, ADVISE_GONE, 1000 * goes);
	else
		advise_bins_add(bins, len, ADVISE_WAITED, 1000 * limit);
}

size_t talkers_come(uint64_t *state, const struct talkers_set *set, const struct talkers_door *door, struct advise_bin bins[ADVISE_BINS])
{
	size_t len = advise_bins_init(bins, 1000 * door->explore);
	for (unsigned i = 0; i < door->talkers; i++)
		come(state, door, talkers_draw(state, set, door->explore), bins, len);
	for (unsigned i = 0; i < door->patient; i++)
		come(state, door, INFINITY, bins, len);
	return len;
}
