/* The loop: the heap against a model, the clock, descriptors and their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"

#define TIMERS 300

struct timer {
	struct source source;
	int64_t want; /* LOOP_NEVER: none */
	unsigned fired;
};

static int64_t last_fired;

static void timer_due(struct loop *loop, struct source *source)
{
	struct timer *t = (struct timer *)source;
	assert_true(t->want <= loop_now(loop));
	assert_true(t->want >= last_fired);
	last_fired = t->want;
	t->want = LOOP_NEVER;
	t->fired++;
}

static void no_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)loop;
	(void)source;
	(void)events;
	fail();
}

static const struct source_ops timer_ops = { no_ready, timer_due };

static void heap_against_a_model(void **context)
{
	struct loop loop;
	struct timer timers[TIMERS];
	(void)context;
	assert_int_equal(loop_init_manual(&loop, TIMERS), 0);
	srand(2);
	for (int i = 0; i < TIMERS; i++) {
		source_init(&timers[i].source, &timer_ops);
		timers[i].want = LOOP_NEVER;
		timers[i].fired = 0;
	}
	for (int i = 0; i < 100000; i++) {
		struct timer *t = &timers[rand() % TIMERS];
		t->want = rand() % 4 ? loop_now(&loop) + 1 + rand() % 1000 : LOOP_NEVER;
		assert_true(loop_set_due(&loop, &t->source, t->want));
		if (rand() % 50 == 0) {
			last_fired = 0;
			loop_advance(&loop, rand() % 300);
			for (int k = 0; k < TIMERS; k++)
				assert_true(timers[k].want > loop_now(&loop));
		}
	}
	last_fired = 0;
	loop_advance(&loop, 10000);
	assert_int_equal(loop.heap_len, 0);
	loop_fini(&loop);
}

static void ceiling(void **context)
{
	struct loop loop;
	struct timer a, b;
	(void)context;
	assert_int_equal(loop_init_manual(&loop, 1), 0);
	source_init(&a.source, &timer_ops);
	source_init(&b.source, &timer_ops);
	assert_true(loop_set_due(&loop, &a.source, 5));
	assert_false(loop_set_due(&loop, &b.source, 6));
	assert_true(loop_set_due(&loop, &a.source, LOOP_NEVER));
	assert_true(loop_set_due(&loop, &b.source, 6));
	loop_fini(&loop);
}

struct reader {
	struct source source;
	unsigned readable, closed_other;
	struct reader *other;
};

static void reader_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct reader *r = (struct reader *)source;
	assert_true(events & EPOLLIN);
	r->readable++;
	loop_close(loop, &r->other->source); /* its event of the same turn must not arrive */
}

static void no_due(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
	fail();
}

static const struct source_ops reader_ops = { reader_ready, no_due };

static void closed_in_the_same_turn(void **context)
{
	struct loop loop;
	struct reader r[2];
	int pair[2][2];
	(void)context;
	assert_int_equal(loop_init_manual(&loop, 4), 0);
	for (int i = 0; i < 2; i++) {
		r[i] = (struct reader){ .other = &r[1 - i] };
		source_init(&r[i].source, &reader_ops);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair[i]), 0);
		assert_int_equal(loop_watch(&loop, &r[i].source, pair[i][0], EPOLLIN), 0);
		assert_int_equal(write(pair[i][1], "x", 1), 1);
	}
	assert_int_equal(loop_turn(&loop, 0), 0);
	assert_int_equal(r[0].readable + r[1].readable, 1);
	close(pair[0][1]);
	close(pair[1][1]);
	loop_close(&loop, &r[0].source);
	loop_close(&loop, &r[1].source);
	loop_fini(&loop);
}

/* The real clock: never early, whatever the rounding. */
static void never_early(void **context)
{
	struct loop loop;
	struct timer t = { .fired = 0 };
	(void)context;
	assert_int_equal(loop_init(&loop, 4), 0);
	source_init(&t.source, &timer_ops);
	for (int i = 0; i < 20; i++) {
		last_fired = 0;
		t.want = loop_now(&loop) + 100000 * (i + 1); /* 0.1 to 2 ms */
		loop_set_due(&loop, &t.source, t.want);
		while (t.fired == (unsigned)i)
			assert_int_equal(loop_turn(&loop, LOOP_NEVER), 0);
	}
	loop_fini(&loop);
}

static void again_due(struct loop *loop, struct source *source)
{
	struct timer *t = (struct timer *)source;
	t->fired++;
	loop_set_due(loop, source, 0);
}

static const struct source_ops again_ops = { no_ready, again_due };

/* One that wants to be answered again at once does not keep the others from their turn. */
static void again_is_the_next_turn(void **context)
{
	struct loop loop;
	struct timer t = { .fired = 0 };
	(void)context;
	assert_int_equal(loop_init_manual(&loop, 2), 0);
	source_init(&t.source, &again_ops);
	assert_true(loop_set_due(&loop, &t.source, loop_now(&loop)));
	assert_int_equal(loop_turn(&loop, 0), 0);
	assert_int_equal(t.fired, 1);
	loop_advance(&loop, 1);
	assert_true(t.fired >= 2 && t.fired <= 3); /* a turn before and one after the step */
	loop_set_due(&loop, &t.source, LOOP_NEVER);
	loop_fini(&loop);
}

static void stop_due(struct loop *loop, struct source *source)
{
	(void)source;
	loop_stop(loop);
}

static const struct source_ops stop_ops = { no_ready, stop_due };

static void set_stop(struct loop *loop, void *context)
{
	struct source *source = context;
	loop_set_due(loop, source, loop_now(loop));
}

/* What turn_end would do at the end of a turn, it does before the first wait: a line of the log that could not be written at start waits for no event. */
static void turn_end_comes_before_the_first_wait(void **context)
{
	struct loop loop;
	struct source source;
	(void)context;
	assert_int_equal(loop_init_manual(&loop, 1), 0);
	source_init(&source, &stop_ops);
	loop.turn_end = set_stop;
	loop.turn_end_context = &source;
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(loop.turns, 1);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(heap_against_a_model), cmocka_unit_test(ceiling), cmocka_unit_test(closed_in_the_same_turn),
		cmocka_unit_test(never_early), cmocka_unit_test(turn_end_comes_before_the_first_wait),
		cmocka_unit_test(again_is_the_next_turn) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
