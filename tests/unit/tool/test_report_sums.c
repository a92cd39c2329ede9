/* tarry report: what lines add up to: who is refused and has mail, in either order; networks, names; and what happens at the ceilings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/report.h"

static struct report_sums r;

static int begin(void **state)
{
	(void)state;
	assert_true(report_sums_init(&r));
	return 0;
}

static int end(void **state)
{
	(void)state;
	report_sums_fini(&r);
	return 0;
}

static void add(const char *text)
{
	struct report_line l;
	assert_true(report_line_parse(slice_of(text), &l));
	report_sums_add(&r, &l, 1000);
}

#define EARLY(client) "verdict=early client=" client " port=1 id=x kind=session data=\"x\""
#define WOULD(client, messages) "verdict=patient client=" client " port=1 name=mx1.Example.CO.UK id=x would=early would_stage=greet kind=smtp data=\"x\" backend=m messages=" #messages
#define GOOD(client, messages) "verdict=patient client=" client " port=1 id=x backend=m messages=" #messages
#define UNSEEN(client) "verdict=patient client=" client " port=1 id=x backend=m"

static const struct report_client *client_of(const char *text)
{
	for (uint32_t i = 0; i < r.clients_len; i++) {
		char memory[100];
		struct buf b;
		buf_init_fixed(&b, memory, sizeof(memory));
		report_put_client(&b, r.clients[i].key);
		if (strcmp(buf_text(&b), text) == 0)
			return &r.clients[i];
	}
	fail_msg("%s has no sums", text);
	return NULL;
}

static void who_is_wronged(void **state)
{
	(void)state;
	add(EARLY("192.0.2.1"));
	add(GOOD("192.0.2.1", 2));      /* mail after it */
	add(GOOD("192.0.2.2", 5));
	add(EARLY("192.0.2.2"));        /* mail before it */
	add(WOULD("192.0.2.3", 9));     /* mail in the very connection: behind those who have waited, too */
	add(EARLY("192.0.2.4"));        /* none */
	add(GOOD("192.0.2.4", 0));
	add(GOOD("192.0.2.5", 7));      /* nothing against it */
	add(EARLY("192.0.2.6"));
	add(UNSEEN("192.0.2.6"));       /* who knows */
	add("verdict=limited client=192.0.2.7 port=1 reason=max_connections"); /* no matter of the client's */
	add(GOOD("192.0.2.7", 1));
	assert_true(report_sums_end(&r));
	assert_int_equal(r.connections, 12);
	assert_int_equal(r.did, 5);
	assert_int_equal(r.would, 1);
	assert_int_equal(r.relayed, 7);
	assert_int_equal(r.messages, 24);
	assert_int_equal(r.unseen, 1);
	assert_int_equal(r.mail_len, 3);
	assert_int_equal(r.blind, 1);
	assert_ptr_equal(r.mail[0], client_of("192.0.2.2"));
	assert_ptr_equal(r.mail[1], client_of("192.0.2.1"));
	assert_ptr_equal(r.mail[2], client_of("192.0.2.3"));
	assert_int_equal(r.mail[0]->waited, 5);
	assert_int_equal(r.mail[2]->waited, 0);
	assert_ptr_equal(r.mail[3], client_of("192.0.2.6"));
	assert_string_equal(report_text(&r, r.mail[0]->example), EARLY("192.0.2.2"));
	assert_int_equal(r.labels_len, 3);
	assert_string_equal(r.labels[0].text, "early, session");
	assert_int_equal(r.labels[0].did, 4);
	assert_int_equal(r.labels[0].clients, 4);
	assert_int_equal(r.labels[0].clients_mail, 2);
	assert_string_equal(r.labels[1].text, "early, smtp");
	assert_int_equal(r.labels[1].would, 1);
	assert_int_equal(r.labels[2].clients, 0);
}

static void expect_network(const struct report_group *g, const char *text, uint32_t clients, uint64_t refused)
{
	char memory[100];
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	report_put_network(&b, g->key);
	assert_string_equal(buf_text(&b), text);
	assert_int_equal(g->clients, clients);
	assert_int_equal(g->would + g->did, refused);
}

static void networks_and_names(void **state)
{
	(void)state;
	add(EARLY("192.0.2.1"));
	add(EARLY("192.0.2.1"));
	add(WOULD("192.0.2.2", 1));
	add(EARLY("2001:db8::1"));
	add(EARLY("2001:db8::ffff:1")); /* the same /64: one client */
	add(WOULD("198.51.100.1", 0));
	add(GOOD("203.0.113.1", 1));
	assert_true(report_sums_end(&r));
	assert_int_equal(r.clients_len, 5);
	assert_int_equal(r.networks_len, 3);
	expect_network(&r.networks[0], "192.0.2.0/24", 2, 3);
	expect_network(&r.networks[1], "2001:db8::/64", 1, 2);
	expect_network(&r.networks[2], "198.51.100.0/24", 1, 1);
	assert_int_equal(r.networks[0].clients_mail, 1);
	assert_int_equal(r.names_len, 1);
	assert_string_equal(report_text(&r, r.domains[r.names[0].domain - 1]), "example.co.uk");
	assert_int_equal(r.names[0].clients, 2);
	assert_int_equal(r.names[0].would, 2);
}

static void domains(void **state)
{
	static const char *const table[][2] = { { "mail.example.com", "example.com" }, { "a.b.c.example.com.", "example.com" }, { "mx.example.co.uk", "example.co.uk" }, { "example.com", "example.com" },
		{ "com", "com" }, { "a.example.de", "example.de" }, { "", "" }, { ".", "" }, { "..", "" }, { "x..", "x" }, { "mx.bbc.uk", "mx.bbc.uk" } };
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct slice d = report_domain(slice_of(table[i][0]));
		assert_int_equal(d.len, strlen(table[i][1]));
		assert_memory_equal(d.at, table[i][1], d.len);
	}
}

static void expect_advice(const char *line, const char *text)
{
	char memory[200];
	struct buf b;
	buf_init_fixed(&b, memory, sizeof(memory));
	r.clients_len = 0;
	add(line);
	report_put_advice(&b, client_of(strstr(line, "2001") ? "2001:db8::/64" : "192.0.2.1"), line);
	assert_string_equal(buf_text(&b), text);
	report_sums_fini(&r);
	assert_true(report_sums_init(&r));
}

static void advice(void **state)
{
	(void)state;
	expect_advice(EARLY("192.0.2.1"), "GreetPause:192.0.2.1\t0");
	expect_advice(WOULD("2001:db8::1", 0), "GreetPause:2001:db8::/64\t0");
	expect_advice("verdict=early client=192.0.2.1 port=1 stage=data", "Connect:192.0.2.1\tOBSERVE");
	expect_advice("verdict=refused client=192.0.2.1 port=1 reply=\"550 5.7.1 no\"", "Connect:192.0.2.1\tOK");
	expect_advice("verdict=patient client=192.0.2.1 port=1 would=refused would_stage=rcpt", "Connect:192.0.2.1\tOBSERVE");
	expect_advice("verdict=patient client=192.0.2.1 port=1 would=limited would_stage=connect would_reply=\"452 4.3.2 Connection rate limit exceeded.\"", "ClientRate:192.0.2.1\t0");
	expect_advice("verdict=patient client=192.0.2.1 port=1 would=limited would_stage=connect would_reply=\"421 4.3.2 Too many open connections.\"", "ClientConn:192.0.2.1\t0");
	expect_advice("verdict=limited client=192.0.2.1 port=1 reason=max_per_client", "");
	expect_advice("verdict=patient client=192.0.2.1 port=1 would=tempfail would_stage=connect", "");
}

/* Thousands of clients, to grow through; each found again. */
static void many(void **state)
{
	char text[200];
	(void)state;
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 5000; i++) {
			snprintf(text, sizeof(text), "verdict=%s client=10.%u.%u.1 port=1 messages=1", round == 0 ? "early" : "patient", i / 256, i % 256);
			add(text);
		}
	assert_true(report_sums_end(&r));
	assert_int_equal(r.clients_len, 5000);
	assert_int_equal(r.mail_len, 5000);
	assert_int_equal(r.networks_len, 5000);
	for (uint32_t i = 0; i < r.clients_len; i++)
		assert_int_equal(r.clients[i].connections, 2);
}

/* Beyond the ceiling the sums go on. */
static void ceiling(void **state)
{
	(void)state;
	r.clients_max = 2;
	add(EARLY("192.0.2.1"));
	add(GOOD("192.0.2.2", 1));
	add(EARLY("192.0.2.3"));
	add(GOOD("192.0.2.1", 1));
	assert_true(report_sums_end(&r));
	assert_int_equal(r.clients_len, 2);
	assert_int_equal(r.beyond, 1);
	assert_int_equal(r.did, 2);
	assert_int_equal(r.labels[0].did, 2);
	assert_int_equal(r.labels[0].clients, 1);
	assert_int_equal(r.mail_len, 1);
}

/* Labels that no door writes do not push out the others, nor run over. */
static void labels(void **state)
{
	char text[200];
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		snprintf(text, sizeof(text), "verdict=early client=192.0.2.1 port=1 kind=k%u stage=\"0123456789abcdefghi%u\"", i, i);
		add(text);
	}
	assert_true(report_sums_end(&r));
	assert_int_equal(r.labels_len, REPORT_LABELS);
	assert_string_equal(r.labels[REPORT_LABELS - 1].text, "others");
	assert_int_equal(r.labels[REPORT_LABELS - 1].did, 200 - (REPORT_LABELS - 1));
}

static void texts(void **state)
{
	char line[2200];
	(void)state;
	snprintf(line, sizeof(line), "verdict=early client=192.0.2.1 port=1 data=\"%02000d\"", 0);
	add(line);
	assert_int_equal(strlen(report_text(&r, r.clients[0].example)), REPORT_EXAMPLE);
	r.texts.max = r.texts.len; /* as if it were full */
	r.texts.cap = r.texts.len;
	add(EARLY("192.0.2.2"));
	assert_int_equal(r.examples_lost, 1);
	assert_string_equal(report_text(&r, r.clients[1].example), "");
	assert_true(report_sums_end(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_is_wronged, begin, end), cmocka_unit_test_setup_teardown(networks_and_names, begin, end), cmocka_unit_test(domains),
		cmocka_unit_test_setup_teardown(advice, begin, end), cmocka_unit_test_setup_teardown(many, begin, end), cmocka_unit_test_setup_teardown(ceiling, begin, end),
		cmocka_unit_test_setup_teardown(labels, begin, end), cmocka_unit_test_setup_teardown(texts, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
