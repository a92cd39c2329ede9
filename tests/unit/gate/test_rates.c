/* Rates: against an exact model, at the edges of the window, and under a flood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "core/loop.h"
#include "gate/rates.h"

#define WINDOW (60 * LOOP_SECOND)

static void window_edges(void **context)
{
	struct rates r;
	int64_t t = 1000 * LOOP_SECOND; /* a slot's beginning */
	(void)context;
	assert_int_equal(rates_init(&r, 64, WINDOW), 0);
	assert_int_equal(rates_add(&r, 7, t), 1);
	assert_int_equal(rates_add(&r, 7, t + 9 * LOOP_SECOND), 2);
	assert_int_equal(rates_add(&r, 7, t + 10 * LOOP_SECOND), 3);
	assert_int_equal(rates_add(&r, 8, t + 10 * LOOP_SECOND), 1);
	assert_int_equal(rates_add(&r, 7, t + 59 * LOOP_SECOND), 4);
	assert_int_equal(rates_add(&r, 7, t + 60 * LOOP_SECOND), 3); /* the first two have fallen out with their slot */
	assert_int_equal(rates_add(&r, 7, t + 70 * LOOP_SECOND), 3);
	assert_int_equal(rates_add(&r, 7, t + 1000 * LOOP_SECOND), 1);
	rates_fini(&r);
}

#define CLIENTS 40
#define EVENTS 20000

/* As long as no set is full, it is exact, in slots. */
static void as_a_model(void **context)
{
	static struct {
		uint64_t client;
		int64_t slot;
	} events[EVENTS];
	struct rates r;
	int64_t t = 5 * LOOP_SECOND;
	(void)context;
	srand(3);
	assert_int_equal(rates_init(&r, CLIENTS * RATES_WAYS * 16, WINDOW), 0);
	for (int i = 0; i < EVENTS; i++) {
		uint32_t want = 0;
		t += rand() % (rand() % 50 ? 300 : 20000) * LOOP_MS;
		events[i].client = (uint64_t)(rand() % CLIENTS) + 1;
		events[i].slot = t / (WINDOW / RATES_SLOTS);
		for (int k = i; k >= 0 && events[k].slot > events[i].slot - RATES_SLOTS; k--)
			want += events[k].client == events[i].client;
		assert_int_equal(rates_add(&r, events[i].client, t), want);
	}
	rates_fini(&r);
}

/* A million addresses that come once do not push out one that comes often, and touch no memory beyond the table. */
static void flood(void **context)
{
	struct rates r;
	int64_t t = LOOP_SECOND;
	uint32_t seen = 0;
	(void)context;
	assert_int_equal(rates_init(&r, 1024, WINDOW), 0);
	for (uint64_t i = 0; i < 1000000; i++) {
		if (i % 5000 == 0)
			seen = rates_add(&r, 1, t);
		rates_add(&r, i + 100, t);
	}
	assert_int_equal(seen, 200);
	assert_int_equal(rates_add(&r, 1, t), 201);
	rates_fini(&r);
}

static void counts_have_a_ceiling(void **context)
{
	struct rates r;
	uint32_t n = 0;
	(void)context;
	assert_int_equal(rates_init(&r, 1, WINDOW), 0);
	for (int i = 0; i < 70000; i++)
		n = rates_add(&r, 1, LOOP_SECOND);
	assert_int_equal(n, UINT16_MAX);
	rates_fini(&r);
}

static void forgotten(void **context)
{
	struct rates r;
	(void)context;
	assert_int_equal(rates_init(&r, 1024, WINDOW), 0);
	rates_add(&r, 1, LOOP_SECOND);
	rates_add(&r, 2, LOOP_SECOND);
	rates_forget(&r, 1);
	rates_forget(&r, 3);
	assert_int_equal(rates_made(&r, 1, LOOP_SECOND), 0);
	assert_int_equal(rates_made(&r, 2, LOOP_SECOND), 1);
	assert_int_equal(rates_add(&r, 1, LOOP_SECOND), 1);
	rates_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(window_edges), cmocka_unit_test(as_a_model), cmocka_unit_test(flood), cmocka_unit_test(counts_have_a_ceiling), cmocka_unit_test(forgotten) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
