/* Held clients that move from one front to the next: with their clock, with what they have heard, and only those who can. The clocks of both fronts are moved by hand, together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "door.h"
#include "gate/handoff.h"

#define MANY 700 /* more than a socket takes at once */

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void settle(struct door *a, struct door *b)
{
	for (int i = 0; i < 100; i++) {
		door_settle(a);
		door_settle(b);
	}
}

static void advance(struct door *a, struct door *b, int64_t ns)
{
	loop_advance(&a->front.loop, ns);
	loop_advance(&b->front.loop, ns);
	settle(a, b);
}

static void move(struct door *from, struct door *to)
{
	int pair[2];
	make_pair(pair);
	handoff_receive(&to->front, pair[1]);
	handoff_begin(&from->front, pair[0]);
	settle(from, to);
	assert_false(handoff_is_busy(&from->front));
}

static void with_its_clock(void **context)
{
	struct door old, new;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s" } };
	(void)context;
	door_open(&old, &setup);
	door_open(&new, &setup);
	int client = door_connect(&old, "192.0.2.1");
	advance(&old, &new, 600 * LOOP_MS);
	move(&old, &new);
	assert_int_equal(old.front.open, 0);
	assert_int_equal(door_count(&new, CONN_HOLD), 1);
	assert_int_equal(clients_count(&new.front.clients, addr_client_key(&new.front.conns[0].client)), 1);
	assert_int_equal(clients_count(&old.front.clients, addr_client_key(&new.front.conns[0].client)), 0);
	advance(&old, &new, 399 * LOOP_MS);
	assert_int_equal(door_count(&new, CONN_HOLD), 1);
	advance(&old, &new, 1 * LOOP_MS);
	assert_int_equal(door_count(&new, CONN_DIAL), 1);
	int backend = door_backend_accept(&new);
	char header[100];
	assert_true(recv(backend, header, sizeof(header), 0) > 16);
	door_send(backend, "220 here\r\n");
	settle(&old, &new);
	door_expect(client, "220 here\r\n");
	close(client);
	close(backend);
	settle(&old, &new);
	assert_non_null(strstr(buf_text(&new.log), "verdict=patient client=192.0.2.1 "));
	assert_non_null(strstr(buf_text(&new.log), " pause_ms=1000 after_ms=1000.000 "));
	door_close(&new);
	door_close(&old);
}

/* The pause of the new configuration counts, from when the client came: it may be over. */
static void by_the_new_rules(void **context)
{
	struct door old, new;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=60s" } }, other = { .manual = true, .options = { "greet_pause=2s" } };
	(void)context;
	door_open(&old, &setup);
	door_open(&new, &other);
	int early = door_connect(&old, "192.0.2.1");
	advance(&old, &new, 1500 * LOOP_MS);
	int late = door_connect(&old, "192.0.2.2");
	advance(&old, &new, 700 * LOOP_MS);
	move(&old, &new);
	assert_int_equal(door_count(&new, CONN_DIAL), 1);
	assert_int_equal(door_count(&new, CONN_HOLD), 1);
	close(early);
	close(late);
	close(door_backend_accept(&new));
	settle(&old, &new);
	advance(&old, &new, 10 * LOOP_SECOND);
	door_close(&new);
	door_close(&old);
}

/* Who has talked, or is about to be greeted, stays; who talks after it has moved is early there. */
static void who_moves(void **context)
{
	struct door old, new;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s" } };
	(void)context;
	door_open(&old, &setup);
	door_open(&new, &setup);
	int soon = door_connect(&old, "192.0.2.1");
	advance(&old, &new, 950 * LOOP_MS);
	int refused = door_connect(&old, "192.0.2.2"), moves = door_connect(&old, "192.0.2.3");
	door_send(refused, "NOOP\r\n");
	settle(&old, &new);
	move(&old, &new);
	assert_int_equal(door_count(&old, CONN_HOLD), 1);
	assert_int_equal(door_count(&old, CONN_REFUSE), 1);
	assert_int_equal(new.front.open, 1);
	door_send(moves, "NOOP\r\n");
	settle(&old, &new);
	assert_int_equal(door_count(&new, CONN_REFUSE), 1);
	close(soon);
	close(refused);
	close(moves);
	settle(&old, &new);
	advance(&old, &new, 10 * LOOP_SECOND);
	door_close(&new);
	door_close(&old);
}

/* It said something while it was on its way: it is read there. And its first line it has heard only once. */
static void teased(void **context)
{
	struct door old, new;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s", "greet_teaser=yes", "hostname=h" } };
	int pair[2];
	(void)context;
	door_open(&old, &setup);
	door_open(&new, &setup);
	int client = door_connect(&old, "192.0.2.1");
	door_settle(&old);
	char line[200] = "";
	assert_true(recv(client, line, sizeof(line) - 1, 0) > 6);
	assert_memory_equal(line, "220-h ", 6);
	make_pair(pair);
	handoff_begin(&old.front, pair[0]);
	door_settle(&old);
	door_send(client, "NOOP\r\n");
	handoff_receive(&new.front, pair[1]);
	settle(&old, &new);
	door_expect(client, "220 h ESMTP not accepting messages\r\n250 2.0.0 OK\r\n");
	close(client);
	settle(&old, &new);
	advance(&old, &new, 10 * LOOP_SECOND);
	door_close(&new);
	door_close(&old);
}

/* They wait for room in the socket, and are served meanwhile where they are. */
static void many(void **context)
{
	struct door old, new;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=10s", "max_per_client=0" } };
	static int clients[MANY];
	int pair[2];
	(void)context;
	door_open(&old, &setup);
	door_open(&new, &setup);
	for (int i = 0; i < MANY; i++) {
		char address[32];
		snprintf(address, sizeof(address), "198.51.%d.%d", i / 250, 1 + i % 250);
		clients[i] = door_connect(&old, address);
	}
	make_pair(pair);
	handoff_begin(&old.front, pair[0]);
	for (int i = 0; i < 100; i++)
		door_settle(&old);
	assert_true(handoff_is_busy(&old.front));
	assert_true(old.front.open > 0 && old.front.open < MANY);
	door_send(clients[MANY - 1], "NOOP\r\n");
	door_settle(&old);
	assert_int_equal(door_count(&old, CONN_REFUSE), 1);
	handoff_receive(&new.front, pair[1]);
	settle(&old, &new);
	assert_int_equal(old.front.open, 1);
	assert_int_equal(door_count(&new, CONN_HOLD), MANY - 1);
	for (int i = 0; i < MANY; i++)
		close(clients[i]);
	settle(&old, &new);
	advance(&old, &new, 10 * LOOP_SECOND);
	door_close(&new);
	door_close(&old);
}

/* Nobody is there any more: all stay, and are served. */
static void the_other_dies(void **context)
{
	struct door old;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s" } };
	int pair[2];
	(void)context;
	door_open(&old, &setup);
	int client = door_connect(&old, "192.0.2.1");
	make_pair(pair);
	close(pair[1]);
	handoff_begin(&old.front, pair[0]);
	door_settle(&old);
	assert_false(handoff_is_busy(&old.front));
	assert_int_equal(door_count(&old, CONN_HOLD), 1);
	loop_advance(&old.front.loop, LOOP_SECOND);
	assert_int_equal(door_count(&old, CONN_DIAL), 1);
	close(client);
	close(door_backend_accept(&old));
	door_settle(&old);
	loop_advance(&old.front.loop, 10 * LOOP_SECOND);
	door_close(&old);
}

/* What is no such message is thrown away, with what came with it. */
static void nonsense(void **context)
{
	struct door new;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=1s" } };
	char zeros[300] = "";
	int pair[2], streams[2];
	(void)context;
	door_open(&new, &setup);
	make_pair(pair);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, streams), 0);
	handoff_receive(&new.front, pair[1]);
	assert_int_equal(sock_send_fd(pair[0], "x", 1, streams[1]), 1);
	for (size_t len = 1; len <= sizeof(zeros); len++)
		if (sock_send_fd(pair[0], zeros, len, -1) < 0)
			door_settle(&new);
	door_settle(&new);
	close(streams[1]);
	door_expect_end(streams[0]);
	assert_int_equal(new.front.open, 0);
	close(streams[0]);
	close(pair[0]);
	door_settle(&new);
	assert_int_equal(new.front.handoff.in[0].fd, -1);
	door_close(&new);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(with_its_clock), cmocka_unit_test(by_the_new_rules), cmocka_unit_test(who_moves), cmocka_unit_test(teased), cmocka_unit_test(many),
		cmocka_unit_test(the_other_dies), cmocka_unit_test(nonsense) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
