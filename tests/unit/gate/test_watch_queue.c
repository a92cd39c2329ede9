/* Who is owed which reply: order, ceilings, an outlet that is too small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gate/watch_queue.h"

static struct watch_queue q;
static struct buf out;

static int begin(void **state)
{
	(void)state;
	watch_queue_init(&q);
	buf_init(&out, 64 * 1024);
	return 0;
}

static int end(void **state)
{
	(void)state;
	watch_queue_fini(&q);
	buf_fini(&out);
	return 0;
}

static void put(const char *text)
{
	assert_true(buf_put_text(&q.answers, text));
	assert_true(watch_queue_push_answer(&q));
}

static void order(void **state)
{
	(void)state;
	assert_int_equal(watch_queue_first(&q), WATCH_TURN_NONE);
	watch_queue_push(&q, WATCH_TURN_MAIL);
	put("1\r\n");
	put("2-\r\n2\r\n");
	watch_queue_push(&q, WATCH_TURN_RCPT);
	put("3\r\n");
	assert_true(watch_queue_flush(&q, &out));
	assert_int_equal(out.len, 0);
	assert_int_equal(watch_queue_first(&q), WATCH_TURN_MAIL);
	watch_queue_pop(&q);
	assert_true(watch_queue_flush(&q, &out));
	assert_true(slice_is(buf_slice(&out), "1\r\n2-\r\n2\r\n"));
	assert_int_equal(watch_queue_first(&q), WATCH_TURN_RCPT);
	assert_true(buf_put_text(&q.answers, "4\r\n"));
	assert_true(slice_is(watch_queue_unclaimed(&q), "4\r\n"));
	watch_queue_drop_unclaimed(&q);
	assert_int_equal(watch_queue_unclaimed(&q).len, 0);
	watch_queue_pop(&q);
	assert_true(watch_queue_flush(&q, &out));
	assert_true(slice_is(buf_slice(&out), "1\r\n2-\r\n2\r\n3\r\n"));
	assert_int_equal(q.len, 0);
	assert_null(q.answers.at); /* nothing is held when nothing waits */
}

static void no_reply_is_a_451(void **state)
{
	(void)state;
	assert_true(watch_queue_push_answer(&q));
	assert_true(watch_queue_flush(&q, &out));
	assert_true(slice_is(buf_slice(&out), "451 4.3.0 Temporary system failure. Please try again later.\r\n"));
}

static void a_small_outlet(void **state)
{
	char memory[5];
	struct buf small;
	(void)state;
	buf_init_fixed(&small, memory, sizeof(memory));
	put("one\r\n");
	put("two\r\n");
	assert_false(watch_queue_flush(&q, &small));
	assert_true(slice_is(buf_slice(&small), "one\r\n"));
	assert_int_equal(watch_queue_first(&q), WATCH_TURN_ANSWER);
	buf_clear(&small);
	assert_true(watch_queue_flush(&q, &small));
	assert_true(slice_is(buf_slice(&small), "two\r\n"));
}

/* Round and round the ring, full and empty. */
static void ceilings(void **state)
{
	char big[WATCH_ANSWER_BYTES];
	(void)state;
	for (int round = 0; round < 3; round++) {
		unsigned n = 0;
		for (; watch_queue_has_room(&q); n++)
			watch_queue_push(&q, n % 2 ? WATCH_TURN_RCPT : WATCH_TURN_MAIL);
		assert_int_equal(n, WATCH_PENDING - WATCH_AT_ONCE + 1);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(watch_queue_first(&q), i % 2 ? WATCH_TURN_RCPT : WATCH_TURN_MAIL);
			watch_queue_pop(&q);
		}
	}
	memset(big, 'x', sizeof(big));
	watch_queue_push(&q, WATCH_TURN_MAIL);
	unsigned n = 0;
	for (; watch_queue_has_room(&q); n++) {
		assert_true(buf_put(&q.answers, big, sizeof(big)));
		assert_true(watch_queue_push_answer(&q));
	}
	assert_int_equal(n, WATCH_ANSWERS / WATCH_ANSWER_BYTES);
	watch_queue_pop(&q);
	assert_true(watch_queue_flush(&q, &out));
	assert_int_equal(out.len, n * sizeof(big));
	assert_true(watch_queue_has_room(&q));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order, begin, end),
		cmocka_unit_test_setup_teardown(no_reply_is_a_451, begin, end),
		cmocka_unit_test_setup_teardown(a_small_outlet, begin, end),
		cmocka_unit_test_setup_teardown(ceilings, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
