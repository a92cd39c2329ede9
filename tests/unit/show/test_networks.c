/* The counts of networks: what is said to be certain is, and who comes often enough is there whoever else comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "show/networks.h"

#define NOW INT64_C(1796061600) /* an hour begins */

static struct networks networks;
static struct networks_top top[NETWORKS_HOURS * NETWORKS_KEPT];

static struct addr address(const char *text)
{
	struct addr a;
	assert_true(addr_parse(slice_of(text), &a));
	return a;
}

static void add(const char *text, int64_t now)
{
	struct addr a = address(text);
	networks_add(&networks, &a, 1, now);
}

static void by_network(void **context)
{
	(void)context;
	memset(&networks, 0, sizeof(networks));
	add("192.0.2.1", NOW);
	add("192.0.2.255", NOW + 1);
	add("::ffff:192.0.2.3", NOW + 1);
	add("192.0.3.1", NOW + 1);
	add("2001:db8:1:2::1", NOW);
	add("2001:db8:1:ffff::1", NOW);
	add("2001:db8:2::1", NOW + 3599);
	assert_int_equal(networks_top(&networks, NOW + 3599, top, 9), 4);
	assert_string_equal(top[0].text, "192.0.2.0/24");
	assert_int_equal(top[0].count, 3);
	assert_string_equal(top[1].text, "2001:db8:1::/48");
	assert_int_equal(top[1].count, 2);
	assert_int_equal(top[1].over, 0);
	assert_int_equal(networks_top(&networks, NOW, top, 1), 1);
}

static void of_a_day(void **context)
{
	(void)context;
	memset(&networks, 0, sizeof(networks));
	for (int hour = 0; hour < 30; hour++)
		add("192.0.2.1", NOW + hour * 3600);
	assert_int_equal(networks_top(&networks, NOW + 29 * 3600, top, 9), 1);
	assert_int_equal(top[0].count, 24);
	assert_int_equal(networks_top(&networks, NOW + 40 * 3600, top, 9), 1);
	assert_int_equal(top[0].count, 13);
	assert_int_equal(networks_top(&networks, NOW + 60 * 3600, top, 9), 0);
	assert_int_equal(networks_top(&networks, NOW, top, 9), 0); /* a clock that was set back: what is of a time to come does not count */
}

/* A hundred thousand networks that come once, and some that come often between them. */
static void many(void **context)
{
	static unsigned is[20];
	(void)context;
	memset(&networks, 0, sizeof(networks));
	memset(is, 0, sizeof(is));
	srand(7);
	for (unsigned n = 0; n < 100000; n++) {
		struct addr a = address("10.0.0.1");
		a.ip[13] = (uint8_t)(n >> 8);
		a.ip[14] = (uint8_t)n;
		a.ip[12] = (uint8_t)(11 + (n >> 16));
		networks_add(&networks, &a, 1, NOW);
		unsigned often = (unsigned)rand() % 20, times = often < 10 ? 1 : 0;
		for (unsigned i = 0; i < times; i++) {
			a = address("203.0.0.1");
			a.ip[14] = (uint8_t)often;
			networks_add(&networks, &a, 1, NOW);
			is[often]++;
		}
	}
	assert_int_equal(networks_top(&networks, NOW, top, 10), 10);
	for (unsigned i = 0; i < 10; i++) {
		unsigned which;
		assert_int_equal(sscanf(top[i].text, "203.0.%u.0/24", &which), 1);
		assert_true(top[i].count >= is[which] && top[i].count - top[i].over <= is[which]);
	}
}

static void of_somebody_else(void **context)
{
	(void)context;
	memset(&networks, 0xff, sizeof(networks));
	networks_tidy(&networks);
	add("192.0.2.1", NOW);
	assert_int_equal(networks_top(&networks, NOW, top, 9), 1);
	memset(&networks, 0x01, sizeof(networks));
	networks_tidy(&networks);
	for (unsigned i = 0; i < NETWORKS_HOURS; i++) {
		networks.hours[i].hour = NOW / 3600 - i;
		networks.hours[i].len = NETWORKS_KEPT;
		for (unsigned c = 0; c < NETWORKS_KEPT; c++)
			networks.hours[i].counts[c] = (struct networks_count){ { (uint8_t)c, (uint8_t)i, (uint8_t)c }, 1, 9 };
	}
	networks_tidy(&networks);
	assert_int_equal(networks_top(&networks, NOW, top, NETWORKS_HOURS * NETWORKS_KEPT), NETWORKS_HOURS * NETWORKS_KEPT);
	assert_true(top[0].count >= top[0].over);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(by_network), cmocka_unit_test(of_a_day), cmocka_unit_test(many), cmocka_unit_test(of_somebody_else) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
