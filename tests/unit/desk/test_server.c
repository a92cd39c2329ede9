/* The server, in one process with its clients: who is disconnected when, and what a listener gets that was away. With whole programs: tests/system/test_desk.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "desk/server.h"

static struct loop loop;
static struct server server;
static struct addr at;

static int setup(void **context)
{
	(void)context;
	loop_init_manual(&loop, 4);
	assert_true(addr_parse_port(slice_of("127.0.0.1:0"), &at));
	int listener = sock_listen(&at, 64, false);
	assert_true(listener >= 0 && sock_local(listener, &at));
	server = (struct server){ .loop = &loop, .memory = memory_open(-1), .head = "door\tv\t1\t2\t3\n", .version = "v", .request_time = 30 * LOOP_SECOND };
	memset(server.memory, 0, sizeof(*server.memory));
	assert_true(server_listen(&server, listener));
	assert_true(server_fd(&server) >= 0);
	return 0;
}

static int teardown(void **context)
{
	(void)context;
	server_fini(&server);
	loop_fini(&loop);
	return 0;
}

static int visit(const char *text)
{
	int fd = sock_connect(&at);
	assert_true(fd >= 0);
	assert_int_equal(poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 5000), 1);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* What the client reads until that is in it, while the server runs; wanted NULL: until its end. Whether it came. */
static char got[4 << 20];
static bool reads(int fd, const char *wanted)
{
	size_t len = 0;
	for (int i = 0; i < 2000; i++) {
		server_run(&server);
		ssize_t n = read(fd, got + len, sizeof(got) - 1 - len);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return !wanted;
		if (n > 0)
			len += (size_t)n;
		got[len] = '\0';
		if (wanted && strstr(got, wanted))
			return true;
		if (n < 0)
			poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 2);
	}
	return false;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void too_slow(void **context)
{
	(void)context;
	int slow = visit("GET / HTTP/1.1\r\nHost: local"), listener = visit(GET("/events"));
	assert_true(reads(listener, "event: all\n"));
	for (int s = 0; s < 29; s++) {
		loop_advance(&loop, LOOP_SECOND);
		server_tick(&server);
		server_run(&server);
	}
	char byte;
	assert_int_equal(read(slow, &byte, 1), -1);
	loop_advance(&loop, LOOP_SECOND);
	server_tick(&server);
	assert_true(reads(slow, NULL));
	assert_true(reads(listener, "event: tick\n")); /* who listens may stay */
	close(slow);
	close(listener);
}

/* Each request of a connection that stays has its own time. */
static void again_and_again(void **context)
{
	(void)context;
	int fd = visit(GET("/status.json"));
	for (int i = 0; i < 4; i++) {
		assert_true(reads(fd, "\"counters\""));
		assert_null(strstr(got, "Connection: close"));
		loop_advance(&loop, 20 * LOOP_SECOND);
		server_tick(&server);
		assert_int_equal(write(fd, GET("/status.json"), strlen(GET("/status.json"))), (ssize_t)strlen(GET("/status.json")));
	}
	assert_true(reads(fd, "\"counters\""));
	close(fd);
}

static void who_was_away(void **context)
{
	(void)context;
	int fd = visit(GET("/events"));
	assert_true(reads(fd, "event: all\n"));
	server_tick(&server);
	assert_true(reads(fd, "event: tick\n"));
	assert_null(strstr(got, "event: all\n"));
	/* Two ticks that it was not asked for in between: the ticks alone would leave a gap. */
	server_tick(&server);
	server_tick(&server);
	assert_true(reads(fd, "event: all\n"));
	close(fd);
}

/* One that never reads costs no more than a message, whatever happens meanwhile. */
static void who_never_reads(void **context)
{
	(void)context;
	int fd = visit(GET("/events"));
	for (int i = 0; i < 50; i++) {
		server_tick(&server);
		server_run(&server);
	}
	assert_int_equal(server.listeners, 1);
	close(fd);
	for (int i = 0; i < 1000 && server.listeners > 0; i++) {
		server_tick(&server);
		server_run(&server);
		poll(NULL, 0, 1);
	}
	assert_int_equal(server.listeners, 0);
}

static void too_many(void **context)
{
	int fds[SERVER_LISTENERS];
	(void)context;
	for (int i = 0; i < SERVER_LISTENERS; i++) {
		fds[i] = visit(GET("/events"));
		assert_true(reads(fds[i], "event: all\n"));
	}
	int more = visit(GET("/events"));
	assert_true(reads(more, "try again later\n"));
	assert_non_null(strstr(got, "503 "));
	assert_non_null(strstr(got, "Retry-After: 10\r\n"));
	int page = visit(GET("/metrics"));
	assert_true(reads(page, "tarry_desk_listeners 64\n"));
	close(fds[0]);
	for (int i = 0; i < 1000 && server.listeners == SERVER_LISTENERS; i++) {
		server_tick(&server);
		server_run(&server);
		poll(NULL, 0, 1);
	}
	close(more);
	more = visit(GET("/events"));
	assert_true(reads(more, "event: all\n"));
	for (int i = 1; i < SERVER_LISTENERS; i++)
		close(fds[i]);
	close(more);
	close(page);
}

static void the_end_of_it(void **context)
{
	(void)context;
	int fd = visit(GET("/events")), half = visit("GET");
	assert_true(reads(fd, "event: all\n"));
	server_fini(&server);
	assert_int_equal(server.listeners, 0);
	assert_null(server.visitors);
	close(fd);
	close(half);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(too_slow, setup, teardown), cmocka_unit_test_setup_teardown(again_and_again, setup, teardown), cmocka_unit_test_setup_teardown(who_was_away, setup, teardown),
		cmocka_unit_test_setup_teardown(who_never_reads, setup, teardown), cmocka_unit_test_setup_teardown(too_many, setup, teardown), cmocka_unit_test_setup_teardown(the_end_of_it, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
