/* Clients passed on to the front that owns them: who gets whom, with what, and that who cannot be passed on stays. */
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
#include "gate/owner.h"

#define FRONTS 3

static int queues[FRONTS], out[FRONTS];

static int begin(void **context)
{
	(void)context;
	for (int i = 0; i < FRONTS; i++) {
		int pair[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		queues[i] = pair[0];
		out[i] = pair[1];
	}
	return 0;
}

static int end(void **context)
{
	(void)context;
	for (int i = 0; i < FRONTS; i++) {
		if (queues[i] >= 0)
			close(queues[i]);
		close(out[i]);
	}
	return 0;
}

static struct addr client_of(unsigned front)
{
	struct addr a = { .ip = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 }, .port = 77 };
	while (sock_steered_to(&a, FRONTS) != front)
		a.ip[15]++;
	return a;
}

/* Whether front number row counts as running. */
static void set_running(unsigned row, bool running)
{
	metrics_row(row);
	metrics_add(METRIC_serving, running);
	metrics_row(0);
}

static bool give(unsigned from, unsigned to, int fd, const char *id)
{
	struct front front = { .index = from, .fronts = FRONTS, .owners_out = out };
	struct addr client = client_of(to);
	struct origin origin = { .peer = client_of(0), .server = client_of(1), .id = id ? strdup(id) : NULL };
	origin.server.port = 25;
	bool gone = owner_give(&front, fd, &client, &origin);
	if (!gone)
		free(origin.id);
	return gone;
}

/* From one front into another, which has it as if it had come there. */
static void passed_on(void **context)
{
	struct door d;
	int pair[2];
	(void)context;
	set_running(1, true);
	struct door_setup setup = { .manual = true, .index = 1, .fronts = FRONTS, .queue = queues[1], .queues = out, .options = { "greet_pause=1s" },
		.file = "listen \"127.0.0.1:0\" { proxy = yes trust = { \"127.0.0.1\" } }" };
	door_open(&d, &setup);
	queues[1] = -1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	door_send(pair[0], "QU");
	assert_true(give(0, 1, pair[1], "an id"));
	door_settle(&d);
	assert_int_equal(door_metric(&d, METRIC_owner_passed), 1);
	assert_int_equal(door_count(&d, CONN_REFUSE), 1); /* what was behind the header is still its, and early */
	struct conn *conn = &d.front.conns[0];
	const struct origin *origin = arrive_origin(&d.front, conn);
	struct addr client = client_of(1), peer = client_of(0);
	assert_true(addr_same_ip(&conn->client, &client) && conn->client.port == 77);
	assert_true(addr_same_ip(&origin->peer, &peer) && origin->server.port == 25);
	assert_string_equal(origin->id, "an id");
	assert_non_null(strstr(buf_text(&d.log), " via_id=\"an id\" "));
	close(pair[0]);
	door_settle(&d);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	/* What is no such message is thrown away, with what came with it. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(sock_send_fd(out[1], "x", 1, pair[1]), 1);
	close(pair[1]);
	door_settle(&d);
	door_expect_end(pair[0]);
	close(pair[0]);
	assert_int_equal(d.front.open, 0);
	door_close(&d);
}

static void stays(void **context)
{
	int pair[2];
	(void)context;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	set_running(2, false);
	metrics_add(METRIC_serving, 1); /* we are, row 0 */
	assert_false(give(0, 0, pair[1], "mine"));
	assert_false(give(0, 2, pair[1], "nobody is there"));
	set_running(2, true);
	struct front alone = { .fronts = 1 };
	struct addr client = client_of(2);
	struct origin origin = { .id = NULL };
	assert_false(owner_give(&alone, pair[1], &client, &origin));
	close(pair[0]);
	close(pair[1]);
}

/* Until the queue is full; nothing blocks, and who is left over is still ours. */
static void full(void **context)
{
	unsigned taken = 0;
	int fds[2000];
	(void)context;
	set_running(2, true);
	for (;;) {
		int pair[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		if (!give(1, 2, pair[1], NULL)) {
			door_send(pair[0], "still open");
			close(pair[0]);
			close(pair[1]);
			break;
		}
		fds[taken++] = pair[0];
		assert_true(taken < sizeof(fds) / sizeof(fds[0]));
	}
	assert_true(taken > 20);
	for (unsigned i = 0; i < taken; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(passed_on, begin, end), cmocka_unit_test_setup_teardown(stays, begin, end),
		cmocka_unit_test_setup_teardown(full, begin, end) };
	metrics_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
