/* A front's side of TLS, with this test in the place of tarry-tls: what is handed over, what is believed of the answer, and what becomes of those nobody answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/sock.h"
#include "core/tlswire.h"
#include "door.h"
#include "gate/seal.h"

#define PAUSE (300 * LOOP_MS)
#define GREETING "220 b ESMTP\r\n"

static struct door door;
static int orders; /* our end */

static struct tlswire_facts facts(void)
{
	return (struct tlswire_facts){ .magic = TLSWIRE_MAGIC, .ok = 1, .version = "TLSv1.3", .cipher = "CIPHER", .name = "n.example" };
}

static int begin_with(enum conf_tls tls)
{
	struct door_setup setup = { .manual = true, .options = { "greet_pause=300", "tls_timeout=2000", "max_per_client=3" }, .tls = &orders };
	metrics_add(METRIC_tls_running, 1);
	door_open(&door, &setup);
	door.tls = tls;
	return 0;
}

static int begin_implicit(void **state)
{
	(void)state;
	return begin_with(CONF_TLS_IMPLICIT);
}

static int begin_starttls(void **state)
{
	(void)state;
	return begin_with(CONF_TLS_STARTTLS);
}

static int end(void **state)
{
	(void)state;
	door_close(&door);
	close(orders);
	metrics_add(METRIC_tls_running, -metrics_sum(METRIC_tls_running));
	return 0;
}

struct handed {
	int outer, inner;
	bool starttls;
};

static struct handed take(void)
{
	struct tlswire_order order;
	int fds[2];
	unsigned got;
	assert_int_equal(sock_recv_fds(orders, &order, sizeof(order), fds, 2, &got), sizeof(order));
	assert_int_equal(got, 2);
	assert_int_equal(order.magic, TLSWIRE_MAGIC);
	return (struct handed){ fds[0], fds[1], order.starttls };
}

static void expect_no_order(void)
{
	char byte;
	assert_int_equal(recv(orders, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
}

static void give_back(const struct handed *h)
{
	close(h->outer);
	close(h->inner);
}

static void answer(const struct handed *h, const struct tlswire_facts *f)
{
	assert_int_equal(send(h->inner, f, sizeof(*f), 0), sizeof(*f));
	door_settle(&door);
}

static void expect_logged(const char *text)
{
	if (!strstr(buf_text(&door.log), text))
		fail_msg("no %s in\n%s", text, buf_text(&door.log));
}

static void implicit(void **state)
{
	(void)state;
	int client = door_connect(&door, "192.0.2.1");
	struct handed h = take();
	struct tlswire_facts f = facts();
	assert_false(h.starttls);
	assert_int_equal(door_count(&door, CONN_TLS), 1);
	/* The socket that was handed over is the client's. */
	door_send(client, "hello");
	struct epoll_event event;
	assert_int_equal(epoll_wait(door.front.loop.epoll, &event, 1, 0), 0); /* and not the front's any more */
	door_expect(h.outer, "hello");
	/* Byte by byte; and the pause begins with the last one. */
	loop_advance(&door.front.loop, LOOP_SECOND);
	for (size_t i = 0; i < sizeof(f); i++) {
		assert_int_equal(door_count(&door, CONN_TLS), 1);
		assert_int_equal(send(h.inner, (char *)&f + i, 1, 0), 1);
		door_settle(&door);
	}
	assert_int_equal(door_count(&door, CONN_HOLD), 1);
	loop_advance(&door.front.loop, PAUSE - LOOP_MS);
	assert_int_equal(door_count(&door, CONN_HOLD), 1);
	loop_advance(&door.front.loop, LOOP_MS);
	door_settle(&door);
	int backend = door_backend_accept(&door);
	door_send(backend, GREETING);
	door_settle(&door);
	door_expect(h.inner, GREETING);
	assert_int_equal(door_count(&door, CONN_RELAY), 1);
	give_back(&h);
	close(client);
	close(backend);
	door_settle(&door);
	expect_logged("tls=TLSv1.3 cipher=CIPHER tls_name=n.example tls_ms=1000.000");
	assert_int_equal(door_metric(&door, METRIC_tls_handshakes), 1);
}

/* What was said in one breath with the last of the handshake is early, too. */
static void implicit_early(void **state)
{
	(void)state;
	int client = door_connect(&door, "192.0.2.1");
	struct handed h = take();
	struct tlswire_facts f = facts();
	char both[sizeof(f) + 6];
	memcpy(both, &f, sizeof(f));
	memcpy(both + sizeof(f), "NOOP\r\n", 6);
	assert_int_equal(send(h.inner, both, sizeof(both), 0), sizeof(both));
	door_settle(&door);
	door_expect(h.inner, "554 mail.example.org ESMTP not accepting messages\r\n250 2.0.0 OK\r\n");
	assert_int_equal(door_metric(&door, METRIC_early), 1);
	give_back(&h);
	close(client);
	door_settle(&door);
}

static void implicit_fails(void **state)
{
	(void)state;
	struct tlswire_facts bad[3] = { { .magic = TLSWIRE_MAGIC, .error = "no shared cipher" }, facts(), facts() };
	bad[1].magic = 0;
	memset(bad[2].cipher, 'x', sizeof(bad[2].cipher));
	for (size_t i = 0; i < 4; i++) {
		int client = door_connect(&door, "192.0.2.1");
		struct handed h = take();
		if (i < 3)
			answer(&h, &bad[i]);
		give_back(&h); /* 3: killed */
		door_settle(&door);
		door_expect_end(client);
		close(client);
	}
	assert_int_equal(door_metric(&door, METRIC_gone), 4);
	assert_int_equal(door_metric(&door, METRIC_tls_failed), 4);
	expect_logged("tls=failed tls_error=\"no shared cipher\"");
	expect_logged("tls=failed tls_error=\"the process that had it has gone\"");
}

/* One that hangs has the client a second longer than it may. */
static void implicit_hangs(void **state)
{
	(void)state;
	int client = door_connect(&door, "192.0.2.1");
	struct handed h = take();
	close(h.outer);
	loop_advance(&door.front.loop, 3 * LOOP_SECOND - LOOP_MS);
	assert_int_equal(door_count(&door, CONN_TLS), 1);
	loop_advance(&door.front.loop, LOOP_MS);
	door_settle(&door);
	door_expect_end(client);
	expect_logged("tls_error=\"no handshake in time\"");
	close(h.inner);
	close(client);
}

static void implicit_nobody(void **state)
{
	(void)state;
	metrics_add(METRIC_tls_running, -1);
	int client = door_connect(&door, "192.0.2.1"), late = door_connect(&door, "192.0.2.2");
	expect_no_order();
	loop_advance(&door.front.loop, LOOP_SECOND);
	close(late);
	metrics_add(METRIC_tls_running, 1);
	loop_advance(&door.front.loop, LOOP_SECOND);
	struct handed h = take(), gone = take();
	give_back(&gone);
	answer(&h, &(struct tlswire_facts){ .magic = TLSWIRE_MAGIC });
	give_back(&h);
	metrics_add(METRIC_tls_running, -1);
	int never = door_connect(&door, "192.0.2.3");
	loop_advance(&door.front.loop, 3 * LOOP_SECOND);
	door_settle(&door);
	door_expect_end(never);
	expect_logged("tls_error=\"no process to do the handshake\"");
	close(client);
	close(never);
	door_settle(&door);
	assert_int_equal(door_metric(&door, METRIC_gone), 3);
}

/* More than the queue takes are not lost. */
static void implicit_many(void **state)
{
	enum { MANY = 2000 };
	static int clients[MANY];
	char address[32];
	unsigned taken = 0;
	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(address, sizeof(address), "192.0.%u.%u", i / 200, i % 200);
		clients[i] = door_connect(&door, address);
	}
	assert_int_equal(door_count(&door, CONN_TLS), MANY);
	for (int turn = 0; turn < 25 && taken < MANY; turn++) {
		char byte;
		while (recv(orders, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1) {
			struct handed h = take();
			give_back(&h);
			taken++;
		}
		loop_advance(&door.front.loop, 100 * LOOP_MS);
	}
	assert_int_equal(taken, MANY);
	for (unsigned i = 0; i < MANY; i++)
		close(clients[i]);
	door_settle(&door);
}

static void implicit_over_a_limit(void **state)
{
	int clients[4];
	struct handed h[3];
	(void)state;
	for (size_t i = 0; i < 4; i++)
		clients[i] = door_connect(&door, "192.0.2.1");
	for (size_t i = 0; i < 3; i++)
		h[i] = take();
	expect_no_order();
	door_expect_end(clients[3]);
	expect_logged("verdict=limited");
	for (size_t i = 0; i < 3; i++)
		give_back(&h[i]);
	for (size_t i = 0; i < 4; i++)
		close(clients[i]);
	door_settle(&door);
}

/* Past the greeting and EHLO; *backend is the door's. */
static int relayed(int *backend)
{
	int client = door_connect(&door, "192.0.2.1");
	loop_advance(&door.front.loop, PAUSE);
	door_settle(&door);
	*backend = door_backend_accept(&door);
	door_send(*backend, GREETING);
	door_settle(&door);
	door_send(client, "EHLO c\r\n");
	door_settle(&door);
	door_send(*backend, "250 b\r\n");
	door_settle(&door);
	door_expect(client, GREETING "250-b\r\n250 STARTTLS\r\n");
	char header[2000];
	assert_true(recv(*backend, header, sizeof(header), 0) > 0);
	return client;
}

static void starttls(void **state)
{
	struct tlswire_facts f = facts();
	int backend;
	(void)state;
	int client = relayed(&backend);
	door_send(client, "STARTTLS\r\n");
	door_settle(&door);
	assert_int_equal(door_count(&door, CONN_STARTTLS), 1);
	struct handed h = take();
	assert_true(h.starttls);
	door_expect_silence(client); /* the 220 is for who has the socket now to say */
	/* What the backend says meanwhile waits. */
	answer(&h, &f);
	assert_int_equal(door_count(&door, CONN_RELAY), 1);
	door_expect(backend, "XTLS TLSv1.3 CIPHER\r\n");
	door_send(backend, "250 ok\r\n");
	door_settle(&door);
	door_send(h.inner, "NOOP\r\n");
	door_settle(&door);
	door_expect(backend, "NOOP\r\n");
	door_send(backend, "250 noop\r\n");
	door_settle(&door);
	door_expect(h.inner, "250 noop\r\n");
	give_back(&h);
	close(client);
	close(backend);
	door_settle(&door);
	expect_logged("verdict=patient");
	expect_logged("tls=TLSv1.3");
}

static void starttls_nobody(void **state)
{
	int backend;
	(void)state;
	int client = relayed(&backend);
	metrics_add(METRIC_tls_running, -1);
	door_send(client, "STARTTLS\r\n");
	door_settle(&door);
	door_expect(client, "454 4.7.0 TLS not available due to temporary reason\r\n");
	assert_int_equal(door_metric(&door, METRIC_tls_unavailable), 1);
	metrics_add(METRIC_tls_running, 1);
	door_send(client, "STARTTLS\r\n");
	door_settle(&door);
	struct handed h = take();
	give_back(&h);
	close(client);
	door_settle(&door);
	door_expect(backend, "");
	door_expect_end(backend);
	close(backend);
	expect_logged("tls=failed");
	assert_int_equal(door_metric(&door, METRIC_patient), 1);
	assert_int_equal(door_metric(&door, METRIC_gone), 0);
}

/* Both in one read of ours; and where the second part is still in the socket. */
static void starttls_injection(void **state)
{
	int backend;
	(void)state;
	int client = relayed(&backend);
	door_send(client, "STARTTLS\r\nNOOP\r\n");
	door_settle(&door);
	expect_no_order();
	door_expect(client, "554 5.5.0 You sent more before you had the reply to STARTTLS\r\n250 2.0.0 OK\r\n");
	expect_logged("verdict=early");
	expect_logged("stage=starttls");
	assert_int_equal(door_metric(&door, METRIC_early_starttls), 1);
	door_expect(backend, "");
	close(client);
	close(backend);
	door_settle(&door);
}

static void starttls_ends_meanwhile(void **state)
{
	int backend;
	struct tlswire_facts f = facts();
	(void)state;
	int client = relayed(&backend);
	door_send(client, "STARTTLS\r\n");
	door_settle(&door);
	struct handed h = take();
	door_send(backend, "421 b going\r\n");
	close(backend);
	door_settle(&door);
	assert_int_equal(door_count(&door, CONN_STARTTLS), 1);
	/* The last of the handshake, the client's next command and its end, all at once. */
	assert_int_equal(send(h.inner, &f, sizeof(f), 0), sizeof(f));
	door_send(h.inner, "EHLO c\r\n");
	shutdown(h.inner, SHUT_WR);
	door_settle(&door);
	door_expect(h.inner, "421 b going\r\n");
	give_back(&h);
	close(client);
	door_settle(&door);
	assert_int_equal(door.front.open, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(implicit, begin_implicit, end),
		cmocka_unit_test_setup_teardown(implicit_early, begin_implicit, end),
		cmocka_unit_test_setup_teardown(implicit_fails, begin_implicit, end),
		cmocka_unit_test_setup_teardown(implicit_hangs, begin_implicit, end),
		cmocka_unit_test_setup_teardown(implicit_nobody, begin_implicit, end),
		cmocka_unit_test_setup_teardown(implicit_many, begin_implicit, end),
		cmocka_unit_test_setup_teardown(implicit_over_a_limit, begin_implicit, end),
		cmocka_unit_test_setup_teardown(starttls, begin_starttls, end),
		cmocka_unit_test_setup_teardown(starttls_nobody, begin_starttls, end),
		cmocka_unit_test_setup_teardown(starttls_injection, begin_starttls, end),
		cmocka_unit_test_setup_teardown(starttls_ends_meanwhile, begin_starttls, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
