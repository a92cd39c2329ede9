/* A front's side of TLS towards a backend, with this test in the place of tarry-tls and of the backend: what is handed over and when, what is believed of the answer, and that nothing of the
 * client's is ever said in clear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/sock.h"
#include "core/tlswire.h"
#include "door.h"
#include "gate/backend_tls.h"

#define PAUSE (250 * LOOP_MS)
#define TIMEOUT (6 * LOOP_SECOND)
#define WAIT 5000 /* milliseconds until a test gives up */
#define NO_SERVICE "421 4.3.2 mail.example.org Service not available, try again later\r\n"

static struct door door;
static int orders; /* our end */
static int listener;

static void begin(const char *what)
{
	static char text[400];
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } };
	listener = sock_listen(&at, 16, false);
	assert_true(listener >= 0 && sock_local(listener, &at));
	snprintf(text, sizeof(text), "backend first { address = \"smtp:127.0.0.1:%u\" tls = %s }", (unsigned)at.port, what);
	struct door_setup setup = { .manual = true, .file = text, .options = { "greet_pause=250ms", "backend_timeout=6s", "resolve=never" }, .tls = &orders, .tls_out = true };
	metrics_add(METRIC_tls_running, 1);
	door_open(&door, &setup);
}

static int end(void **state)
{
	(void)state;
	loop_advance(&door.front.loop, 10 * LOOP_SECOND);
	assert_int_equal(door.front.open, 0);
	assert_int_equal(backends_open(&door.front.backends, &door.front.backends.all[0]), 0);
	door_close(&door);
	close(orders);
	close(listener);
	metrics_add(METRIC_tls_running, -metrics_sum(METRIC_tls_running));
	return 0;
}

static int patient(void)
{
	int client = door_connect(&door, "192.0.2.1");
	loop_advance(&door.front.loop, PAUSE);
	door_settle(&door);
	return client;
}

static int accepted(void)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	struct addr from;
	assert_int_equal(poll(&p, 1, WAIT), 1);
	int fd = sock_accept(listener, &from);
	assert_true(fd >= 0);
	door_settle(&door);
	return fd;
}

struct handed {
	int outer, inner;
};

static struct handed take(void)
{
	struct tlswire_order order;
	int fds[2];
	unsigned got;
	assert_int_equal(sock_recv_fds(orders, &order, sizeof(order), fds, 2, &got), sizeof(order));
	assert_int_equal(got, 2);
	assert_int_equal(order.magic, TLSWIRE_MAGIC);
	assert_int_equal(order.starttls, 0);
	assert_int_equal(order.backend, 1);
	assert_int_equal(order.timeout, TIMEOUT / LOOP_MS);
	return (struct handed){ fds[0], fds[1] };
}

static void expect_no_order(void)
{
	char byte;
	assert_int_equal(recv(orders, &byte, 1, MSG_DONTWAIT | MSG_PEEK), -1);
}

static void answer(const struct handed *h, bool ok)
{
	struct tlswire_facts f = { .magic = TLSWIRE_MAGIC, .ok = ok, .version = "TLSv1.3", .cipher = "CIPHER" };
	if (!ok)
		f = (struct tlswire_facts){ .magic = TLSWIRE_MAGIC, .error = "certificate has expired" };
	assert_int_equal(send(h->inner, &f, sizeof(f), 0), sizeof(f));
}

static void give_back(const struct handed *h)
{
	close(h->outer);
	close(h->inner);
	door_settle(&door);
}

static void expect_logged(const char *text)
{
	if (!strstr(buf_text(&door.log), text))
		fail_msg("no %s in\n%s", text, buf_text(&door.log));
}

/* Facts and greeting in one breath, and apart. */
static void implicit(void **state)
{
	(void)state;
	begin("implicit");
	for (int apart = 0; apart < 2; apart++) {
		int client = patient(), backend = accepted();
		struct handed h = take();
		/* What was handed over is the connection to the backend, and not the front's any more. */
		door_send(h.outer, "hello");
		door_expect(backend, "hello");
		answer(&h, true);
		if (apart)
			door_settle(&door);
		door_expect_silence(client);
		door_send(h.inner, "220 b\r\n");
		door_settle(&door);
		door_expect(client, "220 b\r\n");
		door_send(client, "EHLO c\r\n");
		door_settle(&door);
		door_expect(h.inner, "EHLO c\r\n");
		door_expect_silence(backend);
		door_send(h.inner, "250-b\r\n250 STARTTLS\r\n");
		door_settle(&door);
		door_expect(client, "250 b\r\n");
		door_send(client, "STARTTLS\r\n");
		door_settle(&door);
		door_expect(client, "454 4.7.0 TLS not available due to local policy\r\n");
		door_expect_silence(h.inner);
		give_back(&h);
		close(client);
		close(backend);
		door_settle(&door);
	}
	expect_logged("backend_tls=TLSv1.3");
	assert_int_equal(door_metric(&door, METRIC_backend_tls), 2);
}

static void fails(void **state)
{
	(void)state;
	begin("implicit");
	int client = patient(), backend = accepted();
	struct handed h = take();
	answer(&h, false);
	door_settle(&door);
	door_expect(client, NO_SERVICE);
	expect_logged("event=backend_down backend=first");
	expect_logged("error=\"TLS: certificate has expired\"");
	give_back(&h);
	door_expect(backend, "");
	door_expect_end(backend);
	close(client);
	close(backend);
}

/* Killed in the middle of it, or what it says is none. */
static void is_gone(void **state)
{
	(void)state;
	begin("implicit");
	for (int odd = 0; odd < 2; odd++) {
		int client = patient(), backend = accepted();
		struct handed h = take();
		char junk[sizeof(struct tlswire_facts)];
		memset(junk, 'x', sizeof(junk));
		assert_int_equal(send(h.inner, junk, odd ? sizeof(junk) : 20, 0), odd ? sizeof(junk) : 20);
		give_back(&h);
		door_expect(client, NO_SERVICE);
		close(client);
		close(backend);
		loop_advance(&door.front.loop, 20 * LOOP_SECOND); /* it is tried again */
	}
	expect_logged("error=\"TLS: the process that had it has gone\"");
	assert_int_equal(door_metric(&door, METRIC_backend_tls), 0);
}

static void hangs(void **state)
{
	(void)state;
	begin("implicit");
	int client = patient(), backend = accepted();
	struct handed h = take();
	loop_advance(&door.front.loop, TIMEOUT - LOOP_MS);
	door_expect_silence(client);
	loop_advance(&door.front.loop, LOOP_MS);
	door_settle(&door);
	door_expect(client, NO_SERVICE);
	expect_logged("error=\"no TLS handshake in time\"");
	door_expect_end(h.inner);
	give_back(&h);
	close(client);
	close(backend);
}

/* Nobody takes it: it is tried again, for as long as a backend has. */
static void nobody(void **state)
{
	(void)state;
	begin("implicit");
	metrics_add(METRIC_tls_running, -1);
	int client = patient(), backend = accepted();
	expect_no_order();
	loop_advance(&door.front.loop, LOOP_SECOND);
	metrics_add(METRIC_tls_running, 1);
	loop_advance(&door.front.loop, LOOP_SECOND);
	struct handed h = take();
	answer(&h, true);
	door_send(h.inner, "220 b\r\n");
	door_settle(&door);
	door_expect(client, "220 b\r\n");
	give_back(&h);
	close(client);
	close(backend);
	door_settle(&door);
	metrics_add(METRIC_tls_running, -1);
	client = patient();
	backend = accepted();
	loop_advance(&door.front.loop, TIMEOUT);
	door_settle(&door);
	door_expect(client, NO_SERVICE);
	expect_logged("error=\"no process to do the TLS handshake\"");
	door_expect(backend, "");
	door_expect_end(backend);
	close(client);
	close(backend);
}

/* The header goes in clear, whole, and first. */
static void header_first(void **state)
{
	char header[200];
	(void)state;
	begin("implicit proxy = v1");
	int client = patient(), backend = accepted();
	struct handed h = take();
	ssize_t n = recv(backend, header, sizeof(header), 0);
	assert_true(n > 6 && memcmp(header, "PROXY ", 6) == 0 && memchr(header, '\n', (size_t)n) == header + n - 1);
	answer(&h, true);
	door_send(h.inner, "220 b\r\n");
	door_settle(&door);
	door_expect(client, "220 b\r\n");
	door_expect_silence(h.inner);
	give_back(&h);
	close(client);
	close(backend);
}

/* A client that talks, or goes, while the backend's handshake is under way. */
static void client_leaves(void **state)
{
	(void)state;
	begin("implicit");
	int client = patient(), backend = accepted();
	struct handed h = take();
	close(client);
	door_settle(&door);
	door_expect_end(h.inner);
	give_back(&h);
	close(backend);
	client = patient();
	backend = accepted();
	h = take();
	door_send(client, "EHLO early\r\n");
	door_settle(&door);
	assert_int_equal(door_metric(&door, METRIC_early), 1);
	door_expect_end(h.inner);
	give_back(&h);
	close(client);
	close(backend);
}

/* ---- STARTTLS ---- */

static void says(int backend, const char *text, const char *answer_to_it)
{
	door_send(backend, text);
	door_settle(&door);
	door_expect(backend, answer_to_it);
}

static int asked(void)
{
	int backend = accepted();
	says(backend, "220 in clear\r\n", "EHLO mail.example.org\r\n");
	says(backend, "250-b\r\n250 STARTTLS\r\n", "STARTTLS\r\n");
	expect_no_order();
	return backend;
}

static void starttls(void **state)
{
	(void)state;
	begin("starttls");
	int client = patient(), backend = asked();
	says(backend, "220 go\r\n", "");
	struct handed h = take();
	door_expect_silence(client);
	answer(&h, true);
	door_settle(&door);
	door_expect(client, "220 in clear\r\n");
	door_expect_silence(h.inner);
	door_send(client, "EHLO c\r\n");
	door_settle(&door);
	door_expect(h.inner, "EHLO c\r\n");
	door_expect_silence(backend);
	give_back(&h);
	close(client);
	close(backend);
	door_settle(&door);
	expect_logged("backend_tls=TLSv1.3");
}

/* What is kept of the dialogue in clear answers XCLIENT's first question too. */
static void starttls_and_xclient(void **state)
{
	(void)state;
	begin("starttls xclient = yes");
	int client = patient(), backend = asked();
	says(backend, "220 go\r\n", "");
	struct handed h = take();
	answer(&h, true);
	door_settle(&door);
	door_expect(h.inner, "EHLO mail.example.org\r\n");
	door_send(h.inner, "250-b\r\n250 XCLIENT ADDR\r\n");
	door_settle(&door);
	door_expect(h.inner, "XCLIENT ADDR=192.0.2.1\r\n");
	door_send(h.inner, "220 second\r\n");
	door_settle(&door);
	door_expect(client, "220 second\r\n");
	give_back(&h);
	close(client);
	close(backend);
}

static void starttls_injection(void **state)
{
	(void)state;
	begin("starttls");
	int client = patient(), backend = asked();
	door_send(backend, "220 go\r\n250 injected\r\n");
	door_settle(&door);
	expect_no_order();
	door_expect(client, NO_SERVICE);
	expect_logged("error=\"speaks between its reply to STARTTLS and TLS\"");
	door_expect_end(backend);
	close(client);
	close(backend);
}

/* The backend has heard nothing but our end when the client has heard its refusal, and hears nothing after it. */
static void starttls_refusal(void **state)
{
	(void)state;
	begin("starttls");
	int client = patient(), backend = accepted();
	door_send(backend, "554 no\r\n");
	door_settle(&door);
	door_expect(client, "554 no\r\n");
	door_expect(backend, "");
	door_expect_end(backend);
	door_send(client, "EHLO c\r\n");
	door_settle(&door);
	door_expect_end(backend);
	close(backend);
	door_settle(&door);
	door_expect(client, "421 4.3.0 mail.example.org Mail server has gone, closing connection\r\n");
	door_expect_end(client);
	close(client);
	door_settle(&door);
	expect_logged("greeting=554");
}

/* Nobody takes it over behind the backend's 220: it waits in clear, and nothing is said. */
static void starttls_nobody(void **state)
{
	(void)state;
	begin("starttls");
	metrics_add(METRIC_tls_running, -1);
	int client = patient(), backend = asked();
	says(backend, "220 go\r\n", "");
	expect_no_order();
	loop_advance(&door.front.loop, TIMEOUT - LOOP_SECOND);
	door_settle(&door);
	door_expect_silence(backend);
	loop_advance(&door.front.loop, LOOP_SECOND);
	door_settle(&door);
	door_expect(client, NO_SERVICE);
	door_expect_end(backend);
	expect_logged("error=\"no process to do the TLS handshake\"");
	close(client);
	close(backend);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(implicit, end), cmocka_unit_test_teardown(fails, end), cmocka_unit_test_teardown(is_gone, end), cmocka_unit_test_teardown(hangs, end),
		cmocka_unit_test_teardown(nobody, end), cmocka_unit_test_teardown(header_first, end), cmocka_unit_test_teardown(client_leaves, end),
		cmocka_unit_test_teardown(starttls, end), cmocka_unit_test_teardown(starttls_and_xclient, end), cmocka_unit_test_teardown(starttls_injection, end),
		cmocka_unit_test_teardown(starttls_refusal, end), cmocka_unit_test_teardown(starttls_nobody, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
