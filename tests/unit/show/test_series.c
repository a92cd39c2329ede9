/* The last hour and the last day, with a clock that is moved by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/metrics.h"
#include "show/series.h"

#define NOW INT64_C(1796061600)

static struct series series;
static struct series_point points[SERIES_DAY_POINTS];

static size_t hour(int64_t from, int64_t now)
{
	return series_points(&series, false, from, now, points);
}

static void sums_and_most(void **context)
{
	(void)context;
	memset(&series, 0, sizeof(series));
	metrics_add(METRIC_early, 1000); /* before anybody looked */
	series_look(&series, NOW);
	for (int s = 1; s < 20; s++) {
		metrics_add(METRIC_early, s == 3 || s == 12 ? 5 : 1);
		metrics_add(METRIC_held, s == 5 ? 40 : s == 6 ? -39 : 0);
		series_look(&series, NOW + s);
	}
	assert_int_equal(hour(0, NOW + 19), 1); /* the second is not finished */
	assert_int_equal(points[0].at, NOW);
	assert_int_equal(points[0].of[SERIES_early], 9 - 1 + 5);
	assert_int_equal(points[0].of[SERIES_held], 40);
	assert_int_equal(hour(0, NOW + 20), 2);
	assert_int_equal(points[1].of[SERIES_early], 10 - 1 + 5);
	assert_int_equal(points[1].of[SERIES_held], 1);
	assert_int_equal(hour(NOW + 1, NOW + 20), 1);
	assert_int_equal(points[0].at, NOW + 10);
	assert_int_equal(series_points(&series, true, 0, NOW + 60, points), 1);
	assert_int_equal(points[0].of[SERIES_early], 8 + 5 + 9 + 5);
	assert_int_equal(points[0].of[SERIES_held], 40);
}

/* A machine that slept, and then what was before is an hour ago. */
static void gaps(void **context)
{
	(void)context;
	memset(&series, 0, sizeof(series));
	series_look(&series, NOW);
	series_look(&series, NOW + 10);
	metrics_add(METRIC_gone, 3);
	series_look(&series, NOW + 3000);
	assert_int_equal(hour(0, NOW + 3010), 3);
	assert_int_equal(points[2].of[SERIES_gone], 3);
	assert_int_equal(hour(0, NOW + 3590), 3);
	assert_int_equal(hour(0, NOW + 3600), 2); /* 360 points, of which the last one is not finished */
	assert_int_equal(points[0].at, NOW + 10);
	assert_int_equal(hour(0, NOW + 7200), 0);
	assert_int_equal(series_points(&series, true, 0, NOW + 7200, points), 2);
	assert_int_equal(series_points(&series, true, 0, NOW + 90000, points), 0);
}

/* Two metrics that are one line, and a counter that was set back because another door has taken over. */
static void counters(void **context)
{
	(void)context;
	memset(&series, 0, sizeof(series));
	series_look(&series, NOW);
	metrics_add(METRIC_limited_total, 2);
	metrics_add(METRIC_limited_client, 3);
	series_look(&series, NOW + 1);
	metrics_add(METRIC_limited_client, -100);
	series_look(&series, NOW + 2);
	assert_int_equal(hour(0, NOW + 10), 1);
	assert_int_equal(points[0].of[SERIES_limited], 5);
	assert_string_equal(series_name(SERIES_limited), "limited");
}

static void full(void **context)
{
	(void)context;
	memset(&series, 0xff, sizeof(series));
	series_tidy(&series);
	assert_false(series.begun);
	for (int64_t at = NOW; at < NOW + 100000; at += 7)
		series_look(&series, at);
	assert_int_equal(hour(0, NOW + 100000), SERIES_HOUR_POINTS - 1);
	assert_int_equal(series_points(&series, true, 0, NOW + 100000, points), SERIES_DAY_POINTS - 1);
	for (unsigned i = 1; i < SERIES_DAY_POINTS - 1; i++)
		assert_int_equal(points[i].at - points[i - 1].at, SERIES_DAY_STEP);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sums_and_most), cmocka_unit_test(gaps), cmocka_unit_test(counters), cmocka_unit_test(full) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
