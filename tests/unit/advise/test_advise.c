/* The recommendation: within 10 % of the truth in 95 of 100 runs with 1,000 early talkers, of each class of talk times; and what is said where it cannot be. bench/advise_bench has the same
 * for each distribution by itself, those included that nobody can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "advise/advise.h"
#include "../../../bench/talkers.h"

#define WITHIN 10.0
#define SHARE 0.99

static struct advise_bin bins[ADVISE_BINS];
static struct advise_work work;

static struct advise_result run(const struct talkers_set *set, struct talkers_door door, uint64_t seed)
{
	struct advise_result r;
	uint64_t chance = talkers_seed(seed);
	struct advise_data data = { bins, talkers_come(&chance, set, &door, bins), 1000 * door.pause, 1000 * door.explore, SHARE, 1 };
	advise(&data, &work, &r);
	return r;
}

static const struct talkers_door all_watched = { .pause = 1, .explore = WITHIN, .explored = 1, .talkers = 1000, .patient = 2000 };

/* Each run another one of the class's distributions, of those that can be told (talkers.c). */
static void test_number(void **state)
{
	(void)state;
	for (enum talkers_class class = TALKERS_EXPONENTIAL; class <= TALKERS_HEAVY; class++) {
		unsigned runs = 0, near = 0, in = 0;
		for (uint64_t i = 0; runs < 100; i++) {
			const struct talkers_set *set = &talkers_sets[i % talkers_sets_len];
			if (set->class != class || set->attainable < 95)
				continue;
			double truth = talkers_quantile(set, WITHIN, SHARE);
			struct advise_result r = run(set, all_watched, i);
			assert_int_equal(r.state, ADVISE_GOOD);
			runs++;
			near += fabs(r.pause / 1000 / truth - 1) <= 0.1;
			in += r.low / 1000 <= truth && truth <= r.high / 1000;
		}
		print_message("# %s: within 10 %% in %u of %u, truth within the bounds in %u\n", talkers_class_name(class), near, runs, in);
		assert_true(near >= 95);
		assert_true(in >= 88);
	}
}

/* Talk by a timer follows no curve: the time is counted, and exact. */
static void test_timers(void **state)
{
	(void)state;
	for (size_t i = 0; i < talkers_sets_len; i++)
		for (uint64_t seed = 0; talkers_sets[i].class == TALKERS_TIMERS && seed < 10; seed++) {
			struct advise_result r = run(&talkers_sets[i], all_watched, seed);
			assert_int_equal(r.state, ADVISE_GOOD);
			assert_true(fabs(r.pause - 5000) < 100 && r.low > 4500 && r.high < 5500);
		}
}

/* One in a hundred waits longer: what is known beyond the pause is known of a few, and the bounds say so. */
static void test_explored(void **state)
{
	(void)state;
	const struct talkers_set set = { TALKERS_EXPONENTIAL, "", { { 1, TALKERS_EXP, 1, 0 }, { 0, TALKERS_EXP, 0, 0 } }, 0 };
	double truth = talkers_quantile(&set, WITHIN, SHARE), wide = 0;
	unsigned in = 0, good = 0;
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct advise_result r = run(&set, (struct talkers_door){ .pause = 1, .explore = WITHIN, .explored = 0.05, .talkers = 2000, .patient = 2000 }, seed);
		if (r.state != ADVISE_GOOD)
			continue;
		good++;
		in += r.low / 1000 <= truth && truth <= r.high / 1000;
		wide += log(r.high / r.low);
		assert_true(r.now.share > 0.4 && r.now.share < 0.85); /* in truth 0.632 */
	}
	assert_true(good >= 55);
	assert_true(in >= good * 85 / 100);
	assert_true(exp(wide / good) > 1.3);
}

static void test_too_few(void **state)
{
	(void)state;
	struct advise_result r = run(&talkers_sets[0], (struct talkers_door){ .pause = 1, .explore = WITHIN, .explored = 1, .talkers = 17, .patient = 100 }, 1);
	assert_int_equal(r.state, ADVISE_FEW);
	assert_non_null(strstr(r.reason, "17"));
	assert_true(r.pause == 0);
	assert_true(r.ladder_len > 5); /* what there is is shown */
}

static void test_unseen(void **state)
{
	(void)state;
	struct advise_result r = run(&talkers_sets[2], (struct talkers_door){ .pause = 1, .explore = WITHIN, .explored = 0, .talkers = 1000, .patient = 1000 }, 1);
	assert_int_equal(r.state, ADVISE_UNSEEN);
	assert_true(r.watched_to_end == 0 && r.now.low == 0);
}

/* A shorter pause would do; a longer one is needed; it is as it should be. */
static void test_judgement(void **state)
{
	(void)state;
	struct talkers_door door = all_watched;
	double truth = talkers_quantile(&talkers_sets[1], WITHIN, SHARE);
	static const struct { double of_truth; enum advise_judgement judgement; } cases[] = { { 0.5, ADVISE_LONGER }, { 1, ADVISE_KEEP }, { 2, ADVISE_SHORTER } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		door.pause = cases[i].of_truth * truth;
		struct advise_result r = run(&talkers_sets[1], door, 5);
		assert_int_equal(r.state, ADVISE_GOOD);
		assert_int_equal(r.judgement, cases[i].judgement);
	}
}

/* A client that came a hundred times has told once. */
static void test_clustering(void **state)
{
	(void)state;
	struct advise_result one, many;
	uint64_t chance = talkers_seed(3);
	struct advise_data data = { bins, talkers_come(&chance, &talkers_sets[1], &all_watched, bins), 1000, 1000 * WITHIN, SHARE, 1 };
	advise(&data, &work, &one);
	data.clustering = 10;
	advise(&data, &work, &many);
	assert_true(fabs(one.talked - many.talked) < 1e-6 && one.state == ADVISE_GOOD && many.state == ADVISE_GOOD);
	data.clustering = 200;
	struct advise_result most;
	advise(&data, &work, &most);
	assert_int_equal(most.state, ADVISE_FEW);
	assert_non_null(strstr(most.reason, "1000 came so often as if there were only 5 of them"));
	assert_true(log(many.high / many.low) > 2 * log(one.high / one.low));
	assert_true(many.now.high - many.now.low > 2 * (one.now.high - one.now.low));
}

/* Whatever is counted, the result is sound. */
static void test_anything(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		uint64_t chance = talkers_seed(seed);
		double lo = 0, wide = pow(10, 4 * talkers_uniform(&chance)), much = pow(10, 5 * talkers_uniform(&chance)), bare = talkers_uniform(&chance);
		size_t len = 1 + (size_t)(60 * talkers_uniform(&chance));
		for (size_t i = 0; i < len; i++) {
			struct advise_bin b = { .lo = lo, .hi = lo + wide * talkers_uniform(&chance) + 1e-6 };
			if (talkers_uniform(&chance) > bare) {
				b.talk = floor(much * pow(talkers_uniform(&chance), 4));
				b.gone = talkers_uniform(&chance) < 0.3 ? floor(much * talkers_uniform(&chance)) : 0;
				b.waited = talkers_uniform(&chance) < 0.3 ? floor(much * talkers_uniform(&chance)) : 0;
				b.waited_at = talkers_uniform(&chance) < 0.5 ? 0 : 2 * b.hi * talkers_uniform(&chance);
			}
			bins[i] = b;
			lo = b.hi;
		}
		struct advise_data data = { bins, len, lo * talkers_uniform(&chance) * 1.2, lo * (0.1 + 1.2 * talkers_uniform(&chance)), 0.5 + 0.499 * talkers_uniform(&chance),
			talkers_uniform(&chance) < 0.5 ? 0 : 20 * talkers_uniform(&chance) };
		struct advise_result r;
		advise(&data, &work, &r);
		assert_true(r.state != ADVISE_MALFORMED && r.reason[0] != '\0');
		for (size_t i = 0; i < r.ladder_len; i++)
			assert_true(r.ladder[i].low >= 0 && r.ladder[i].low <= r.ladder[i].share + 1e-9 && r.ladder[i].share <= r.ladder[i].high + 1e-9 && r.ladder[i].high <= 1);
		if (r.state == ADVISE_GOOD)
			assert_true(r.low > 0 && r.low <= r.pause && r.pause <= r.high && r.high <= data.explore);
		if (r.state != ADVISE_GOOD)
			assert_true(r.pause == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_number), cmocka_unit_test(test_timers), cmocka_unit_test(test_explored), cmocka_unit_test(test_too_few), cmocka_unit_test(test_unseen),
		cmocka_unit_test(test_judgement), cmocka_unit_test(test_clustering), cmocka_unit_test(test_anything) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
