/* What OpenSSL is told of backends: which certificates pass, which do not, and that a bad bundle changes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "certificates.h"
#include "tls/context.h"
#include "tls/peers.h"

static struct peers peers;
static char said[1024];

/* One backend of that name, whose certificate must be in ca (""; it is not looked at); and before it one without TLS. */
static int handed(const char *name, const char *ca)
{
	static struct tlswire_backends head;
	head = (struct tlswire_backends){ .magic = TLSWIRE_MAGIC, .count = 2, .of[1] = { .wanted = 1, .ca = (uint32_t)strlen(ca), .about = "c:1: tls_ca: ca.pem" } };
	snprintf(head.of[1].name, sizeof(head.of[1].name), "%s", name);
	int fd = memfd_create("backends", MFD_CLOEXEC);
	assert_int_equal(write(fd, &head, sizeof(head)), sizeof(head));
	assert_int_equal(write(fd, ca, strlen(ca)), strlen(ca));
	return fd;
}

static bool take(int fd)
{
	struct buf why;
	buf_init_fixed(&why, said, sizeof(said));
	bool ok = peers_take(&peers, fd, &why);
	buf_text(&why);
	assert_int_equal(ok, why.len == 0);
	assert_int_equal(ERR_peek_error(), 0);
	close(fd);
	return ok;
}

/* What came of a handshake with a server that has this certificate; *asked: the name that it was told. */
static long verdict(const char *certificate, unsigned key, char asked[64])
{
	char memory[256];
	struct buf why;
	BIO *a, *b;
	buf_init_fixed(&why, memory, sizeof(memory));
	int bundle = certificates_bundle(certificate, certificates_key(key, NULL), "");
	SSL_CTX *context = context_new(bundle, &(struct context_files){ "c", "k", "a", "" }, &why);
	assert_non_null(context);
	close(bundle);
	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL *server = SSL_new(context), *ours = peers_connect(&peers, 1);
	assert_non_null(ours);
	SSL_set_bio(server, a, a);
	SSL_set_bio(ours, b, b);
	SSL_set_accept_state(server);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(ours);
		SSL_do_handshake(server);
	}
	const char *name = SSL_get_servername(server, TLSEXT_NAMETYPE_host_name);
	snprintf(asked, 64, "%s", name ? name : "");
	long result = SSL_get_verify_result(ours);
	bool done = SSL_is_init_finished(ours);
	assert_true(done == (result == X509_V_OK) || SSL_get_verify_mode(ours) == SSL_VERIFY_NONE);
	assert_true(!done || SSL_is_init_finished(server));
	if (done && SSL_get_verify_mode(ours) == SSL_VERIFY_NONE)
		result = X509_V_OK;
	SSL_free(server);
	SSL_free(ours);
	SSL_CTX_free(context);
	ERR_clear_error();
	return result;
}

static void looked_at(void **state)
{
	const char *good = certificates_text("b.example", 9, 0), *stranger = certificates_text("b.example", 9, 1), *old = certificates_text("b.example", -2, 0);
	char asked[64];
	(void)state;
	assert_true(take(handed("b.example", good)));
	assert_int_equal(verdict(good, 0, asked), X509_V_OK);
	assert_string_equal(asked, "b.example");
	assert_int_equal(verdict(stranger, 1, asked), X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
	assert_true(take(handed("other.example", good)));
	assert_int_equal(verdict(good, 0, asked), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_true(take(handed("b.example", old)));
	assert_int_equal(verdict(old, 0, asked), X509_V_ERR_CERT_HAS_EXPIRED);
	peers_fini(&peers);
}

static void not_looked_at(void **state)
{
	const char *old = certificates_text("b.example", -2, 0);
	char asked[64];
	(void)state;
	assert_true(take(handed("another.example", "")));
	assert_int_equal(verdict(old, 0, asked), X509_V_OK);
	assert_string_equal(asked, "another.example");
	assert_true(take(handed("", "")));
	assert_int_equal(verdict(old, 0, asked), X509_V_OK);
	assert_string_equal(asked, "");
	peers_fini(&peers);
}

/* ---- sessions ---- */

/* A handshake with that server, and as much more as it takes to get its tickets. */
static bool resumed(SSL_CTX *context, bool fails)
{
	char byte;
	BIO *a, *b;
	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL *server = SSL_new(context), *ours = peers_connect(&peers, 1);
	SSL_set_bio(server, a, a);
	SSL_set_bio(ours, b, b);
	SSL_set_accept_state(server);
	for (int i = 0; i < 10; i++) {
		SSL_do_handshake(ours);
		SSL_do_handshake(server);
	}
	assert_true(SSL_is_init_finished(ours));
	SSL_read(ours, &byte, 1);
	bool result = SSL_session_reused(ours) != 0;
	if (fails)
		peers_failed(ours);
	SSL_set_shutdown(server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_set_shutdown(ours, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(server);
	SSL_free(ours);
	ERR_clear_error();
	return result;
}

static void sessions_with(int version)
{
	char memory[256];
	struct buf why;
	const char *good = certificates_text("b.example", 9, 0);
	int bundle = certificates_bundle(good, certificates_key(0, NULL), ""), tickets = tlswire_make_tickets(-1, true);
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(context_take_tickets(tickets));
	SSL_CTX *context = context_new(bundle, &(struct context_files){ "c", "k", "a", "" }, &why);
	close(bundle);
	close(tickets);
	SSL_CTX_set_max_proto_version(context, version);
	assert_true(take(handed("b.example", good)));
	assert_false(resumed(context, false));
	assert_true(resumed(context, false));
	resumed(context, true); /* with 1.3 a ticket is good for one time, and this server gives no other one for it */
	assert_false(resumed(context, false));
	assert_true(resumed(context, false));
	/* A new tls_ca counts at once. */
	assert_true(take(handed("b.example", good)));
	assert_false(resumed(context, false));
	peers_fini(&peers);
	SSL_CTX_free(context);
}

static void sessions(void **state)
{
	(void)state;
	sessions_with(TLS1_2_VERSION);
	sessions_with(TLS1_3_VERSION);
}

static void unknown(void **state)
{
	(void)state;
	assert_true(take(handed("b.example", "")));
	assert_null(peers_connect(&peers, 0)); /* is spoken to in clear */
	assert_null(peers_connect(&peers, 2));
	assert_null(peers_connect(&peers, CONF_BACKENDS));
	assert_null(peers_connect(&peers, UINT32_MAX));
	peers_fini(&peers);
}

static void bad(void **state)
{
	SSL_CTX *before;
	(void)state;
	assert_true(take(handed("b.example", "")));
	before = peers.of[1];
	assert_false(take(handed("b.example", "nothing")));
	assert_string_equal(said, "c:1: tls_ca: ca.pem: no certificate is in it; expected those that vouch for the backend, in PEM");
	int fd = handed("b.example", "nothing");
	assert_int_equal(ftruncate(fd, sizeof(struct tlswire_backends) + 3), 0); /* a length that lies */
	assert_false(take(fd));
	assert_string_equal(said, "what was handed over of the backends is none");
	fd = handed("b.example", "");
	assert_int_equal(ftruncate(fd, 8), 0);
	assert_false(take(fd));
	assert_false(take(memfd_create("empty", MFD_CLOEXEC)));
	fd = handed("b.example", "");
	assert_int_equal(pwrite(fd, "\xff\xff\xff\xff", 4, offsetof(struct tlswire_backends, count)), 4);
	assert_false(take(fd));
	assert_ptr_equal(peers.of[1], before);
	peers_fini(&peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(looked_at), cmocka_unit_test(not_looked_at), cmocka_unit_test(sessions), cmocka_unit_test(unknown), cmocka_unit_test(bad) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
