/* Curves, the search, and how sure they are: against what is known of them by other ways. */
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

static const struct advise_family *family(const char *name)
{
	for (size_t i = 0; i < ADVISE_FAMILIES; i++)
		if (strcmp(advise_families[i].name, name) == 0)
			return &advise_families[i];
	fail_msg("no family %s", name);
	return NULL;
}

/* Rosenbrock's valley, of one dimension more. */
static double valley(void *context, const double *p)
{
	unsigned *calls = context;
	++*calls;
	return 100 * pow(p[1] - p[0] * p[0], 2) + pow(1 - p[0], 2) + pow(p[2] - p[1], 2);
}

static void test_search(void **state)
{
	(void)state;
	unsigned calls = 0;
	double p[ADVISE_PARAMETERS] = { -1.2, 1, 0 };
	double least = advise_search(valley, &calls, 3, p, 0.3);
	assert_near(least, 0, 1e-3);
	assert_near(p[0], 1, 0.05);
	assert_near(p[1], 1, 0.05);
	assert_near(p[2], 1, 0.05);
	assert_true(calls < 2000);
}

/* 5 % of chi-square with 1, 10 and 20 degrees (any table). */
static void test_chi_square(void **state)
{
	(void)state;
	assert_near(advise_chi_square(3.841, 1), 0.05, 0.005);
	assert_near(advise_chi_square(18.307, 10), 0.05, 0.001);
	assert_near(advise_chi_square(31.410, 20), 0.05, 0.001);
	assert_near(advise_chi_square(0, 5), 1, 0.01);
}

/* All survival functions begin at 1, never rise, and are finite. */
static void test_families(void **state)
{
	(void)state;
	for (size_t f = 0; f < ADVISE_FAMILIES; f++) {
		const struct advise_family *a = &advise_families[f];
		for (int i = 0; i < 2000; i++) {
			double p[ADVISE_PARAMETERS], before = 0;
			uint64_t chance = talkers_seed((uint64_t)i);
			for (unsigned k = 0; k < a->parameters; k++)
				p[k] = (a->parameters == 1 ? 3 : 6) * talkers_uniform(&chance) - (a->parameters == 1 ? 0 : 3);
			if (a->from_zero)
				assert_near(a->log_survival(p, 0), 0, 1e-12);
			else
				before = a->log_survival(p, 0.001);
			for (double t = 0.001; t < 300; t *= 1.3) {
				double now = a->log_survival(p, t);
				assert_true(isfinite(now) && now <= before + 1e-12);
				before = now;
			}
		}
	}
}

static size_t fill(const struct talkers_set *set, double explored, uint64_t seed)
{
	const struct talkers_door door = { .pause = 1, .explore = 10, .explored = explored, .talkers = 1000, .patient = 3000 };
	uint64_t chance = talkers_seed(seed);
	struct advise_data data = { bins, talkers_come(&chance, set, &door, bins), 1000, 10000, 0.99, 1 };
	assert_true(advise_table(&data, &work));
	return data.len;
}

/* An exponential of which all is seen: the estimate is the mean, its error a part of 1 / sqrt(1000), and so is that of the time. */
static void test_exponential(void **state)
{
	(void)state;
	const struct talkers_set set = { TALKERS_EXPONENTIAL, "", { { 1, TALKERS_EXP, 0.5, 0 }, { 0, TALKERS_EXP, 0, 0 } }, 0 };
	struct advise_fit fit;
	double n = 0, sum = 0;
	size_t len = fill(&set, 1, 3);
	for (size_t i = 0; i < len; i++) {
		n += bins[i].talk;
		sum += bins[i].talk * (bins[i].lo + bins[i].hi) / 2000;
	}
	assert_true(advise_fit(&work, family("exponential"), 0, 0.99, &fit));
	assert_near(fit.p[0], n / sum, 0.01 * n / sum);
	assert_near(exp(fit.quantile), log(100) * sum / n, 0.02);
	assert_near(fit.se, 1 / sqrt(1000), 0.002);
	assert_true(fit.misfit > 0.02);
	/* And the wrong curve is told by its misfit. */
	assert_true(!advise_fit(&work, family("Pareto"), 1, 0.99, &fit) || fit.misfit < 1e-6);
	assert_true(!advise_fit(&work, family("lognormal"), 0, 0.99, &fit) || fit.misfit < 1e-3);
}

/* The deviation of many estimates is the error that each of them claims: of a curve through all, and of one through the tail; and where most lives are cut off. */
static void test_errors(void **state)
{
	(void)state;
	const struct talkers_set set = { TALKERS_HEAVY, "", { { 1, TALKERS_LOGNORMAL, 0.2, 1.2 }, { 0, TALKERS_EXP, 0, 0 } }, 0 };
	static const struct { double explored; bool tail; } cases[] = { { 1, false }, { 1, true }, { 0.1, false } };
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		double sum = 0, squares = 0, errors = 0, n = 0;
		for (uint64_t run = 0; run < 100; run++) {
			struct advise_fit fit;
			size_t from = 0;
			fill(&set, cases[c].explored, 100 + run);
			while (cases[c].tail && work.lo[from] < 0.2)
				from++;
			if (!advise_fit(&work, family("lognormal"), from, 0.99, &fit))
				continue;
			n++;
			sum += fit.quantile;
			squares += fit.quantile * fit.quantile;
			errors += fit.se * fit.se;
		}
		double deviation = sqrt(squares / n - sum / n * (sum / n)), claimed = sqrt(errors / n);
		assert_true(n >= 95);
		assert_true(deviation / claimed > 0.75 && deviation / claimed < 1.3);
	}
}

static void test_useless(void **state)
{
	(void)state;
	struct advise_fit fit;
	const struct advise_bin made[] = { { 0, 1000, 0, 5, 50, 0 }, { 1000, 2000, 0, 5, 50, 0 } };
	memcpy(bins, made, sizeof(made));
	struct advise_data data = { bins, 2, 1000, 2000, 0.99, 1 };
	assert_true(advise_table(&data, &work));
	for (size_t i = 0; i < ADVISE_FAMILIES; i++)
		assert_false(advise_fit(&work, &advise_families[i], 0, 0.99, &fit)); /* nobody talked */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_search), cmocka_unit_test(test_chi_square), cmocka_unit_test(test_families), cmocka_unit_test(test_exponential),
		cmocka_unit_test(test_errors), cmocka_unit_test(test_useless) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
