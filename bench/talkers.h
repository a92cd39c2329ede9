/* talkers.h: made-up clients whose talk times are drawn from distributions that the estimator of src/advise is not told. */
#ifndef TARRY_BENCH_TALKERS_H
#define TARRY_BENCH_TALKERS_H

#include <stddef.h>
#include <stdint.h>

#include "advise/advise.h"

#define TALKERS_PARTS 2

enum talkers_class { TALKERS_EXPONENTIAL, TALKERS_BIMODAL, TALKERS_HEAVY, TALKERS_TIMERS, TALKERS_CLASSES };
enum talkers_kind { TALKERS_EXP, TALKERS_LOGNORMAL, TALKERS_PARETO };

struct talkers_part {
	double weight;
	enum talkers_kind kind;
	double scale, shape; /* seconds: mean; median and deviation of the logarithm; least and exponent */
};

struct talkers_set {
	enum talkers_class class;
	const char *name;
	struct talkers_part parts[TALKERS_PARTS];
	double attainable; /* how often in 100 runs somebody who knows the family, but not its parameters, is within 10 % with 1,000 talkers: by the bound of Cramer and Rao; 0: not computed */
};

extern const struct talkers_set talkers_sets[];
extern const size_t talkers_sets_len;
const char *talkers_class_name(enum talkers_class class);

/* A door, and those who come to it. */
struct talkers_door {
	double pause, explore;  /* seconds */
	double explored;        /* the part of clients that waits up to explore */
	unsigned talkers;       /* clients that would talk within explore, */
	unsigned patient;       /* and that would not */
	double hang_up;         /* how many hang up in a second, of those who wait; they talk no more */
};

uint64_t talkers_seed(uint64_t seed);
double talkers_uniform(uint64_t *state);
/* When one talks, given that it does within so many seconds. */
double talkers_draw(uint64_t *state, const struct talkers_set *set, double within);
/* When that share of those who talk within so many seconds has talked. */
double talkers_quantile(const struct talkers_set *set, double within, double share);
/* What the door sees. The bins are those of times that are known exactly. */
size_t talkers_come(uint64_t *state, const struct talkers_set *set, const struct talkers_door *door, struct advise_bin bins[ADVISE_BINS]);

#endif
