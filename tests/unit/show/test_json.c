/* JSON that is JSON whatever the bytes are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "show/json.h"

static void strings(void **context)
{
	char memory[400];
	struct buf out;
	(void)context;
	buf_init_fixed(&out, memory, sizeof(memory));
	json_put_bytes(&out, "a\"b\\c\0\x1f\x7f\x80\xff</script>\r\n", 21);
	assert_string_equal(buf_text(&out), "\"a\\\"b\\\\c\\u0000\\u001f\\u007f\\u0080\\u00ff\\u003c/script\\u003e\\u000d\\u000a\"");
	buf_clear(&out);
	json_put_bytes(&out, NULL, 0);
	assert_string_equal(buf_text(&out), "\"\"");
	buf_clear(&out);
	json_put_pair(&out, "{", "name", "x\ty");
	assert_string_equal(buf_text(&out), "{\"name\": \"x\\u0009y\"");
}

static void times(void **context)
{
	char text[JSON_TIME];
	(void)context;
	assert_string_equal(json_time_text(86400, text), "1970-01-02T00:00:00Z");
	assert_string_equal(json_time_text(1796061586, text), "2026-11-30T17:59:46Z");
	json_time_text(INT64_MAX, text); /* there is no such year */
	assert_true(strlen(text) < JSON_TIME);
}

static void a_status(void **context)
{
	char text[] = "door\tv\t7\t0\t2\t1\t0\t1500\nbackend\tb\tsmtp:x\tdown\t86400\t86401\tno\nmap\tredis\tredis:y\tup\t86400\t86400\t\t5\t6\nmetric\topen\t3\n"
		"quantiles\tgone_after\t0\t0\t0\t0\t0\nquantiles\ttalk_after\t12\t1500\t1000\t20001\t9999999\n", memory[2000];
	struct lines lines;
	struct buf out;
	(void)context;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(lines_parse(text, &lines));
	json_put_status(&out, &lines, lines_find(&lines, "door", 5, 0));
	assert_string_equal(buf_text(&out), "{\"version\": \"v\", \"pid\": 7, \"started\": null, \"fronts\": 2, \"fronts_at_work\": 0, \"generation\": 1, \"old_processes\": 0, \"greet_pause_ms\": 1500, \"listen\": [], \"backends\": [{\"name\": \"b\", \"address\": \"smtp:x\", \"state\": \"down\", "
		"\"since\": \"1970-01-02T00:00:00Z\", \"tried\": \"1970-01-02T00:00:01Z\", \"error\": \"no\", \"good\": 0, \"bad\": 0}], \"maps\": [{\"kind\": \"redis\", \"name\": \"redis:y\", \"state\": \"up\", "
		"\"since\": \"1970-01-02T00:00:00Z\", \"tried\": \"1970-01-02T00:00:00Z\", \"error\": \"\", \"good\": 5, \"bad\": 6}], \"counters\": {\"open\": 3}, "
		"\"times\": {\"gone_after\": {\"count\": 0, \"mean_ms\": null, \"p50_ms\": null, \"p90_ms\": null, \"p99_ms\": null}, "
		"\"talk_after\": {\"count\": 12, \"mean_ms\": 1.500, \"p50_ms\": 1.000, \"p90_ms\": 20.001, \"p99_ms\": 9999.999}}}");
	lines_free(&lines);
	/* How many processes finish something is newer in the metric. */
	char other[] = "door\tv\t7\t0\t2\t4\t0\nmetric\tearlier\t3\n";
	buf_clear(&out);
	assert_true(lines_parse(other, &lines));
	json_put_status(&out, &lines, lines_find(&lines, "door", 5, 0));
	assert_non_null(strstr(buf_text(&out), "\"generation\": 4, \"old_processes\": 3, "));
	lines_free(&lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(strings), cmocka_unit_test(times), cmocka_unit_test(a_status) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
