/* Stress: when it begins and ends, what it makes shorter, and that no turn of the loop has more to do for it than others can wait for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/pulse.h"
#include "door.h"
#include "gate/session.h"
#include "gate/stress.h"

#define FIRST "554 mail.example.org ESMTP not accepting messages\r\n"
#define MANY 200

static void policy(void **context)
{
	static const struct {
		bool was;
		int64_t used, most, percent;
		bool on;
	} cells[] = {
		{ false, 899, 1000, 90, false }, { false, 900, 1000, 90, true }, { true, 899, 1000, 90, true }, { true, 700, 1000, 90, true }, { true, 699, 1000, 90, false },
		{ false, 0, 10, 90, false }, { false, 9, 10, 90, true }, { true, 7, 10, 90, true }, { true, 6, 10, 90, false }, { false, 10, 10, 100, true }, { false, 9, 10, 100, false },
		{ true, 8, 10, 100, true }, { true, 7, 10, 100, false }, { false, 1, 1, 90, true }, { true, 0, 1, 90, false }, { false, 5, 10, 0, false }, { true, 10, 10, 0, false },
		{ false, 1000000, 1000000, 90, true }, { true, 0, 1000000, 1, true }, /* a percent cannot be halved */
	};
	(void)context;
	for (size_t i = 0; i < sizeof(cells) / sizeof(*cells); i++)
		if (stress_follows(cells[i].was, cells[i].used, cells[i].most, cells[i].percent) != cells[i].on)
			fail_msg("cell %zu", i);
}

static void shorter(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "stress_greet_pause=2s", "stress_refuse_timeout=5s", "stress_refuse_lifetime=2m", "refuse_timeout=1m", "refuse_lifetime=1m" } };
	(void)context;
	door_open(&d, &setup);
	assert_int_equal(stress_pause_ms(&d.front, 5000), 5000);
	assert_int_equal(stress_refuse_timeout(&d.front), 60 * LOOP_SECOND);
	d.front.stress.on = true;
	assert_int_equal(stress_pause_ms(&d.front, 5000), 2000);
	assert_int_equal(stress_pause_ms(&d.front, 1999), 1999);
	assert_int_equal(stress_pause_ms(&d.front, 0), 0);
	assert_int_equal(stress_refuse_timeout(&d.front), 5 * LOOP_SECOND);
	assert_int_equal(stress_refuse_lifetime(&d.front), 60 * LOOP_SECOND); /* never longer than without */
	d.front.stress.on = false;
	door_close(&d);
}

/* Descriptors can be what is short, too; whoever is relayed has two. */
static void descriptors(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "max_per_client=0", "reserve_descriptors=8" } };
	int fds[5], backends[5];
	(void)context;
	door_open(&d, &setup);
	d.front.nofile = 60;
	for (int i = 0; i < 5; i++) {
		fds[i] = door_connect(&d, "192.0.2.1");
		backends[i] = door_backend_accept(&d);
		door_send(backends[i], "220 hi\r\n");
		door_settle(&d);
	}
	assert_false(d.front.stress.on);
	d.front.nofile = 20; /* 10 of 12 */
	int last = door_connect(&d, "192.0.2.2");
	assert_false(d.front.stress.on);
	d.front.nofile = 19; /* 10 of 11 */
	loop_advance(&d.front.loop, LOOP_SECOND);
	assert_true(d.front.stress.on);
	assert_non_null(strstr(buf_text(&d.log), "event=stress state=begin reason=descriptors"));
	assert_int_equal(door_metric(&d, METRIC_stress), 1);
	close(last);
	for (int i = 0; i < 5; i++) {
		close(fds[i]);
		close(backends[i]);
	}
	door_settle(&d);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	assert_false(d.front.stress.on);
	assert_non_null(strstr(buf_text(&d.log), "event=stress state=end"));
	assert_int_equal(door_metric(&d, METRIC_stress_begun), 1);
	door_close(&d);
}

/* The tarpit is emptied a few at a time. */
static void release_in_turns(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_tarpit=1m", "max_per_client=0", "max_connections=222", "greet_pause=5s", "stress_greet_pause=1s" } };
	int fds[MANY];
	(void)context;
	door_open(&d, &setup);
	for (int i = 0; i < MANY - 1; i++) {
		fds[i] = door_connect(&d, "192.0.2.1");
		door_send(fds[i], "NOOP\r\n");
		loop_turn(&d.front.loop, 0);
	}
	assert_int_equal(door_count(&d, CONN_TARPIT), MANY - 1);
	fds[MANY - 1] = door_connect(&d, "192.0.2.2");
	assert_true(d.front.stress.on);
	unsigned before = MANY - 1;
	for (int turn = 0; before > 0; turn++) {
		loop_advance(&d.front.loop, 1);
		unsigned left = door_count(&d, CONN_TARPIT);
		assert_true(before - left <= 3 * 32); /* an advance is three turns at most */
		assert_true(turn < 20);
		before = left;
	}
	for (int i = 0; i < MANY - 1; i++)
		door_expect(fds[i], FIRST "250 2.0.0 OK\r\n");
	assert_int_equal(door_metric(&d, METRIC_tarpit_released), MANY - 1);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	loop_advance(&d.front.loop, LOOP_SECOND);
	assert_int_equal(door_count(&d, CONN_HOLD), 0);
	int late = door_connect(&d, "192.0.2.3"); /* it comes when all have been gone through */
	loop_advance(&d.front.loop, LOOP_SECOND - 1);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	loop_advance(&d.front.loop, 1);
	assert_int_equal(door_count(&d, CONN_HOLD), 0);
	close(late);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
	door_settle(&d);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	assert_false(d.front.stress.on);
	door_close(&d);
}

/* Refused clients from before it: one that is silent, and one that is slowed down; a third is held, so that there is stress to the end. */
static void refused_before(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "max_per_client=0", "max_connections=4", "greet_pause=5m", "stress_greet_pause=5m", "refuse_timeout=1m", "stress_refuse_timeout=3s", "stress_refuse_lifetime=20s", "linger=0" } };
	int fds[4];
	(void)context;
	door_open(&d, &setup);
	for (int i = 0; i < 3; i++)
		fds[i] = door_connect(&d, "192.0.2.1");
	door_send(fds[0], "NOOP\r\n");
	door_send(fds[1], "HELO x\r\nHELO x\r\nHELO x\r\nHELO x\r\nHELO x\r\nHELO x\r\nHELO x\r\nHELO x\r\nHELO x\r\n");
	loop_advance(&d.front.loop, 15 * LOOP_SECOND); /* its sixth but one is to wait 16 s */
	assert_int_equal(door_count(&d, CONN_REFUSE), 2);
	fds[3] = door_connect(&d, "192.0.2.1");
	assert_true(d.front.stress.on);
	loop_advance(&d.front.loop, LOOP_MS); /* silent for longer than that already */
	assert_int_equal(door_count(&d, CONN_REFUSE), 1);
	loop_advance(&d.front.loop, 5 * LOOP_SECOND - 2 * LOOP_MS); /* and here for as long as anybody may be */
	assert_int_equal(door_count(&d, CONN_REFUSE), 1);
	loop_advance(&d.front.loop, 2 * LOOP_MS);
	assert_int_equal(door_count(&d, CONN_REFUSE), 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	door_settle(&d);
	loop_advance(&d.front.loop, 20 * LOOP_SECOND);
	door_close(&d);
}

/* After a change of the configuration a front has another row than its number, behind those of the fronts of before. */
static void another_row(void **context)
{
	static const unsigned rows[] = { 3 };
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "max_per_client=0", "max_connections=4", "greet_pause=5m", "stress_greet_pause=5m" } };
	int fds[4];
	(void)context;
	assert_int_equal(metrics_init(), 0);
	metrics_row(3);
	pulse_set_fronts(4);
	door_open(&d, &setup);
	d.front.rows = rows;
	for (int i = 0; i < 4; i++)
		fds[i] = door_connect(&d, "192.0.2.1");
	assert_true(d.front.stress.on);
	loop_advance(&d.front.loop, 2 * LOOP_SECOND);
	assert_true(d.front.stress.on);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	door_settle(&d);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	assert_false(d.front.stress.on);
	door_close(&d);
	pulse_set_fronts(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(policy), cmocka_unit_test(shorter), cmocka_unit_test(descriptors), cmocka_unit_test(release_in_turns), cmocka_unit_test(refused_before), cmocka_unit_test(another_row) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
