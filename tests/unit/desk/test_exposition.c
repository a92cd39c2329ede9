/* /metrics, in both forms. That it is understood by others is tested with their programs (tests/system/test_desk.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/health.h"
#include "core/metrics.h"
#include "desk/exposition.h"

static struct buf out;
static const struct exposition about = { .version = "1.2\\\"3", .started = 1796061586, .fronts = 2, .pause_ms = 1250, .listeners = 3, .requests = 4, .denied = 5, .missed = 6 };

static const char *text(bool openmetrics)
{
	buf_fini(&out);
	buf_init(&out, EXPOSITION_MAX);
	exposition_put(&out, openmetrics, &about);
	assert_false(out.full);
	return buf_text(&out);
}

static void has(const char *line)
{
	if (!strstr(buf_text(&out), line))
		fail_msg("%s is not in %s", line, buf_text(&out));
}

static void has_not(const char *part)
{
	if (strstr(buf_text(&out), part))
		fail_msg("%s is there", part);
}

static void families(void **context)
{
	(void)context;
	metrics_add(METRIC_early, 7);
	metrics_add(METRIC_early_smtp, 4);
	metrics_add(METRIC_early_tls, 3);
	metrics_add(METRIC_limited_total, 10);
	metrics_add(METRIC_limited_client, 1);
	metrics_add(METRIC_held, 12);
	metrics_add(METRIC_ban_hits, 5);
	metrics_add(METRIC_banned_clients, 2);
	metrics_add(METRIC_would_banned, 6);
	text(true);
	has("# TYPE tarry_early counter\n# HELP tarry_early clients refused because they talked before the greeting, by what they said\ntarry_early_total{kind=\"smtp\"} 4\n");
	has("tarry_early_total{kind=\"tls\"} 3\n");
	has("tarry_verdicts_total{verdict=\"early\"} 7\n");
	has("tarry_verdicts_total{verdict=\"limited\"} 11\ntarry_verdicts_total{verdict=\"nobackend\"} 0\n");
	has("tarry_limited_total{limit=\"door\"} 10\ntarry_limited_total{limit=\"client\"} 1\n");
	has("tarry_verdicts_total{verdict=\"banned\"} 5\n");
	has("tarry_would_total{verdict=\"banned\"} 6\n");
	has("# TYPE tarry_banned_clients gauge\n");
	has("tarry_banned_clients 2\n");
	has("# TYPE tarry_clients gauge\n");
	has("tarry_clients{state=\"held\"} 12\n");
	has("# TYPE tarry_connections counter\n");
	has("# TYPE tarry_build info\n");
	has("tarry_build_info{version=\"1.2\\\\\\\"3\"} 1\n");
	has("# UNIT tarry_greet_pause_seconds seconds\n");
	has("tarry_greet_pause_seconds 1.250\n");
	has_not("early_smtp");
	has_not("tarry_held");
	has_not("# TYPE tarry_connections_total");
	assert_string_equal(out.at + out.len - 6, "# EOF\n");
	text(false);
	has("# TYPE tarry_connections_total counter\n");
	has("# TYPE tarry_build_info gauge\n");
	has("# TYPE tarry_early_total counter\n");
	has_not("# EOF");
	has_not("# UNIT");
}

/* Every metric and every histogram is in there once. */
static void nothing_is_missing(void **context)
{
	char line[200];
	(void)context;
	text(true);
	for (unsigned h = 0; h < HISTOGRAM_COUNT; h++) {
		if (strncmp(metrics_times_name((enum histogram)h), "lookup_", 7) == 0)
			snprintf(line, sizeof(line), "\ntarry_lookup_seconds_count{map=\"%s\"} ", metrics_times_name((enum histogram)h) + 7);
		else
			snprintf(line, sizeof(line), "\ntarry_%s_seconds_count ", metrics_times_name((enum histogram)h));
		has(line);
	}
	/* One more of it is one more in its sample, and limits are in two families. */
	for (unsigned m = 0; m < METRIC_COUNT; m++) {
		unsigned samples = 0;
		metrics_add((enum metric)m, 1000000);
		for (const char *p = text(true); *p; p += strcspn(p, "\n") + 1) {
			snprintf(line, sizeof(line), "%.*s", (int)strcspn(p, "\n"), p);
			long long value = line[0] == '#' || strstr(line, "_seconds") ? 0 : strtoll(strrchr(line, ' ') + 1, NULL, 10);
			samples += value >= 1000000;
		}
		bool limit = m == METRIC_limited_total || m == METRIC_limited_client;
		if (samples != (limit ? 2 : 1))
			fail_msg("%s: in %u samples", metrics_name((enum metric)m), samples);
		metrics_add((enum metric)m, -1000000);
	}
}

static void histograms(void **context)
{
	(void)context;
	metrics_observe(HISTOGRAM_talk_after, 50000);
	metrics_observe(HISTOGRAM_talk_after, 999999);
	metrics_observe(HISTOGRAM_talk_after, 1000000);
	metrics_observe(HISTOGRAM_talk_after, 2500000000);
	metrics_observe(HISTOGRAM_talk_after, 400000000000);
	metrics_observe(HISTOGRAM_lookup_redis, 3000000);
	text(true);
	has("# TYPE tarry_talk_after_seconds histogram\n# UNIT tarry_talk_after_seconds seconds\n");
	has("tarry_talk_after_seconds_bucket{le=\"0.0001\"} 1\n");
	has("tarry_talk_after_seconds_bucket{le=\"0.001\"} 2\n");
	has("tarry_talk_after_seconds_bucket{le=\"0.002\"} 3\n");
	has("tarry_talk_after_seconds_bucket{le=\"2.0\"} 3\n");
	has("tarry_talk_after_seconds_bucket{le=\"5.0\"} 4\n");
	has("tarry_talk_after_seconds_bucket{le=\"200.0\"} 4\n");
	has("tarry_talk_after_seconds_bucket{le=\"+Inf\"} 5\ntarry_talk_after_seconds_sum 402.502049999\ntarry_talk_after_seconds_count 5\n");
	has("tarry_lookup_seconds_bucket{map=\"redis\",le=\"0.005\"} 1\n");
	has("tarry_lookup_seconds_count{map=\"redis\"} 1\n");
	has("tarry_lookup_seconds_count{map=\"ldap\"} 0\n");
}

static void servers(void **context)
{
	(void)context;
	assert_int_equal(health_init(2, 3, 1), 0);
	text(true);
	has_not("tarry_backend_up");
	health_name(0, "a\"\\\n\xc3\xa9", "smtp:x");
	health_name(1, "b", "smtp:y");
	health_name(2, "never", "smtp:z");
	health_name(health_map(0), "redis", "redis:x");
	health_up(0, 0);
	health_up(1, 0);
	health_down(1, 1, "no");
	health_down(1, health_map(0), "no");
	text(true);
	has("tarry_backend_up{backend=\"a\\\"\\\\???\",address=\"smtp:x\"} 1\n");
	has("tarry_backend_up{backend=\"b\",address=\"smtp:y\"} 0\n");
	has("tarry_backend_tries_total{backend=\"b\",address=\"smtp:y\",result=\"bad\"} 1\n");
	has("tarry_map_up{map=\"redis:x\"} 0\n");
	has("tarry_map_tries_total{map=\"redis:x\",result=\"bad\"} 1\n");
	has_not("never");
}

/* A series that is there twice would spoil the whole answer. */
static void alike(void **context)
{
	static const char *const maps[] = { "redis:x", "redis:y", "redis:x", "redis:x" };
	(void)context;
	assert_int_equal(health_init(1, 1, 4), 0);
	health_name(0, "redis:x", "smtp:x");
	health_up(0, 0);
	for (unsigned i = 0; i < 4; i++) {
		health_name(health_map(i), "redis", maps[i]);
		health_up(0, health_map(i));
	}
	text(true);
	has("tarry_map_up{map=\"redis:x\"} 1\ntarry_map_up{map=\"redis:y\"} 1\ntarry_map_up{map=\"redis:x\",number=\"2\"} 1\ntarry_map_up{map=\"redis:x\",number=\"3\"} 1\n");
	has("tarry_map_tries_total{map=\"redis:x\",number=\"2\",result=\"good\"} 1\n");
}

static void accepted(void **context)
{
	static const struct {
		const char *accept;
		bool openmetrics;
	} all[] = {
		{ NULL, false }, { "", false }, { "*/*", false }, { "text/plain", false }, { "text/html", false }, { "application/openmetrics-text", true },
		{ "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true },
		{ "application/openmetrics-text; version=1.0.0; q=0.75, text/plain; version=0.0.4; q=0.5, */*; q=0.1", true },
		{ "application/openmetrics-text;q=0.2,text/plain;q=0.5", false }, { "APPLICATION/OPENMETRICS-TEXT", true }, { "application/openmetrics-textual", false },
		{ "application/openmetrics-text;q=0", false }, { "text/plain;q=0,application/openmetrics-text;Q=0.001", true }, { ",,, ;q", false }, { "application/openmetrics-text;q=nonsense", false },
		{ "application/openmetrics-text;q=", false }, { "application/openmetrics-text ; q=1", true },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (exposition_wants_openmetrics(all[i].accept) != all[i].openmetrics)
			fail_msg("%s", all[i].accept);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(families), cmocka_unit_test(nothing_is_missing), cmocka_unit_test(histograms), cmocka_unit_test(servers), cmocka_unit_test(alike), cmocka_unit_test(accepted) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_fini(&out);
	return failed;
}
