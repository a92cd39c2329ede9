/* tarry probe --all: which reply answers what, also when a server answers less than was said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tool/probe_all.h"

static void put(struct probe_queue *q, const char *script, enum probe_phase phase)
{
	for (; *script; script++)
		probe_queue_put(q, probe_act_step(*script), phase);
}

/* A reply takes what is first. */
static void hear(struct probe_queue *q, struct probe_record *r, int code)
{
	struct probe_expected e = probe_queue_take(q);
	r->replies[r->replies_len++] = (struct probe_reply){ .code = code, .to = e.step, .phase = e.phase };
}

static void check(const struct probe_record *r, const char *script)
{
	for (size_t i = 0; i < r->replies_len; i++)
		assert_int_equal(r->replies[i].to, probe_act_step(script[i]));
	assert_int_equal(script[r->replies_len], '\0');
}

static void test_in_order(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	static struct probe_record r;
	put(&q, "HM", PROBE_PHASE_DEED);
	put(&q, "Q", PROBE_PHASE_AFTER);
	assert_int_equal(probe_queue_unanswered(&q), 2);
	hear(&q, &r, 250);
	assert_int_equal(probe_queue_unanswered(&q), 1);
	hear(&q, &r, 250);
	hear(&q, &r, 221);
	check(&r, "HMQ");
	assert_int_equal(r.replies[1].phase, PROBE_PHASE_DEED);
	assert_int_equal(r.replies[2].phase, PROBE_PHASE_AFTER);
	assert_int_equal(q.len, 0);
}

static void test_full(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	for (int i = 0; i < 2 * PROBE_PENDING; i++)
		probe_queue_put(&q, PROBE_STEP_JUNK, PROBE_PHASE_DEED);
	assert_int_equal(q.len, PROBE_PENDING);
	q.at[0] = (struct probe_expected){ PROBE_STEP_EOM, PROBE_PHASE_DEED };
	probe_queue_refused_data(&q, 9);
	assert_int_equal(q.len, PROBE_PENDING);
}

/* The lines of a message that went out with a refused DATA; not those of one that was still to come. */
static void test_refused_data(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	put(&q, ".Q", PROBE_PHASE_DEED);
	probe_queue_refused_data(&q, 3);
	assert_int_equal(q.len, 5);
	assert_int_equal(q.at[2].step, PROBE_STEP_LINE);
	assert_int_equal(q.at[3].step, PROBE_STEP_EOM);
	assert_int_equal(q.at[4].step, PROBE_STEP_QUIT);
	q.len = 0;
	put(&q, "Q", PROBE_PHASE_AFTER);
	probe_queue_refused_data(&q, 3);
	assert_int_equal(q.len, 1);
	q.len = 0;
	probe_queue_refused_data(&q, 3);
	assert_int_equal(q.len, 0);
}

static void test_less_is_answered(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	static struct probe_record r;
	put(&q, "EM", PROBE_PHASE_DEED);
	put(&q, "Q", PROBE_PHASE_AFTER);
	hear(&q, &r, 250);
	hear(&q, &r, 221);
	probe_queue_realign(&q, &r, "EM");
	check(&r, "EQ");
	assert_int_equal(r.replies[1].phase, PROBE_PHASE_AFTER);
	assert_int_equal(probe_queue_unanswered(&q), 1); /* MAIL */
}

/* A 250 at the end is nobody's goodbye. */
static void test_no_goodbye(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	static struct probe_record r;
	put(&q, "EM", PROBE_PHASE_DEED);
	put(&q, "Q", PROBE_PHASE_AFTER);
	hear(&q, &r, 250);
	hear(&q, &r, 250);
	probe_queue_realign(&q, &r, "EM");
	check(&r, "EM");
}

static void test_behind_bytes(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	static struct probe_record r;
	put(&q, "JJJJJEMRSQ", PROBE_PHASE_DEED);
	for (int i = 0; i < 3; i++)
		hear(&q, &r, 500);
	for (int i = 0; i < 4; i++)
		hear(&q, &r, 250);
	hear(&q, &r, 221);
	probe_queue_realign(&q, &r, "JEMRSQ");
	check(&r, "JJJEMRSQ");
	/* A single 221 is for the bytes. */
	r.replies_len = 0;
	q.len = 0;
	put(&q, "JJJJJEMRSQ", PROBE_PHASE_DEED);
	hear(&q, &r, 221);
	probe_queue_realign(&q, &r, "JEMRSQ");
	check(&r, "J");
}

static void test_forget(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	put(&q, "JJEJM", PROBE_PHASE_DEED);
	probe_queue_forget_junk(&q);
	assert_int_equal(q.len, 2);
	assert_int_equal(q.at[0].step, PROBE_STEP_EHLO);
	assert_int_equal(q.at[1].step, PROBE_STEP_MAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order), cmocka_unit_test(test_full), cmocka_unit_test(test_refused_data), cmocka_unit_test(test_less_is_answered),
		cmocka_unit_test(test_no_goodbye), cmocka_unit_test(test_behind_bytes), cmocka_unit_test(test_forget),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
