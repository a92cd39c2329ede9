/* What fronts write of backends, and what is made of it when they do not agree. Two processes: the memory is shared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/health.h"

/* The clock that health.c asks. */
static time_t now = 1000;
time_t time(time_t *out);
time_t time(time_t *out)
{
	if (out)
		*out = now;
	return now;
}

static void expect(unsigned backend, enum health_state state, int64_t since, int64_t seen, const char *error)
{
	struct health h = health_of(backend);
	assert_int_equal(h.state, state);
	assert_int_equal(h.since, since);
	assert_int_equal(h.seen, seen);
	assert_string_equal(h.error, error);
}

static void without_memory(void **context)
{
	(void)context;
	health_up(0, 0);
	health_down(0, 0, "x");
	expect(0, HEALTH_UNKNOWN, 0, 0, "");
}

static void one_front(void **context)
{
	(void)context;
	assert_int_equal(health_init(3, 2, 0), 0);
	expect(0, HEALTH_UNKNOWN, 0, 0, "");
	health_up(0, 0);
	now = 1010;
	health_up(0, 0);
	expect(0, HEALTH_UP, 1000, 1010, "");
	expect(1, HEALTH_UNKNOWN, 0, 0, "");
	now = 1020;
	health_down(0, 0, "Connection refused");
	now = 1030;
	health_down(0, 0, "no greeting in time");
	expect(0, HEALTH_DOWN, 1020, 1030, "no greeting in time");
	health_up(7, 0);
	health_up(0, 7);
	expect(7, HEALTH_UNKNOWN, 0, 0, "");
}

/* The last one who tried is right; it has been so since the first who agrees, unless somebody saw it otherwise in between. */
static void several(void **context)
{
	(void)context;
	assert_int_equal(health_init(3, 1, 0), 0);
	now = 2000;
	health_up(0, 0);
	health_up(1, 0);
	now = 2010;
	health_down(1, 0, "a");
	now = 2020;
	health_down(0, 0, "b");
	expect(0, HEALTH_DOWN, 2010, 2020, "b");
	now = 2030;
	health_up(2, 0);
	expect(0, HEALTH_UP, 2030, 2030, "");
	now = 2040;
	health_down(1, 0, "c");
	expect(0, HEALTH_DOWN, 2040, 2040, "c"); /* not since 2010: it was up in between */
	now = 2050;
	health_up(0, 0);
	now = 2060;
	health_down(1, 0, "d");
	now = 2070;
	health_up(2, 0);
	expect(0, HEALTH_UP, 2070, 2070, ""); /* not since 2050: it was down in between */
	now = 2080;
	health_up(2, 0);
	expect(0, HEALTH_UP, 2070, 2080, ""); /* and with the next client it is since then all the same, */
	now = 2090;
	health_down(1, 0, "e");
	now = 2100;
	health_down(1, 0, "f");
	expect(0, HEALTH_DOWN, 2090, 2100, "f"); /* also where it was down as that front knew it */
}

static void long_errors(void **context)
{
	char text[2 * HEALTH_ERROR];
	(void)context;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(health_init(1, 1, 0), 0);
	health_down(0, 0, text);
	assert_int_equal(strlen(health_of(0).error), HEALTH_ERROR - 1);
}

static void shared(void **context)
{
	int status;
	(void)context;
	assert_int_equal(health_init(1, 1, 0), 0);
	pid_t child = fork();
	if (child == 0) {
		health_down(0, 0, "by a child");
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_string_equal(health_of(0).error, "by a child");
}

/* A program that is given the descriptor sees what things are called and how they are, and changes nothing. */
static void read_by_a_program(void **context)
{
	char name[HEALTH_NAME], at[HEALTH_AT], long_text[300];
	(void)context;
	memset(long_text, 'y', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	assert_int_equal(health_init(2, 2, 1), 0);
	health_name(0, "postfix", "smtp:127.0.0.1:10025");
	health_name(1, long_text, long_text);
	health_name(health_map(0), "redis", "redis:127.0.0.1");
	health_name(3, "none", "none");
	health_up(0, 0);
	health_up(1, 0);
	health_up(1, 0);
	health_down(1, health_map(0), "no answer in time");
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(health_attach(ends[0]), -EPROTO);
	assert_int_equal(health_attach(health_fd_readonly()), 0);
	assert_int_equal(health_backends(), 2);
	assert_int_equal(health_maps(), 1);
	health_names(0, name, at);
	assert_string_equal(name, "postfix");
	assert_string_equal(at, "smtp:127.0.0.1:10025");
	health_names(1, name, at);
	assert_int_equal(strlen(name), HEALTH_NAME - 1);
	assert_int_equal(strlen(at), HEALTH_AT - 1);
	health_names(2, name, at);
	assert_string_equal(name, "redis");
	health_names(3, name, at);
	assert_string_equal(name, "");
	assert_int_equal(health_of(0).good, 3);
	assert_int_equal(health_of(0).bad, 0);
	assert_int_equal(health_of(2).state, HEALTH_DOWN);
	assert_int_equal(health_of(2).bad, 1);
	assert_string_equal(health_of(2).error, "no answer in time");
	health_up(0, 2); /* does nothing */
	health_down(0, 0, "x");
	health_name(0, "x", "x");
	assert_int_equal(health_of(2).good, 0);
	assert_int_equal(health_of(0).state, HEALTH_UP);
	assert_int_equal(health_of(3).state, HEALTH_UNKNOWN);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(without_memory), cmocka_unit_test(one_front), cmocka_unit_test(several), cmocka_unit_test(long_errors), cmocka_unit_test(shared), cmocka_unit_test(read_by_a_program) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
