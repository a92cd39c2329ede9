/* Questions and answers between front and lookup process: there and back, at their bounds, cut, and with something behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "map/wire.h"

static char memory[WIRE_QUESTION_MAX + 1];

static struct buf room(size_t size)
{
	struct buf b;
	buf_init_fixed(&b, memory, size);
	return b;
}

static struct wire_question two_searches(void)
{
	struct wire_question q = { .id = UINT64_C(0x0102030405060708), .deadline = INT64_C(77000000001), .front = 3, .map = 2, .searches = 2, .counts = { 2, 1 } };
	q.keys[0] = slice_of("greetpause:host.example.com");
	q.keys[1] = (struct slice){ "a\0b", 3 };
	q.keys[2] = slice_of("connect:127.0.0.2");
	return q;
}

static void a_question_there_and_back(void **context)
{
	struct wire_question q = two_searches(), got;
	struct buf b = room(sizeof(memory));
	(void)context;
	assert_true(wire_put_question(&b, &q));
	assert_true(wire_get_question(buf_slice(&b), &got));
	assert_true(got.id == q.id && got.deadline == q.deadline && got.front == 3 && got.map == 2 && got.searches == 2);
	assert_int_equal(got.counts[0], 2);
	assert_int_equal(got.counts[1], 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(got.keys[i].len, q.keys[i].len);
		assert_memory_equal(got.keys[i].at, q.keys[i].at, q.keys[i].len);
	}
}

/* What follows WIRE_BODY_AT is the question itself: the same whoever asks, and when; another one for another map or another order. */
static void the_body_is_what_is_asked(void **context)
{
	struct wire_question q = two_searches(), other = two_searches();
	char first[256];
	struct buf b = room(sizeof(memory));
	(void)context;
	assert_true(wire_put_question(&b, &q));
	size_t len = b.len;
	memcpy(first, b.at, len);
	other.id++;
	other.front++;
	other.deadline++;
	buf_clear(&b);
	assert_true(wire_put_question(&b, &other));
	assert_int_equal(b.len, len);
	assert_memory_equal(b.at + WIRE_BODY_AT, first + WIRE_BODY_AT, len - WIRE_BODY_AT);
	assert_memory_not_equal(b.at, first, WIRE_BODY_AT);
	other.map++;
	buf_clear(&b);
	assert_true(wire_put_question(&b, &other));
	assert_memory_not_equal(b.at + WIRE_BODY_AT, first + WIRE_BODY_AT, len - WIRE_BODY_AT);
}

static void cut_or_too_long_is_none(void **context)
{
	struct wire_question q = two_searches(), got = { .id = 9 };
	struct buf b = room(sizeof(memory));
	(void)context;
	assert_true(wire_put_question(&b, &q));
	for (size_t len = 0; len < b.len; len++)
		assert_false(wire_get_question((struct slice){ b.at, len }, &got));
	b.at[b.len] = 0;
	assert_false(wire_get_question((struct slice){ b.at, b.len + 1 }, &got));
	assert_int_equal(got.id, 9); /* untouched */
}

static void bounds_of_a_question(void **context)
{
	static char key[WIRE_KEY_MAX + 1];
	struct wire_question q = { .searches = 1, .counts = { 1 } }, got;
	struct buf b = room(sizeof(memory));
	(void)context;
	memset(key, 'k', sizeof(key));
	q.keys[0] = (struct slice){ key, WIRE_KEY_MAX };
	assert_true(wire_put_question(&b, &q));
	assert_true(wire_get_question(buf_slice(&b), &got));
	buf_clear(&b);
	q.keys[0].len = WIRE_KEY_MAX + 1;
	assert_false(wire_put_question(&b, &q));
	q.keys[0].len = 0;
	assert_false(wire_put_question(&b, &q));
	q.keys[0].len = 1;
	q.counts[0] = 0;
	assert_false(wire_put_question(&b, &q));
	q.counts[0] = 1;
	q.searches = 0;
	assert_false(wire_put_question(&b, &q));
	q.searches = WIRE_SEARCHES + 1;
	assert_false(wire_put_question(&b, &q));
	assert_int_equal(b.len, 0);
}

static void many_keys_and_many_bytes(void **context)
{
	static char key[200];
	static struct wire_question q, got;
	struct buf b = room(sizeof(memory));
	(void)context;
	memset(key, 'k', sizeof(key));
	q = (struct wire_question){ .searches = 2, .counts = { WIRE_KEYS - 1, 1 } };
	for (int i = 0; i < WIRE_KEYS; i++)
		q.keys[i] = (struct slice){ key, 50 };
	assert_true(wire_put_question(&b, &q));
	assert_true(wire_get_question(buf_slice(&b), &got));
	buf_clear(&b);
	q.counts[1] = 2;
	assert_false(wire_put_question(&b, &q));
	q.counts[1] = 1;
	for (int i = 0; i < WIRE_KEYS; i++)
		q.keys[i].len = 75; /* each is well, all of them are more than 32 KB */
	assert_false(wire_put_question(&b, &q));
	assert_int_equal(b.len, 0);
	struct buf small = room(50);
	q = two_searches();
	assert_false(wire_put_question(&small, &q));
	assert_int_equal(small.len, 0);
}

/* Counts that a sender of ours would never write. */
static void lies(void **context)
{
	struct wire_question q = two_searches(), got;
	struct buf b = room(sizeof(memory));
	(void)context;
	assert_true(wire_put_question(&b, &q));
	static const struct { size_t at; char value; } wrong[] = {
		{ 0, 'A' }, { 1, WIRE_VERSION + 1 }, { 22, 0 }, { 22, 1 }, { 22, 3 }, { 22, WIRE_SEARCHES + 1 }, { 23, 1 }, { 24, 0 }, { 24, 3 }, { 25, 4 }, { 26, 0 }, { 26, 28 },
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char before = b.at[wrong[i].at];
		b.at[wrong[i].at] = wrong[i].value;
		assert_false(wire_get_question(buf_slice(&b), &got));
		b.at[wrong[i].at] = before;
	}
	assert_true(wire_get_question(buf_slice(&b), &got));
}

static void an_answer_there_and_back(void **context)
{
	struct wire_answer a = { .id = UINT64_MAX - 1, .searches = 3 }, got = { .id = 9 };
	struct buf b = room(sizeof(memory));
	(void)context;
	a.found[0] = (struct wire_found){ .result = WIRE_FOUND, .key = 199, .text = slice_of("REJECT") };
	a.found[1] = (struct wire_found){ .result = WIRE_NONE };
	a.found[2] = (struct wire_found){ .result = WIRE_FAILED, .text = slice_of("no answer in time") };
	assert_true(wire_put_answer(&b, &a));
	for (size_t len = 0; len < b.len; len++)
		assert_false(wire_get_answer((struct slice){ b.at, len }, &got));
	assert_false(wire_get_answer((struct slice){ b.at, b.len + 1 }, &got));
	assert_int_equal(got.id, 9);
	assert_true(wire_get_answer(buf_slice(&b), &got));
	assert_true(got.id == a.id && got.searches == 3);
	assert_true(got.found[0].result == WIRE_FOUND && got.found[0].key == 199 && !got.found[0].cut && slice_is(got.found[0].text, "REJECT"));
	assert_true(got.found[1].result == WIRE_NONE);
	assert_true(got.found[2].result == WIRE_FAILED && slice_is(got.found[2].text, "no answer in time"));
	b.at[11] = 7; /* no such result */
	assert_false(wire_get_answer(buf_slice(&b), &got));
	b.at[11] = WIRE_FOUND;
	b.at[12] = 2; /* a key beyond any question */
	assert_false(wire_get_answer(buf_slice(&b), &got));
}

static void long_values_are_cut(void **context)
{
	static char value[WIRE_VALUE_MAX + 1];
	struct wire_answer a = { .id = 1, .searches = WIRE_SEARCHES }, got;
	struct buf b = room(sizeof(memory));
	(void)context;
	memset(value, 'v', sizeof(value));
	for (unsigned s = 0; s < WIRE_SEARCHES; s++)
		a.found[s] = (struct wire_found){ .result = s == 7 ? WIRE_FAILED : WIRE_FOUND, .text = { value, WIRE_VALUE_MAX + (s & 1) } };
	assert_true(wire_put_answer(&b, &a));
	assert_true(b.len <= WIRE_ANSWER_MAX);
	assert_true(wire_get_answer(buf_slice(&b), &got));
	for (unsigned s = 0; s < 7; s++) {
		assert_int_equal(got.found[s].text.len, WIRE_VALUE_MAX);
		assert_int_equal(got.found[s].cut, s & 1);
	}
	assert_int_equal(got.found[7].text.len, WIRE_REASON_MAX);
	a.searches = 0;
	assert_false(wire_put_answer(&b, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_question_there_and_back), cmocka_unit_test(the_body_is_what_is_asked),
		cmocka_unit_test(cut_or_too_long_is_none), cmocka_unit_test(bounds_of_a_question), cmocka_unit_test(many_keys_and_many_bytes), cmocka_unit_test(lies),
		cmocka_unit_test(an_answer_there_and_back), cmocka_unit_test(long_values_are_cut) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
