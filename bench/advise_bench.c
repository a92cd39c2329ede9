/* How near the recommended pause is to the true one, with made-up clients (talkers.c): a line for each distribution.
 *
 *   advise_bench [RUNS [TALKERS [EXPLORED [SEED]]]]     100 runs, 1,000 talkers, all of them watched up to 10 s (1; 0.01 is `explore = 1%` with a pause of 1 s)
 *
 * ok: runs in which it is within 10 %; counted: the same of the plain count; can: of somebody who knows the family (only where all are watched). in: runs in which the true one lies within
 * the bounds of 95 %; wide: how far these are apart, high / low. off: mean and deviation of the error. none: runs without a recommendation. ms: time for one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "advise/advise_inside.h"
#include "talkers.h"

#define WITHIN 10.0
#define SHARE 0.99

static struct advise_bin bins[ADVISE_BINS];
static struct advise_work work;

struct tally {
	unsigned good, ok, counted, in;
	double wide, off, squares;
};

static void run(const struct talkers_set *set, const struct talkers_door *door, uint64_t seed, double truth, struct tally *t)
{
	struct advise_result r;
	uint64_t state = talkers_seed(seed);
	struct advise_data data = { bins, talkers_come(&state, set, door, bins), 1000 * door->pause, 1000 * door->explore, SHARE, 1 };
	advise(&data, &work, &r);
	if (r.state != ADVISE_GOOD)
		return;
	double off = log(r.pause / 1000 / truth);
	t->good++;
	t->ok += fabs(r.pause / 1000 / truth - 1) <= 0.1;
	t->counted += fabs(advise_table_quantile(&work, SHARE) / truth - 1) <= 0.1;
	t->in += r.low / 1000 <= truth && truth <= r.high / 1000;
	t->wide += log(r.high / r.low);
	t->off += off;
	t->squares += off * off;
}

int main(int argc, char **argv)
{
	unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
	struct talkers_door door = { .pause = 1, .explore = WITHIN, .talkers = argc > 2 ? (unsigned)atoi(argv[2]) : 1000, .explored = argc > 3 ? atof(argv[3]) : 1 };
	uint64_t seed = argc > 4 ? (uint64_t)atoll(argv[4]) : 1;
	door.patient = 3 * door.talkers;
	printf("%-13s %-46s %7s %4s %7s %5s %4s %5s %14s %4s %5s\n", "class", "talk times", "true s", "ok", "counted", "can", "in", "wide", "off", "none", "ms");
	for (size_t i = 0; i < talkers_sets_len; i++) {
		const struct talkers_set *set = &talkers_sets[i];
		struct tally t = { 0 };
		double truth = talkers_quantile(set, WITHIN, SHARE);
		clock_t from = clock();
		for (unsigned r = 0; r < runs; r++)
			run(set, &door, seed * 1000003 + r + 1000 * i, truth, &t);
		double n = t.good > 0 ? t.good : 1, each = runs > 0 ? 1000.0 * (double)(clock() - from) / CLOCKS_PER_SEC / runs : 0;
		printf("%-13s %-46s %7.3f %4u %7u %5.1f %4u %5.2f %+6.3f %6.3f %4u %5.1f\n", talkers_class_name(set->class), set->name, truth, t.ok, t.counted, set->attainable, t.in,
		       exp(t.wide / n), t.off / n, sqrt(t.squares / n), runs - t.good, each);
		fflush(stdout);
	}
	return 0;
}
