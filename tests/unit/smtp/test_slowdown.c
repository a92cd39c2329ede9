/* Slow-downs: which commands, from which repetition on, for how long, and that it is told once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/slowdown.h"

static void kinds(void **state)
{
	(void)state;
	for (int v = COMMAND_UNKNOWN; v <= COMMAND_BDAT; v++) {
		enum slowdown_kind kind = slowdown_kind((enum command_verb)v);
		bool hello = v == COMMAND_HELO || v == COMMAND_EHLO, verify = v == COMMAND_VRFY || v == COMMAND_EXPN;
		assert_int_equal(kind == SLOWDOWN_HELO, hello);
		assert_int_equal(kind == SLOWDOWN_VRFY, verify);
		assert_int_equal(kind == SLOWDOWN_NOOP, v == COMMAND_NOOP);
		assert_int_equal(kind == SLOWDOWN_ETRN, v == COMMAND_ETRN);
		assert_true(kind <= SLOWDOWN_KINDS);
	}
}

/* The wait doubles up to the most, and stays there for ever. */
static void doubles(void **state)
{
	static const struct {
		enum slowdown_kind kind;
		unsigned from;
		const char *name;
	} cells[] = { { SLOWDOWN_HELO, 3, "HELO/EHLO" }, { SLOWDOWN_NOOP, 20, "NOOP" }, { SLOWDOWN_VRFY, 6, "VRFY/EXPN" }, { SLOWDOWN_ETRN, 8, "ETRN" } };
	static const unsigned waits[] = { 1, 2, 4, 8, 16, 32, 64, 128, 240, 240 };
	(void)state;
	for (size_t c = 0; c < sizeof(cells) / sizeof(*cells); c++) {
		struct slowdown s = { { 0 } };
		for (unsigned n = 1; n <= 70000; n++) {
			struct slowdown_step step = slowdown_count(&s, cells[c].kind);
			unsigned over = n - cells[c].from;
			unsigned wanted = n < cells[c].from ? 0 : over < 10 ? waits[over] : SLOWDOWN_MOST;
			assert_int_equal(step.seconds, wanted);
			assert_int_equal(step.command != NULL, n == cells[c].from);
			if (step.command)
				assert_string_equal(step.command, cells[c].name);
			assert_int_equal(step.count, n < UINT16_MAX ? n : UINT16_MAX);
		}
	}
}

/* One counter does not move another, and TLS begins HELO's anew alone. */
static void apart(void **state)
{
	struct slowdown s = { { 0 } };
	(void)state;
	for (int i = 0; i < 30; i++)
		slowdown_count(&s, SLOWDOWN_NOOP);
	assert_int_equal(slowdown_count(&s, SLOWDOWN_HELO).seconds, 0);
	assert_int_equal(slowdown_count(&s, SLOWDOWN_HELO).seconds, 0);
	assert_int_equal(slowdown_count(&s, SLOWDOWN_HELO).seconds, 1);
	slowdown_restart(&s);
	assert_int_equal(slowdown_count(&s, SLOWDOWN_HELO).seconds, 0);
	assert_int_equal(slowdown_count(&s, SLOWDOWN_NOOP).seconds, SLOWDOWN_MOST);
	for (int i = 0; i < 100; i++)
		assert_int_equal(slowdown_count(&s, SLOWDOWN_KINDS).seconds, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kinds), cmocka_unit_test(doubles), cmocka_unit_test(apart) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
