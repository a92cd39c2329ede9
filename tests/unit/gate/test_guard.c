/* A door that sees one client only: when it says so, how often, and for whom it holds its tongue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "door.h"

enum behaviour { SLAMS, LEAVES, SENDS_MAIL };

static void open_door(struct door *d, const char *option)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s", "max_per_client=0", "linger=1s", option } };
	door_open(d, &setup);
}

static unsigned said(struct door *d)
{
	unsigned n = 0;
	for (const char *at = buf_text(&d->log); (at = strstr(at, "warning event=one_client")); at++)
		n++;
	return n;
}

/* What a client does, from beginning to end. */
static void come(struct door *d, const char *address, enum behaviour behaviour)
{
	static char mail[GUARD_SPEAKS + 1];
	int fd = door_connect(d, address);
	if (behaviour == SLAMS)
		door_send(fd, "QUIT\r\n");
	if (behaviour == SENDS_MAIL) {
		loop_advance(&d->front.loop, LOOP_SECOND);
		int backend = door_backend_accept(d);
		door_send(backend, "220 hi\r\n");
		door_settle(d);
		for (size_t i = 0; i < GUARD_SPEAKS; i++)
			mail[i] = "NOOP\r\n"[i % 6];
		door_send(fd, mail);
		door_settle(d);
		close(backend);
	}
	door_settle(d);
	close(fd);
	door_settle(d);
	loop_advance(&d->front.loop, LOOP_SECOND);
	assert_int_equal(d->front.open, 0);
}

static void come_often(struct door *d, const char *address, enum behaviour behaviour, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		come(d, address, behaviour);
}

static void gateway(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	come_often(&d, "172.17.0.1", SLAMS, GUARD_LEAST - 1);
	assert_int_equal(said(&d), 0);
	come(&d, "172.17.0.1", LEAVES);
	assert_int_equal(said(&d), 1);
	assert_non_null(strstr(buf_text(&d.log), "event=one_client client=172.17.0.1 connections=100 of=100 msg=\"nearly all clients come from 172.17.0.1: if that is a gateway"));
	assert_int_equal(door_metric(&d, METRIC_blind), 1);
	/* Once an hour. */
	come_often(&d, "172.17.0.1", SLAMS, 3 * GUARD_LEAST);
	assert_int_equal(said(&d), 1);
	loop_advance(&d.front.loop, GUARD_WINDOW);
	come_often(&d, "172.17.0.1", SLAMS, GUARD_LEAST);
	assert_int_equal(said(&d), 2);
	/* Until it is otherwise. */
	loop_advance(&d.front.loop, 2 * GUARD_WINDOW);
	come_often(&d, "192.0.2.1", SLAMS, 1);
	assert_int_equal(door_metric(&d, METRIC_blind), 0);
	door_close(&d);
}

/* Nine of ten, whatever their order. */
static void share(void **context)
{
	struct door d;
	(void)context;
	for (unsigned others = 1; others <= 2; others++) {
		open_door(&d, NULL);
		for (unsigned i = 0; i < 15; i++) {
			for (unsigned n = 0; n < others; n++) {
				char address[32];
				snprintf(address, sizeof(address), "198.51.100.%u", 2 * i + n);
				come(&d, address, SLAMS);
			}
			come_often(&d, "10.1.1.1", SLAMS, 10);
		}
		assert_int_equal(said(&d), others == 1);
		door_close(&d);
	}
}

static void public_address(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	come_often(&d, "203.0.113.1", SLAMS, 2 * GUARD_LEAST);
	assert_int_equal(said(&d), 0);
	door_close(&d);
}

/* It looks whether the door answers, and that is all. Not so a gateway: some of those behind it send mail. */
static void monitor(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	come_often(&d, "10.0.0.9", LEAVES, 2 * GUARD_LEAST);
	assert_int_equal(said(&d), 0);
	come_often(&d, "10.0.0.9", SENDS_MAIL, GUARD_LEAST / 5 + 1);
	assert_int_equal(said(&d), 0);
	come_often(&d, "10.0.0.9", SENDS_MAIL, 5);
	assert_int_equal(said(&d), 1);
	door_close(&d);
}

static void load_balancer(void **context)
{
	struct door d;
	(void)context;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s", "max_per_client=0" }, .file = "listen \"127.0.0.1:0\" { proxy = yes trust = { \"10.0.0.0/8\" } }" };
	door_open(&d, &setup);
	come_often(&d, "10.0.0.9", SLAMS, 2 * GUARD_LEAST);
	assert_int_equal(said(&d), 0);
	come_often(&d, "192.168.0.1", SLAMS, 3 * GUARD_LEAST); /* the vote is still for the other one */
	assert_int_equal(said(&d), 0);
	loop_advance(&d.front.loop, GUARD_WINDOW);
	come_often(&d, "192.168.0.1", SLAMS, GUARD_LEAST);
	assert_int_equal(said(&d), 1);
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(gateway), cmocka_unit_test(share), cmocka_unit_test(public_address), cmocka_unit_test(monitor), cmocka_unit_test(load_balancer) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
