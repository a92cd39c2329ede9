/* tarry advise: what it takes from lines of a log and from a door's answer, whoever has written them, and what it prints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/metrics.h"
#include "tool/advice.h"

static struct advice a;
static struct advise_work work;

static int open_advice(void **state)
{
	(void)state;
	return advice_init(&a, 0.99) ? 0 : -1;
}

static int close_advice(void **state)
{
	(void)state;
	advice_fini(&a);
	return 0;
}

static void take_at(const char *text, int64_t at)
{
	struct report_line l;
	assert_true(report_line_parse(slice_of(text), &l));
	advice_take_line(&a, &l, at);
}

static void take(const char *text)
{
	take_at(text, REPORT_NO_TIME);
}

/* So many talked, went and waited, and the one that did so last. */
static void expect(double talk, double gone, double waited)
{
	double sums[3] = { 0, 0, 0 };
	for (size_t i = 0; i < a.len; i++) {
		sums[0] += a.bins[i].talk;
		sums[1] += a.bins[i].gone;
		sums[2] += a.bins[i].waited;
	}
	assert_true(sums[0] == talk && sums[1] == gone && sums[2] == waited);
	assert_int_equal(a.studied, (uint64_t)(talk + gone + waited));
}

static const struct advise_bin *bin(double ms)
{
	for (size_t i = 0; i < a.len; i++)
		if (ms >= a.bins[i].lo && ms < a.bins[i].hi)
			return &a.bins[i];
	fail();
	return NULL;
}

#define HEAD " client=192.0.2.1 port=1 id=x "

static void test_lines(void **state)
{
	(void)state;
	take("verdict=early" HEAD "pause_ms=1000 after_ms=412.123 kind=smtp bytes=1 data=\"x\"");
	expect(1, 0, 0);
	assert_true(bin(412)->talk == 1 && a.pause == 1000);
	take("verdict=gone" HEAD "pause_ms=1000 after_ms=250.000");
	expect(1, 1, 0);
	assert_true(bin(250)->gone == 1);
	take("verdict=patient" HEAD "pause_ms=1000 after_ms=1000.300 backend=b in=1 out=1 end=client messages=1");
	expect(1, 1, 1);
	assert_true(bin(1000)->waited == 1 && a.waited == 1 && a.waited_ms == 1000);
	take("verdict=nobackend" HEAD "pause_ms=1000 after_ms=1010.300 backend=none error=\"no backend\"");
	expect(1, 1, 2);
	/* While its backend was dialled, and at a later stage, it has waited. */
	take("verdict=early" HEAD "pause_ms=1000 after_ms=1003.123 kind=smtp bytes=1 data=\"x\"");
	take("verdict=gone" HEAD "pause_ms=1000 after_ms=1003.123");
	take("verdict=early" HEAD "pause_ms=1000 after_ms=1090.123 stage=helo reply=\"554\" backend=b in=1 out=1 kind=smtp");
	expect(1, 1, 5);
	/* It talked while its name was asked for, and was judged later. */
	take("verdict=early" HEAD "pause_ms=1000 after_ms=700.000 talked_ms=20.000 kind=smtp");
	expect(2, 1, 5);
	assert_true(bin(20)->talk == 1);
	/* Observed. */
	take("verdict=patient" HEAD "pause_ms=1000 after_ms=1000.100 would=early would_stage=greet would_after_ms=30.500 kind=smtp backend=b");
	expect(3, 1, 5);
	assert_true(bin(30.5)->talk == 1);
	take("verdict=patient" HEAD "pause_ms=1000 after_ms=1000.100 would=early would_stage=helo would_after_ms=1100.500 kind=smtp backend=b");
	expect(3, 1, 6);
	/* Explored. */
	take("verdict=early" HEAD "pause_ms=8000 after_ms=5412.123 explored=yes kind=smtp");
	expect(4, 1, 6);
	assert_true(a.explore == 8000 && a.pause == 1000 && a.explored == 1);
}

/* Those about whom a rule said how long, who did not wait at all, and lines that make no sense. */
static void test_others(void **state)
{
	(void)state;
	static const char *const lines[] = { "verdict=early" HEAD "pause_ms=5000 after_ms=412.123 pause_by=rule kind=smtp", "verdict=early" HEAD "pause_ms=500 after_ms=12.123 pause_by=stress kind=smtp",
		"verdict=exempt" HEAD "pause_ms=0 after_ms=0.123", "verdict=known" HEAD "pause_ms=0 after_ms=0.123", "verdict=refused" HEAD "pause_ms=1000 after_ms=0.123 reply=\"550\"",
		"verdict=limited" HEAD "pause_ms=0 after_ms=0.123 reason=max_connections", "verdict=tempfail" HEAD "pause_ms=1000 after_ms=300.000", "verdict=early" HEAD "after_ms=1.000",
		"verdict=early" HEAD "pause_ms=1000", "verdict=early" HEAD "pause_ms=1000 after_ms=-5.000", "verdict=early" HEAD "pause_ms=1000 after_ms=1.2.3", "verdict=early" HEAD "pause_ms=1000 after_ms=nan",
		"verdict=early" HEAD "pause_ms=1000 after_ms=1e3", "verdict=early" HEAD "pause_ms=999999999 after_ms=1.000", "verdict=early" HEAD "pause_ms=1000 after_ms=12345678901234567890.000",
		"verdict=early" HEAD "pause_ms=1000 after_ms=.5", "verdict=early" HEAD "pause_ms= after_ms=1", "verdict=patient" HEAD "pause_ms=1000 after_ms=1000.1 would=early would_stage=greet" };
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		take(lines[i]);
		assert_int_equal(a.studied, 0);
	}
	assert_true(a.pause == 0);
}

/* A client that talks a hundred times tells once; its /64 is one. */
static void test_clustering(void **state)
{
	(void)state;
	char text[200];
	assert_true(advice_clustering(&a) == 1);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "verdict=early client=192.0.2.%d port=1 pause_ms=1000 after_ms=%d.000", i, i);
		take(text);
	}
	assert_true(advice_clustering(&a) == 1);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "verdict=early client=2001:db8::%x port=%d pause_ms=1000 after_ms=5.000", i, i);
		take(text);
	}
	assert_true(fabs(advice_clustering(&a) - (100 * 1 + 100.0 * 100) / 200) < 1e-9);
}

static void test_days(void **state)
{
	(void)state;
	take_at("verdict=gone" HEAD "pause_ms=1000 after_ms=250.000", 1764460800 + 86400);
	take_at("verdict=gone" HEAD "pause_ms=1000 after_ms=250.000", 1764460800);
	take_at("verdict=gone" HEAD "pause_ms=1000 after_ms=250.000", 1764460800 + 2 * 86400);
	take("verdict=gone" HEAD "pause_ms=1000 after_ms=250.000");
	assert_true(a.days == 2);
}

/* ---- a door ---- */

#define MS INT64_C(1000000)

/* What the door says of its histograms is what is taken from it. */
static void test_round_trip(void **state)
{
	(void)state;
	static char text[128 * 1024];
	struct buf out;
	for (int i = 0; i < 1000; i++)
		metrics_observe(HISTOGRAM_study_talk, i * MS);
	for (int i = 0; i < 10; i++)
		metrics_observe(HISTOGRAM_study_gone, 300 * MS);
	for (int i = 0; i < 500; i++)
		metrics_observe(HISTOGRAM_study_waited, i < 450 ? 700 * MS : 5000 * MS);
	buf_init_fixed(&out, text, sizeof(text) - 1);
	buf_put_text(&out, "door\t0.1.0\t4711\t1764460800\t2\nbackend\tx\ty\n");
	buf_put_text(&out, "metric\texplored\t123\nmetric\texplored_early\t7\n");
	buf_put_text(&out, "pause\t700\t5000\t20000\t950000\n");
	advice_put_times(&out);
	text[out.len] = '\0';
	a.share = 0;
	assert_true(advice_take_status(&a, text, 1764460800 + 86400));
	expect(1000, 10, 500);
	assert_true(a.pause == 700 && a.explore == 5000 && a.share == 0.95 && a.explore_part == 0.02 && a.days == 1 && a.explored == 123);
	assert_true(bin(700)->waited == 450 && bin(700)->waited_at == 700 && bin(5000)->waited == 50 && bin(5000)->waited_at == 5000);
	assert_true(a.waited == 500 && fabs(a.waited_ms - (450 * 700 + 50 * 5000)) < 1);
	for (size_t i = 1; i < a.len; i++)
		assert_true(a.bins[i].lo == a.bins[i - 1].hi && a.bins[i].hi > a.bins[i].lo);
	struct advise_result r;
	advice_judge(&a, &work, &r);
	assert_int_equal(r.state, ADVISE_GOOD);
	assert_true(r.watched_to_end == 50);
}

static void test_bad_answers(void **state)
{
	(void)state;
	static const char all[] = "times\tstudy_talk\t\ntimes\tstudy_gone\t\ntimes\tstudy_waited\t\n";
	static const char *const bad[] = { "", "door\tx\n", "pause\t1000\t10000\t10000\t990000\n", "pause\t1000\t10000\t10000\t990000\ntimes\tstudy_talk\t\n", "pause\t1000\t0\t10000\t990000\n",
		"pause\t-1\t10000\t10000\t990000\n", "pause\tx\n", "pause\t1000\t10000\t10000\t1000000\n", "pause\t1000\t10000\t10000\t990000\ntimes\tstudy_talk\n" };
	static const char *const counts[] = { "x", "1", "1:", "1:x", "1040:1", "-1:1", "99999999999999999999:1", "1:2x", "1:2,3:4", "1:99999999999999999" };
	char text[1000];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "%s%s", bad[i], strstr(bad[i], "times") || i == 2 ? "" : all);
		assert_false(advice_take_status(&a, text, 1));
	}
	snprintf(text, sizeof(text), "pause\t1000\t10000\t10000\t990000\n%s", all);
	assert_true(advice_take_status(&a, text, 1));
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		snprintf(text, sizeof(text), "pause\t1000\t10000\t10000\t990000\n%stimes\tstudy_gone\t%s\n", all, counts[i]);
		assert_false(advice_take_status(&a, text, 1));
	}
}

/* ---- what is shown ---- */

static char *shown(void (*form)(FILE *, const struct advice *, const struct advise_result *), struct advise_result *r)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	assert_non_null(to);
	advice_judge(&a, &work, r);
	form(to, &a, r);
	assert_int_equal(fclose(to), 0);
	return text;
}

static void fill(int talkers, int patient)
{
	char text[300];
	for (int i = 0; i < talkers; i++) {
		snprintf(text, sizeof(text), "verdict=early client=10.%d.%d.1 port=1 pause_ms=%d after_ms=%d.500 %s", i / 250, i % 250, i % 2 ? 1000 : 4000, i * 3, i % 2 ? "" : "explored=yes");
		take_at(text, 1764460800 + i * 60);
	}
	for (int i = 0; i < patient; i++) {
		snprintf(text, sizeof(text), "verdict=patient client=10.%d.%d.2 port=1 pause_ms=%d after_ms=%d.100 %s backend=b", i / 250, i % 250, i % 2 ? 1000 : 4000, i % 2 ? 1000 : 4000,
		         i % 2 ? "" : "explored=yes");
		take_at(text, 1764460800 + 86400 - i);
	}
	take_at("verdict=patient client=10.0.0.3 port=1 pause_ms=1000 after_ms=1000.1 backend=b", 1764460800);
}

static void test_shown(void **state)
{
	(void)state;
	struct advise_result r;
	fill(300, 100);
	char *text = shown(advice_print, &r);
	assert_non_null(strstr(text, "recommended  greet_pause = "));
	assert_non_null(strstr(text, "in force"));
	assert_non_null(strstr(text, " patient clients a day wait"));
	free(text);
	text = shown(advice_json, &r);
	assert_non_null(strstr(text, "{\"state\": \"good\", \"recommended_ms\": "));
	assert_null(strstr(text, "null"));
	free(text);
}

static void test_shown_few(void **state)
{
	(void)state;
	struct advise_result r;
	fill(17, 100);
	char *text = shown(advice_print, &r);
	assert_non_null(strstr(text, "recommended  nothing yet"));
	assert_non_null(strstr(text, "Too few early talkers seen yet: 17"));
	free(text);
	text = shown(advice_json, &r);
	assert_non_null(strstr(text, "\"state\": \"few\", \"recommended_ms\": null"));
	free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_advice, close_advice)
	const struct CMUnitTest tests[] = { TEST(test_lines), TEST(test_others), TEST(test_clustering), TEST(test_days), TEST(test_round_trip), TEST(test_bad_answers), TEST(test_shown),
		TEST(test_shown_few) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
