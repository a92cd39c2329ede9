/* The states after the verdict, where what counts is when something happens: slow-downs, turns, deadlines, the order of the last words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "door.h"
#include "gate/session.h"

#define FIRST "554 mail.example.org ESMTP not accepting messages\r\n"
#define HELLO "250 mail.example.org Hello [192.0.2.1], pleased to meet you\r\n"
#define REPLIES_MAX (4 * 1024 * 1024)

static const struct door_setup patient_clock = { .manual = true };

static void wait_for(struct door *d, int64_t ns)
{
	loop_advance(&d->front.loop, ns);
	door_settle(d);
}

/* A client that never stops sending may take its turn, but not everybody's: what is read in one turn of the loop has a ceiling. */
static void a_flood_leaves_room_for_others(void **context)
{
	struct door d;
	static char flood[150000], replies[REPLIES_MAX];
	struct door_setup real_clock = { .options = { "greet_pause=5m" } };
	(void)context;
	memset(flood, ' ', sizeof(flood));
	size_t lines = sizeof(flood) / 1000;
	for (size_t i = 0; i < lines; i++) {
		memcpy(flood + 1000 * i, "RSET", 4);
		flood[1000 * i + 999] = '\n';
	}
	door_open(&d, &real_clock);
	int client = door_connect(&d, "192.0.2.1");
	int end = d.front.conns[0].source.fd, left = 0, before = sizeof(flood);
	assert_int_equal(send(client, flood, sizeof(flood), 0), sizeof(flood));
	for (int turns = 0; before > 0; turns++) {
		assert_int_equal(loop_turn(&d.front.loop, 0), 0);
		assert_int_equal(ioctl(end, FIONREAD, &left), 0);
		assert_true(before - left <= 40 * REFUSE_LINE); /* of 74 */
		assert_true(turns < 1000);
		before = left;
	}
	door_settle(&d);
	struct buf got;
	buf_init_fixed(&got, replies, sizeof(replies));
	while (sock_read(client, &got, 0) == SOCK_OK)
		;
	assert_int_equal(got.len, strlen(FIRST) + lines * strlen("250 2.0.0 Reset state\r\n"));
	/* It is still listened to, and is not taken for idle. */
	assert_int_equal(door_count(&d, CONN_REFUSE), 1);
	door_send(client, "QUIT\r\n");
	door_settle(&d);
	door_expect(client, "221 2.0.0 mail.example.org closing connection\r\n");
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* The time a client was made to wait is not time that it was silent. */
static void slow_is_not_idle(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_timeout=1500ms" } };
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO a\r\nHELO b\r\nHELO c\r\nHELO d\r\n");
	door_settle(&d);
	door_expect(client, FIRST HELLO HELLO);
	wait_for(&d, 1 * LOOP_SECOND);
	door_expect(client, HELLO);
	wait_for(&d, 2 * LOOP_SECOND);
	door_expect(client, HELLO);
	door_expect_silence(client); /* 3 s after its last byte it may speak again */
	wait_for(&d, 1499 * LOOP_MS);
	door_expect_silence(client);
	wait_for(&d, 1 * LOOP_MS);
	door_expect_end(client);
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* Half a line, answered when its client has been silent for too long, may be one that is slowed down: then the answer comes after that. */
static void half_a_line_slowed_down(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_timeout=10s" } };
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "HELO a\r\nHELO b\r\nHELO c");
	door_settle(&d);
	door_expect(client, FIRST HELLO HELLO);
	wait_for(&d, 10 * LOOP_SECOND);
	door_expect_silence(client);
	wait_for(&d, 999 * LOOP_MS);
	door_expect_silence(client);
	wait_for(&d, 1 * LOOP_MS);
	door_expect(client, HELLO);
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* A client that does not read its replies does not get around a slow-down. */
static void slow_also_when_it_does_not_read(void **context)
{
	struct door d;
	static char replies[REPLIES_MAX], commands[5 * 800 + 28];
	struct buf got;
	(void)context;
	door_open(&d, &patient_clock);
	int client = door_connect(&d, "192.0.2.1"), size = 4608;
	assert_int_equal(setsockopt(d.front.conns[0].source.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	for (int i = 0; i < 800; i++)
		memcpy(commands + 5 * i, "RSET\n", 5);
	memcpy(commands + 5 * 800, "HELO a\nHELO b\nHELO c\nQUIT\n", 27);
	door_send(client, commands);
	door_settle(&d);
	buf_init_fixed(&got, replies, sizeof(replies));
	for (int i = 0; i < 50; i++) {
		while (sock_read(client, &got, 0) == SOCK_OK)
			door_settle(&d);
	}
	assert_int_equal(got.len, strlen(FIRST) + 800 * strlen("250 2.0.0 Reset state\r\n") + 2 * strlen(HELLO));
	wait_for(&d, LOOP_SECOND);
	door_expect(client, HELLO "221 2.0.0 mail.example.org closing connection\r\n");
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* Urgent data (RFC 6093) cuts reads short: what is behind it must not be left lying in the socket. */
static void behind_urgent_data(void **context)
{
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	int listener = sock_listen(&at, 8, false), on = 1, off = 0;
	struct door_setup setup = { .manual = true, .listeners = &listener, .listeners_len = 1 };
	struct door d;
	(void)context;
	assert_true(listener >= 0 && sock_local(listener, &at));
	door_open(&d, &setup);
	int client = sock_connect(&at);
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	/* All of it in one segment. */
	assert_int_equal(setsockopt(client, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), 0);
	door_send(client, "NOOP\r\nRS");
	assert_int_equal(send(client, "!", 1, MSG_OOB), 1);
	door_send(client, "ET\r\nQUIT\r\n");
	assert_int_equal(setsockopt(client, IPPROTO_TCP, TCP_CORK, &off, sizeof(off)), 0);
	door_settle(&d);
	door_expect(client, FIRST "250 2.0.0 OK\r\n250 2.0.0 Reset state\r\n221 2.0.0 mail.example.org closing connection\r\n");
	close(client);
	door_settle(&d);
	assert_int_equal(d.front.open, 0);
	door_close(&d);
}

/* A refused client that talks on and on ends at refuse_lifetime, and is told so. */
static void lifetime(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "refuse_timeout=10s", "refuse_lifetime=35s" } };
	(void)context;
	door_open(&d, &setup);
	int client = door_connect(&d, "192.0.2.1");
	door_send(client, "RSET\r\n");
	door_settle(&d);
	door_expect(client, FIRST "250 2.0.0 Reset state\r\n");
	for (int i = 0; i < 3; i++) {
		wait_for(&d, 9 * LOOP_SECOND);
		door_send(client, "RSET\r\n");
		door_settle(&d);
		door_expect(client, "250 2.0.0 Reset state\r\n");
	}
	wait_for(&d, 8 * LOOP_SECOND - 1);
	door_expect_silence(client);
	wait_for(&d, 1);
	door_expect(client, "421 4.4.2 mail.example.org Timeout; closing connection\r\n");
	door_expect_end(client);
	close(client);
	door_settle(&d);
	door_close(&d);
}

/* After the last reply a client may still send linger_bytes, and linger; its connection stays until then so that nothing resets it. */
static void lingers(void **context)
{
	static char bytes[60000];
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "linger=2s", "linger_bytes=100K" } };
	(void)context;
	door_open(&d, &setup);
	int one = door_connect(&d, "192.0.2.1"), two = door_connect(&d, "192.0.2.2");
	door_send(one, "QUIT\r\n");
	door_send(two, "QUIT\r\n");
	door_settle(&d);
	assert_int_equal(door_count(&d, CONN_CLOSE), 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(door_count(&d, CONN_CLOSE), 2);
		assert_int_equal(send(one, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
		door_settle(&d);
	}
	assert_int_equal(door_count(&d, CONN_CLOSE), 1); /* `one` has sent more than 100 KB */
	wait_for(&d, 2 * LOOP_SECOND - 1);
	assert_int_equal(door_count(&d, CONN_CLOSE), 1);
	wait_for(&d, 1);
	assert_int_equal(d.front.open, 0);
	door_expect(two, FIRST "221 2.0.0 mail.example.org closing connection\r\n");
	close(one);
	close(two);
	door_close(&d);
}

/* What a backend says before it goes is for its client, whatever the client is sending. */
static void last_words_of_a_backend(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0" } };
	char header[600];
	(void)context;
	door_open(&d, &setup);
	door_access(&d, "GreetPause: 0\n"); /* exempt */
	int client = door_connect(&d, "192.0.2.1"), backend = door_backend_accept(&d);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, "220 hello\r\n");
	door_settle(&d);
	door_expect(client, "220 hello\r\n");
	door_send(client, "EHLO x\r\n");
	door_settle(&d);
	door_send(client, "MAIL FROM:<>\r\n"); /* its event comes first */
	door_send(backend, "421 too busy\r\n");
	close(backend); /* with the EHLO unread */
	door_settle(&d);
	door_expect(client, "421 too busy\r\n");
	door_send(client, "QUIT\r\n");
	close(client);
	door_settle(&d);
	wait_for(&d, 10 * LOOP_SECOND);
	assert_int_equal(d.front.open, 0);
	door_close(&d);
}

/* relay_timeout counts from the last byte of either direction. */
static void idle_relay(void **context)
{
	struct door d;
	struct door_setup setup = { .manual = true, .options = { "greet_pause=0", "relay_timeout=10s" } };
	char header[600];
	(void)context;
	door_open(&d, &setup);
	door_access(&d, "GreetPause: 0\n"); /* exempt */
	int client = door_connect(&d, "192.0.2.1"), backend = door_backend_accept(&d);
	assert_true(recv(backend, header, sizeof(header), 0) > 0);
	door_send(backend, "220 hello\r\n");
	door_settle(&d);
	door_expect(client, "220 hello\r\n");
	for (int i = 0; i < 4; i++) {
		wait_for(&d, 9 * LOOP_SECOND);
		door_send(i % 2 ? client : backend, "x");
		door_settle(&d);
		door_expect(i % 2 ? backend : client, "x");
	}
	wait_for(&d, 10 * LOOP_SECOND - 1);
	door_expect_silence(client);
	door_expect_silence(backend);
	wait_for(&d, 1);
	door_expect_end(client);
	door_expect_end(backend);
	assert_int_equal(door_metric(&d, METRIC_relayed_in), 2);
	assert_int_equal(door_metric(&d, METRIC_relayed_out), 13);
	close(client);
	close(backend);
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_flood_leaves_room_for_others), cmocka_unit_test(slow_is_not_idle),
		cmocka_unit_test(half_a_line_slowed_down), cmocka_unit_test(slow_also_when_it_does_not_read), cmocka_unit_test(behind_urgent_data),
		cmocka_unit_test(lifetime), cmocka_unit_test(lingers), cmocka_unit_test(last_words_of_a_backend), cmocka_unit_test(idle_relay) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
