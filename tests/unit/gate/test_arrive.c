/* Load balancers and what they say of their clients, over loopback TCP: every truncation of a header, who is believed, when the pause begins, and that nothing is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/sock.h"
#include "door.h"
#include "smtp/proxyhdr.h"

#define V1 "PROXY TCP4 192.0.2.7 192.0.2.25 4321 25\r\n"

static struct addr at;
static char big[PROXYHDR_V2_MAX + 1];

static struct addr addr_of(const char *text, uint16_t port)
{
	struct addr a;
	assert_true(addr_parse(slice_of(text), &a));
	a.port = port;
	return a;
}

/* One listener on a free port of 127.0.0.1 that trusts 127.0.0.0/24; 127.0.0.2 and the client 192.0.2.99 are probers. */
static void open_door(struct door *d, const char *option)
{
	struct addr any = addr_of("127.0.0.1", 0);
	int listener = sock_listen(&any, 64, false);
	struct door_setup setup = { .manual = true, .listeners = &listener, .listeners_len = 1, .options = { "reserve_descriptors=8", "log_level=debug", option },
		.file = "listen \"127.0.0.1:0\" { proxy = yes trust = { \"127.0.0.0/24\" } health = { \"127.0.0.2\", \"192.0.2.99\", \"127.0.9.9\" } }" };
	assert_true(listener >= 0 && sock_local(listener, &at));
	door_open(d, &setup);
}

static int come(const char *from)
{
	struct addr address = addr_of(from, 0);
	struct sockaddr_storage sa;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = addr_to_sockaddr(&address, &sa);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	len = addr_to_sockaddr(&at, &sa);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

static void say(struct door *d, int fd, const void *bytes, size_t len)
{
	assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
	door_settle(d);
}

static bool logged(struct door *d, const char *text)
{
	return strstr(buf_text(&d->log), text) != NULL;
}

/* Ended by the door, with or without a reset. */
static void expect_closed(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

static size_t v2(char *out)
{
	struct buf b;
	struct proxyhdr h = { .client = addr_of("192.0.2.7", 4321), .server = addr_of("192.0.2.25", 25), .id = "a-b-c" };
	buf_init_fixed(&b, out, PROXYHDR_V2_MAX);
	assert_true(proxyhdr_write_v2(&b, &h));
	return b.len;
}

static void leave(struct door *d, int fd)
{
	close(fd);
	door_settle(d);
	loop_advance(&d->front.loop, 10 * LOOP_SECOND);
	assert_int_equal(d->front.open, 0);
	assert_int_equal(door_metric(d, METRIC_arriving), 0);
}

/* Wherever it is cut, it is not believed before its last byte is there, and the pause begins with that. */
static void every_prefix(const char *header, size_t len, const char *id)
{
	for (size_t n = 0; n < len; n++) {
		struct door d;
		open_door(&d, "greet_pause=1s");
		int fd = come("127.0.0.9");
		door_settle(&d);
		if (n > 0)
			say(&d, fd, header, n);
		assert_int_equal(door_metric(&d, METRIC_arriving), 1);
		assert_int_equal(d.front.open, 0);
		loop_advance(&d.front.loop, 3 * LOOP_SECOND);
		say(&d, fd, header + n, len - n);
		assert_int_equal(door_metric(&d, METRIC_arriving), 0);
		assert_int_equal(door_count(&d, CONN_HOLD), 1);
		struct conn *conn = &d.front.conns[0];
		struct addr server;
		assert_true(conn->proxied && arrive_server(&d.front, conn, &server));
		assert_true(conn->client.port == 4321 && conn->client.ip[15] == 7);
		assert_true(server.port == 25 && server.ip[15] == 25);
		if (id)
			assert_string_equal(arrive_origin(&d.front, conn)->id, id);
		loop_advance(&d.front.loop, 900 * LOOP_MS);
		assert_int_equal(door_count(&d, CONN_HOLD), 1);
		loop_advance(&d.front.loop, 101 * LOOP_MS);
		assert_int_equal(door_count(&d, CONN_HOLD), 0);
		leave(&d, fd);
		door_close(&d);
	}
}

static void cut_v1(void **context)
{
	(void)context;
	every_prefix(V1, sizeof(V1) - 1, NULL);
}

static void cut_v2(void **context)
{
	char header[PROXYHDR_V2_MAX];
	size_t len = v2(header);
	(void)context;
	every_prefix(header, len, "a-b-c");
}

/* The peer ends within it. */
static void ended_within(void **context)
{
	char header[PROXYHDR_V2_MAX];
	size_t len = v2(header);
	struct door d;
	(void)context;
	open_door(&d, NULL);
	for (size_t n = 1; n < len; n++) {
		int fd = come("127.0.0.9");
		assert_int_equal(send(fd, header, n, MSG_NOSIGNAL), n);
		shutdown(fd, SHUT_WR);
		door_settle(&d);
		expect_closed(fd);
	}
	assert_int_equal(door_metric(&d, METRIC_proxy_refused), len - 1);
	assert_true(logged(&d, "event=proxy_refused peer=127.0.0.9"));
	assert_true(logged(&d, "reason=malformed error=\"the header is cut short\" bytes=1 data=\"\\r\""));
	door_close(&d);
}

static void ends_without_a_word(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	int fd = come("127.0.0.9");
	door_settle(&d);
	leave(&d, fd);
	assert_int_equal(door_metric(&d, METRIC_proxy_refused), 0);
	assert_false(logged(&d, "proxy_refused"));
	door_close(&d);
}

/* What comes in the same packet is the client's, and too early; what comes behind the header of an exempt one waits for the backend. */
static void behind_the_header(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, "greet_pause=1s");
	int fd = come("127.0.0.9");
	say(&d, fd, V1 "QUIT\r\n", sizeof(V1 "QUIT\r\n") - 1);
	door_expect(fd, "554 mail.example.org ESMTP not accepting messages\r\n221 2.0.0 mail.example.org closing connection\r\n");
	assert_true(logged(&d, "verdict=early client=192.0.2.7 port=4321 via=127.0.0.9 to=192.0.2.25:25 "));
	assert_true(logged(&d, " bytes=6 data=\"QUIT\\r\\n\""));
	leave(&d, fd);
	door_close(&d);
	open_door(&d, "greet_pause=0");
	fd = come("127.0.0.9");
	say(&d, fd, V1 "QUIT\r\n", sizeof(V1 "QUIT\r\n") - 1);
	int backend = door_backend_accept(&d);
	door_send(backend, "220 hi\r\n");
	door_settle(&d);
	door_expect(fd, "220 hi\r\n");
	char bytes[PROXYHDR_V2_MAX];
	struct proxyhdr h;
	const char *why;
	ssize_t n = recv(backend, bytes, sizeof(bytes), MSG_DONTWAIT);
	int used = proxyhdr_read_v2((struct slice){ bytes, (size_t)n }, &h, &why);
	assert_true(used > 0 && h.client.ip[15] == 7 && h.server.ip[15] == 25 && h.server.port == 25);
	assert_int_equal(n - used, 6);
	assert_memory_equal(bytes + used, "QUIT\r\n", 6);
	close(backend);
	leave(&d, fd);
	door_close(&d);
}

static void strangers(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	int fd = come("127.0.1.1");
	say(&d, fd, V1, sizeof(V1) - 1);
	door_expect(fd, "421 4.7.0 mail.example.org Not for you\r\n");
	door_expect_end(fd);
	close(fd);
	assert_int_equal(door_metric(&d, METRIC_connections), 0);
	assert_true(logged(&d, "event=proxy_refused peer=127.0.1.1"));
	door_close(&d);
}

static void none_in_time(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, "proxy_timeout=2s");
	int silent = come("127.0.0.9"), half = come("127.0.0.9");
	door_settle(&d);
	say(&d, half, "PROXY ", 6);
	loop_advance(&d.front.loop, 1999 * LOOP_MS);
	door_expect_silence(silent);
	door_expect_silence(half);
	loop_advance(&d.front.loop, 2 * LOOP_MS);
	expect_closed(silent);
	expect_closed(half);
	assert_int_equal(door_metric(&d, METRIC_proxy_refused), 2);
	assert_true(logged(&d, "reason=timeout"));
	door_close(&d);
}

/* The same trouble is written down once in ten seconds, with how often it has been meanwhile. */
static void log_is_not_filled(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	loop_advance(&d.front.loop, LOOP_SECOND);
	for (int i = 0; i < 5; i++) {
		int fd = come("127.0.0.9");
		say(&d, fd, "HELO x\r\n", 8);
		expect_closed(fd);
	}
	assert_true(logged(&d, "data=\"HELO x\\r\\n\""));
	buf_clear(&d.log);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	int fd = come("127.0.0.9");
	say(&d, fd, "EHLO y\r\n", 8);
	expect_closed(fd);
	assert_true(logged(&d, "error=\"not a PROXY header\" bytes=8 data=\"EHLO y\\r\\n\" unsaid=4"));
	buf_clear(&d.log);
	loop_advance(&d.front.loop, 10 * LOOP_SECOND);
	fd = come("127.0.0.9");
	say(&d, fd, "EHLO z\r\n", 8);
	expect_closed(fd);
	assert_true(logged(&d, "EHLO z") && !logged(&d, "unsaid"));
	assert_int_equal(door_metric(&d, METRIC_proxy_refused), 7);
	door_close(&d);
}

/* However many come, the table is never full but when it is. */
static void slots_are_used_again(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	for (int i = 0; i < ARRIVE_MAX + 10; i++) {
		int fd = come("127.0.0.9");
		while (door_metric(&d, METRIC_arriving) == 0)
			loop_turn(&d.front.loop, 0);
		close(fd);
		while (door_metric(&d, METRIC_arriving) == 1)
			loop_turn(&d.front.loop, 0);
	}
	assert_int_equal(door_metric(&d, METRIC_limited_total), 0);
	door_close(&d);
}

static void too_large(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	size_t len = v2(big);
	big[14] = (char)((PROXYHDR_V2_MAX - 16 + 1) >> 8);
	big[15] = (char)((PROXYHDR_V2_MAX - 16 + 1) & 0xff);
	int fd = come("127.0.0.9");
	say(&d, fd, big, len);
	expect_closed(fd);
	assert_true(logged(&d, "error=\"PROXY version 2 header too long\""));
	door_close(&d);
}

/* Who is checked, and by what: LOCAL, a prober's address in the header, a prober that connects itself. Nobody else. */
static void probes(void **context)
{
	static const struct {
		const char *from, *header;
		size_t len;
		bool probe;
	} rows[] = {
		{ "127.0.0.9", "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16, true },
		{ "127.0.0.9", "PROXY TCP4 192.0.2.99 192.0.2.25 1 25\r\n", 39, true },
		{ "127.0.0.2", "PROXY UNKNOWN\r\n", 15, true },
		{ "127.0.9.9", "", 0, true },
		{ "127.0.0.9", "PROXY UNKNOWN\r\n", 15, false },
		{ "127.0.0.9", "\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", 16, false },
		{ "127.0.0.2", "PROXY TCP4 192.0.2.98 192.0.2.25 1 25\r\n", 39, false },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct door d;
		open_door(&d, "greet_pause=1s");
		int fd = come(rows[i].from);
		say(&d, fd, rows[i].header, rows[i].len);
		assert_int_equal(door_metric(&d, METRIC_probes), rows[i].probe);
		assert_int_equal(door_count(&d, CONN_DIAL), rows[i].probe);
		leave(&d, fd);
		if (rows[i].probe)
			assert_true(door_metric(&d, METRIC_gone) == 0 && door_metric(&d, METRIC_connections) == 0 && !logged(&d, "verdict="));
		door_close(&d);
	}
}

/* Nor do they count: not for the limits of a client that has the same address, and not in the table of clients. */
static void probes_have_no_limits(void **context)
{
	struct door d;
	int fds[3];
	(void)context;
	open_door(&d, "max_per_client=1");
	for (int i = 0; i < 3; i++) {
		fds[i] = come("127.0.9.9");
		door_settle(&d);
		assert_int_equal(door_count(&d, CONN_DIAL), i + 1);
		assert_int_equal(clients_count(&d.front.clients, addr_client_key(&d.front.conns[0].client)), 0);
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	door_settle(&d);
	assert_int_equal(d.front.open, 0);
	door_close(&d);
}

static void probe_answered(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, "smtp_login_msg=here");
	for (int i = 0; i < 3; i++) {
		static const char *const greetings[] = { "220 hi\r\n", "554 no\r\n", "" };
		int fd = come("127.0.9.9");
		door_settle(&d);
		int backend = door_backend_accept(&d);
		char bytes[PROXYHDR_V2_MAX];
		if (greetings[i][0])
			door_send(backend, greetings[i]);
		else
			close(backend);
		door_settle(&d);
		door_send(fd, "QUIT\r\n");
		door_settle(&d);
		door_expect(fd, i == 0 ? "220 here ESMTP\r\n221 2.0.0 mail.example.org closing connection\r\n"
			: "421 4.3.2 mail.example.org Service not available, try again later\r\n");
		if (i == 0) {
			ssize_t n = recv(backend, bytes, sizeof(bytes), MSG_DONTWAIT);
			assert_true(n > 6 && memcmp(bytes + n - 6, "QUIT\r\n", 6) == 0);
		}
		if (greetings[i][0])
			close(backend);
		leave(&d, fd);
	}
	assert_false(logged(&d, "verdict="));
	assert_true(logged(&d, "event=backend_greeting"));
	assert_int_equal(door_metric(&d, METRIC_nobackend), 0);
	assert_int_equal(door_metric(&d, METRIC_refused_commands), 0);
	door_close(&d);
}

static void door_that_stops(void **context)
{
	struct door d;
	(void)context;
	open_door(&d, NULL);
	int fd = come("127.0.0.9");
	door_settle(&d);
	arrive_stop(&d.front);
	door_expect(fd, "421 4.3.2 mail.example.org Service shutting down, try again later\r\n");
	door_expect_end(fd);
	close(fd);
	fd = come("127.0.0.9"); /* and one that is there when all ends */
	door_settle(&d);
	close(fd);
	door_close(&d);
}

/* Whatever a front is doing when it ends, nothing is left of it. */
static void end_in_the_middle(void **context)
{
	struct door d;
	char header[PROXYHDR_V2_MAX];
	size_t len = v2(header);
	(void)context;
	open_door(&d, "greet_pause=1s");
	int held = come("127.0.0.9"), dialling = come("127.0.0.9"), arriving = come("127.0.0.9");
	say(&d, dialling, header, len);
	loop_advance(&d.front.loop, 2 * LOOP_SECOND);
	say(&d, held, header, len);
	assert_int_equal(door_count(&d, CONN_HOLD), 1);
	assert_int_equal(door_count(&d, CONN_DIAL), 1);
	assert_int_equal(door_metric(&d, METRIC_arriving), 1);
	front_fini(&d.front);
	assert_non_null(strstr(buf_text(&d.log), "verdict=tempfail client=192.0.2.7 port=4321 via=127.0.0.9 to=192.0.2.25:25 via_id=a-b-c"));
	assert_int_equal(door_metric(&d, METRIC_arriving), 0);
	close(held);
	close(dialling);
	close(arriving);
	struct front_setup front = { .conf = &d.conf, .fronts = 1, .parent = -1, .questions = -1, .manual_clock = true };
	assert_int_equal(front_init(&d.front, &front), 0); /* for door_close() */
	door_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut_v1), cmocka_unit_test(cut_v2), cmocka_unit_test(ended_within), cmocka_unit_test(ends_without_a_word),
		cmocka_unit_test(behind_the_header), cmocka_unit_test(strangers), cmocka_unit_test(none_in_time), cmocka_unit_test(log_is_not_filled),
		cmocka_unit_test(slots_are_used_again), cmocka_unit_test(too_large), cmocka_unit_test(probes), cmocka_unit_test(probes_have_no_limits), cmocka_unit_test(probe_answered), cmocka_unit_test(door_that_stops), cmocka_unit_test(end_in_the_middle),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
