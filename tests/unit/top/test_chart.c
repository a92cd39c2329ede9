/* Charts, cell by cell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shown.h"
#include "top/chart.h"

#define NOW INT64_C(1796061600)

static struct grid g;
static struct model m;

static void heights(void **context)
{
	(void)context;
	assert_int_equal(chart_height(0, 10, 8), 0);
	assert_int_equal(chart_height(-1, 10, 8), 0);
	assert_int_equal(chart_height(0.001, 10, 8), 1);
	assert_int_equal(chart_height(5, 10, 8), 4);
	assert_int_equal(chart_height(10, 10, 8), 8);
	assert_int_equal(chart_height(11, 10, 8), 8);
	assert_int_equal(chart_height(1, 0, 8), 0);
}

static void one_line(void **context)
{
	(void)context;
	model_init(&m);
	for (int64_t s = 0; s < 100; s++) {
		if (s == 15 || s == 35)
			metrics_add(METRIC_early, s == 15 ? 80 : 10);
		if (s < 50 || s >= 60) /* then nobody looked */
			model_look(&m, NOW + s, 1000 * s + 1);
	}
	model_look(&m, NOW + 100, 100001);
	grid_clear(&g, 1, 14);
	chart_spark(&g, (struct grid_at){ 0, 1, 12 }, GRID_BAD, &m, SERIES_early);
	assert_string_equal(shown_row(&g, 0), "   _8_1_ ____ ");
	grid_clear(&g, 1, 14);
	chart_spark(&g, (struct grid_at){ 0, 0, 5 }, GRID_BAD, &m, SERIES_early); /* there is room for the last ones only */
	assert_string_equal(shown_row(&g, 0), " ____         ");
	grid_clear(&g, 1, GRID_COLS);
	chart_spark(&g, (struct grid_at){ 0, 0, GRID_COLS }, GRID_BAD, &m, SERIES_early); /* more than an hour */
	assert_true(shown_anywhere(&g, "_8_1_ ____"));
	grid_clear(&g, 1, 10);
	chart_spark(&g, (struct grid_at){ 0, 5, -3 }, GRID_BAD, &m, SERIES_early);
	assert_string_equal(shown_row(&g, 0), "          ");
}

static void when_they_talk(void **context)
{
	(void)context;
	model_init(&m);
	m.talk[11] = 16; /* from 10 ms on */
	m.talk[12] = 1;
	grid_clear(&g, 6, 100);
	m.pause.pause = 1000;
	chart_talk(&g, (struct area){ 0, 0, 6, 100 }, &m);
	assert_string_equal(shown_row(&g, 0) + 62, "| pause 1000 ms                       "); /* two columns for each of 41 bars */
	assert_string_equal(shown_row(&g, 1) + 20, "  88                                      |                                     ");
	assert_string_equal(shown_row(&g, 4) + 20, "  8822                                    |                                     ");
	assert_string_equal(shown_row(&g, 5), "  1 ms                10 ms               100 ms              1 s                 10 s              ");
	/* And with advice. */
	m.advised_at = NOW;
	m.advice = (struct advise_result){ .state = ADVISE_GOOD, .pause = 400 };
	grid_clear(&g, 6, 100);
	chart_talk(&g, (struct area){ 0, 0, 6, 100 }, &m);
	assert_string_equal(shown_row(&g, 1) + 50, "    | recommended 400 ms                          ");
	assert_string_equal(shown_row(&g, 2) + 50, "    |       |                                     ");
	m.advice.state = ADVISE_FEW;
	assert_int_equal(chart_recommended(&m), 0);
	/* No pause; and where all talk beyond it. */
	grid_clear(&g, 6, 60);
	m.talk[60] = 3;
	m.pause.pause = 0;
	chart_talk(&g, (struct area){ 0, 0, 6, 60 }, &m);
	assert_string_equal(shown_row(&g, 0), "                                                            ");
	assert_true(shown_is_harmless(&g));
	m.pause.pause = 300000;
	chart_talk(&g, (struct area){ 0, 0, 6, 60 }, &m);
	assert_true(shown_anywhere(&g, "pause 300000 ms |"));
	/* No room: nothing is written, wherever. */
	for (int rows = 0; rows < 6; rows++)
		for (int cols = 1; cols < 30; cols++) {
			grid_clear(&g, rows, cols);
			chart_talk(&g, (struct area){ 0, 0, rows, cols }, &m);
			assert_true(shown_is_harmless(&g));
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(heights), cmocka_unit_test(one_line), cmocka_unit_test(when_they_talk) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
