/* What the page is told, as far as it can be read without a parser of JSON; with one it is in tests/system/test_desk.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/metrics.h"
#include "desk/feed.h"

#define NOW INT64_C(1796061600)

static struct buf out;
static struct feed feed = { .head = "door\tv\t1\t2\t3\n", .pause_ms = 1500, .now = NOW };

static void has(const char *part)
{
	if (!strstr(buf_text(&out), part))
		fail_msg("%s is not in %s", part, buf_text(&out));
}

static void clear(void)
{
	buf_fini(&out);
	buf_init(&out, FEED_MAX);
}

/* Each event is two or three lines and an empty one: nothing that a client says may look like the end of it. */
static void check_lines(unsigned lines)
{
	for (const char *p = buf_text(&out); *p; p++)
		lines -= *p == '\n';
	assert_int_equal(lines, 0);
	assert_int_equal(strcmp(out.at + out.len - 2, "\n\n"), 0);
	for (size_t i = 0; i < out.len; i++)
		assert_true((out.at[i] >= ' ' && out.at[i] <= '~') || out.at[i] == '\n');
}

static void events(void **context)
{
	struct recent r = { .at_ms = NOW * 1000, .after_ms = 7, .pause_ms = 1500, .bytes_len = 100 };
	(void)context;
	assert_int_equal(metrics_init(), 0);
	assert_int_equal(recent_init(), 0);
	struct memory *m = memory_open(-1);
	feed.memory = m;
	for (int i = 0; i < 100; i++)
		r.bytes[i] = (char)(i * 3);
	assert_true(addr_parse(slice_of("2001:db8::1"), &r.client));
	recent_word(r.verdict, sizeof(r.verdict), "early");
	recent_word(r.name, sizeof(r.name), "\n\ndata: \"}<script>\xe2\x80\xae");
	recent_put(&r);
	struct recent banned = { .at_ms = NOW * 1000, .more = 41, .until = NOW + 60, .often = 1, .times = 3 };
	assert_true(addr_parse(slice_of("192.0.2.7"), &banned.client));
	recent_word(banned.verdict, sizeof(banned.verdict), "banned");
	recent_word(banned.kind, sizeof(banned.kind), "session");
	recent_put(&banned);
	metrics_add(METRIC_held, 3);
	metrics_observe(HISTOGRAM_talk_after, 7000000);
	metrics_observe(HISTOGRAM_talk_after, 499999999999);
	metrics_observe(HISTOGRAM_talk_after, 900000);
	memory_look(m, NOW - 11);
	memory_look(m, NOW);
	clear();
	feed_put_all(&out, &feed);
	assert_false(out.full);
	check_lines(4);
	has("retry: 2000\nevent: all\ndata: {\"now\":1796061600,\"pause\":1500,\"count\":{\"open\":0,\"held\":3,");
	has("\"door\":{\"version\": \"v\", ");
	has("\"talk\":[[0.00,1],[6.00,1],[400000.00,1]]");
	has("\"networks\":[{\"network\":\"192.0.2.0/24\",\"count\":42,\"over\":0},{\"network\":\"2001:db8::/48\",\"count\":1,\"over\":0}]");
	has(",\"often\":[{\"place\":0,\"at\":1796061600000,\"since\":1796061600000,\"count\":42,\"until\":1796061660,\"times\":3,\"observed\":false,\"client\": \"192.0.2.7\",\"name\": \"\",\"verdict\": \"banned\","
	    "\"reason\": \"session\",\"id\": \"\"}],\"missed\":0}");
	has("\"hour\":[[1796061580,");
	has("\"client\": \"2001:db8::1\"");
	has("\"name\": \"\\u000a\\u000adata: \\\"}\\u003cscript\\u003e\\u00e2\\u0080\\u00ae\"");
	clear();
	feed_put_tick(&out, &feed, &(struct feed_told){ 0, 0, NOW - 10 }, false);
	check_lines(3);
	has("event: tick\n");
	has("2001:db8::1");
	has("192.0.2.7");
	assert_null(strstr(buf_text(&out), "\"door\""));
	clear();
	feed_put_tick(&out, &feed, &(struct feed_told){ 1, 1, NOW - 10 }, true);
	has("\"turned\":[],\"often\":[],\"missed\":0}");
	has("\"hour\":[[1796061580,");
	clear();
	feed_put_tick(&out, &feed, &(struct feed_told){ 1, 1, NOW + 10 }, true);
	has("\"hour\":[]");
	clear();
	feed_put_status(&out, &feed);
	assert_int_equal(strncmp(out.at, "{\"version\": \"v\", ", 17), 0);
	has("}},\"networks\":[{");
	has(",\"turned\":[{\"at\":1796061600000,");
	has(",\"count\":42,");
	assert_string_equal(out.at + out.len - 12, ",\"missed\":0}");
}

static void no_door(void **context)
{
	struct feed none = { .head = "nothing\n", .memory = feed.memory, .now = NOW };
	(void)context;
	clear();
	feed_put_status(&out, &none);
	assert_string_equal(buf_text(&out), "null");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(events), cmocka_unit_test(no_door) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_fini(&out);
	return failed;
}
