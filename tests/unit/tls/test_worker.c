/* A process that ends TLS: orders that are none, a new certificate, a bad one, and the parent's end. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "certificates.h"
#include "core/log.h"
#include "core/sock.h"
#include "core/tlswire.h"
#include "descriptors.h"
#include "tls/worker.h"

static const struct context_files files = { "cert.pem", "key.pem", "ca.pem", "" };
static struct worker worker;
static int orders, parent; /* our ends */
static struct buf logged;
static int before;

static SSL_CTX *context(const char *name, unsigned key)
{
	char memory[256];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	int bundle = certificates_bundle(certificates_text(name, 9, key), certificates_key(key, NULL), "");
	SSL_CTX *c = context_new(bundle, &files, &why);
	assert_non_null(c);
	close(bundle);
	return c;
}

static int begin(void **state)
{
	int pair[2], channel[2];
	(void)state;
	before = descriptors_open();
	buf_init(&logged, 1 << 16);
	log_capture(&logged);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, channel), 0);
	orders = pair[0];
	parent = channel[0];
	assert_int_equal(worker_init(&worker, context("old.example", 0), &files, pair[1], channel[1], LOOP_SECOND), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	worker_fini(&worker);
	close(orders);
	if (parent >= 0)
		close(parent);
	log_capture(NULL);
	buf_fini(&logged);
	assert_int_equal(descriptors_open(), before);
	return 0;
}

static void settle(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_turn(&worker.loop, 0), 0);
}

/* What certificate a client is shown that comes now. */
static void shown(char out[64])
{
	const struct tlswire_order order = { .magic = TLSWIRE_MAGIC };
	int pair[2], inner[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, inner), 0);
	assert_int_equal(sock_send_fds(orders, &order, sizeof(order), (int[]){ pair[1], inner[1] }, 2), sizeof(order));
	close(pair[1]);
	close(inner[1]);
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(c);
	SSL_set_connect_state(ssl);
	SSL_set_fd(ssl, pair[0]);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(ssl);
		settle();
	}
	assert_true(SSL_is_init_finished(ssl));
	X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(ssl)), NID_commonName, out, 64);
	SSL_free(ssl);
	SSL_CTX_free(c);
	close(pair[0]);
	close(inner[0]);
	settle();
	assert_int_equal(worker.clients.len, 0);
}

static void certificates(void **state)
{
	char name[64];
	(void)state;
	shown(name);
	assert_string_equal(name, "old.example");
	int fresh = certificates_bundle(certificates_text("new.example", 9, 1), certificates_key(1, NULL), "");
	int bad = certificates_bundle(certificates_text("bad.example", 9, 1), certificates_key(0, NULL), "");
	assert_int_equal(sock_send_fd(parent, "C", 1, fresh), 1);
	settle();
	shown(name);
	assert_string_equal(name, "new.example");
	assert_int_equal(sock_send_fd(parent, "C", 1, bad), 1);
	assert_int_equal(sock_send_fd(parent, "T", 1, bad), 1);
	assert_int_equal(sock_send_fd(parent, "?", 1, bad), 1);
	assert_int_equal(sock_send_fd(parent, "C", 1, -1), 1);
	settle();
	shown(name);
	assert_string_equal(name, "new.example");
	assert_non_null(strstr(buf_text(&logged), "tls_certificate_kept msg=\"key.pem: the key does not belong to the certificate in cert.pem; the old one stays\""));
	assert_non_null(strstr(buf_text(&logged), "tls_tickets_kept"));
	close(fresh);
	close(bad);
}

static void not_orders(void **state)
{
	const struct tlswire_order good = { .magic = TLSWIRE_MAGIC }, bad = { .magic = 1 };
	char name[64];
	(void)state;
	int open = descriptors_open();
	assert_int_equal(sock_send_fds(orders, &bad, sizeof(bad), (int[]){ 0, 0 }, 2), sizeof(bad));
	assert_int_equal(sock_send_fds(orders, &good, sizeof(good), (int[]){ 0 }, 1), sizeof(good));
	assert_int_equal(sock_send_fds(orders, &good, sizeof(good), NULL, 0), sizeof(good));
	assert_int_equal(sock_send_fds(orders, &good, 3, (int[]){ 0, 0 }, 2), 3);
	settle();
	assert_int_equal(descriptors_open(), open);
	assert_int_equal(worker.clients.len, 0);
	shown(name); /* and it goes on */
}

/* No more than its descriptors allow; the rest waits for those to be free, or for somebody else. */
static void descriptors_used_up(void **state)
{
	const struct tlswire_order order = { .magic = TLSWIRE_MAGIC };
	int inner[8][2], pair[8][2];
	char byte;
	(void)state;
	worker.nofile = WORKER_SPARE + 6;
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, inner[i]), 0);
		assert_int_equal(sock_send_fds(orders, &order, sizeof(order), (int[]){ pair[i][1], inner[i][1] }, 2), sizeof(order));
		close(pair[i][1]);
		close(inner[i][1]);
	}
	settle();
	assert_int_equal(worker.clients.len, 3);
	for (size_t i = 0; i < 8; i++) { /* the front gives up */
		close(inner[i][0]);
		settle();
	}
	assert_int_equal(worker.clients.len, 0);
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(recv(pair[i][0], &byte, 1, 0), 0);
		close(pair[i][0]);
	}
}

static void parent_ends(void **state)
{
	(void)state;
	close(parent);
	parent = -1;
	assert_int_equal(worker_run(&worker), 0);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN); /* as the program does */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(certificates, begin, end), cmocka_unit_test_setup_teardown(not_orders, begin, end),
		cmocka_unit_test_setup_teardown(descriptors_used_up, begin, end), cmocka_unit_test_setup_teardown(parent_ends, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
