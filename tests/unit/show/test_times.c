/* Histograms as they are shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "show/times.h"

#define MS INT64_C(1000000)

static struct metrics_times times;

static void add(int64_t ns, uint64_t n)
{
	times.buckets[metrics_bucket(ns)] += n;
	times.count += n;
}

static void near(int64_t is, int64_t wanted)
{
	assert_true(is >= wanted - wanted / 40 && is <= wanted + wanted / 40);
}

static void edges_of_bars(void **context)
{
	(void)context;
	assert_int_equal(times_bar_from(0), 0);
	assert_int_equal(times_bar_from(1), MS);
	assert_int_equal(times_bar_from(2), MS * 5 / 4);
	assert_int_equal(times_bar_from(10), 8 * MS);
	assert_int_equal(times_bar_from(11), 10 * MS);
	assert_int_equal(times_bar_from(31), 1000 * MS);
	assert_int_equal(times_bar_from(TIMES_BARS - 1), 800000 * MS);
	assert_int_equal(times_bar_from(TIMES_BARS), INT64_MAX);
	for (unsigned i = 0; i < TIMES_BARS; i++)
		assert_true(times_bar_from(i) < times_bar_from(i + 1));
}

static void each_in_its_bar(void **context)
{
	uint64_t bars[TIMES_BARS], sum = 0;
	(void)context;
	memset(&times, 0, sizeof(times));
	add(0, 1);
	add(MS - 1, 2);
	add(MS, 4);
	add(1000 * MS, 8);
	add(1250 * MS - 1, 16);
	add(1250 * MS, 32);
	add(INT64_MAX, 64);
	times_bars(&times, bars);
	assert_int_equal(bars[0], 3);
	assert_int_equal(bars[1], 4);
	assert_int_equal(bars[31], 24);
	assert_int_equal(bars[32], 32);
	for (unsigned i = 0; i < TIMES_BARS; i++)
		sum += bars[i];
	assert_int_equal(sum, times.count); /* nobody is lost, however long it took */
}

static void parts_of_them(void **context)
{
	(void)context;
	memset(&times, 0, sizeof(times));
	assert_int_equal(times_quantile(&times, 0.5), 0);
	add(300 * MS, 1);
	near(times_quantile(&times, 0), 300 * MS);
	near(times_quantile(&times, 0.5), 300 * MS);
	near(times_quantile(&times, 1), 300 * MS);
	memset(&times, 0, sizeof(times));
	for (int64_t ms = 1; ms <= 1000; ms++)
		add(ms * MS, 1);
	near(times_quantile(&times, 0.5), 500 * MS);
	near(times_quantile(&times, 0.9), 900 * MS);
	near(times_quantile(&times, 0.99), 990 * MS);
	near(times_quantile(&times, 2), 1000 * MS); /* more than all */
	/* Between the two buckets that are there, nothing. */
	memset(&times, 0, sizeof(times));
	add(10 * MS, 90);
	add(5000 * MS, 10);
	near(times_quantile(&times, 0.9), 10 * MS);
	near(times_quantile(&times, 0.91), 5000 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(edges_of_bars), cmocka_unit_test(each_in_its_bar), cmocka_unit_test(parts_of_them) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
