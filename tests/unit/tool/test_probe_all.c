/* tarry probe --all: the options, and which address each act has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtp/proxyhdr.h"
#include "tool/probe_all.h"

static void test_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *network;
		unsigned number;
		const char *address;
	} rows[] = {
		{ "192.0.2.0/24", 0, "192.0.2.1" }, { "192.0.2.0/24", 253, "192.0.2.254" }, { "192.0.2.0/24", 254, "192.0.2.1" }, { "192.0.2.64/26", 1, "192.0.2.66" },
		{ "192.0.2.7", 0, "192.0.2.7" }, { "192.0.2.7", 79, "192.0.2.7" }, { "192.0.2.6/31", 0, "192.0.2.6" }, { "192.0.2.6/31", 1, "192.0.2.7" },
		{ "10.0.0.0/8", 300, "10.0.1.45" }, { "2001:db8::/64", 0, "2001:db8::1" }, { "2001:db8::/32", 70, "2001:db8::47" }, { "::/0", 5, "::6" }, { "2001:db8::9/128", 3, "2001:db8::9" },
		{ "255.255.255.0/24", 3, "255.255.255.4" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix network;
		char text[ADDR_TEXT];
		assert_null(probe_all_network(&network, rows[i].network));
		struct addr a = probe_all_address(&network, rows[i].number);
		assert_string_equal(addr_format(&a, text), rows[i].address);
	}
}

static void test_headers(void **state)
{
	(void)state;
	struct probe_all_plan plan;
	struct addr local = { .port = 4321 }, server;
	struct proxyhdr header;
	const char *why = NULL;
	char memory[1024], text[ADDR_TEXT];
	struct buf out;
	assert_true(addr_parse_port(slice_of("198.51.100.1:25"), &server));
	for (enum probe_proxy version = PROBE_PROXY_V1; version <= PROBE_PROXY_V2; version++) {
		probe_all_init(&plan);
		assert_null(probe_all_proxy(&plan, version == PROBE_PROXY_V1 ? "v1" : "v2"));
		buf_init_fixed(&out, memory, sizeof(memory));
		probe_all_header(&plan, 2, &local, &server, &out);
		assert_int_equal(proxyhdr_read(buf_slice(&out), &header, &why), out.len);
		assert_string_equal(addr_format(&header.client, text), "192.0.2.3");
		assert_int_equal(header.client.port, 4321);
		assert_true(addr_same_ip(&header.server, &server) && header.server.port == 25);
	}
}

static void test_options(void **state)
{
	(void)state;
	struct probe_all_plan plan;
	probe_all_init(&plan);
	assert_int_equal(plan.jobs, PROBE_JOBS);
	static const char *const bad[] = { "", "0", "33", "1000", "-1", "1x", " 1" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(probe_all_jobs(&plan, bad[i]));
	assert_null(probe_all_jobs(&plan, "32"));
	assert_int_equal(plan.jobs, 32);
	assert_non_null(probe_all_proxy(&plan, "v3"));
	assert_non_null(probe_all_network(&plan.source, "mail.example.org"));
	assert_non_null(probe_all_only(&plan, "teaser,"));
	assert_null(probe_all_only(&plan, "teaser,http"));
	assert_null(probe_all_finish(&plan));
	unsigned chosen = 0;
	for (size_t i = 0; i < probe_acts_len; i++)
		chosen += plan.chosen[i];
	assert_int_equal(chosen, 3); /* the client that waits, too */
	assert_true(plan.ways[PROBE_WAY_CLEAR] && plan.ways[PROBE_WAY_STARTTLS] && plan.starttls_if_offered && !plan.ways[PROBE_WAY_TLS]);
}

static void test_ways(void **state)
{
	(void)state;
	struct probe_all_plan plan;
	probe_all_init(&plan);
	plan.ways[PROBE_WAY_STARTTLS] = true;
	assert_null(probe_all_finish(&plan));
	assert_true(!plan.ways[PROBE_WAY_CLEAR] && !plan.starttls_if_offered);
	for (size_t i = 0; i < probe_acts_len; i++)
		assert_true(plan.chosen[i]);
	plan.ways[PROBE_WAY_TLS] = true;
	assert_non_null(probe_all_finish(&plan));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_headers), cmocka_unit_test(test_options), cmocka_unit_test(test_ways),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
