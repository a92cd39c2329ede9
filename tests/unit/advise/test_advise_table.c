/* The life table, and the bins: against numbers worked out by hand, and against truth where lives are cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "advise/advise_inside.h"
#include "../../../bench/talkers.h"

static struct advise_bin bins[ADVISE_BINS];
static struct advise_work work;

#define assert_near(a, b, most) assert_true(fabs((a) - (b)) <= (most))

static struct advise_data data_of(size_t len, double explore)
{
	return (struct advise_data){ bins, len, 1000, explore, 0.99, 1 };
}

/* 100 come; 10 talk in the first second, 10 hang up in the second; 40 are greeted at 2 s; of the 40 that are left, 4 talk in the fourth. */
static void test_by_hand(void **state)
{
	(void)state;
	const struct advise_bin made[] = { { 0, 1000, 10, 0, 0, 0 }, { 1000, 2000, 0, 10, 0, 0 }, { 2000, 3000, 0, 0, 40, 2000 }, { 3000, 4000, 4, 0, 36, 4000 } };
	memcpy(bins, made, sizeof(made));
	struct advise_data data = data_of(4, 4000);
	assert_true(advise_table(&data, &work));
	assert_near(work.risk[0], 100, 1e-9);
	assert_near(work.risk[1], 85, 1e-9); /* those who go see half of it */
	assert_near(work.risk[2], 40, 1e-9); /* those who are greeted when it begins do not see it */
	assert_near(work.risk[3], 40, 1e-9);
	assert_near(work.mass[0], 0.1, 1e-9);
	double left = 0.9 * (1 - 10 / 85.0);
	assert_near(work.left[3], left, 1e-9);
	assert_near(work.mass[3], left * 0.1, 1e-9);
	struct advise_share s = advise_table_share(&work, 2, ADVISE_Z95);
	assert_near(s.share, 0.1 / (0.1 + left * 0.1), 1e-9);
	assert_true(s.low < s.share && s.share < s.high && s.low > 0 && s.high < 1);
	assert_near(advise_table_quantile(&work, s.share / 2), 0.5, 1e-9);
}

/* Who is greeted within a bin has seen a part of it, which is known or taken to be half. */
static void test_parts(void **state)
{
	(void)state;
	const struct advise_bin made[] = { { 0, 1000, 0, 0, 50, 0 }, { 1000, 2000, 1, 0, 50, 1250 }, { 2000, 3000, 0, 0, 10, 0 } };
	memcpy(bins, made, sizeof(made));
	struct advise_data data = data_of(3, 2500);
	assert_true(advise_table(&data, &work));
	assert_near(work.risk[0], 111 - 25, 1e-9);
	assert_near(work.risk[1], 61 - 50 * 0.75, 1e-9);
	assert_near(work.lo[work.len], 2.5, 1e-9);
	assert_near(work.risk[2], 10, 1e-9); /* the last one is cut at the end, up to which they waited */
}

/* What comes after the end is a wait to the end. */
static void test_beyond(void **state)
{
	(void)state;
	const struct advise_bin made[] = { { 0, 1000, 2, 0, 0, 0 }, { 1000, 2000, 3, 4, 5, 0 } };
	memcpy(bins, made, sizeof(made));
	struct advise_data data = data_of(2, 1000);
	assert_true(advise_table(&data, &work));
	assert_int_equal(work.len, 1);
	assert_near(work.c[0], 12, 1e-9);
	assert_near(work.risk[0], 14, 1e-9);
	assert_near(work.mass[0], 2 / 14.0, 1e-9);
}

static void test_malformed(void **state)
{
	(void)state;
	const struct advise_bin good[] = { { 0, 1, 1, 1, 1, 0 }, { 1, 2, 1, 1, 1, 0 } };
	static const struct advise_bin bad[][2] = { { { 0, 1, 1, 1, 1, 0 }, { 1.5, 2, 1, 1, 1, 0 } }, { { 0, 1, 1, 1, 1, 0 }, { 1, 1, 1, 1, 1, 0 } }, { { 0.5, 1, 1, 1, 1, 0 }, { 1, 2, 1, 1, 1, 0 } },
		{ { 0, 1, -1, 1, 1, 0 }, { 1, 2, 1, 1, 1, 0 } }, { { 0, 1, NAN, 1, 1, 0 }, { 1, 2, 1, 1, 1, 0 } }, { { 0, 1, 1, 1, 1, 0 }, { 1, INFINITY, 1, 1, 1, 0 } } };
	struct advise_data data = data_of(2, 2);
	memcpy(bins, good, sizeof(good));
	assert_true(advise_table(&data, &work));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(bins, bad[i], sizeof(bad[i]));
		assert_false(advise_table(&data, &work));
	}
	memcpy(bins, good, sizeof(good));
	data.len = 0;
	assert_false(advise_table(&data, &work));
	data.len = ADVISE_BINS + 1;
	assert_false(advise_table(&data, &work));
	data.len = 2;
	data.share = 1;
	assert_false(advise_table(&data, &work));
}

/* A twentieth waits to the end, the others a second; half of all who wait hang up in three seconds. The shares are those of who would talk if all were made to wait. */
static void test_cut_off(void **state)
{
	(void)state;
	const struct talkers_set set = { TALKERS_EXPONENTIAL, "", { { 1, TALKERS_EXP, 2, 0 }, { 0, TALKERS_EXP, 0, 0 } }, 0 };
	const struct talkers_door door = { .pause = 1, .explore = 10, .explored = 0.05, .talkers = 200000, .patient = 200000, .hang_up = 0.23 };
	uint64_t chance = talkers_seed(7);
	struct advise_data data = data_of(talkers_come(&chance, &set, &door, bins), 10000);
	assert_true(advise_table(&data, &work));
	/* Talk at t is seen if it came before the hang-up: density 0.5 e^-0.5t e^-0.23t. */
	for (double t = 0.5; t < 10; t *= 2) {
		double truth = -expm1(-0.73 * t) / -expm1(-7.3);
		struct advise_share s = advise_table_share(&work, t, 4);
		assert_true(s.low <= truth && truth <= s.high);
		assert_near(s.share, truth, 0.02);
	}
	double rate = 0.5 * (0.5 / 0.73) * -expm1(-7.3) / -expm1(-5.0);
	assert_near(advise_table_mass(&work, 10), rate, 0.02);
}

/* Bounds of 95 % hold the truth in some 95 of 100 runs; with few talkers they are far apart, and with none beyond there is still one. */
static void test_bounds(void **state)
{
	(void)state;
	const struct talkers_set set = { TALKERS_EXPONENTIAL, "", { { 1, TALKERS_EXP, 1.5, 0 }, { 0, TALKERS_EXP, 0, 0 } }, 0 };
	const struct talkers_door door = { .pause = 1, .explore = 10, .explored = 0.1, .talkers = 500, .patient = 1000 };
	double truth = -expm1(-3 / 1.5) / -expm1(-10 / 1.5);
	unsigned in = 0, in_time = 0;
	for (unsigned run = 0; run < 200; run++) {
		uint64_t chance = talkers_seed(run);
		double low, high, at = talkers_quantile(&set, 10, 0.9);
		struct advise_data data = data_of(talkers_come(&chance, &set, &door, bins), 10000);
		assert_true(advise_table(&data, &work));
		struct advise_share s = advise_table_share(&work, 3, ADVISE_Z95);
		in += s.low <= truth && truth <= s.high;
		advise_table_bounds(&work, 0.9, ADVISE_Z95, &low, &high);
		in_time += low <= at && at <= high;
	}
	assert_in_range(in, 180, 200);
	assert_in_range(in_time, 180, 200);
	const struct advise_bin made[] = { { 0, 1000, 100, 0, 0, 0 }, { 1000, 2000, 0, 0, 900, 2000 } };
	memcpy(bins, made, sizeof(made));
	struct advise_data data = data_of(2, 2000);
	assert_true(advise_table(&data, &work));
	struct advise_share s = advise_table_share(&work, 1, ADVISE_Z95);
	assert_near(s.share, 1, 1e-9);
	assert_near(s.low, 100 / 103.7, 0.01); /* three or four in a hundred may have been missed */
}

static void test_bins(void **state)
{
	(void)state;
	size_t len = advise_bins_init(bins, 10000);
	assert_true(len > 300 && len <= ADVISE_BINS);
	assert_near(bins[0].lo, 0, 0);
	assert_near(bins[len - 1].hi, 10000, 0);
	for (size_t i = 1; i < len; i++) {
		assert_true(bins[i].lo == bins[i - 1].hi);
		assert_true(bins[i].hi - bins[i].lo <= fmax(0.5, 0.0201 * bins[i].lo));
	}
	advise_bins_add(bins, len, ADVISE_TALKED, 0);
	advise_bins_add(bins, len, ADVISE_TALKED, 9999.999);
	advise_bins_add(bins, len, ADVISE_TALKED, 10000);
	advise_bins_add(bins, len, ADVISE_GONE, 250000);
	advise_bins_add(bins, len, ADVISE_GONE, -1);
	advise_bins_add(bins, len, ADVISE_GONE, NAN);
	advise_bins_add(bins, len, ADVISE_WAITED, 1000);
	advise_bins_add(bins, len, ADVISE_WAITED, 1000.1);
	assert_near(bins[0].talk, 1, 0);
	assert_near(bins[len - 1].talk, 1, 0);
	assert_near(bins[len - 1].waited, 2, 0);
	assert_near(bins[len - 1].waited_at, 10000, 1e-9);
	double gone = 0, waited = 0;
	for (size_t i = 0; i < len; i++) {
		gone += bins[i].gone;
		waited += bins[i].waited;
		if (i + 1 < len && bins[i].waited > 0)
			assert_near(bins[i].waited_at, 1000.05, 1e-6);
	}
	assert_near(gone, 0, 0);
	assert_near(waited, 4, 0);
	/* An end far away: wider ones, but no more. */
	len = advise_bins_init(bins, 1e12);
	assert_int_equal(len, ADVISE_BINS);
	assert_near(bins[len - 1].hi, 1e12, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_by_hand), cmocka_unit_test(test_parts), cmocka_unit_test(test_beyond), cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_cut_off), cmocka_unit_test(test_bounds), cmocka_unit_test(test_bins) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
