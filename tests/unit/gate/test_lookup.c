/* The front's side of asking, with a clock moved by hand and the test in the place of the lookup processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "descriptors.h"
#include "gate/lookup.h"

#define TTL (60 * LOOP_SECOND)

struct asker {
	struct lookup_wait wait; /* first */
	unsigned called;
	enum wire_result result;
	char text[64];
	struct asker *cancels, *asks_again; /* in the callback */
};

static struct loop loop;
static struct lookup *lookup;
static int worker_questions, worker_replies; /* the other ends */
static struct buf said;
static int open_before;
static int64_t base[METRIC_COUNT];

static int setup(void **context)
{
	static const struct lookup_map maps[] = { { HISTOGRAM_lookup_ldap, 1 }, { HISTOGRAM_lookup_redis, 2 } };
	int q[2], a[2];
	(void)context;
	assert_int_equal(health_init(6, 1, 2), 0);
	open_before = descriptors_open();
	buf_init(&said, 65536);
	log_capture(&said);
	assert_int_equal(loop_init_manual(&loop, 4), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, q), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, a), 0);
	struct lookup_setup s = { .loop = &loop, .questions = q[0], .answers = a[0], .front = 5, .cache_ttl = TTL, .cache_max = 100, .maps = maps, .maps_len = 2 };
	assert_int_equal(lookup_new(&lookup, &s), 0);
	worker_questions = q[1];
	worker_replies = a[1];
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		base[m] = metrics_sum((enum metric)m);
	return 0;
}

static void close_worker(void)
{
	if (worker_questions >= 0)
		close(worker_questions);
	if (worker_replies >= 0)
		close(worker_replies);
	worker_questions = worker_replies = -1;
}

static int teardown(void **context)
{
	(void)context;
	lookup_free(lookup);
	loop_fini(&loop);
	close_worker();
	log_capture(NULL);
	buf_fini(&said);
	assert_int_equal(descriptors_open(), open_before);
	return 0;
}

static int64_t counted(enum metric m)
{
	return metrics_sum(m) - base[m];
}

static struct wire_question question(unsigned n)
{
	static char text[32];
	struct wire_question q = { .map = 1, .searches = 1, .counts = { 2 } };
	snprintf(text, sizeof(text), "connect:10.0.%u.%u", n / 256, n % 256);
	q.keys[0] = slice_of(text);
	q.keys[1] = slice_of("connect:10");
	return q;
}

static void done(struct lookup_wait *wait, const struct wire_answer *answer)
{
	struct asker *a = (struct asker *)wait;
	a->called++;
	assert_false(lookup_waits(wait));
	a->result = answer->found[0].result;
	snprintf(a->text, sizeof(a->text), "%.*s", (int)answer->found[0].text.len, answer->found[0].text.at ? answer->found[0].text.at : "");
	if (a->cancels)
		lookup_cancel(lookup, &a->cancels->wait);
	if (a->asks_again) {
		struct wire_question q = question(77);
		assert_null(lookup_ask(lookup, &q, &a->asks_again->wait));
	}
}

static struct asker asker(void)
{
	return (struct asker){ .wait = { .done = done } };
}

static void ask(unsigned n, struct asker *a)
{
	struct wire_question q = question(n);
	assert_null(lookup_ask(lookup, &q, &a->wait));
}

/* What a lookup process reads; false: nothing. */
static bool take(struct wire_question *q)
{
	static char message[WIRE_QUESTION_MAX];
	ssize_t n = recv(worker_questions, message, sizeof(message), MSG_DONTWAIT);
	if (n <= 0)
		return false;
	assert_true(wire_get_question((struct slice){ message, (size_t)n }, q));
	return true;
}

static void reply(uint64_t id, enum wire_result result, const char *text, uint16_t key)
{
	char memory[WIRE_ANSWER_MAX];
	struct buf b;
	struct wire_answer a = { .id = id, .searches = 1, .found = { { .result = result, .key = key, .text = slice_of(text) } } };
	buf_init_fixed(&b, memory, sizeof(memory));
	assert_true(wire_put_answer(&b, &a));
	assert_int_equal(send(worker_replies, b.at, b.len, MSG_DONTWAIT), b.len);
	loop_turn(&loop, 0);
}

static unsigned lines(const char *event)
{
	unsigned n = 0;
	for (const char *p = buf_text(&said); (p = strstr(p, event)); p++)
		n++;
	return n;
}

static void asked_and_answered(void **context)
{
	struct asker a = asker();
	struct wire_question q;
	(void)context;
	ask(1, &a);
	assert_true(take(&q));
	assert_true(q.front == 5 && q.map == 1 && q.searches == 1 && q.counts[0] == 2 && slice_is(q.keys[0], "connect:10.0.0.1"));
	assert_true(q.deadline == loop_now(&loop) + LOOKUP_TIMEOUT);
	assert_int_equal(a.called, 0);
	assert_true(lookup_waits(&a.wait));
	reply(q.id, WIRE_FOUND, "REJECT", 1);
	assert_int_equal(a.called, 1);
	assert_int_equal(a.result, WIRE_FOUND);
	assert_string_equal(a.text, "REJECT");
	loop_advance(&loop, LOOKUP_TIMEOUT);
	assert_int_equal(a.called, 1);
	assert_int_equal(counted(METRIC_lookups), 1);
	assert_int_equal(said.len, 0);
}

static void kept_for_a_while(void **context)
{
	static const enum wire_result kept[] = { WIRE_FOUND, WIRE_NONE };
	struct asker a = asker();
	(void)context;
	for (unsigned i = 0; i < 2; i++) {
		struct wire_question q, again = question(i);
		ask(i, &a);
		assert_true(take(&q));
		reply(q.id, kept[i], "x", 0);
		loop_advance(&loop, TTL - 1);
		const struct wire_answer *known = lookup_ask(lookup, &again, &a.wait);
		assert_non_null(known);
		assert_int_equal(known->found[0].result, kept[i]);
		assert_false(take(&q));
		loop_advance(&loop, 1);
		ask(i, &a);
		assert_true(take(&q));
		lookup_cancel(lookup, &a.wait);
		reply(q.id, WIRE_FAILED, "", 0);
	}
	assert_int_equal(counted(METRIC_lookups_cached), 2);
}

static void a_failure_is_not_kept(void **context)
{
	struct asker a = asker();
	struct wire_question q;
	(void)context;
	ask(1, &a);
	assert_true(take(&q));
	reply(q.id, WIRE_FAILED, "connect: refused", 0);
	assert_int_equal(a.result, WIRE_FAILED);
	assert_string_equal(a.text, "connect: refused");
	ask(1, &a);
	assert_true(take(&q));
	reply(q.id, WIRE_NONE, "", 0);
	assert_int_equal(a.called, 2);
	assert_int_equal(counted(METRIC_lookups_failed), 1);
}

static void out_of_time(void **context)
{
	struct asker a = asker(), b = asker();
	struct wire_question q, other;
	(void)context;
	ask(1, &a);
	loop_advance(&loop, LOOP_SECOND);
	ask(2, &b);
	loop_advance(&loop, LOOKUP_TIMEOUT - LOOP_SECOND - 1);
	assert_int_equal(a.called, 0);
	loop_advance(&loop, 1);
	assert_true(a.called == 1 && a.result == WIRE_FAILED);
	assert_int_equal(b.called, 0);
	assert_true(take(&q) && take(&other));
	reply(q.id, WIRE_FOUND, "late", 0);
	assert_true(a.called == 1 && b.called == 0);
	reply(other.id, WIRE_FOUND, "in time", 0);
	assert_true(b.called == 1 && b.result == WIRE_FOUND);
	assert_int_equal(counted(METRIC_lookups_unanswered), 1);
	/* And a late answer is not kept. */
	ask(1, &a);
	assert_true(take(&q));
}

static void silence_is_said_once(void **context)
{
	struct asker a = asker();
	struct wire_question q;
	(void)context;
	for (unsigned i = 0; i < 5; i++) {
		ask(i, &a);
		loop_advance(&loop, LOOKUP_TIMEOUT);
		assert_true(take(&q));
	}
	assert_int_equal(lines("event=lookup_silent"), 1);
	ask(9, &a);
	assert_true(take(&q));
	reply(q.id, WIRE_NONE, "", 0);
	assert_int_equal(lines("event=lookup_back"), 0); /* one answer among those that fail is no end of it */
	loop_advance(&loop, LOOKUP_TIMEOUT);
	ask(10, &a);
	assert_true(take(&q));
	reply(q.id, WIRE_NONE, "", 0);
	assert_int_equal(lines("event=lookup_back"), 1);
	assert_non_null(strstr(buf_text(&said), "questions_failed=5"));
}

static void same_question_asked_once(void **context)
{
	struct asker all[3] = { asker(), asker(), asker() };
	struct wire_question q;
	(void)context;
	for (unsigned i = 0; i < 3; i++)
		ask(1, &all[i]);
	lookup_cancel(lookup, &all[1].wait);
	assert_true(take(&q));
	reply(q.id, WIRE_FOUND, "OK", 0);
	assert_false(take(&q));
	assert_true(all[0].called == 1 && all[1].called == 0 && all[2].called == 1);
}

static void callbacks_may_cancel_and_ask(void **context)
{
	struct asker a = asker(), b = asker(), c = asker();
	struct wire_question q;
	(void)context;
	ask(1, &a);
	ask(1, &b);
	a.cancels = &b;
	b.cancels = &a;
	a.asks_again = b.asks_again = &c;
	assert_true(take(&q));
	reply(q.id, WIRE_FOUND, "OK", 0);
	assert_int_equal(a.called + b.called, 1);
	assert_true(take(&q) && slice_is(q.keys[0], "connect:10.0.0.77"));
	reply(q.id, WIRE_NONE, "", 0);
	assert_int_equal(c.called, 1);
}

static void nonsense_is_ignored(void **context)
{
	struct asker a = asker();
	struct wire_question q;
	(void)context;
	ask(1, &a);
	assert_true(take(&q));
	assert_int_equal(send(worker_replies, "nonsense", 8, 0), 8);
	loop_turn(&loop, 0);
	reply(q.id, WIRE_FOUND, "a key it does not have", 2);
	reply(q.id + (1 << 16), WIRE_FOUND, "another id", 0);
	reply(0, WIRE_FOUND, "no id", 0);
	assert_int_equal(a.called, 0);
	reply(q.id, WIRE_FOUND, "OK", 1);
	assert_int_equal(a.called, 1);
	reply(q.id, WIRE_FOUND, "twice", 1);
	assert_int_equal(a.called, 1);
}

/* Nobody reads: the socket is full, then the line; then questions fail at once. When somebody reads again, those in line go out in order. */
/* How a map does is told to those who watch the door: the map that was asked, and no other. */
static void watched(void **context)
{
	static struct metrics_times before, after;
	struct asker a = asker(), b = asker(), c = asker();
	struct wire_question q;
	(void)context;
	metrics_times(HISTOGRAM_lookup_redis, &before);
	ask(1, &a);
	assert_true(take(&q));
	assert_int_equal(health_of(2).state, HEALTH_UNKNOWN);
	loop_advance(&loop, 7 * LOOP_MS);
	reply(q.id, WIRE_NONE, "", 0);
	assert_int_equal(health_of(2).state, HEALTH_UP);
	ask(2, &b);
	assert_true(take(&q));
	loop_advance(&loop, 5 * LOOP_MS);
	reply(q.id, WIRE_FAILED, "it hung up\x01", 0);
	assert_int_equal(health_of(2).state, HEALTH_DOWN);
	assert_string_equal(health_of(2).error, "it hung up\\x01");
	metrics_times(HISTOGRAM_lookup_redis, &after);
	assert_int_equal(after.count - before.count, 2);
	assert_int_equal(after.sum - before.sum, 12 * LOOP_MS);
	ask(3, &c);
	loop_advance(&loop, LOOKUP_TIMEOUT);
	assert_int_equal(c.called, 1);
	assert_string_equal(health_of(2).error, "no answer in time");
	assert_int_equal(health_of(2).good, 1);
	assert_int_equal(health_of(2).bad, 2);
	metrics_times(HISTOGRAM_lookup_redis, &after);
	assert_int_equal(after.count - before.count, 2);
	assert_int_equal(health_of(1).state, HEALTH_UNKNOWN);
}

static void a_full_queue(void **context)
{
	static struct asker all[LOOKUP_PENDING + 1];
	struct wire_question q;
	unsigned n = 0, got = 0;
	(void)context;
	for (; n < LOOKUP_PENDING; n++) {
		all[n] = asker();
		ask(n, &all[n]);
	}
	all[n] = asker();
	q = question(n);
	const struct wire_answer *at_once = lookup_ask(lookup, &q, &all[n].wait);
	assert_non_null(at_once);
	assert_int_equal(at_once->found[0].result, WIRE_FAILED);
	assert_int_equal(lines("event=lookup_silent"), 1);
	while (take(&q)) {
		char text[32];
		snprintf(text, sizeof(text), "connect:10.0.%u.%u", got / 256, got % 256);
		assert_true(slice_is(q.keys[0], text));
		got++;
		loop_turn(&loop, 0);
	}
	assert_int_equal(got, LOOKUP_PENDING);
	reply(q.id, WIRE_NONE, "", 0);
	assert_int_equal(all[n - 1].called, 1);
	loop_advance(&loop, LOOKUP_TIMEOUT + LOOP_MS); /* not all in one turn: others are due meanwhile */
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(all[i].called, 1);
}

static void the_line_has_a_ceiling_in_bytes(void **context)
{
	static char key[1000];
	static struct asker all[LOOKUP_PENDING];
	struct wire_question q = { .searches = 1, .counts = { 30 } };
	unsigned n = 0;
	(void)context;
	memset(key, 'k', sizeof(key));
	for (unsigned i = 0; i < 30; i++)
		q.keys[i] = (struct slice){ key, sizeof(key) };
	do {
		all[n] = asker();
		snprintf(key, sizeof(key), "%u", n);
	} while (!lookup_ask(lookup, &q, &all[n++].wait) && n < LOOKUP_PENDING);
	assert_in_range(n, LOOKUP_QUEUE_MAX / 30000, LOOKUP_QUEUE_MAX / 30000 + 40);
	/* Who stands in line and loses interest makes room; who is out does not. */
	for (unsigned i = 0; i + 1 < n; i++)
		lookup_cancel(lookup, &all[i].wait);
	all[0] = asker();
	snprintf(key, sizeof(key), "new");
	assert_null(lookup_ask(lookup, &q, &all[0].wait));
	while (take(&q))
		loop_turn(&loop, 0);
	assert_int_equal(q.keys[0].len, sizeof(key));
	assert_string_equal(q.keys[0].at, "new");
	lookup_cancel(lookup, &all[0].wait);
}

static void beyond_the_bounds(void **context)
{
	static char key[WIRE_KEY_MAX + 1];
	struct asker a = asker();
	struct wire_question q = { .searches = 1, .counts = { 1 }, .keys = { { key, sizeof(key) } } };
	(void)context;
	const struct wire_answer *known = lookup_ask(lookup, &q, &a.wait);
	assert_non_null(known);
	assert_int_equal(known->found[0].result, WIRE_FAILED);
	assert_false(lookup_waits(&a.wait));
}

/* The parent is gone with all that it kept open. */
static void nobody_there(void **context)
{
	struct asker a = asker(), b = asker();
	(void)context;
	ask(1, &a);
	close_worker();
	loop_turn(&loop, 0);
	struct wire_question q = question(2);
	const struct wire_answer *known = lookup_ask(lookup, &q, &b.wait);
	assert_non_null(known);
	assert_int_equal(known->found[0].result, WIRE_FAILED);
	loop_advance(&loop, LOOKUP_TIMEOUT);
	assert_int_equal(a.called, 1);
}

/* Ten thousand questions in a random order of events: each is answered once, or cancelled, and nothing is left. */
static void a_long_life(void **context)
{
	static struct asker all[64];
	struct wire_question q;
	uint64_t ids[64] = { 0 };
	unsigned asked = 0, expected = 0, called = 0;
	(void)context;
	srand(7);
	for (unsigned i = 0; i < 64; i++)
		all[i] = asker();
	for (unsigned step = 0; step < 20000; step++) {
		struct asker *a = &all[rand() % 64];
		switch (rand() % 4) {
		case 0:
			if (lookup_waits(&a->wait))
				break;
			q = question(1000 + (unsigned)rand() % 5000);
			if (!lookup_ask(lookup, &q, &a->wait))
				expected++;
			break;
		case 1:
			if (rand() % 4 == 0 && lookup_waits(&a->wait)) {
				lookup_cancel(lookup, &a->wait);
				expected--;
			}
			break;
		case 2:
			if (take(&q))
				ids[asked++ % 64] = q.id;
			reply(ids[rand() % 64], rand() % 5 ? WIRE_FOUND : WIRE_FAILED, "v", 0);
			break;
		default:
			loop_advance(&loop, rand() % 100 * LOOP_MS);
			break;
		}
	}
	loop_advance(&loop, 2 * LOOKUP_TIMEOUT);
	for (unsigned i = 0; i < 64; i++) {
		called += all[i].called;
		assert_false(lookup_waits(&all[i].wait));
	}
	assert_int_equal(called, expected);
	assert_int_equal(loop.heap_len, 0);
}

static void ended_while_asked(void **context)
{
	static struct asker a;
	(void)context;
	a = asker();
	ask(1, &a);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { CASE(asked_and_answered), CASE(kept_for_a_while), CASE(a_failure_is_not_kept), CASE(out_of_time),
		CASE(silence_is_said_once), CASE(same_question_asked_once), CASE(callbacks_may_cancel_and_ask), CASE(nonsense_is_ignored), CASE(watched), CASE(a_full_queue),
		CASE(the_line_has_a_ceiling_in_bytes), CASE(beyond_the_bounds), CASE(nobody_there), CASE(a_long_life), CASE(ended_while_asked) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
