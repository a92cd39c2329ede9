/* A client whose TLS ends here, between an SSL of ours and a pair in the place of a front: bytes both ways, slow readers, and every end. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/err.h>

#include "certificates.h"
#include "core/sock.h"
#include "core/tlswire.h"
#include "descriptors.h"
#include "tls/client.h"
#include "tls/context.h"

#define TIMEOUT (2 * LOOP_SECOND)
#define MUCH (2 * 1024 * 1024)

static struct loop loop;
static struct clients all;
static SSL_CTX *server, *client_context;
static SSL *ssl;        /* the client's side */
static int outer, front; /* our ends */
static int before;

static bool no_memory; /* for the library */

static void *take(size_t len, const char *file, int line)
{
	(void)file;
	(void)line;
	return no_memory ? NULL : malloc(len);
}

static void *take_again(void *at, size_t len, const char *file, int line)
{
	(void)file;
	(void)line;
	return no_memory ? NULL : realloc(at, len);
}

static void give_back(void *at, const char *file, int line)
{
	(void)file;
	(void)line;
	free(at);
}

static void turn_end(struct loop *l, void *context)
{
	(void)l;
	client_reap(context);
}

static int begin(void **state)
{
	struct buf why;
	char memory[256];
	int pair[2], inner[2];
	(void)state;
	before = descriptors_open();
	assert_int_equal(loop_init_manual(&loop, 16), 0);
	all = (struct clients){ .loop = &loop };
	loop.turn_end = turn_end;
	loop.turn_end_context = &all;
	buf_init_fixed(&why, memory, sizeof(memory));
	int bundle = certificates_bundle(certificates_text("a.example", 9, 0), certificates_key(0, NULL), "");
	server = context_new(bundle, &(struct context_files){ "c", "k", "a", "" }, &why);
	assert_non_null(server);
	close(bundle);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, inner), 0);
	outer = pair[0];
	front = inner[0];
	SSL *its = SSL_new(server);
	SSL_set_accept_state(its);
	client_new(&all, its, pair[1], inner[1], *state != NULL, TIMEOUT);
	client_context = SSL_CTX_new(TLS_client_method());
	ssl = SSL_new(client_context);
	SSL_set_connect_state(ssl);
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_set_fd(ssl, outer);
	return 0;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int end(void **state)
{
	(void)state;
	SSL_free(ssl);
	SSL_CTX_free(client_context);
	SSL_CTX_free(server);
	shut(&outer);
	shut(&front);
	for (int i = 0; i < 10; i++)
		loop_turn(&loop, 0);
	assert_int_equal(all.len, 0); /* both of its sides are gone: it is, too, without a deadline */
	client_end_all(&all);
	loop_fini(&loop);
	assert_int_equal(descriptors_open(), before);
	ERR_clear_error();
	return 0;
}

static void settle(void)
{
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_turn(&loop, 0), 0);
}

static struct tlswire_facts facts(void)
{
	struct tlswire_facts f;
	settle();
	assert_int_equal(recv(front, &f, sizeof(f), 0), sizeof(f));
	assert_true(tlswire_facts_ok(&f));
	return f;
}

static void handshake(void)
{
	SSL_set_tlsext_host_name(ssl, "asked.example");
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(ssl);
		settle();
	}
	assert_true(SSL_is_init_finished(ssl));
	struct tlswire_facts f = facts();
	assert_int_equal(f.ok, 1);
	assert_string_equal(f.version, "TLSv1.3");
	assert_string_equal(f.cipher, SSL_get_cipher_name(ssl));
	assert_string_equal(f.name, "asked.example");
	assert_int_equal(f.certificate, 0);
}

static int ssl_read(char *at, size_t len)
{
	int n = SSL_read(ssl, at, (int)len);
	ERR_clear_error();
	return n;
}

static void both_ways(void **state)
{
	char got[64];
	(void)state;
	handshake();
	assert_int_equal(SSL_write(ssl, "EHLO x\r\n", 8), 8);
	settle();
	assert_int_equal(recv(front, got, sizeof(got), 0), 8);
	assert_memory_equal(got, "EHLO x\r\n", 8);
	assert_int_equal(send(front, "250 ok\r\n", 8, 0), 8);
	settle();
	assert_int_equal(ssl_read(got, sizeof(got)), 8);
	assert_memory_equal(got, "250 ok\r\n", 8);
}

static char byte_at(size_t i)
{
	return (char)(i * 131 % 251);
}

/* Nobody reads for a while: neither side may be read without end; then all of it comes, in order. */
static void slow_readers(void **state)
{
	char block[4096];
	size_t sent = 0, got = 0;
	(void)state;
	handshake();
	for (int idle = 0; idle < 5 && sent < MUCH;) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = byte_at(sent + i);
		int n = SSL_write(ssl, block, sizeof(block));
		ERR_clear_error();
		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? (size_t)n : 0;
		settle();
	}
	assert_true(sent < MUCH);
	while (got < sent) {
		ssize_t n = recv(front, block, sizeof(block), 0);
		if (n <= 0) {
			SSL_write(ssl, "", 0);
			settle();
			n = recv(front, block, sizeof(block), 0);
		}
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(block[i], byte_at(got + (size_t)i));
		got += (size_t)n;
		settle();
	}
	for (sent = got = 0; sent < MUCH;) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = byte_at(sent + i);
		ssize_t n = send(front, block, sizeof(block), MSG_NOSIGNAL);
		if (n < 0)
			break;
		sent += (size_t)n;
		settle();
	}
	assert_true(sent < MUCH);
	/* The front goes; what it has left is still the client's. */
	shut(&front);
	settle();
	while (got < sent) {
		int n = ssl_read(block, sizeof(block));
		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			assert_int_equal(block[i], byte_at(got + (size_t)i));
		got += (size_t)n;
		settle();
	}
	assert_int_equal(ssl_read(block, 1), 0);
	assert_int_equal(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
}

/* The client has said all it has to say, and hears the answer; with or without close_notify. */
static void half_closed(void **state)
{
	char got[64];
	for (int notify = 0; notify < 2; notify++) {
		if (notify > 0) {
			end(state);
			begin(state);
		}
		handshake();
		assert_int_equal(SSL_write(ssl, "QUIT\r\n", 6), 6);
		if (notify)
			SSL_shutdown(ssl);
		shutdown(outer, SHUT_WR);
		settle();
		assert_int_equal(recv(front, got, sizeof(got), 0), 6);
		assert_int_equal(recv(front, got, sizeof(got), 0), 0);
		assert_int_equal(send(front, "221\r\n", 5, 0), 5);
		settle();
		assert_int_equal(ssl_read(got, sizeof(got)), 5);
		shutdown(front, SHUT_WR);
		settle();
		assert_int_equal(ssl_read(got, sizeof(got)), 0);
		assert_int_equal(all.len, 0);
	}
}

/* And the other way round. */
static void front_half_closes(void **state)
{
	char got[64];
	(void)state;
	handshake();
	assert_int_equal(send(front, "421\r\n", 5, 0), 5);
	shutdown(front, SHUT_WR);
	settle();
	assert_int_equal(ssl_read(got, sizeof(got)), 5);
	assert_int_equal(ssl_read(got, sizeof(got)), 0);
	assert_int_equal(SSL_write(ssl, "late\r\n", 6), 6);
	settle();
	assert_int_equal(recv(front, got, sizeof(got), 0), 6);
	assert_int_equal(all.len, 1);
}

/* A client that goes on sending to nobody is not heard for ever. */
static void front_goes(void **state)
{
	(void)state;
	handshake();
	shut(&front);
	assert_int_equal(SSL_write(ssl, "still\r\n", 7), 7);
	settle();
	assert_int_equal(all.len, 1);
	loop_advance(&loop, CLIENT_LINGER);
	settle();
	assert_int_equal(all.len, 0);
}

/* It is there, and takes nothing more: there is no memory for it, say. Nobody is left waiting. */
static void front_takes_no_more(void **state)
{
	char got[64];
	(void)state;
	handshake();
	assert_int_equal(send(front, "354 go on\r\n", 11, 0), 11);
	shutdown(front, SHUT_RD);
	assert_int_equal(SSL_write(ssl, "a line\r\n", 8), 8);
	settle();
	assert_int_equal(ssl_read(got, sizeof(got)), 11); /* what it has said is still told */
	assert_int_equal(ssl_read(got, sizeof(got)), 0);
	assert_int_equal(SSL_get_shutdown(ssl), SSL_RECEIVED_SHUTDOWN);
	assert_int_equal(send(front, "x", 1, MSG_NOSIGNAL), -1); /* it hears of it, too */
}

static void fails(const char *said, size_t len, const char *why)
{
	char got[256];
	if (len > 0)
		assert_int_equal(send(outer, said, len, MSG_NOSIGNAL), len);
	else
		shutdown(outer, SHUT_WR);
	struct tlswire_facts f = facts();
	assert_int_equal(f.ok, 0);
	assert_string_equal(f.error, why);
	while (recv(outer, got, sizeof(got), 0) > 0) /* an alert, then the end */
		;
	assert_int_equal(recv(outer, got, sizeof(got), 0), 0);
}

static void in_clear(void **state)
{
	(void)state;
	fails("EHLO x\r\n", 8, "wrong version number");
}

static void http(void **state)
{
	(void)state;
	fails("GET / HTTP/1.0\r\n\r\n", 18, "http request");
}

static void nothing(void **state)
{
	(void)state;
	fails("", 0, "closed before the handshake was done");
}

static void too_slow(void **state)
{
	char got[64];
	(void)state;
	loop_advance(&loop, TIMEOUT - LOOP_MS);
	settle();
	assert_int_equal(recv(outer, got, sizeof(got), 0), -1);
	loop_advance(&loop, LOOP_MS);
	struct tlswire_facts f = facts();
	assert_string_equal(f.error, "no handshake in time");
	assert_int_equal(recv(outer, got, sizeof(got), 0), 0);
}

static void front_gives_up(void **state)
{
	char got[64];
	(void)state;
	shut(&front);
	settle();
	assert_int_equal(all.len, 0);
	assert_int_equal(recv(outer, got, sizeof(got), 0), 0);
}

/* Bytes that are no TLS in the middle of it: what was said before is passed on, what comes then is not. */
static void broken_later(void **state)
{
	char got[64];
	(void)state;
	handshake();
	assert_int_equal(SSL_write(ssl, "NOOP\r\n", 6), 6);
	assert_int_equal(send(outer, "QUIT\r\n", 6, 0), 6);
	settle();
	assert_int_equal(recv(front, got, sizeof(got), 0), 6);
	assert_memory_equal(got, "NOOP\r\n", 6);
	assert_int_equal(recv(front, got, sizeof(got), 0), 0);
	assert_int_equal(all.len, 0);
}

/* A front that has not closed its own descriptors yet: what happens to them is nothing to a client that is gone. */
static void shared(void **state)
{
	char got[256];
	int pair[2], inner[2], events = 0;
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, inner), 0);
	SSL *its = SSL_new(server);
	SSL_set_accept_state(its);
	client_new(&all, its, dup(pair[1]), dup(inner[1]), false, TIMEOUT);
	assert_int_equal(send(pair[0], "no hello\r\n", 10, 0), 10);
	settle();
	assert_int_equal(recv(pair[0], got, sizeof(got), 0), 0);
	shutdown(pair[0], SHUT_RDWR);
	settle();
	assert_int_equal(all.len, 1); /* begin()'s */
	assert_true(recv(inner[0], got, sizeof(got), 0) > 0);
	for (int i = 0; i < 3; i++) {
		send(inner[0], "x", 1, MSG_NOSIGNAL);
		recv(inner[1], got, 1, 0);
		struct epoll_event event;
		events += epoll_wait(loop.epoll, &event, 1, 0);
	}
	assert_int_equal(events, 0);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(inner[i]);
	}
}

/* Who ends for want of memory is counted, for the log; who breaks off is not. */
static void lost(void **state)
{
	char got[64];
	(void)state;
	handshake();
	assert_int_equal(send(front, "220 x\r\n", 7, 0), 7);
	settle();
	assert_int_equal(ssl_read(got, sizeof(got)), 7);
	no_memory = true;
	assert_int_equal(send(front, "250 ok\r\n", 8, 0), 8);
	settle();
	no_memory = false;
	assert_int_equal(all.lost, 1);
	assert_int_equal(all.lost_error, ENOMEM);
	assert_true(ssl_read(got, sizeof(got)) <= 0);
}

static void breaks_off(void **state)
{
	(void)state;
	handshake();
	assert_int_equal(send(outer, "no TLS", 6, 0), 6);
	shut(&outer);
	settle();
	assert_int_equal(all.len, 0);
	assert_int_equal(all.lost, 0);
}

static int begin_greeted(void **state)
{
	*state = &loop; /* anything */
	return begin(state);
}

static void greeted(void **state)
{
	char got[64];
	(void)state;
	assert_int_equal(recv(outer, got, sizeof(got), 0), strlen(TLSWIRE_GREETING));
	assert_memory_equal(got, TLSWIRE_GREETING, strlen(TLSWIRE_GREETING));
	handshake();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN); /* as the program does */
	CRYPTO_set_mem_functions(take, take_again, give_back);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ways, begin, end), cmocka_unit_test_setup_teardown(slow_readers, begin, end),
		cmocka_unit_test_setup_teardown(half_closed, begin, end), cmocka_unit_test_setup_teardown(front_half_closes, begin, end),
		cmocka_unit_test_setup_teardown(front_goes, begin, end), cmocka_unit_test_setup_teardown(front_takes_no_more, begin, end),
		cmocka_unit_test_setup_teardown(in_clear, begin, end),
		cmocka_unit_test_setup_teardown(http, begin, end), cmocka_unit_test_setup_teardown(nothing, begin, end),
		cmocka_unit_test_setup_teardown(too_slow, begin, end), cmocka_unit_test_setup_teardown(front_gives_up, begin, end),
		cmocka_unit_test_setup_teardown(broken_later, begin, end), cmocka_unit_test_setup_teardown(shared, begin, end), cmocka_unit_test_setup_teardown(greeted, begin_greeted, end),
		cmocka_unit_test_setup_teardown(lost, begin, end), cmocka_unit_test_setup_teardown(breaks_off, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
