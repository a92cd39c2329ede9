/* tarry report: times of lines in all the forms they come in, and what is typed behind --since. Local time is that of Vienna, with a change of the clocks in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "tool/report.h"

#define NOW 1796040000 /* 2026-11-30T12:00:00Z */
#define HOUR 3600
#define DAY (24 * HOUR)

static int begin(void **state)
{
	(void)state;
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	return 0;
}

static void stamps(void **state)
{
	static const struct { const char *before; int64_t at; } table[] = {
		{ "2026-11-30T12:00:00.123Z tarry[4711] front/0 info ", NOW },
		{ "2026-11-30T12:00:07Z tarry[1] front/0 info ", NOW + 7 },
		{ "2026-11-30T13:00:00.123456+01:00 mx tarry[1]: front/0 info ", NOW },          /* rsyslog */
		{ "2026-11-30T07:30:00-0430 mx tarry[1]: front/0 info ", NOW },                  /* journalctl -o short-iso */
		{ "Mon 2026-11-30 12:00:00 UTC mx tarry[1]: front/0 info ", NOW },               /* -o short-full */
		{ "Mon 2026-11-30 13:00:00 CET mx tarry[1]: front/0 info ", NOW },
		{ "Nov 30 13:00:00 mx tarry[1]: front/0 info ", NOW },                           /* syslog, journalctl */
		{ "Nov 30 13:00:00.123456 mx tarry[1]: front/0 info ", NOW },
		{ "<22>Nov 30 13:00:00 mx tarry[1]: front/0 info ", NOW },
		{ "Nov  1 13:00:00 mx tarry[1]: front/0 info ", NOW - 29 * DAY },
		{ "Jul  1 13:00:00 mx tarry[1]: front/0 info ", 1782903600 },                    /* summer time: 11:00Z */
		{ "Dec 31 23:59:59 mx tarry[1]: front/0 info ", 1767221999 },                /* last year's */
		{ "1796040000.123456 mx tarry[1]: front/0 info ", NOW },                         /* -o short-unix */
		{ "Nov 30 12:59:00 mx tarry[1]: 2026-11-30T12:00:00.123Z tarry[1] front/0 info ", NOW }, /* the door's own comes last */
		{ "door-1  | 2026-11-30T12:00:00.123Z tarry[1] front/0 info ", NOW },
		{ "2024-02-29T00:00:00Z info ", 1709164800 }, { "2000-03-01T00:00:00Z info ", 951868800 }, { "1970-01-01T00:00:00Z info ", 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (report_time_of(slice_of(table[i].before), NOW) != table[i].at)
			fail_msg("%s: %lld", table[i].before, (long long)report_time_of(slice_of(table[i].before), NOW));
}

static void no_stamps(void **state)
{
	static const char *const table[] = { "", "front/0 info ", "2026-11-30 info ", "2026-13-01T00:00:00Z info ", "2026-02-29T00:00:00Z info ", "2026-11-30T25:00:00Z info ", "2026-11-30T12:0 info ",
		"Nov 32 12:00:00 info ", "Nov ", "Nov 3", "Foo 30 12:00:00 info ", "179604000 mx ", "1796040000", "x2026-11-30T12:00:00Z info ", "\xff\xff\xff 2026", "-1" };
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (report_time_of(slice_of(table[i]), NOW) != REPORT_NO_TIME)
			fail_msg("%s: %lld", table[i], (long long)report_time_of(slice_of(table[i]), NOW));
}

/* Every hour of a year in both forms, over both changes of the clocks: a cache that is wrong by one line shows. */
static void all_year(void **state)
{
	int64_t begin_of = 1767225600 - HOUR, last = 0; /* 2026-01-01 00:00 local */
	(void)state;
	for (int64_t at = begin_of; at < begin_of + 333 * DAY; at += HOUR) {
		char text[100];
		time_t t = (time_t)at;
		struct tm tm;
		strftime(text, sizeof(text), "%b %e %H:%M:%S mx tarry[1]: info ", localtime_r(&t, &tm));
		int64_t got = report_time_of(slice_of(text), NOW);
		/* In the hour that comes twice a stamp has two meanings. */
		bool twice = at >= 1792886400 && at < 1792886400 + 2 * HOUR;
		if (got != at && !(twice && (got == at + HOUR || got == at - HOUR)))
			fail_msg("%s: %lld, not %lld", text, (long long)got, (long long)at);
		assert_true(got >= last - HOUR);
		last = got;
	}
}

static void typed(void **state)
{
	static const struct { const char *text; int64_t at; } table[] = {
		{ "now", NOW }, { "today", NOW - 13 * HOUR }, { "yesterday", NOW - 37 * HOUR }, { "2026-11-30", NOW - 13 * HOUR }, { "2026-11-30 12:00", NOW - HOUR },
		{ "2026-11-30T12:00:07Z", NOW + 7 }, { "2026-11-30 12:00 UTC", NOW }, { "2026-11-30 12:00:00+00:00", NOW }, { " 2026-11-29 ", NOW - 37 * HOUR }, { "2026-07-01", 1782856800 },
		{ "12:00", NOW - HOUR }, { "12:00:30", NOW - HOUR + 30 }, { "1h", NOW - HOUR }, { "90m", NOW - 90 * 60 }, { "1h30m", NOW - 90 * 60 }, { "30s", NOW - 30 }, { "2d", NOW - 2 * DAY },
		{ "1w", NOW - 7 * DAY }, { "-1h", NOW - HOUR }, { "2 days ago", NOW - 2 * DAY }, { "1 hour 5 min ago", NOW - 65 * 60 }, { "@1796040000", NOW }, { "@0", 0 },
	};
	static const char *const wrong[] = { "", " ", "soon", "2026", "2026-11", "2026-11-31", "2026-11-30 25:00", "2026-11-30 12:00 PST", "2026-11-30x", "12:60", "1", "1x", "h", "1h x", "ago", "-", "--1h",
		"99999999999999999999d", "9999999w", "@", "@12x", "@99999999999999999999", "1.5h", "tomorrow-ish" };
	int64_t at;
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		at = -1;
		if (!report_time_parse(table[i].text, NOW, &at) || at != table[i].at)
			fail_msg("%s: %lld", table[i].text, (long long)at);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (report_time_parse(wrong[i], NOW, &at))
			fail_msg("%s: %lld", wrong[i], (long long)at);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(stamps), cmocka_unit_test(no_stamps), cmocka_unit_test(all_year), cmocka_unit_test(typed) };
	return cmocka_run_group_tests(tests, begin, NULL);
}
