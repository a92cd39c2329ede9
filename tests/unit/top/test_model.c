/* What is known at one moment, with a clock that is moved by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "top/model.h"

#define NOW INT64_C(1796061600)

static struct model m;

static void near(double is, double wanted)
{
	assert_true(is > wanted - 0.01 && is < wanted + 0.01);
}

static void rates(void **context)
{
	int64_t at = 5000;
	(void)context;
	model_init(&m);
	metrics_add(METRIC_early, 1000); /* before */
	model_look(&m, NOW, at);
	near(model_rate(&m, SERIES_early), -1);
	metrics_add(METRIC_early, 4);
	model_look(&m, NOW + 2, at += 2000);
	near(model_rate(&m, SERIES_early), 2);
	near(model_rate(&m, SERIES_patient), 0);
	for (int i = 0; i < 60; i++) { /* often: the last five seconds count all the same */
		metrics_add(METRIC_early, 3);
		model_look(&m, NOW + 3 + i / 5, at += 200);
	}
	assert_true(model_rate(&m, SERIES_early) > 14 && model_rate(&m, SERIES_early) < 16);
	metrics_add(METRIC_early, 600);
	model_look(&m, NOW + 80, at += 60000); /* and rarely */
	near(model_rate(&m, SERIES_early), 10);
	assert_int_equal(model_sum(&m, SERIES_early, 3600), 4 + 180 + 600); /* as far as it was seen */
	metrics_add(METRIC_early, -700); /* another door: fewer than before is none */
	model_look(&m, NOW + 81, at += 1000);
	near(model_rate(&m, SERIES_early), 0);
	model_anew(&m);
	model_look(&m, NOW + 82, at += 1000);
	near(model_rate(&m, SERIES_early), -1);
	assert_int_equal(m.totals[SERIES_early], 1000 + 4 + 180 + 600 - 700);
}

static void times_and_things(void **context)
{
	(void)context;
	assert_int_equal(health_init(1, MODEL_THINGS + 5, 2), 0);
	health_name(0, "a", "smtp:192.0.2.1:25");
	health_name(health_map(0), "text", "text:/etc/tarry/access"); /* nobody is asked for it */
	health_name(health_map(1), "ldap", "ldap://x");
	health_down(0, 0, "Connection refused");
	metrics_observe(HISTOGRAM_talk_after, 300000000);
	model_look(&m, NOW + 90, 200000);
	assert_int_equal(m.talked.count, 1);
	assert_true(m.talked.half >= 300000000 && m.talked.half < 310000000);
	assert_int_equal(m.gone.count, 0);
	assert_int_equal(m.things_len, MODEL_THINGS);
	assert_int_equal(m.things_left, 6);
	assert_string_equal(m.things[0].name, "a");
	assert_int_equal(m.things[0].health.state, HEALTH_DOWN);
	assert_int_equal(model_value(&m, "early"), m.totals[SERIES_early]);
	assert_int_equal(model_value(&m, "nothing"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(rates), cmocka_unit_test(times_and_things) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
