/* What is said of an odd line: the file, the line, what it is, what it means, what to write instead; and nothing of what is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "access/access_warn.h"

#define NUMBER 12 /* of the line */

static char memory[16384];
static struct buf said;
static struct map_notes notes;

static void restart(void)
{
	buf_init_fixed(&said, memory, sizeof(memory));
	map_notes_init(&notes, &said, "access");
}

static int begin(void **context)
{
	(void)context;
	restart();
	return 0;
}

/* What stands in the file; the key in lower case means nothing to a warning. */
static struct map_line line(const char *key, const char *value)
{
	return (struct map_line){ .number = NUMBER, .written = slice_of(key), .key = slice_of("?"), .value = slice_of(value) };
}

struct row {
	const char *value, *say; /* "": nothing */
};

static void expect(const char *key, const char *value, const char *say)
{
	char want[1000] = "";
	if (*say)
		snprintf(want, sizeof(want), "access:%d: %s%s%s%s\n", NUMBER, key, *value ? " " : "", value, say);
	if (strcmp(buf_text(&said), want) != 0)
		fail_msg("%s %s: \"%s\", not \"%s\"", key, value, buf_text(&said), want);
	restart();
}

static void pauses(void **context)
{
	static const char none[] = ": not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant";
	static const struct row rows[] = {
		{ "0", "" }, { "300", "" }, { "300000", "" }, { "300ms", "" }, { "300 MS", "" }, { "0 # none", "" }, { "5 # five", "" }, { "0ms", "" },
		{ "soon", none }, { "+5", none }, { ".5", none }, { "0x10", none }, { "0 1", none }, { "300<TMPF>", none },
		{ "-5", ": negative, read as no pause (as Sendmail does); write 0 if that is meant" },
		{ "300001", ": cut to 300000 ms, the longest pause there is (as in Sendmail)" },
		{ "99999999999999999999999", ": cut to 300000 ms, the longest pause there is (as in Sendmail)" },
		{ "400000ms", ": cut to 300000 ms, the longest pause there is (as in Sendmail)" },
		{ "1s", ": read as 1 ms (as Sendmail does); write 1000 for one second" },
		{ "2 sec", ": read as 2 ms (as Sendmail does); write 2000 for 2 seconds" },
		{ "1m", ": read as 1 ms (as Sendmail does); write 60000 for one minute" },
		{ "5 Min", ": read as 5 ms (as Sendmail does); write 300000 for 5 minutes" },
		{ "6m", ": read as 6 ms (as Sendmail does); write 300000 for the longest pause there is, 300 seconds" },
		{ "1h", ": read as 1 ms (as Sendmail does); write 300000 for the longest pause there is, 300 seconds" },
		{ "400000s", ": read as 300000 ms (as Sendmail does); write 300000 for the longest pause there is, 300 seconds" },
		{ "300 900", ": read as 300 ms (as Sendmail does); write 300 alone if that is meant" },
		{ "5#five", ": read as 5 ms (as Sendmail does); write 5 alone if that is meant" },
		{ "5ms # five", ": read as 5 ms (as Sendmail does); write 5 alone if that is meant" },
		{ "1d", ": read as 1 ms (as Sendmail does); write 1 alone if that is meant" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct map_line l = line("GreetPause:10.0", rows[i].value);
		access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
		expect("GreetPause:10.0", rows[i].value, rows[i].say);
	}
}

static void limits(void **context)
{
	static const struct row rows[] = {
		{ "0", "" }, { "10", "" }, { "400000", "" },
		{ "many", ": not a number, read as no limit; write 0 if that is meant" },
		{ "-1", ": not a number, read as no limit; write 0 if that is meant" },
		{ "5 each", ": read as 5 (as Sendmail does); write that alone" },
		{ "10ms", ": read as 10 (as Sendmail does); write that alone" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct map_line l = line("ClientRate:10.0", rows[i].value);
		access_warn_number(&l, i % 2 ? ACCESS_CLIENTCONN : ACCESS_CLIENTRATE, &notes);
		expect("ClientRate:10.0", rows[i].value, rows[i].say);
	}
}

/* A client can be observed; a sender or recipient cannot. */
static void observe(void **context)
{
	struct map_line l = line("Connect:10.0", "observe");
	(void)context;
	access_warn_action(&l, ACCESS_CONNECT, &notes);
	access_warn_action(&l, ACCESS_UNTAGGED, &notes);
	assert_int_equal(notes.to->len, 0);
	access_warn_action(&l, ACCESS_FROM, &notes);
	expect("Connect:10.0", "observe", ": clients are observed, not senders or recipients; it counts as OK; write it with Connect:");
	access_warn_action(&l, ACCESS_TO, &notes);
	expect("Connect:10.0", "observe", ": clients are observed, not senders or recipients; it counts as OK; write it with Connect:");
}

static void actions(void **context)
{
#define EXPECTED " (as Sendmail does); expected OK, RELAY, REJECT, DISCARD, OBSERVE, QUARANTINE:REASON, CODE TEXT or ERROR:D.S.N:CODE TEXT"
	static const struct row rows[] = {
		{ "OK", "" }, { "ok", "" }, { "RELAY", "" }, { "REJECT", "" }, { "DISCARD", "" }, { "SKIP", "" }, { "QUARANTINE:look at it", "" },
		{ "550 no", "" }, { "550 5.7.1 no", "" }, { "450 4.7.1 later", "" }, { "553 5.3.0 no", "" }, { "553 no", "" }, { "553", "" },
		{ "ERROR:5.7.1:550 no", "" }, { "ERROR:550 no", "" }, { "ERROR:5.3.0:553 no", "" }, { "ERROR:553 5.3.0 no", "" }, { "ERROR:4.7.1:450 later", "" }, { "x<TMPF>", "" }, { "\"553 5.3.0 no\"", "" },
		{ "300", ": no word that is known here, read as a refusal with 553 5.3.0 300" EXPECTED },
		{ "FRIEND", ": no word that is known here, read as a refusal with 553 5.3.0 FRIEND" EXPECTED },
		{ "5", ": no word that is known here, read as a refusal with 553 5.3.0 5" EXPECTED },
		{ "5530 no", ": no word that is known here, read as a refusal with 553 5.3.0 5530 no" EXPECTED },
		{ "REJECT now", ": no word that is known here, read as a refusal with 553 5.3.0 REJECT now" EXPECTED },
		{ "5500 no", ": no word that is known here, read as a refusal with 553 5.3.0 5500 no" EXPECTED },
		{ "ERROR:5.7.1:text only", ": no word that is known here, read as a refusal with 553 5.3.0 text only" EXPECTED },
		{ "550 4.7.1 no", ": the reply 550 says 4.7.1, which is of another class" },
		{ "450 5.7.1 no", ": the reply 450 says 5.7.1, which is of another class" },
		{ "ERROR:4.7.1:550 no", ": the reply 550 says 4.7.1, which is of another class" },
	};
	static const enum access_tag tags[] = { ACCESS_CONNECT, ACCESS_FROM, ACCESS_TO, ACCESS_UNTAGGED };
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t t = 0; t < 4; t++) {
			struct map_line l = line("Connect:10.0", rows[i].value);
			access_warn_action(&l, tags[t], &notes);
			expect("Connect:10.0", rows[i].value, rows[i].say);
		}
	}
}

/* To: knew FRIEND under another name; elsewhere that is a refusal. */
static void friends(void **context)
{
	static const struct row spam[] = {
		{ "FRIEND", "" }, { "hater", "" },
		{ "SPAMFRIEND", ": means nothing here (as in Sendmail); expected FRIEND or HATER" },
		{ "OK", ": means nothing here (as in Sendmail); expected FRIEND or HATER" },
	};
	(void)context;
	struct map_line l = line("To:abuse@", "spamFriend");
	access_warn_action(&l, ACCESS_TO, &notes);
	expect("To:abuse@", "spamFriend", ": an old form that Sendmail 8.13 no longer reads; it counts as FRIEND here; write Spam: and FRIEND");
	access_warn_action(&l, ACCESS_FROM, &notes);
	expect("To:abuse@", "spamFriend", ": no word that is known here, read as a refusal with 553 5.3.0 spamFriend" EXPECTED);
	for (size_t i = 0; i < sizeof(spam) / sizeof(spam[0]); i++) {
		l = line("Spam:abuse@", spam[i].value);
		access_warn_spam(&l, &notes);
		expect("Spam:abuse@", spam[i].value, spam[i].say);
	}
}

static void keys(void **context)
{
	static const struct {
		const char *key, *say;
	} rows[] = {
		{ "10.1", "" }, { "10.1.0.0/16", "" }, { "ipv6:2001:db8", "" }, { "ipv6:2001:db8::1", "" }, { "ipv6:2001:db8::/32", "" }, { "[10.1]", "" },
		{ "ipv6:2001:db8::", ": is one address, not a network; a network is written without the :: or as ADDRESS/BITS" },
		{ "10.1.2.3/8", ": has bits set behind the first 8, read as 10.0.0.0/8" },
		{ "ipv6:2001:db8::1/32", ": has bits set behind the first 32, read as 2001:db8::/32" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct access_parsed p;
		struct map_line l = line(rows[i].key, "1");
		assert_int_equal(access_key_parse(slice_of(rows[i].key), &p), ACCESS_SORT_ADDRESS);
		access_warn_address(&l, &p, &notes);
		expect(rows[i].key, "", rows[i].say);
	}
	struct map_line l = line("Connect:10.0.0.300", "REJECT");
	access_warn_never(&l, "; write it otherwise", &notes);
	expect("Connect:10.0.0.300", "", ": never matches, ignored; write it otherwise");
	access_warn_never(&l, "", &notes);
	expect("Connect:10.0.0.300", "", ": never matches, ignored");
	l = line("GreetPause:", "127.0.0.2 300");
	access_warn_bare(&l, &notes);
	expect("GreetPause:", "127.0.0.2 300", ": a tag alone is the default and takes a number alone, ignored; if a key was meant, take out the blank before it");
}

/* A value is somebody's bytes: escaped, without the blanks and the CR at its end, and no more of it than fits on a line. */
static void values_as_they_are_shown(void **context)
{
	static const char nothing[] = ": not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant";
	char value[100], shown[104], both[300];
	(void)context;
	struct map_line l = line("GreetPause:10", "so\x1b\"on \t\r");
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	expect("GreetPause:10", "so\\x1b\\\"on", nothing);
	memset(value, 'v', sizeof(value));
	value[60] = '\0';
	l = line("GreetPause:10", value);
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	expect("GreetPause:10", value, nothing);
	snprintf(shown, sizeof(shown), "%s...", value);
	value[60] = 'v';
	value[61] = '\0';
	l = line("GreetPause:10", value);
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	expect("GreetPause:10", shown, nothing);
	l = line("Connect:\n10", value);
	access_warn_action(&l, ACCESS_CONNECT, &notes);
	value[60] = '\0';
	snprintf(both, sizeof(both), ": no word that is known here, read as a refusal with 553 5.3.0 %s..." EXPECTED, value);
	expect("Connect:\\n10", shown, both);
}

/* A file that others made may have keys without a value: nothing of what lies behind it is looked at. */
static void no_value(void **context)
{
	static const char bytes[] = "-5";
	(void)context;
	struct map_line l = { .written = slice_of("10"), .key = slice_of("10"), .value = { bytes, 0 } };
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	assert_string_equal(buf_text(&said), "access: 10 : not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant\n");
	restart();
	access_warn_number(&l, ACCESS_CLIENTCONN, &notes);
	assert_string_equal(buf_text(&said), "access: 10 : not a number, read as no limit; write 0 if that is meant\n");
	restart();
	access_warn_action(&l, ACCESS_CONNECT, &notes);
	assert_string_equal(buf_text(&said), "access: 10 : no word that is known here, read as a refusal with 553 5.3.0 " EXPECTED "\n");
}

/* Beyond the ceiling nothing is written, not even half a line, but all are counted. */
static void ceiling(void **context)
{
	struct access_parsed p;
	(void)context;
	assert_int_equal(access_key_parse(slice_of("10.1.2.3/8"), &p), ACCESS_SORT_ADDRESS);
	struct map_line l = line("K", "x y");
	for (int i = 0; i < MAP_NOTES_SHOWN; i++)
		access_warn_spam(&l, &notes);
	size_t full = said.len;
	p.whole = true;
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	access_warn_number(&l, ACCESS_CLIENTRATE, &notes);
	access_warn_action(&l, ACCESS_CONNECT, &notes);
	access_warn_spam(&l, &notes);
	access_warn_address(&l, &p, &notes); /* two */
	access_warn_bare(&l, &notes);
	access_warn_never(&l, "", &notes);
	l = line("K", "5 x");
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	l = line("K", "400000");
	access_warn_number(&l, ACCESS_GREETPAUSE, &notes);
	l = line("K", "550 4.7.1 x");
	access_warn_action(&l, ACCESS_CONNECT, &notes);
	l = line("K", "SPAMFRIEND");
	access_warn_action(&l, ACCESS_TO, &notes);
	assert_int_equal(said.len, full);
	assert_int_equal(notes.more, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(pauses, begin), cmocka_unit_test_setup(limits, begin), cmocka_unit_test_setup(actions, begin), cmocka_unit_test_setup(observe, begin), cmocka_unit_test_setup(friends, begin),
		cmocka_unit_test_setup(keys, begin), cmocka_unit_test_setup(values_as_they_are_shown, begin), cmocka_unit_test_setup(no_value, begin),
		cmocka_unit_test_setup(ceiling, begin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
