/* tarry report: what is printed, of what the log says and of what somebody made it say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/report.h"

static struct report_sums r;
static char *text, *json;

static int begin(void **state)
{
	(void)state;
	text = json = NULL;
	assert_true(report_sums_init(&r));
	return 0;
}

static int end(void **state)
{
	(void)state;
	report_sums_fini(&r);
	free(text);
	free(json);
	return 0;
}

static void add(const char *line, int64_t at)
{
	struct report_line l;
	assert_true(report_line_parse(slice_of(line), &l));
	report_sums_add(&r, &l, at);
}

static void print(unsigned top)
{
	const struct report_shape shape = { .top = top };
	size_t len;
	FILE *to = open_memstream(&text, &len);
	assert_true(report_sums_end(&r));
	report_print(to, &r, &shape);
	fclose(to);
	to = open_memstream(&json, &len);
	report_json(to, &r, &shape);
	fclose(to);
}

static void expect(const char *where, const char *wanted)
{
	if (!strstr(where, wanted))
		fail_msg("not there: %s\nin: %s", wanted, where);
}

static void whole(void **state)
{
	(void)state;
	add("verdict=patient client=192.0.2.1 port=1 name=mx.example.com id=x would=early would_stage=greet kind=smtp data=\"HELO x\\r\\n\" messages=1", 1796040000);
	add("verdict=patient client=192.0.2.1 port=1 name=mx.example.com id=x messages=2", 1796040060);
	add("verdict=refused client=192.0.2.9 port=1 id=x reply=\"550 no\" access_line=7", 1796040070);
	add("verdict=patient client=192.0.2.9 port=1 id=x backend=m", 1796040080);
	print(20);
	expect(text, "4 connections of 2 clients, from 2026-11-30T12:00:00Z to 2026-11-30T12:01:20Z\n");
	expect(text, "3 handed to a backend, with 3 messages accepted; 1 of them could not be looked into\n");
	expect(text, "1 had been refused, had the door enforced; 1 were refused\n");
	expect(text, "  early, smtp                           1          0         1         1\n");
	expect(text, "  192.0.2.1  mx.example.com\n    2 connections, 1 had been refused; 3 messages accepted, 2 of them in connections in which nothing was wrong\n");
	expect(text, "would=early would_stage=greet kind=smtp data=\"HELO x\\r\\n\" messages=1\n    to let it in, in the access file:  GreetPause:192.0.2.1\t0\n");
	expect(text, "\nClients that were handed to a backend in connections that could not be looked into (1): ");
	expect(text, "\n  192.0.2.9                                      0          1         1\n");
	expect(json, "\"unknown\": [\n  {\"client\": \"192.0.2.9\", \"name\": null, \"connections\": 2, ");
	expect(text, "  192.0.2.0/24 ");
	expect(text, "  example.com ");
	assert_null(strstr(text, "Not complete"));
	expect(json, "{\"from\": \"2026-11-30T12:00:00Z\", \"to\": \"2026-11-30T12:01:20Z\", \"lines\": 0, \"connections\": 4, \"clients\": 2, ");
	expect(json, "{\"kind\": \"early, smtp\", \"would\": 1, \"did\": 0, \"clients\": 1, \"clients_with_mail\": 1}");
	expect(json, "\"clients_with_mail\": 1, \"clients_unknown\": 1, ");
	expect(json, "{\"client\": \"192.0.2.1\", \"name\": \"mx.example.com\", \"connections\": 2, \"would\": 1, \"did\": 0, \"messages\": 3, \"messages_waited\": 2, \"unseen\": 0, "
	             "\"access\": \"GreetPause:192.0.2.1\\u00090\", \"example\": \"verdict=patient client=192.0.2.1 port=1 name=mx.example.com id=x would=early would_stage=greet kind=smtp "
	             "data=\\\"HELO x\\\\r\\\\n\\\" messages=1\"}");
	expect(json, "\"complete\": true");
}

static void nothing(void **state)
{
	(void)state;
	print(20);
	expect(text, "0 connections of 0 clients\n");
	assert_null(strstr(text, "By "));
	expect(json, "{\"from\": null, \"to\": null, ");
	expect(json, "\"with_mail\": [],");
}

static void by_access_line(void **state)
{
	(void)state;
	add("verdict=patient client=192.0.2.9 port=1 would=refused would_stage=connect would_reply=\"550 no\" access_line=7 messages=1", REPORT_NO_TIME);
	print(20);
	expect(text, "    to let it in, in the access file:  Connect:192.0.2.9\tOK\n    it is line 7 of the access file that refuses it\n");
	expect(text, "1 connection of 1 client\n");
}

/* Rows, and what is said of those that are not shown. */
static void top(void **state)
{
	char line[200];
	(void)state;
	for (unsigned i = 1; i <= 5; i++) {
		snprintf(line, sizeof(line), "verdict=patient client=192.0.%u.1 port=1 name=h.example%u.com would=early kind=smtp messages=%u", i, i, i);
		add(line, 0);
	}
	print(2);
	expect(text, "  192.0.5.1  h.example5.com\n");
	expect(text, "  192.0.4.1  h.example4.com\n");
	assert_null(strstr(text, "h.example3.com\n"));
	expect(text, "  and 3 more (--top)\n");
	expect(text, "  and 3 more\n");
	assert_null(strstr(json, "example3.com"));
	expect(json, "\"networks_all\": 5, ");
}

/* Whatever stands in a log: no byte of it reaches the terminal as it is, and JSON stays JSON. */
static void hostile(void **state)
{
	(void)state;
	add("verdict=early client=192.0.2.1 port=1 name=\x1b]0;x\x07.ex\xc3\xa4mple.com kind=\x1b[2J stage=\xff data=\"\x01\x7f\x80 \\\"\"", 0);
	add("verdict=patient client=192.0.2.1 port=1 messages=1", 0);
	r.clients_max = 0;
	r.beyond = 3;
	print(20);
	for (const char *p = text; *p; p++)
		assert_true((*p >= ' ' && *p < 0x7f) || *p == '\n' || *p == '\t');
	for (const char *p = json; *p; p++)
		assert_true((*p >= ' ' && *p < 0x7f) || *p == '\n');
	expect(json, "\"name\": \"\\u001b]0;x\\u0007.ex\\u00c3\\u00a4mple.com\"");
	expect(json, "\\u0001\\u007f\\u0080 \\\\\\\"\\\"\"");
	expect(json, "\"complete\": false");
	expect(text, "Not complete: ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole, begin, end), cmocka_unit_test_setup_teardown(nothing, begin, end), cmocka_unit_test_setup_teardown(by_access_line, begin, end),
		cmocka_unit_test_setup_teardown(top, begin, end), cmocka_unit_test_setup_teardown(hostile, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
