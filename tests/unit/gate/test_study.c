/* The draw: how many are drawn, and who. What becomes of them is in the scenarios 61 to 63. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "gate/study.h"

#define CLIENTS 200000
#define PERCENT 10000

static struct addr client(uint32_t n)
{
	return (struct addr){ .ip = { [10] = 0xff, [11] = 0xff, 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } };
}

static unsigned drawn(int64_t day, int64_t millionths)
{
	unsigned n = 0;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct addr a = client(i);
		n += study_draws(&a, day, millionths);
	}
	return n;
}

/* A front that was never told the secret leaves everybody alone. */
static void test_no_secret(void **state)
{
	(void)state;
	assert_int_equal(drawn(20000, 100 * PERCENT), 0);
}

static void test_how_many(void **state)
{
	(void)state;
	for (uint64_t secret = 1; secret < 4; secret++) {
		study_init_with(secret);
		assert_in_range(drawn(20000, PERCENT), CLIENTS / 100 - 250, CLIENTS / 100 + 250); /* five deviations */
		assert_in_range(drawn(20000, PERCENT / 10), CLIENTS / 1000 - 75, CLIENTS / 1000 + 75);
		assert_int_equal(drawn(20000, 0), 0);
		assert_int_equal(drawn(20000, 100 * PERCENT), CLIENTS);
	}
}

/* All day the same ones, on another day others, and others again with another secret: no more in common than by chance. */
static void test_who(void **state)
{
	(void)state;
	unsigned same_day = 0, next_day = 0, other_secret = 0, first = 0;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct addr a = client(i);
		study_init_with(7);
		bool is = study_draws(&a, 20000, PERCENT);
		a.port = 4711; /* comes from another port each time */
		first += is;
		same_day += is && study_draws(&a, 20000, PERCENT);
		next_day += is && study_draws(&a, 20001, PERCENT);
		study_init_with(8);
		other_secret += is && study_draws(&a, 20000, PERCENT);
	}
	assert_int_equal(same_day, first);
	assert_true(next_day < first / 20);
	assert_true(other_secret < first / 20);
}

/* An IPv6 client is its /64: within it there is no better draw. */
static void test_ipv6(void **state)
{
	(void)state;
	study_init_with(9);
	unsigned is = 0;
	for (unsigned net = 0; net < 2000; net++) {
		struct addr a = { .ip = { 0x20, 0x01, 0x0d, 0xb8, (uint8_t)(net >> 8), (uint8_t)net } }, b = a;
		a.ip[15] = 1;
		memset(b.ip + 8, 0xab, 8);
		is += study_draws(&a, 20000, 10 * PERCENT);
		assert_int_equal(study_draws(&a, 20000, 10 * PERCENT), study_draws(&b, 20000, 10 * PERCENT));
	}
	assert_in_range(is, 130, 270);
}

/* A new secret, and one that is told to whoever takes the door's place: the same clients are drawn. */
static void test_init(void **state)
{
	(void)state;
	uint64_t first[2], again[2];
	assert_int_equal(study_init(NULL), 0);
	study_secret(first);
	assert_in_range(drawn(20000, PERCENT), CLIENTS / 100 - 250, CLIENTS / 100 + 250);
	struct addr a = client(0);
	uint32_t i = 0;
	while (!study_draws(&a, 20000, PERCENT))
		a = client(++i);
	assert_int_equal(study_init((const uint64_t[2]){ 0, 0 }), 0);
	study_secret(again);
	assert_true(again[0] != first[0] && again[1] != first[1]);
	assert_int_equal(study_init(first), 0);
	assert_true(study_draws(&a, 20000, PERCENT));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_no_secret), cmocka_unit_test(test_how_many), cmocka_unit_test(test_who), cmocka_unit_test(test_ipv6), cmocka_unit_test(test_init) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
