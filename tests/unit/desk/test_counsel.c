/* What the page is told of the pause: by the fronts' histograms, looked into once a minute. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "core/metrics.h"
#include "desk/counsel.h"

#define NOW 1796061600
#define MS INT64_C(1000000)

static char memory[4096];
static struct counsel c = { .pause = 1000, .explore = 5000, .share = 0.99 };

static const char *said(void)
{
	struct buf out;
	buf_init_fixed(&out, memory, sizeof(memory) - 1);
	counsel_put(&out, &c);
	memory[out.len] = '\0';
	return memory;
}

static void test_counsel(void **state)
{
	(void)state;
	assert_string_equal(said(), "null");
	counsel_look(&c, NOW);
	assert_non_null(strstr(said(), "{\"pause\":0,\"talked\":0,\"gone\":0,\"waited\":0,\"day\":null,"));
	assert_non_null(strstr(said(), "\"reason\": \"Too few early talkers seen yet: 0, of at least 50.\"}"));
	/* Half of 4000 are watched to the end; of these, half talk, evenly up to 4 s. */
	c.started = NOW + COUNSEL_STEP - 43200; /* half a day before the second look */
	for (int n = 0; n < 1000; n++) {
		int i = n % 100;
		metrics_observe(HISTOGRAM_study_talk, i * 40 * MS);
		metrics_observe(HISTOGRAM_study_waited, 5000 * MS);
		metrics_observe(i < 25 ? HISTOGRAM_study_talk : HISTOGRAM_study_waited, i < 25 ? i * 40 * MS : 1000 * MS);
		metrics_observe(HISTOGRAM_study_waited, 1000 * MS);
	}
	counsel_look(&c, NOW + COUNSEL_STEP - 1);
	assert_non_null(strstr(said(), "Too few"));
	counsel_look(&c, NOW + COUNSEL_STEP);
	assert_true(c.result.state == ADVISE_GOOD && c.result.pause > 3500 && c.result.pause < 4100 && c.result.low > 3000 && c.result.high <= 5000);
	assert_non_null(strstr(said(), "\"reason\": \"Of those who would talk within 5 s, 99 % have talked by "));
	/* What each pause catches, what the one in force does, and who waits. */
	assert_non_null(strstr(said(), "\"talked\":1250,\"gone\":0,\"waited\":2750,\"day\":5500.0,\"now\":[1000,0.2"));
	assert_non_null(strstr(said(), "\"ladder\":[[100,0.0"));
	assert_non_null(strstr(said(), "],[5000,1.0000,"));
	c.result.now = (struct advise_share){ 1000, NAN, 0, INFINITY };
	assert_non_null(strstr(said(), "\"now\":[1000,null,0.0000,null],"));
	/* Somebody sets the clock back. */
	c.result.pause = 1;
	counsel_look(&c, NOW - 1000);
	assert_true(c.result.pause > 3500);
}

static void test_no_pause(void **state)
{
	(void)state;
	struct counsel none = { .pause = 0, .explore = 5000, .share = 0.99 };
	counsel_look(&none, NOW);
	assert_int_equal(none.looked, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_counsel), cmocka_unit_test(test_no_pause) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
