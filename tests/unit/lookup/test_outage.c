/* How long a map that fails is left alone, and what is said of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lookup/outage.h"

static void doubles_up_to_a_ceiling(void **context)
{
	struct outage o = { 0 };
	int64_t now = 5 * LOOP_SECOND;
	static const int64_t seconds[] = { 1, 2, 4, 8, 16, 30, 30 };
	(void)context;
	assert_true(outage_may_ask(&o, now));
	for (unsigned i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++) {
		assert_int_equal(outage_report(&o, false, now), i == 0 ? OUTAGE_BEGUN : OUTAGE_SAME);
		assert_false(outage_may_ask(&o, now));
		assert_false(outage_may_ask(&o, now + seconds[i] * LOOP_SECOND - 1));
		now += seconds[i] * LOOP_SECOND;
		assert_true(outage_may_ask(&o, now));
		assert_false(outage_may_ask(&o, now)); /* one at a time */
	}
}

/* Who tries may die: somebody else tries when its time is over. */
static void one_tries_for_all(void **context)
{
	struct outage o = { 0 };
	int64_t now = LOOP_SECOND;
	(void)context;
	assert_int_equal(outage_report(&o, false, now), OUTAGE_BEGUN);
	assert_int_equal(outage_report(&o, false, now), OUTAGE_SAME); /* found out by two at the same time */
	now += 2 * LOOP_SECOND;
	assert_true(outage_may_ask(&o, now));
	assert_false(outage_may_ask(&o, now + OUTAGE_TRY));
	assert_true(outage_may_ask(&o, now + OUTAGE_TRY + LOOP_SECOND));
	assert_int_equal(outage_report(&o, true, now + OUTAGE_TRY + LOOP_SECOND), OUTAGE_OVER);
	assert_int_equal(outage_report(&o, true, now + OUTAGE_TRY + LOOP_SECOND), OUTAGE_SAME);
}

static void over_and_begun_anew(void **context)
{
	struct outage o = { 0 };
	int64_t now = 100 * LOOP_SECOND;
	(void)context;
	assert_int_equal(outage_report(&o, true, now), OUTAGE_SAME);
	assert_int_equal(outage_report(&o, false, now), OUTAGE_BEGUN);
	assert_false(outage_may_ask(&o, now + 1));
	assert_int_equal(outage_report(&o, false, now + LOOP_SECOND), OUTAGE_SAME);
	assert_int_equal(outage_report(&o, true, now + 3 * LOOP_SECOND), OUTAGE_OVER);
	assert_true(o.since == now);
	assert_int_equal(o.failed, 3);
	assert_true(outage_may_ask(&o, now + 3 * LOOP_SECOND));
	assert_int_equal(outage_report(&o, true, now + 4 * LOOP_SECOND), OUTAGE_SAME);
	assert_int_equal(outage_report(&o, false, now + 5 * LOOP_SECOND), OUTAGE_BEGUN);
	assert_true(o.since == now + 5 * LOOP_SECOND && o.failed == 1);
	assert_true(outage_may_ask(&o, now + 6 * LOOP_SECOND)); /* short again */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(doubles_up_to_a_ceiling), cmocka_unit_test(one_tries_for_all), cmocka_unit_test(over_and_begun_anew) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
