/* tarry probe --all: which reply answers what, also when a server answers less than was said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
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
	struct probe_reply *reply = &r->replies[r->replies_len++];
	*reply = (struct probe_reply){ .code = code, .first_code = code };
	probe_queue_answer(q, reply, PROBE_PHASE_AFTER);
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
	static struct probe_record r;
	q.at[0] = (struct probe_expected){ PROBE_STEP_DATA, PROBE_PHASE_DEED };
	q.at[1] = (struct probe_expected){ PROBE_STEP_EOM, PROBE_PHASE_DEED };
	hear(&q, &r, 550); /* no room for the lines: it is not made */
	assert_int_equal(q.len, PROBE_PENDING - 1);
}

/* The lines of a message that went out with a refused DATA; not those of one that was still to come, or of one that was taken. */
static void test_refused_data(void **state)
{
	(void)state;
	static struct probe_record r;
	static const struct {
		const char *script;
		enum probe_phase phase;
		int code;
		bool lines;
	} rows[] = { { "D.Q", PROBE_PHASE_DEED, 550, true }, { "D.Q", PROBE_PHASE_DEED, 354, false }, { "D.", PROBE_PHASE_AFTER, 550, false }, { "DQ", PROBE_PHASE_DEED, 550, false }, { "D", PROBE_PHASE_DEED, 550, false } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct probe_queue q = { .len = 0 };
		put(&q, rows[i].script, rows[i].phase);
		hear(&q, &r, rows[i].code);
		assert_int_equal(q.len, strlen(rows[i].script) - 1 + (rows[i].lines ? probe_act_message_lines() : 0));
		assert_true(!rows[i].lines || (q.at[0].step == PROBE_STEP_LINE && q.at[q.len - 2].step == PROBE_STEP_EOM));
	}
}

/* Nothing was asked. */
static void test_unasked(void **state)
{
	(void)state;
	struct probe_queue q = { .len = 0 };
	static struct probe_record r;
	hear(&q, &r, 250);
	assert_int_equal(r.replies[0].to, PROBE_STEP_NONE);
	assert_int_equal(r.replies[0].phase, PROBE_PHASE_AFTER);
}

static void test_broken_off_greeting(void **state)
{
	(void)state;
	static const struct {
		int first_code, code;
		enum probe_step to;
	} rows[] = { { 220, 220, PROBE_STEP_GREETING }, { 220, 250, PROBE_STEP_HELO }, { 220, 502, PROBE_STEP_HELO }, { 220, 521, PROBE_STEP_GREETING }, { 220, 421, PROBE_STEP_GREETING }, { 554, 554, PROBE_STEP_GREETING } };
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct probe_queue q = { .len = 0 };
		struct probe_reply reply = { .first_code = rows[i].first_code, .code = rows[i].code };
		put(&q, "gHM", PROBE_PHASE_DEED);
		probe_queue_answer(&q, &reply, PROBE_PHASE_AFTER);
		assert_int_equal(reply.to, rows[i].to);
	}
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
		cmocka_unit_test(test_in_order), cmocka_unit_test(test_full), cmocka_unit_test(test_refused_data), cmocka_unit_test(test_unasked), cmocka_unit_test(test_broken_off_greeting), cmocka_unit_test(test_less_is_answered),
		cmocka_unit_test(test_no_goodbye), cmocka_unit_test(test_behind_bytes), cmocka_unit_test(test_forget),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
