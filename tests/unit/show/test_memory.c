/* What the desk remembers, and what its successor finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/deskwire.h"
#include "core/shared.h"
#include "show/memory.h"

#define NOW INT64_C(1796061600)

static void turn_away(unsigned n, bool observed)
{
	struct recent r = { .at_ms = n, .observed = observed };
	assert_true(addr_parse(slice_of("192.0.2.1"), &r.client));
	recent_word(r.verdict, sizeof(r.verdict), "early");
	recent_put(&r);
}

static void one_after_the_other(void **context)
{
	static struct networks_top top[4];
	struct shared shared;
	(void)context;
	assert_int_equal(metrics_init(), 0);
	assert_int_equal(recent_init(), 0);
	assert_int_equal(shared_create(&shared, "test", DESKWIRE_MEMORY), 0);
	struct memory *first = memory_open(dup(shared.fd));
	assert_non_null(first);
	assert_null(memory_turned(first, 0));
	for (unsigned n = 0; n < 150; n++)
		turn_away(n, n % 3 == 0);
	memory_look(first, NOW);
	assert_int_equal(first->turned, 150);
	assert_int_equal(memory_oldest(first), 50);
	assert_null(memory_turned(first, 49));
	assert_int_equal(memory_turned(first, 50)->at_ms, 50);
	assert_int_equal(memory_turned(first, 149)->at_ms, 149);
	assert_int_equal(networks_top(&first->networks, NOW, top, 4), 1);
	assert_int_equal(top[0].count, 100); /* observed clients were let in */
	struct memory *second = memory_open(dup(shared.fd));
	assert_ptr_not_equal(first, second);
	turn_away(150, false);
	memory_look(second, NOW + 1);
	assert_int_equal(second->turned, 151);
	assert_int_equal(second->reader.missed, 0);
	/* Of another version, or whatever: it begins anew. */
	second->layout++;
	struct memory *third = memory_open(dup(shared.fd));
	assert_int_equal(third->turned, 0);
	assert_int_equal(third->networks.hours[0].len, 0);
	shared_detach(&shared);
}

static void turn_banned_away(const char *client, uint32_t more, int64_t at_ms)
{
	struct recent r = { .at_ms = at_ms, .more = more, .until = (uint32_t)NOW, .often = 1 };
	assert_true(addr_parse(slice_of(client), &r.client));
	recent_word(r.verdict, sizeof(r.verdict), "banned");
	recent_put(&r);
}

static const struct memory_often *banned_of(const struct memory *m, const char *client, uint64_t n)
{
	char text[ADDR_TEXT];
	for (unsigned i = 0; i < MEMORY_OFTEN; i++)
		if (memory_often(m, i, n) && strcmp(addr_format(&m->often[i].last.client, text), client) == 0)
			return &m->often[i];
	return NULL;
}

/* Whoever is banned, and however often it comes: it is there once, and all others are still there; its network is counted by how often it has come. */
static void who_is_banned(void **context)
{
	static struct networks_top top[40];
	static struct memory m;
	char client[40];
	(void)context;
	memory_init(&m);
	memory_look(&m, NOW); /* what was there before */
	memory_init(&m);
	recent_begin(&m.reader);
	for (struct recent r; recent_next(&m.reader, &r);)
		;
	turn_away(1, false);
	turn_banned_away("203.0.113.5", 0, 1000);
	turn_banned_away("203.0.113.5", 40, 11000);
	memory_look(&m, NOW);
	uint64_t heard = m.often_seen;
	const struct memory_often *b = banned_of(&m, "203.0.113.5", 0);
	assert_non_null(b);
	assert_int_equal(b->count, 42);
	assert_int_equal(b->since_ms, 1000);
	assert_int_equal(b->last.at_ms, 11000);
	assert_null(banned_of(&m, "203.0.113.5", heard)); /* it has been told of */
	for (int i = 0; i < 1000; i++)
		turn_banned_away("203.0.113.5", UINT32_MAX, 12000 + i);
	memory_look(&m, NOW);
	assert_int_equal(m.turned, 1);
	assert_non_null(memory_turned(&m, 0));
	assert_ptr_equal(banned_of(&m, "203.0.113.5", heard), b);
	assert_int_equal(b->count, 42 + (UINT64_C(1000) << 32));
	assert_int_equal(networks_top(&m.networks, NOW, top, 40), 2);
	assert_string_equal(top[0].text, "203.0.113.0/24");
	assert_int_equal(top[0].count, UINT32_MAX); /* more than it can count */
	assert_int_equal(top[1].count, 1);
	/* Who has not come for the longest time makes room. */
	for (int i = 0; i < MEMORY_OFTEN - 1; i++) {
		snprintf(client, sizeof(client), "2001:db8:%x::1", i);
		turn_banned_away(client, 0, 20000);
	}
	turn_banned_away("2001:db8::2", 0, 21000); /* is the same client as the first of those */
	memory_look(&m, NOW);
	assert_non_null(banned_of(&m, "203.0.113.5", 0));
	assert_int_equal(banned_of(&m, "2001:db8::2", 0)->count, 2);
	turn_banned_away("192.0.2.99", 0, 22000);
	turn_banned_away("192.0.2.98", 0, 22000);
	memory_look(&m, NOW);
	assert_null(banned_of(&m, "203.0.113.5", 0));
	assert_null(banned_of(&m, "2001:db8:1::1", 0));
	assert_non_null(banned_of(&m, "2001:db8::2", 0));
	turn_banned_away("203.0.113.5", 0, 23000);
	memory_look(&m, NOW);
	uint64_t number = m.often_seen;
	assert_int_equal(banned_of(&m, "203.0.113.5", 0)->count, 1); /* counted anew */
	/* Over a limit it is another line, and so is one that is observed only. */
	struct recent r = { .at_ms = 24000, .client = banned_of(&m, "203.0.113.5", 0)->last.client, .often = 1 };
	recent_word(r.verdict, sizeof(r.verdict), "limited");
	recent_put(&r);
	r.observed = 1;
	recent_put(&r);
	memory_look(&m, NOW);
	assert_int_equal(banned_of(&m, "203.0.113.5", 0)->count, 1);
	assert_int_equal(m.often_seen, number + 2);
	unsigned lines = 0;
	for (unsigned i = 0; i < MEMORY_OFTEN; i++)
		lines += addr_client_key(&m.often[i].last.client) == addr_client_key(&r.client);
	assert_int_equal(lines, 3);
	assert_int_equal(m.turned, 1);
}

/* A successor of one that was made to write anything reads it without harm. */
static void of_somebody_else(void **context)
{
	struct shared shared;
	(void)context;
	srand(3);
	assert_int_equal(shared_create(&shared, "test", DESKWIRE_MEMORY), 0);
	for (int round = 0; round < 30; round++) {
		struct memory *m = shared.at;
		static struct series_point points[SERIES_DAY_POINTS];
		static struct networks_top top[20];
		uint64_t layout = memory_open(dup(shared.fd))->layout;
		for (size_t i = 0; i < sizeof(*m); i++)
			((unsigned char *)m)[i] = round == 0 ? 0xff : (unsigned char)rand();
		m->layout = layout;
		m = memory_open(dup(shared.fd));
		turn_away(1, false);
		memory_look(m, NOW);
		for (uint64_t n = memory_oldest(m), i = 0; memory_turned(m, n) && i < 200; n++, i++)
			assert_true(memory_turned(m, n)->bytes_len <= RECENT_BYTES && strlen(memory_turned(m, n)->name) < RECENT_NAME);
		for (unsigned i = 0; i < MEMORY_OFTEN; i++)
			assert_true(!memory_often(m, i, 0) || strlen(memory_often(m, i, 0)->last.verdict) < RECENT_WORD);
		turn_banned_away("192.0.2.1", UINT32_MAX, NOW);
		memory_look(m, NOW);
		assert_true(series_points(&m->series, true, 0, NOW, points) <= SERIES_DAY_POINTS);
		assert_true(networks_top(&m->networks, NOW, top, 20) <= 20);
	}
	shared_detach(&shared);
}

static void without(void **context)
{
	int pair[2];
	(void)context;
	assert_non_null(memory_open(-1));
	assert_int_equal(pipe(pair), 0);
	assert_non_null(memory_open(pair[0])); /* which is none */
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(one_after_the_other), cmocka_unit_test(who_is_banned), cmocka_unit_test(of_somebody_else), cmocka_unit_test(without) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
