/* Who has waited once: again is again only some time later, and there is no end to those who come once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "keeper/waited.h"

#define NOW 1000000u

static struct waited waited;

static bool waits(uint64_t who, uint32_t when)
{
	return waited_again(&waited, &(struct known_id){ { who, 7 } }, when);
}

static void some_time_later(void **context)
{
	(void)context;
	assert_int_equal(waited_init(&waited, 300, 86400), 0);
	assert_false(waits(1, NOW));
	assert_false(waits(1, NOW + 299)); /* and that does not put it off */
	assert_false(waits(2, NOW + 299));
	assert_true(waits(1, NOW + 300));
	assert_false(waits(1, NOW + 301)); /* it has had that, and begins anew */
	assert_true(waits(2, NOW + 299 + 86400));
	assert_false(waits(3, NOW));
	assert_false(waits(3, NOW + 86401)); /* too long ago */
	assert_true(waits(3, NOW + 86401 + 300));
	waited_fini(&waited);
}

static void a_clock_that_is_set_back(void **context)
{
	(void)context;
	assert_int_equal(waited_init(&waited, 300, 86400), 0);
	assert_false(waits(1, NOW));
	assert_false(waits(1, NOW - 5000));
	assert_false(waits(1, NOW - 5000 + 299));
	assert_true(waits(1, NOW - 5000 + 300));
	waited_fini(&waited);
}

static void forgotten(void **context)
{
	(void)context;
	assert_int_equal(waited_init(&waited, 300, 86400), 0);
	assert_false(waits(1, NOW));
	assert_false(waits(2, NOW));
	waited_forget(&waited, &(struct known_id){ { 1, 7 } });
	waited_forget(&waited, &(struct known_id){ { 3, 7 } });
	assert_false(waits(1, NOW + 300));
	assert_true(waits(2, NOW + 300));
	waited_fini(&waited);
}

static void once_is_enough(void **context)
{
	(void)context;
	assert_int_equal(waited_init(&waited, 0, 86400), 0);
	assert_true(waits(1, NOW));
	assert_true(waits(1, NOW));
	waited_fini(&waited);
}

/* A million strangers push out each other, and what came before them; those who come last are there. */
static void a_flood(void **context)
{
	(void)context;
	assert_int_equal(waited_init(&waited, 300, 86400), 0);
	for (uint64_t i = 0; i < 1000000; i++)
		assert_false(waits(i, NOW + (uint32_t)(i / 10000)));
	unsigned there = 0;
	for (uint64_t i = 999000; i < 1000000; i++)
		there += waits(i, NOW + 400);
	assert_true(there >= 990); /* but for a few that met too many others in their places */
	assert_false(waits(1, NOW + 400));
	waited_fini(&waited);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(some_time_later), cmocka_unit_test(a_clock_that_is_set_back), cmocka_unit_test(forgotten), cmocka_unit_test(once_is_enough), cmocka_unit_test(a_flood) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
