/* Those turned away by a ban or a limit over and over, as who watches the door hears of them: at once, then seldom, and all of them; and whatever they do there is room for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/metrics.h"
#include "core/recent.h"
#include "gate/front.h"
#include "gate/session.h"
#include "gate/turned.h"
#include "known/ban_table.h"

#define ENDS 4000
#define OTHER 77 /* after_ms of an entry that is no ban's */

static struct front front; /* as far as a ban needs one */
static struct recent_reader reader;

static int begin(void **context)
{
	(void)context;
	memset(&front, 0, sizeof(front));
	assert_int_equal(loop_init_manual(&front.loop, 8), 0);
	assert_int_equal(often_init(&front), 0);
	front.often.key = (struct siphash_key){ 1, 2 }; /* every time the same clients share a set */
	for (struct recent r; recent_next(&reader, &r);) /* of the test before */
		;
	reader.missed = 0;
	return 0;
}

static int end(void **context)
{
	(void)context;
	often_fini(&front);
	loop_fini(&front.loop);
	return 0;
}

/* As ban.c does. */
static void is_banned(const struct addr *client)
{
	const struct often_case is = { .what = OFTEN_BANNED, .ends = ENDS, .note = 3 | ban_reason_note(slice_of("session")) };
	uint32_t more;
	if (often_tells(&front, client, &is, &more))
		turned_often(client, &is, more, loop_now(&front.loop));
}

static void comes(const char *text)
{
	struct addr client;
	assert_true(addr_parse(slice_of(text), &client));
	is_banned(&client);
}

/* The n-th of many. */
static void one_comes(unsigned n)
{
	struct addr client;
	assert_true(addr_parse(slice_of("10.0.0.1"), &client));
	client.ip[13] = (uint8_t)(n >> 16);
	client.ip[14] = (uint8_t)(n >> 8);
	client.ip[15] = (uint8_t)n;
	is_banned(&client);
}

static void pass(int64_t seconds)
{
	loop_advance(&front.loop, seconds * LOOP_SECOND);
}

struct heard {
	unsigned entries, others;
	uint64_t clients;
};

/* What can be read now, as the desk would. */
static void hear(struct heard *h)
{
	struct recent r;
	while (recent_next(&reader, &r)) {
		if (r.after_ms == OTHER) {
			h->others++;
			continue;
		}
		assert_string_equal(r.verdict, "banned");
		h->entries++;
		h->clients += UINT64_C(1) + r.more;
	}
}

static void hears(const char *client, unsigned count)
{
	struct recent r;
	char text[ADDR_TEXT];
	assert_true(recent_next(&reader, &r));
	assert_string_equal(addr_format(&r.client, text), client);
	assert_string_equal(r.verdict, "banned");
	assert_int_equal(r.more + 1, count);
	assert_int_equal(r.observed + r.bytes_len + strlen(r.name) + strlen(r.id), 0);
	assert_true(r.often && r.times == 3 && strcmp(r.kind, "session") == 0);
	assert_int_equal(r.until, r.at_ms / 1000 + ENDS - loop_now(&front.loop) / LOOP_SECOND);
}

static void hears_nothing(void)
{
	struct recent r;
	assert_false(recent_next(&reader, &r));
}

static void at_once_and_then_by_number(void **context)
{
	(void)context;
	comes("192.0.2.1");
	hears("192.0.2.1", 1);
	for (int i = 0; i < 9; i++) {
		comes("192.0.2.1");
		comes("192.0.2.1");
		pass(1);
		hears_nothing();
	}
	comes("192.0.2.2"); /* another one is not made to wait for it */
	hears("192.0.2.2", 1);
	front.loop.manual_now += LOOP_SECOND; /* and so nobody has looked yet */
	comes("192.0.2.1");
	hears("192.0.2.1", 19);
	pass(60);
	hears_nothing();
}

/* Who does not come again is told of all the same, and when there is nobody left the clock stands. */
static void by_the_clock(void **context)
{
	(void)context;
	comes("192.0.2.1");
	comes("192.0.2.1");
	comes("192.0.2.1");
	hears("192.0.2.1", 1);
	pass(9);
	hears_nothing();
	assert_true(front.often.source.place != 0);
	pass(1);
	hears("192.0.2.1", 2);
	assert_int_equal(front.often.source.place, 0);
	pass(3600);
	hears_nothing();
	comes("192.0.2.1");
	hears("192.0.2.1", 1);
}

static void what_is_one_client(void **context)
{
	(void)context;
	comes("2001:db8:1:2::1");
	hears("2001:db8:1:2::1", 1);
	comes("2001:db8:1:2::2");
	comes("2001:db8:1:3::1");
	hears("2001:db8:1:3::1", 1);
	comes("2001:db8:1:2::3");
	pass(10);
	hears("2001:db8:1:2::3", 2);
	hears_nothing();
}

/* A client that does nothing else: an entry in ten seconds, and whoever else was turned away can still be read. */
static void a_flood(void **context)
{
	struct heard h = { 0 };
	struct recent other = { .after_ms = OTHER };
	(void)context;
	for (int i = 0; i < RECENT_ENTRIES / 2; i++)
		recent_put(&other);
	for (int second = 0; second < 100; second++) {
		for (int i = 0; i < 20000; i++)
			comes("192.0.2.1");
		pass(1);
	}
	pass(10);
	hear(&h);
	assert_int_equal(h.others, RECENT_ENTRIES / 2);
	assert_int_equal(h.clients, 2000000);
	assert_true(h.entries >= 10 && h.entries <= 11);
	assert_int_equal(reader.missed, 0);
}

/* As many as there is room for: every one is counted. */
static void several(void **context)
{
	struct heard h = { 0 };
	(void)context;
	for (int second = 0; second < 60; second++) {
		for (unsigned i = 0; i < 2000; i++)
			one_comes(i % 100);
		pass(1);
		hear(&h);
	}
	pass(20);
	hear(&h);
	assert_int_equal(h.clients, 120000);
	assert_true(h.entries >= 500 && h.entries <= 800);
}

/* Far more than there is room for. They have OFTEN_TOLD entries in a second, and no more. */
static void a_crowd(void **context)
{
	struct heard h = { 0 };
	struct recent other = { .after_ms = OTHER };
	(void)context;
	for (unsigned second = 0; second < 60; second++) {
		struct heard now = { 0 };
		recent_put(&other);
		for (unsigned i = 0; i < 40000; i++)
			one_comes(second % 2 ? i : i % 5000);
		front.loop.manual_now += LOOP_SECOND;
		hear(&now);
		assert_true(now.entries <= OFTEN_TOLD && now.others == 1);
		h.entries += now.entries;
		h.clients += now.clients;
	}
	assert_int_equal(reader.missed, 0);
	assert_true(h.entries > 50 * OFTEN_TOLD);
	assert_true(h.clients < 60 * 40000);
}

/* Who comes once and never again makes room for others, and is counted, as long as they do not come all at once. */
static void one_after_the_other(void **context)
{
	struct heard h = { 0 };
	(void)context;
	for (unsigned i = 0; i < 5000; i++) {
		one_comes(i);
		one_comes(i);
		front.loop.manual_now += LOOP_SECOND / 25;
		hear(&h);
	}
	pass(20);
	hear(&h);
	assert_int_equal(h.clients, 10000);
}

/* Those who come once do not take the place of one that comes all the time: it would be told of at once whenever it is back. */
static void a_busy_one_stays(void **context)
{
	unsigned entries = 0, clients = 0;
	(void)context;
	for (unsigned i = 0; i < 40 * 50; i++) {
		for (unsigned k = 0; i < 30 * 50 && k < 20; k++)
			comes("192.0.2.1");
		one_comes(i);
		loop_advance(&front.loop, LOOP_SECOND / 50);
		for (struct recent r; recent_next(&reader, &r);) {
			bool busy = r.client.ip[12] == 192;
			entries += busy;
			clients += busy ? 1 + r.more : 0;
		}
	}
	assert_int_equal(reader.missed, 0);
	assert_int_equal(clients, 30 * 50 * 20);
	assert_true(entries == 4 || entries == 5);
}

static void at_the_end(void **context)
{
	struct heard h = { 0 };
	(void)context;
	for (unsigned i = 0; i < 300; i++)
		one_comes(i % 100);
	often_fini(&front);
	hear(&h);
	assert_int_equal(h.clients, 300);
	hears_nothing();
	comes("192.0.2.1"); /* nobody is told any more */
	hears_nothing();
}

/* ---- limits ---- */

static void is_limited(const char *text)
{
	struct addr client;
	assert_true(addr_parse(slice_of(text), &client));
	turned_away_at_once(&front, &(struct session_head){ .verdict = CONN_LIMIT, .client = &client, .id = "03b1lj9d10000" });
}

static void hears_limited(const char *client, unsigned count, const char *id)
{
	struct recent r;
	char text[ADDR_TEXT];
	assert_true(recent_next(&reader, &r));
	assert_string_equal(addr_format(&r.client, text), client);
	assert_string_equal(r.verdict, "limited");
	assert_string_equal(r.id, id);
	assert_int_equal(r.more + 1, count);
	assert_true(r.often && r.until == 0 && r.times == 0 && !r.observed);
}

/* With all that is known of it when it comes; without, when the clock has it told. A ban of the same client is counted for itself. */
static void who_is_over_a_limit(void **context)
{
	(void)context;
	is_limited("192.0.2.1");
	hears_limited("192.0.2.1", 1, "03b1lj9d10000");
	comes("192.0.2.1");
	hears("192.0.2.1", 1);
	is_limited("192.0.2.1");
	is_limited("192.0.2.1");
	comes("192.0.2.1");
	hears_nothing();
	front.loop.manual_now += 10 * LOOP_SECOND;
	is_limited("192.0.2.1");
	hears_limited("192.0.2.1", 3, "03b1lj9d10000");
	comes("192.0.2.1");
	hears("192.0.2.1", 2);
	is_limited("192.0.2.1");
	pass(10);
	hears_limited("192.0.2.1", 1, "");
	hears_nothing();
}

/* However many there are, and whatever turns them away, what others had is there still. */
static void a_hammer(void **context)
{
	struct recent r, other = { .after_ms = OTHER };
	unsigned others = 0, entries = 0;
	uint64_t clients = 0;
	char client[40];
	(void)context;
	for (int i = 0; i < RECENT_ENTRIES / 2; i++)
		recent_put(&other);
	for (unsigned i = 0; i < 100000; i++) {
		snprintf(client, sizeof(client), "2001:db8:%x::1", i % 50);
		is_limited(client);
		if (i % 10000 == 9999)
			pass(1);
	}
	pass(20);
	for (; recent_next(&reader, &r);) {
		others += r.after_ms == OTHER;
		entries += r.after_ms != OTHER;
		clients += r.after_ms != OTHER ? 1 + r.more : 0;
	}
	assert_int_equal(others, RECENT_ENTRIES / 2);
	assert_int_equal(clients, 100000);
	assert_true(entries >= 100 && entries <= 200);
	assert_int_equal(reader.missed, 0);
}

/* Of a connection: max_per_client and the limits of the access database are limits, a refusal by a key of it is none, and each has an entry; nor is any other verdict. */
static void of_a_connection(void **context)
{
	static const struct {
		enum conn_verdict verdict;
		bool over_rate, over_conns, would, often;
		const char *word;
		bool observe;
	} rows[] = { { CONN_LIMIT, false, false, false, true, "limited", false }, { CONN_REFUSED, true, false, false, true, "refused", false }, { CONN_REFUSED, false, true, false, true, "refused", false },
		{ CONN_REFUSED, false, false, false, false, "refused", false }, { CONN_NOBACKEND, true, true, false, false, "nobackend", false }, { CONN_LIMIT, false, false, true, true, "limited", true },
		{ CONN_REFUSED, false, false, true, false, "refused", true }, { CONN_LIMIT, false, false, false, true, "limited", true } };
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conn conn = { .over_rate = rows[i].over_rate, .over_conns = rows[i].over_conns, .observe = rows[i].observe };
		struct session s = { .conn = &conn, .verdict = rows[i].verdict, .would = rows[i].verdict, .would_stage = "connect" };
		struct recent r;
		unsigned entries = 0;
		uint64_t clients = 0;
		assert_true(addr_parse(slice_of("192.0.2.1"), &conn.client));
		conn.client.ip[15] = (uint8_t)(i + 1);
		for (int n = 0; n < 30; n++)
			(rows[i].would ? turned_observed : turned_away)(&front, &s);
		pass(10);
		for (; recent_next(&reader, &r); entries++) {
			assert_string_equal(r.verdict, rows[i].word);
			assert_int_equal(r.often, rows[i].often);
			assert_int_equal(r.observed, rows[i].would);
			clients += 1 + r.more;
		}
		assert_int_equal(entries, rows[i].often ? 2 : 30);
		assert_int_equal(clients, 30);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(at_once_and_then_by_number, begin, end), cmocka_unit_test_setup_teardown(by_the_clock, begin, end),
		cmocka_unit_test_setup_teardown(what_is_one_client, begin, end), cmocka_unit_test_setup_teardown(a_flood, begin, end), cmocka_unit_test_setup_teardown(several, begin, end),
		cmocka_unit_test_setup_teardown(a_crowd, begin, end), cmocka_unit_test_setup_teardown(one_after_the_other, begin, end), cmocka_unit_test_setup_teardown(a_busy_one_stays, begin, end), cmocka_unit_test_setup_teardown(at_the_end, begin, end),
		cmocka_unit_test_setup_teardown(who_is_over_a_limit, begin, end), cmocka_unit_test_setup_teardown(a_hammer, begin, end), cmocka_unit_test_setup_teardown(of_a_connection, begin, end),
	};
	if (metrics_init() != 0 || recent_init() != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
