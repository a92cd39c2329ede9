/* tarry report: a line of the log taken apart, as all that carry it write it, and as somebody may have tampered with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tool/report.h"

#define PATIENT "verdict=patient client=192.0.2.1 port=4711 name=mail.example.com id=03b1m3pg00000 pause_ms=1000 after_ms=1000.412 backend=mta in=212 out=311 end=client messages=2 duration_ms=1790.112"

static struct report_line l;

static bool parse(const char *text)
{
	return report_line_parse(slice_of(text), &l);
}

static void expect_slice(struct slice s, const char *text)
{
	assert_int_equal(s.len, strlen(text));
	assert_memory_equal(s.at ? s.at : "", text, s.len);
}

static void expect_label(bool did, const char *text)
{
	char memory[100];
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	report_line_label(&l, did, &b);
	assert_string_equal(buf_text(&b), text);
}

static void carriers(void **state)
{
	static const char *const before[] = { "2026-11-22T21:00:00.123Z tarry[4711] front/0 info ", "Nov 22 21:00:00 mx tarry[4711]: front/0 info ", "front/0 info ", "info ", "",
		"Nov 22 21:00:00 mx tarry[4711]: 2026-11-22T21:00:00.123Z tarry[4711] front/0 info ", "door-1  | 2026-11-22T21:00:00.123Z tarry[4711] front/0 info ",
		"Nov 22 21:00:00 mx door[812]: 2026-11-22T21:00:00.123Z tarry[1] front/0 info ", "<22>Nov 22 21:00:00 tarry[4711]: front/0 info ", "2026-11-22T21:00:00.123456+01:00 mx tarry[1]: front/0 info ",
		"Mon 2026-11-30 12:00:00 UTC mx tarry[1]: front/0 info ", "tarry[4711] front/0 info ", "Nov 22 21:00:00 mx tarry: front/0 info ",
		"2026-11-22T21:00:00.123456789Z 2026-11-22T21:00:00.123Z tarry[1] front/0 info " };
	(void)state;
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		char text[600];
		struct addr a;
		snprintf(text, sizeof(text), "%s" PATIENT "\r", before[i]);
		assert_true(parse(text));
		expect_slice(l.before, before[i]);
		expect_slice(l.text, PATIENT);
		assert_true(addr_parse(slice_of("192.0.2.1"), &a) && addr_same_ip(&a, &l.client));
		assert_true(l.relayed && l.own && !l.cut);
		assert_int_equal(l.did, REPORT_NOTHING);
		assert_int_equal(l.would, REPORT_NOTHING);
		assert_int_equal(l.messages, 2);
		assert_int_equal(l.rejected, REPORT_UNKNOWN);
		expect_slice(l.name, "mail.example.com");
	}
}

static void deeds(void **state)
{
	(void)state;
	assert_true(parse("info verdict=early client=2001:db8::1 port=1 id=x pause_ms=1 after_ms=0.1 kind=session bytes=3 data=\"a \\\" verdict=patient b\""));
	assert_int_equal(l.did, REPORT_EARLY);
	assert_false(l.relayed || l.cut);
	expect_label(true, "early, session");
	assert_true(parse("info verdict=early client=192.0.2.1 port=1 stage=data"));
	expect_label(true, "early, at data");
	assert_true(parse("info verdict=refused client=192.0.2.1 port=1 reply=\"550 5.7.1 Access denied\" access_line=12"));
	assert_int_equal(l.did, REPORT_REFUSED);
	assert_int_equal(l.access_line, 12);
	expect_slice(l.reply, "550 5.7.1 Access denied");
	expect_label(true, "refused, at connect");
	assert_true(parse("info verdict=limited client=192.0.2.1 port=1 reason=max_per_client"));
	assert_true(l.own);
	expect_label(true, "over a limit, max_per_client");
	assert_true(parse("info verdict=limited client=192.0.2.1 port=1 reason=max_connections"));
	assert_false(l.own);
	assert_true(parse("info verdict=tempfail client=192.0.2.1 port=1")); /* the door shut down */
	assert_int_equal(l.did, REPORT_NOTHING);
	assert_true(parse("info verdict=patient client=192.0.2.1 port=1 would=early would_stage=greet would_after_ms=1.0 kind=http bytes=3 data=\"GET\" messages=0"));
	assert_int_equal(l.would, REPORT_EARLY);
	assert_int_equal(l.messages, 0);
	expect_label(false, "early, http");
	assert_true(parse("info verdict=patient client=192.0.2.1 port=1 would=limited would_stage=connect would_reply=\"421 4.3.2 Too many open connections.\""));
	assert_int_equal(l.would, REPORT_LIMITED);
	expect_label(false, "over a limit, at connect");
	assert_true(parse("info verdict=exempt client=192.0.2.1 port=1 would=tempfail would_stage=rcpt would_reject=3"));
	assert_int_equal(l.would_reject, 3);
	expect_label(false, "put off, at mail or rcpt");
	assert_true(parse("info verdict=patient client=192.0.2.1 port=1 backend=m rejected=2"));
	assert_int_equal(l.rejected, 2);
	expect_label(true, "refused, at mail or rcpt");
}

static void names(void **state)
{
	static const char *const none[] = { "name=none", "name=failed", "name=timeout", "name=mail.example.com forged=yes", "forged=yes name=mail.example.com" };
	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		char text[200];
		snprintf(text, sizeof(text), "info verdict=patient client=192.0.2.1 port=1 %s", none[i]);
		assert_true(parse(text));
		assert_int_equal(l.name.len, 0);
	}
}

/* Nobody but the door says what a line is. */
static void others(void **state)
{
	static const char *const texts[] = { "", "verdict=", "hello", "info event=observed client=192.0.2.1 msg=\"info verdict=early client=192.0.2.1\"", "info verdict=early", "info verdict=early client=",
		"info verdict=early client=nobody", "info verdict=early port=1 client=192.0.2.1", "info xverdict=early client=192.0.2.1", "postfix/smtpd[1]: verdict=early client=192.0.2.1",
		"info  verdict=early", "front/0  info verdict=early client=192.0.2.1",
		/* What clients of other programs say. */
		"Nov 22 21:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: helo=<x info verdict=early client=192.0.2.1>",
		"Nov 22 21:00:00 mx postfix/postscreen[1]: PREGREET 14 after 0 from [192.0.2.9]:1234: EHLO info verdict=early client=192.0.2.1",
		"Nov 22 21:00:00 mx postfix/postscreen[1]: PREGREET 14 after 0 from [192.0.2.9]:1234: front/0 info verdict=early client=192.0.2.1",
		"Nov 22 21:00:00 mx postfix/postscreen[1]: PREGREET 14 after 0 from [192.0.2.9]:1234: EHLO tarry[1]: front/0 info verdict=early client=192.0.2.1",
		"Nov 22 21:00:00 mx postfix/postscreen[1]: PREGREET 14 after 0 from [192.0.2.9]:1234: 2026-11-22T21:00:00Z tarry[1] front/0 info verdict=early client=192.0.2.1",
		"192.0.2.9 - - [22/Nov/2026:21:00:00] \"GET /x tarry[1] front/0 info verdict=early client=192.0.2.1",
		"2026-11-22T21:00:00.123Z tarry[1] front/0 warning event=x msg=x tarry[1] front/0 info verdict=early client=192.0.2.1",
		"Nov 22 21:00:00 mx other[1]: front/0 info verdict=early client=192.0.2.1", "tarry[x] front/0 info verdict=early client=192.0.2.1", "info verdict= client=", "info verdict=early client=192.0.2.1:25" };
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(parse(texts[i]));
}

static void damaged(void **state)
{
	(void)state;
	assert_true(parse("info verdict=early client=192.0.2.1 kind=smtp data=\"HELO x"));
	assert_true(l.cut);
	assert_true(parse("info verdict=early client=192.0.2.1 kind=smtp data=\"HELO x\\"));
	assert_true(l.cut);
	assert_true(parse("info verdict=early client=192.0.2.1 kind=smtp cut=yes"));
	assert_true(l.cut);
	/* Numbers that are none, or too large. */
	assert_true(parse("info verdict=patient client=192.0.2.1 messages=-1 rejected=99999999999999999999 access_line="));
	assert_int_equal(l.messages, REPORT_UNKNOWN);
	assert_int_equal(l.rejected, REPORT_UNKNOWN);
	assert_int_equal(l.access_line, REPORT_UNKNOWN);
	/* A word as nobody writes it stays short and printable. */
	assert_true(parse("info verdict=early client=192.0.2.1 kind=\"\x1b[31m and much more than that\" stage=\"\x07\""));
	expect_label(true, "early, ?[31m and much m, at ?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carriers), cmocka_unit_test(deeds), cmocka_unit_test(names), cmocka_unit_test(others), cmocka_unit_test(damaged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
