/* From the client to the backend: what each kind of backend is told first, and every way in which a backend fails to greet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "door.h"
#include "gate/session.h"
#include "smtp/proxyhdr.h"

#define NO_SERVICE "421 4.3.2 mail.example.org Service not available, try again later\r\n"
#define WAIT 5000 /* milliseconds until a test gives up */

static char option[128], path[64];

/* A backend option for a listener of our own, which is opened here. */
static int listen_tcp(const char *proxy)
{
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	int fd = sock_listen(&at, 4, false);
	assert_true(fd >= 0 && sock_local(fd, &at));
	snprintf(option, sizeof(option), "backend=smtp:127.0.0.1:%u,%s", (unsigned)at.port, proxy);
	return fd;
}

static int listen_unix(const char *proxy, int backlog)
{
	snprintf(path, sizeof(path), "/tmp/tarry-test-dial-%d", (int)getpid());
	snprintf(option, sizeof(option), "backend=smtp:unix:%s,%s", path, proxy);
	unlink(path);
	int fd = sock_listen_unix(path, backlog);
	assert_true(fd >= 0);
	return fd;
}

static void open_door(struct door *d)
{
	struct door_setup setup = { .manual = true, .options = { option, "greet_pause=250ms", "backend_timeout=5s" } };
	door_open(d, &setup);
}

/* The pause of all who wait is over. */
static void pause_over(struct door *d)
{
	loop_advance(&d->front.loop, 250 * LOOP_MS);
	door_settle(d);
}

/* A connection of the door at a backend of ours. */
static int backend_accept(struct door *d, int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	struct addr from;
	assert_int_equal(poll(&p, 1, WAIT), 1);
	int fd = sock_accept(listener, &from);
	assert_true(fd >= 0);
	door_settle(d);
	return fd;
}

static void greeted(struct door *d, int client, int backend)
{
	door_expect_silence(client);
	door_send(backend, "220 backend\r\n");
	door_settle(d);
	door_expect(client, "220 backend\r\n");
	assert_int_equal(door_count(d, CONN_RELAY), 1);
	door_send(client, "QUIT\r\n");
	door_settle(d);
	door_expect(backend, "QUIT\r\n"); /* nothing before it: the header was the first, and once */
	close(backend);
	close(client);
	door_settle(d);
	loop_advance(&d->front.loop, 10 * LOOP_SECOND);
	assert_int_equal(d->front.open, 0);
	door_close(d);
}

static size_t read_all(int fd, char *at, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, WAIT), 1);
	ssize_t n = recv(fd, at, size, 0);
	assert_true(n > 0);
	return (size_t)n;
}

static void without_a_header(void **context)
{
	(void)context;
	for (int i = 0; i < 2; i++) {
		struct door d;
		int listener = i ? listen_tcp("no") : listen_unix("no", 4);
		open_door(&d);
		int client = door_connect(&d, "192.0.2.1");
		pause_over(&d);
		int backend = backend_accept(&d, listener);
		door_expect_silence(backend);
		greeted(&d, client, backend);
		close(listener);
	}
}

static void version_1(void **context)
{
	static const char *const clients[][2] = { { "192.0.2.1", "PROXY TCP4 192.0.2.1 192.0.2.1 " }, { "2001:db8::1", "PROXY TCP6 2001:db8::1 2001:db8::1 " } };
	(void)context;
	for (int i = 0; i < 4; i++) {
		struct door d;
		struct proxyhdr h;
		const char *why = "";
		char got[300] = "";
		int listener = i / 2 ? listen_tcp("v1") : listen_unix("v1", 4);
		open_door(&d);
		int client = door_connect(&d, clients[i % 2][0]);
		uint16_t port = d.front.conns[0].client.port;
		pause_over(&d);
		int backend = backend_accept(&d, listener);
		size_t len = read_all(backend, got, sizeof(got) - 1);
		/* A socket pair has no address of its own: the client's stands for both ends. */
		assert_memory_equal(got, clients[i % 2][1], strlen(clients[i % 2][1]));
		assert_int_equal(proxyhdr_read_v1((struct slice){ got, len }, &h, &why), len);
		assert_int_equal(h.client.port, port);
		greeted(&d, client, backend);
		close(listener);
	}
}

static void version_2(void **context)
{
	(void)context;
	for (int i = 0; i < 2; i++) {
		struct door d;
		struct proxyhdr h;
		const char *why = "";
		char got[600], text[ADDR_TEXT];
		int listener = i ? listen_tcp("v2") : listen_unix("v2", 4);
		open_door(&d);
		int client = door_connect(&d, i ? "2001:db8::1" : "192.0.2.1");
		uint16_t port = d.front.conns[0].client.port;
		pause_over(&d);
		int backend = backend_accept(&d, listener);
		size_t len = read_all(backend, got, sizeof(got));
		assert_int_equal(proxyhdr_read_v2((struct slice){ got, len }, &h, &why), len);
		assert_false(h.local);
		assert_string_equal(addr_format(&h.client, text), i ? "2001:db8::1" : "192.0.2.1");
		assert_int_equal(h.client.port, port);
		assert_true(h.has_pause);
		assert_int_equal(h.pause_ms, 250);
		assert_int_equal(strlen(h.id), SESSION_ID - 1);
		assert_string_equal(h.id, d.front.conns[0].session->id); /* the same as in our log */
		greeted(&d, client, backend);
		close(listener);
	}
}

/* Over TCP the header says which address of ours the client came to. */
static void our_own_address(void **context)
{
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 7 } }, from;
	struct door d;
	struct proxyhdr h;
	const char *why = "";
	char got[600];
	(void)context;
	int listener = listen_unix("v2", 4), door_listener = sock_listen(&at, 4, false);
	struct door_setup setup = { .manual = true, .listeners = &door_listener, .listeners_len = 1, .options = { option, "greet_pause=250ms" } };
	assert_true(door_listener >= 0 && sock_local(door_listener, &at));
	door_open(&d, &setup);
	int client = sock_connect(&at);
	assert_true(client >= 0);
	door_settle(&d);
	assert_true(sock_local(client, &from));
	pause_over(&d);
	int backend = backend_accept(&d, listener);
	size_t len = read_all(backend, got, sizeof(got));
	assert_int_equal(proxyhdr_read_v2((struct slice){ got, len }, &h, &why), len);
	assert_memory_equal(&h.server, &at, sizeof(at));
	assert_memory_equal(&h.client, &from, sizeof(from));
	greeted(&d, client, backend);
	close(listener);
}

/* The end of a client whose backend has failed; error: what the log says of it. */
static void turned_away(struct door *d, int client, const char *error)
{
	char line[200];
	door_expect(client, NO_SERVICE);
	door_expect_end(client);
	assert_int_equal(door_metric(d, METRIC_nobackend), 1);
	snprintf(line, sizeof(line), "error=%s\n", error);
	if (!strstr(buf_text(&d->log), line) || !strstr(buf_text(&d->log), "verdict=nobackend"))
		fail_msg("no %s in the log: %s", line, buf_text(&d->log));
	close(client);
	door_settle(d);
	assert_int_equal(d->front.open, 0);
	door_close(d);
}

static void nobody_there(void **context)
{
	(void)context;
	for (int i = 0; i < 2; i++) {
		struct door d;
		close(i ? listen_tcp("v2") : listen_unix("v2", 4));
		open_door(&d);
		int client = door_connect(&d, "192.0.2.1");
		pause_over(&d);
		turned_away(&d, client, "\"Connection refused\"");
	}
}

/* Accepts, and closes without a word: with our header unread that is a reset, else an end. */
static void closes_at_once(void **context)
{
	(void)context;
	for (int i = 0; i < 2; i++) {
		struct door d;
		int listener = listen_unix(i ? "v2" : "no", 4);
		open_door(&d);
		int client = door_connect(&d, "192.0.2.1");
		pause_over(&d);
		close(backend_accept(&d, listener));
		door_settle(&d);
		turned_away(&d, client, i ? "\"Connection reset by peer\"" : "\"closed without a greeting\"");
		close(listener);
	}
}

static void silent_backend(void **context)
{
	struct door d;
	(void)context;
	int listener = listen_unix("v2", 4);
	open_door(&d);
	int client = door_connect(&d, "192.0.2.1");
	pause_over(&d);
	int backend = backend_accept(&d, listener);
	loop_advance(&d.front.loop, 5 * LOOP_SECOND - 1);
	door_expect_silence(client);
	loop_advance(&d.front.loop, 1);
	close(backend);
	turned_away(&d, client, "\"no greeting in time\"");
	close(listener);
}

/* A Unix socket whose backlog is full is asked again until it takes us, within the time a backend has. */
static void full_backlog(void **context)
{
	struct door d;
	(void)context;
	int listener = listen_unix("no", 0);
	int first = sock_connect_unix(path); /* the one that a backlog of 0 holds */
	assert_true(first >= 0);
	assert_int_equal(sock_connect_unix(path), -EAGAIN);
	open_door(&d);
	int client = door_connect(&d, "192.0.2.1");
	pause_over(&d);
	loop_advance(&d.front.loop, 2 * LOOP_SECOND);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	close(backend_accept(&d, listener)); /* takes the first */
	loop_advance(&d.front.loop, LOOP_SECOND / 10);
	int backend = backend_accept(&d, listener);
	greeted(&d, client, backend);
	close(first);
	close(listener);
}

/* Whoever has waited longest is served first, and who leaves the line does not hold it up. */
static void first_come_first_served(void **context)
{
	enum { CLIENTS = 5, LEAVES_FIRST = 0, LEAVES_MIDDLE = 2 };
	static const int order[] = { 1, 3, 4 };
	struct door d;
	int clients[CLIENTS];
	(void)context;
	int listener = listen_unix("no", 0);
	int first = sock_connect_unix(path);
	open_door(&d);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = door_connect(&d, "192.0.2.1");
		pause_over(&d);
		loop_advance(&d.front.loop, LOOP_SECOND / 2);
	}
	assert_int_equal(door_count(&d, CONN_DIAL), CLIENTS);
	close(clients[LEAVES_FIRST]);
	close(clients[LEAVES_MIDDLE]);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_DIAL), CLIENTS - 2);
	close(backend_accept(&d, listener)); /* takes the one that fills the backlog */
	for (int i = 0; i < 3; i++) {
		loop_advance(&d.front.loop, 50 * LOOP_MS);
		int late = door_connect(&d, "192.0.2.2");
		pause_over(&d);
		int backend = backend_accept(&d, listener);
		door_send(backend, "220 backend\r\n");
		door_settle(&d);
		door_expect(clients[order[i]], "220 backend\r\n");
		for (int j = i + 1; j < 3; j++)
			door_expect_silence(clients[order[j]]);
		door_expect_silence(late);
		close(late);
		close(clients[order[i]]);
		close(backend);
		door_settle(&d);
	}
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	assert_int_equal(d.front.open, 0);
	assert_null(d.front.dial_first);
	assert_null(d.front.dial_last);
	door_close(&d);
	close(first);
	close(listener);
}

static void backlog_full_for_good(void **context)
{
	struct door d;
	(void)context;
	int listener = listen_unix("no", 0);
	int first = sock_connect_unix(path);
	open_door(&d);
	int client = door_connect(&d, "192.0.2.1");
	pause_over(&d);
	loop_advance(&d.front.loop, 5 * LOOP_SECOND);
	turned_away(&d, client, "\"takes no more connections\"");
	close(first);
	close(listener);
}

/* The greeting of a backend that is there never reaches a client that has talked, even in the same turn. */
static void talk_and_greeting_at_once(void **context)
{
	struct door d;
	(void)context;
	int listener = listen_unix("no", 4);
	open_door(&d);
	int client = door_connect(&d, "192.0.2.1");
	pause_over(&d);
	int backend = backend_accept(&d, listener);
	door_send(backend, "220 backend\r\n");
	door_send(client, "QUIT\r\n");
	door_settle(&d);
	door_expect(client, "554 mail.example.org ESMTP not accepting messages\r\n221 2.0.0 mail.example.org closing connection\r\n");
	door_expect_end(client);
	assert_int_equal(door_metric(&d, METRIC_early), 1);
	assert_int_equal(door_metric(&d, METRIC_patient), 0);
	close(client);
	close(backend);
	door_settle(&d);
	door_close(&d);
	close(listener);
}

/* A patient client, and no descriptor for its backend for `time`. */
static int without_descriptors(struct door *d, int64_t time)
{
	struct rlimit old, none;
	open_door(d);
	int client = door_connect(d, "192.0.2.1");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	pause_over(d);
	loop_advance(&d->front.loop, time);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	return client;
}

/* Descriptors run out just when a patient client is to be connected: it waits for one within the time a backend has. */
static void no_descriptor(void **context)
{
	struct door d;
	(void)context;
	int listener = listen_unix("no", 4);
	int client = without_descriptors(&d, LOOP_SECOND);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	loop_advance(&d.front.loop, LOOP_SECOND);
	int backend = backend_accept(&d, listener);
	greeted(&d, client, backend);
	close(listener);
}

static void no_descriptor_for_good(void **context)
{
	struct door d;
	(void)context;
	int listener = listen_unix("no", 4);
	int client = without_descriptors(&d, 5 * LOOP_SECOND);
	turned_away(&d, client, "\"Too many open files\"");
	close(listener);
}

static int remove_socket(void **context)
{
	(void)context;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(without_a_header), cmocka_unit_test(version_1), cmocka_unit_test(version_2),
		cmocka_unit_test(our_own_address), cmocka_unit_test(nobody_there), cmocka_unit_test(closes_at_once), cmocka_unit_test(silent_backend),
		cmocka_unit_test(full_backlog), cmocka_unit_test(first_come_first_served), cmocka_unit_test(backlog_full_for_good), cmocka_unit_test(talk_and_greeting_at_once),
		cmocka_unit_test(no_descriptor), cmocka_unit_test(no_descriptor_for_good) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, remove_socket);
}
