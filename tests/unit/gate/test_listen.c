/* The way in, over loopback TCP: the limits, whom they count, what a full door says, and what happens when descriptors run out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "door.h"

#define FULL "421 4.3.2 mail.example.org Too many connections, try again later\r\n"
#define TOO_MANY "421 4.7.0 mail.example.org Too many connections from your address\r\n"
#define CLIENTS 32

static struct addr at;

/* A door that listens on a free port of 127.0.0.1; `at` is where. */
static void open_door(struct door *d, const char *option)
{
	struct addr any = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	int listener = sock_listen(&any, 64, false);
	struct door_setup setup = { .manual = true, .listeners = &listener, .listeners_len = 1, .options = { "reserve_descriptors=8", option } };
	assert_true(listener >= 0 && sock_local(listener, &at));
	door_open(d, &setup);
}

/* A TCP client that has connected, and perhaps talked, before the door looks. */
static int come(uint8_t last, const char *talk)
{
	struct addr from = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, last } };
	struct sockaddr_storage sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = addr_to_sockaddr(&from, &sa);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	len = addr_to_sockaddr(&at, &sa);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	if (talk)
		door_send(fd, talk);
	return fd;
}

static void leave_all(struct door *d, int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	door_settle(d);
	loop_advance(&d->front.loop, 10 * LOOP_SECOND);
	door_settle(d);
	assert_int_equal(d->front.open, 0);
}

static void accepts(void **context)
{
	struct door d;
	int fds[CLIENTS];
	(void)context;
	open_door(&d, "max_per_client=0");
	for (unsigned i = 0; i < CLIENTS; i++)
		fds[i] = come((uint8_t)(1 + i % 3), NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), CLIENTS);
	assert_int_equal(door_metric(&d, METRIC_connections), CLIENTS);
	assert_int_equal(door_metric(&d, METRIC_open), CLIENTS);
	assert_int_equal(door_metric(&d, METRIC_held), CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++)
		door_expect_silence(fds[i]);
	leave_all(&d, fds, CLIENTS);
	assert_int_equal(door_metric(&d, METRIC_gone), CLIENTS);
	door_close(&d);
}

static void per_client(void **context)
{
	struct door d;
	int fds[4];
	(void)context;
	open_door(&d, "max_per_client=2");
	for (int i = 0; i < 3; i++)
		fds[i] = come(1, i == 2 ? "HELO x\r\n" : NULL);
	fds[3] = come(2, NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 3); /* another client is another client */
	assert_int_equal(door_metric(&d, METRIC_limited_client), 1);
	assert_int_equal(door_metric(&d, METRIC_limited_total), 0);
	assert_int_equal(door_metric(&d, METRIC_early), 0); /* who is over a limit is that, whatever it said */
	door_expect(fds[2], TOO_MANY);
	door_expect_end(fds[2]);
	close(fds[2]);
	close(fds[1]);
	door_settle(&d);
	fds[1] = come(1, NULL); /* there is room again */
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 3);
	fds[2] = fds[3];
	leave_all(&d, fds, 3);
	door_close(&d);
}

/* An IPv6 /64 is one client, and so is an IPv4 address however it is written. */
static void per_network(void **context)
{
	struct door d;
	static const char *const same[][2] = { { "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff" }, { "192.0.2.1", "::ffff:192.0.2.1" } };
	static const char *const others[] = { "2001:db8:0:2::1", "2001:db8:1:1::1", "192.0.2.2", "::1" };
	int fds[8];
	unsigned n = 0;
	(void)context;
	open_door(&d, "max_per_client=1");
	for (int i = 0; i < 2; i++) {
		fds[n] = door_connect(&d, same[i][0]);
		door_expect_silence(fds[n++]);
		fds[n] = door_connect(&d, same[i][1]);
		door_expect(fds[n], TOO_MANY);
		door_expect_end(fds[n++]);
	}
	for (int i = 0; i < 4; i++) {
		fds[n] = door_connect(&d, others[i]);
		door_expect_silence(fds[n++]);
	}
	assert_int_equal(door_metric(&d, METRIC_limited_client), 2);
	leave_all(&d, fds, n);
	door_close(&d);
}

/* One client that does not go away after its 421 must not fill the door with connections that are being closed. */
static void one_client_cannot_fill_the_door(void **context)
{
	struct door d;
	int fds[CLIENTS];
	(void)context;
	open_door(&d, "max_per_client=3");
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = come(1, NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 3);
	assert_true(d.front.open <= 6);
	for (int i = 3; i < CLIENTS; i++) {
		door_expect(fds[i], TOO_MANY);
		door_expect_end(fds[i]);
	}
	assert_int_equal(door_metric(&d, METRIC_limited_client), CLIENTS - 3);
	leave_all(&d, fds, CLIENTS);
	door_close(&d);
}

/* Those who hear a 421 use the reserve alone: whoever may come in finds a place, however many of them do not leave. */
static void who_is_leaving_takes_no_place(void **context)
{
	struct door d;
	int fds[10 * 4];
	unsigned n = 0;
	struct door_setup setup = { .manual = true, .options = { "reserve_descriptors=8", "max_connections=20", "max_per_client=2" } };
	char address[32];
	(void)context;
	door_open(&d, &setup);
	for (int i = 0; i < 10; i++)
		for (int k = 0; k < 4; k++) {
			snprintf(address, sizeof(address), "192.0.2.%d", i + 1);
			fds[n++] = door_connect(&d, address);
			if (k < 2)
				door_expect_silence(fds[n - 1]);
			else
				door_expect(fds[n - 1], i < 9 ? TOO_MANY : FULL);
		}
	assert_int_equal(door_count(&d, CONN_HOLD), 20);
	assert_int_equal(door_metric(&d, METRIC_limited_client), 18); /* after the tenth client the door is full, too */
	assert_int_equal(door_metric(&d, METRIC_limited_total), 2);
	leave_all(&d, fds, n);
	door_close(&d);
}

/* A full door answers 421, first with time for it, and when its reserve of slots is used up in passing; nobody is reset over it. */
static void full(void **context)
{
	struct door d;
	int fds[CLIENTS];
	(void)context;
	open_door(&d, "max_connections=3");
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = come((uint8_t)(1 + i), i >= 3 ? "EHLO early\r\nQUIT\r\n" : NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 3);
	assert_int_equal(d.front.open, 3 + 4); /* half of the reserve of eight */
	assert_int_equal(door_metric(&d, METRIC_limited_total), CLIENTS - 3);
	for (int i = 3; i < CLIENTS; i++) {
		door_expect(fds[i], FULL);
		door_expect_end(fds[i]);
	}
	assert_non_null(strstr(buf_text(&d.log), "verdict=limited client=127.0.0.32"));
	leave_all(&d, fds, CLIENTS);
	fds[0] = come(9, NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	leave_all(&d, fds, 1);
	door_close(&d);
}

/* Descriptors of the reserve are not for clients. */
static void descriptors_in_reserve(void **context)
{
	struct door d;
	int fds[3];
	(void)context;
	open_door(&d, "max_connections=100");
	int next = dup(0);
	close(next);
	fds[0] = come(1, NULL); /* takes `next`; the door gets next + 1 */
	d.front.nofile = (size_t)next + 1 + 8 + 2;
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	fds[1] = come(1, NULL);
	door_settle(&d);
	door_expect(fds[1], FULL);
	assert_int_equal(door_metric(&d, METRIC_limited_total), 1);
	close(fds[1]);
	door_settle(&d);
	leave_all(&d, fds, 1);
	door_close(&d);
}

/* Without a descriptor left the door rests instead of spinning, and then goes on; who has waited meanwhile is served. */
static void rests_when_descriptors_run_out(void **context)
{
	struct door d;
	struct rlimit old, none;
	int fds[2];
	(void)context;
	open_door(&d, "accept_backoff=700ms");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	fds[0] = come(1, NULL);
	fds[1] = come(1, NULL);
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	door_settle(&d);
	assert_int_equal(d.front.open, 0);
	assert_int_equal(door_metric(&d, METRIC_accept_backoff), 1); /* once, in 40 turns */
	assert_non_null(strstr(buf_text(&d.log), "event=accept_backoff error=\"Too many open files\" rest_ms=700.000"));
	loop_advance(&d.front.loop, 700 * LOOP_MS);
	door_settle(&d);
	assert_int_equal(door_metric(&d, METRIC_accept_backoff), 2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	loop_advance(&d.front.loop, 699 * LOOP_MS);
	assert_int_equal(d.front.open, 0);
	loop_advance(&d.front.loop, 1 * LOOP_MS);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 2);
	assert_int_equal(door_metric(&d, METRIC_accept_backoff), 2);
	leave_all(&d, fds, 2);
	door_close(&d);
}

/* 127.0.0.9 is remembered. */
static bool knows(const struct front *front, const struct addr *client)
{
	(void)front;
	return client->ip[15] == 9;
}

/* A remembered client has a place where a stranger has none any more, and there is an end to that, too. */
static void reserve(void **context)
{
	struct door d;
	int fds[8];
	(void)context;
	int listener = sock_listen(&(struct addr){ .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } }, 64, false);
	struct door_setup setup = { .manual = true, .listeners = &listener, .listeners_len = 1,
		.options = { "max_connections=4", "known_reserve=50", "stress_at=0", "max_per_client=0" } };
	assert_true(listener >= 0 && sock_local(listener, &at));
	door_open(&d, &setup);
	for (int i = 0; i < 4; i++)
		fds[i] = come(1, NULL);
	door_settle(&d);
	int late = come(9, NULL); /* nobody is remembered yet */
	door_settle(&d);
	door_expect(late, FULL);
	close(late);
	door_settle(&d);
	d.front.knows = knows;
	late = come(1, NULL);
	door_settle(&d);
	door_expect(late, FULL);
	close(late);
	door_settle(&d);
	for (int i = 4; i < 6; i++) {
		fds[i] = come(9, NULL);
		door_settle(&d);
		door_expect_silence(fds[i]);
	}
	assert_int_equal(door_metric(&d, METRIC_known_reserved), 2);
	late = come(9, NULL);
	door_settle(&d);
	door_expect(late, FULL);
	close(late);
	door_settle(&d);
	close(fds[5]);
	door_settle(&d);
	fds[5] = come(1, NULL); /* what a remembered one has left is no stranger's */
	door_settle(&d);
	door_expect(fds[5], FULL);
	assert_int_equal(door_metric(&d, METRIC_limited_total), 4);
	leave_all(&d, fds, 6);
	door_close(&d);
}

/* The same with descriptors: a part of those that a process may have is kept free of strangers. */
static void reserve_of_descriptors(void **context)
{
	struct door d;
	int fds[3];
	(void)context;
	open_door(&d, "known_reserve=50");
	d.front.knows = knows;
	int next = dup(0);
	close(next);
	fds[0] = come(1, NULL); /* takes `next`, and the door one behind it */
	d.front.nofile = 8 + 2 * ((size_t)next + 3); /* those beyond next + 2 are kept */
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	fds[1] = come(1, NULL);
	door_settle(&d);
	door_expect(fds[1], FULL);
	close(fds[1]);
	door_settle(&d);
	fds[1] = come(9, NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 2);
	door_expect_silence(fds[1]);
	leave_all(&d, fds, 2);
	door_close(&d);
}

/* Who has hung up before it was accepted is a client that has gone, not an error of ours. */
static void gone_before_accept(void **context)
{
	struct door d;
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	(void)context;
	open_door(&d, NULL);
	for (int i = 0; i < 4; i++) {
		int fd = come(1, i == 2 ? "HELO x\r\n" : NULL);
		if (i % 2)
			assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
		close(fd);
	}
	int fd = come(1, NULL);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	assert_int_equal(door_metric(&d, METRIC_accept_backoff), 0);
	assert_int_equal(door_metric(&d, METRIC_early), 1); /* a byte was said, and by one of them only */
	leave_all(&d, &fd, 1);
	door_close(&d);
}

static void stops_listening(void **context)
{
	struct door d;
	struct sockaddr_storage sa;
	(void)context;
	open_door(&d, NULL);
	listen_stop(&d.front);
	socklen_t len = addr_to_sockaddr(&at, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	listen_stop(&d.front); /* once more does no harm */
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(accepts), cmocka_unit_test(per_client), cmocka_unit_test(per_network),
		cmocka_unit_test(one_client_cannot_fill_the_door), cmocka_unit_test(who_is_leaving_takes_no_place), cmocka_unit_test(full), cmocka_unit_test(descriptors_in_reserve),
		cmocka_unit_test(rests_when_descriptors_run_out), cmocka_unit_test(reserve), cmocka_unit_test(reserve_of_descriptors), cmocka_unit_test(gone_before_accept), cmocka_unit_test(stops_listening) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
