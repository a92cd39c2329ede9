/* The screen, drawn of all that can be there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/recent.h"
#include "shown.h"
#include "top/view.h"

#define NOW INT64_C(1796061600)

static struct grid g;
static struct model m;
static struct view v;
static struct view_door d;
static int64_t at_ms = NOW * 1000;

static void turn_away(const char *client, const char *name, const char *bytes, size_t len)
{
	struct recent r = { .at_ms = at_ms, .after_ms = 120, .pause_ms = 1000, .bytes_len = (uint8_t)len };
	assert_true(addr_parse(slice_of(client), &r.client));
	recent_word(r.verdict, sizeof(r.verdict), "early");
	recent_word(r.kind, sizeof(r.kind), "binary");
	recent_word(r.stage, sizeof(r.stage), "greet");
	recent_word(r.id, sizeof(r.id), "03b1n25k10000");
	recent_word(r.name, sizeof(r.name), name);
	memcpy(r.bytes, bytes, len);
	recent_put(&r);
}

static int begin(void **context)
{
	char line[] = "door\t0.1\t77\t1796061500\t2\t1\t0\t1000";
	struct lines lines;
	(void)context;
	assert_int_equal(metrics_init() | recent_init() | health_init(1, 2, 0), 0);
	health_name(0, "up", "smtp:192.0.2.1:25");
	health_name(1, "\x1b[31mred", "smtp:\x9b" "31m");
	health_up(0, 0);
	assert_true(lines_parse(line, &lines));
	view_take_door(&d, lines_find(&lines, "door", 5, 0));
	lines_free(&lines);
	metrics_add(METRIC_serving, 2);
	model_init(&m);
	m.pause = (struct model_pause){ 1000, 10000, 990000 };
	v = (struct view){ .there = true };
	return 0;
}

static void look(int rows, int cols)
{
	model_look(&m, NOW, 1000);
	view_draw(&g, rows, cols, &v, &d, &m);
}

static void what_there_is(void **context)
{
	(void)context;
	metrics_add(METRIC_held, 3);
	metrics_add(METRIC_open, 3);
	metrics_add(METRIC_patient, 12345);
	metrics_observe(HISTOGRAM_talk_after, 120000000);
	turn_away("192.0.2.9", "host.example.net", "EHLO x\r\n", 8);
	look(60, 130);
	assert_true(shown_anywhere(&g, " tarry 0.1  pid 77  up 00:01:40  2 fronts") && shown_anywhere(&g, "live  "));
	assert_true(shown_anywhere(&g, "3 open: 3 held, 0 relayed, 0 being refused"));
	assert_true(shown_anywhere(&g, "pause 1000 ms, 0 known"));
	assert_true(shown_anywhere(&g, "patient") && shown_anywhere(&g, "     12345 "));
	assert_false(shown_anywhere(&g, "(observed)"));
	assert_true(shown_anywhere(&g, "half of 1 within 120 ms") || shown_anywhere(&g, "half of 1 within 121 ms"));
	assert_true(shown_anywhere(&g, "192.0.2.0/24"));
	assert_true(shown_anywhere(&g, "up, smtp:192.0.2.1:25"));
	assert_true(shown_anywhere(&g, "192.0.2.9") && shown_anywhere(&g, "early binary") && shown_anywhere(&g, "120 ms EHLO x\\r\\n"));
	assert_true(shown_anywhere(&g, "192.0.2.9       host.example.net early binary ")); /* columns as wide as what stands in them */
	v.there = false;
	strcpy(v.notice, "no door since 12:00:00");
	look(60, 130);
	assert_true(shown_anywhere(&g, "NO DOOR  ") && shown_anywhere(&g, "no door since 12:00:00"));
	v.there = v.paused = true;
	v.notice[0] = '\0';
	metrics_add(METRIC_would_early, 1);
	metrics_add(METRIC_serving, -1);
	look(60, 130);
	assert_true(shown_anywhere(&g, "PAUSED") && shown_anywhere(&g, "(observed)") && shown_anywhere(&g, "1 of 2 fronts are at work"));
	health_down(0, 1, "\x1b]2;title\a");
	look(60, 130);
	assert_true(shown_anywhere(&g, "backend \\x1b[31mred is down; see 5"));
	assert_true(shown_anywhere(&g, "pause 1000 ms, 0 known")); /* nothing is recommended yet, */
	v.pane = VIEW_TALK;
	look(60, 130);
	assert_true(shown_anywhere(&g, "Too few early talkers seen yet: 0, of at least 50.")); /* and why */
	m.advice = (struct advise_result){ .state = ADVISE_GOOD, .pause = 1234.4, .low = 1100, .high = 1400, .judgement = ADVISE_LONGER,
		.reason = "Of those who would talk within 10 s, 99 % have talked by then, and this sentence is longer than one line of sixty columns is." };
	look(15, 60); /* the advice stays for a minute */
	assert_true(shown_anywhere(&g, "pause 1000 ms, recommended 1234 ms (1100 to 1400), 0 known"));
	assert_true(shown_anywhere(&g, "Of those who would talk within 10 s, 99 % have talked by") && shown_anywhere(&g, " then, and this sentence is longer than one line of sixty") && shown_anywhere(&g, " columns is. "));
	v.help = true;
	look(60, 130);
	assert_true(shown_anywhere(&g, "p, space"));
}

static void who_is_banned(void **context)
{
	struct recent r = { .at_ms = at_ms + 1000, .until = NOW + 3599, .more = 41, .often = 1, .times = 3 };
	(void)context;
	assert_true(addr_parse(slice_of("203.0.113.5"), &r.client));
	recent_word(r.verdict, sizeof(r.verdict), "banned");
	recent_word(r.kind, sizeof(r.kind), "session");
	v = (struct view){ .there = true };
	metrics_add(METRIC_banned_clients, 2);
	metrics_add(METRIC_ban_hits, 42);
	recent_put(&r);
	look(60, 130);
	assert_true(shown_anywhere(&g, "0 known, 2 banned"));
	assert_true(shown_anywhere(&g, "203.0.113.5") && shown_anywhere(&g, "banned          42 times, ends in 00:59:59"));
	assert_true(shown_anywhere(&g, " talked early; 3 bans "));
	assert_true(shown_anywhere(&g, "203.0.113.0/24"));
	r.client.ip[15] = 6;
	r.more = 0;
	r.times = 1;
	recent_word(r.kind, sizeof(r.kind), "");
	recent_put(&r);
	v.pane = VIEW_TURNED;
	look(15, 60);
	assert_true(shown_anywhere(&g, "203.0.113.6") && shown_anywhere(&g, "banned          ends in 0") && shown_anywhere(&g, "banned          42 times, "));
	assert_false(shown_anywhere(&g, "42 times, ends in 00:59:59")); /* as far as there is room */
	assert_true(shown_anywhere(&g, "         talked early; 3 bans "));
	metrics_add(METRIC_banned_clients, -2);
}

/* Who is over a limit over and over is there once, and has taken nobody's place. */
static void who_is_over_a_limit(void **context)
{
	struct recent r = { .at_ms = at_ms + 2000, .often = 1 };
	(void)context;
	v = (struct view){ .there = true };
	turn_away("192.0.2.9", "host.example.net", "EHLO x\r\n", 8);
	assert_true(addr_parse(slice_of("203.0.113.9"), &r.client));
	recent_word(r.verdict, sizeof(r.verdict), "limited");
	recent_word(r.name, sizeof(r.name), "over.example.net");
	for (unsigned i = 0; i < 200; i++) {
		recent_put(&r);
		r.more = 6;
		r.name[0] = '\0';
	}
	look(60, 130);
	assert_true(shown_anywhere(&g, "203.0.113.9") && shown_anywhere(&g, "over.example.net") && shown_anywhere(&g, "limited         1394 times"));
	assert_false(shown_anywhere(&g, "1394 times,"));
	assert_true(shown_anywhere(&g, "192.0.2.9"));
}

static void lists_are_scrolled(void **context)
{
	char client[32];
	(void)context;
	v = (struct view){ .there = true };
	for (int i = 0; i < 90; i++) {
		snprintf(client, sizeof(client), "2001:db8:%x::1", i);
		turn_away(client, "", "", 0);
	}
	v.pane = VIEW_NETWORKS;
	look(15, 60);
	assert_true(shown_anywhere(&g, "1 to 9 of "));
	v.first = 3;
	look(15, 60);
	assert_true(shown_anywhere(&g, "4 to 12 of "));
	v.first = 100000;
	look(15, 60);
	assert_true(v.first > 50 && v.first < 100);
	v.pane = VIEW_TURNED;
	v.first = 100000;
	look(15, 60);
	assert_int_equal(v.first, 95 - 4); /* two lines for each */
	v.first = -1;
	look(40, 120);
	assert_int_equal(v.first, 0);
}

/* Whatever it is that strangers and servers say, and wherever that stands. */
static void harmless(void **context)
{
	static const int sizes[][2] = { { 15, 60 }, { 16, 61 }, { 24, 80 }, { 31, 111 }, { 60, 130 }, { 200, 400 }, { 14, 60 }, { 15, 59 }, { 1, 1 }, { 0, 0 } };
	(void)context;
	srand(5);
	for (int round = 0; round < 60; round++) {
		struct recent r;
		for (size_t i = 0; i < sizeof(r); i++)
			((unsigned char *)&r)[i] = (unsigned char)rand();
		r.observed = rand() % 2;
		recent_put(&r);
		char error[HEALTH_ERROR];
		for (size_t i = 0; i < sizeof(error); i++)
			error[i] = (char)(1 + rand() % 255);
		error[sizeof(error) - 1] = '\0';
		health_down(0, 1, error);
		health_name(1, error, error);
		metrics_add(METRIC_held, (int64_t)rand() << 20);
		v = (struct view){ .pane = (enum view_pane)(round % VIEW_PANES), .there = true, .help = round > 50, .first = rand() % 100 };
		const int *size = sizes[rand() % (int)(sizeof(sizes) / sizeof(sizes[0]))];
		look(size[0], size[1]);
		assert_true(shown_is_harmless(&g));
	}
	v = (struct view){ .there = true };
	at_ms = INT64_MAX; /* before all those */
	turn_away("192.0.2.10", "\x1b[2Jevil\x07.example", "\x1b]52;c;eA==\a", 12);
	v.pane = VIEW_TURNED;
	look(60, 80);
	assert_true(shown_anywhere(&g, "\\x1b]52;c;eA==\\x07") && shown_anywhere(&g, "\\x1b[2Jevil\\x07.example"));
}

static void too_small(void **context)
{
	(void)context;
	look(14, 60);
	assert_string_equal(shown_row(&g, 0), "60x14 is too small;                                         ");
	look(15, 59);
	assert_true(shown_anywhere(&g, "60x15 is needed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_there_is), cmocka_unit_test(who_is_banned), cmocka_unit_test(who_is_over_a_limit), cmocka_unit_test(lists_are_scrolled), cmocka_unit_test(harmless), cmocka_unit_test(too_small) };
	return cmocka_run_group_tests(tests, begin, NULL);
}
