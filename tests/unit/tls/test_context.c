/* A certificate with its key: what is taken, and what is refused in which words; and who opens a ticket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/err.h>

#include "certificates.h"
#include "tls/context.h"

static const struct context_files files = { "cert.pem", "key.pem", "ca.pem", "" };
static char said[1024];

static SSL_CTX *make(const char *certificate, const char *key, const char *ca, const struct context_files *with)
{
	struct buf why;
	int fd = certificates_bundle(certificate, key, ca);
	buf_init_fixed(&why, said, sizeof(said));
	SSL_CTX *c = context_new(fd, with, &why);
	buf_text(&why);
	assert_int_equal(c == NULL, why.len > 0);
	assert_int_equal(ERR_peek_error(), 0); /* or the next connection would be told */
	close(fd);
	return c;
}

static void taken(void **state)
{
	(void)state;
	char both[8192];
	const char *one = certificates_text("one.example", 100, 0), *two = certificates_text("two.example", 100, 1);
	snprintf(both, sizeof(both), "%s%s%s", certificates_key(0, NULL), one, two); /* all in one file, and a chain */
	SSL_CTX *c = make(both, "", two, &files);
	assert_non_null(c);
	STACK_OF(X509) *chain = NULL;
	SSL_CTX_get0_chain_certs(c, &chain);
	assert_int_equal(sk_X509_num(chain), 1);
	assert_int_equal(SSL_CTX_get_min_proto_version(c), TLS1_2_VERSION);
	assert_int_equal(SSL_CTX_get_verify_mode(c) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT, 0);
	SSL_CTX_free(c);
	c = make(one, certificates_key(0, NULL), "", &files);
	assert_non_null(c);
	assert_int_equal(SSL_CTX_get_verify_mode(c), SSL_VERIFY_NONE);
	SSL_CTX_free(c);
}

static void refused(void **state)
{
	const char *one = certificates_text("one.example", 100, 0), *key = certificates_key(0, NULL);
	char cut[4096], chain[8192];
	snprintf(cut, sizeof(cut), "%.*s", (int)strlen(one) / 2, one);
	snprintf(chain, sizeof(chain), "%s-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one);
	const struct {
		const char *certificate, *key, *ca, *why;
	} rows[] = {
		{ "nothing", key, "", "cert.pem: no certificate is in it; expected one in PEM, its chain behind it" },
		{ cut, key, "", "cert.pem: no certificate is in it; expected one in PEM, its chain behind it" },
		{ chain, key, "", "cert.pem: a certificate of its chain cannot be read" },
		{ one, "nothing", "", "key.pem: no private key is in it; expected one in PEM" },
		{ one, "", "", "cert.pem: no private key is in it; expected one in PEM" },
		{ one, certificates_key(1, NULL), "", "key.pem: the key does not belong to the certificate in cert.pem" },
		{ one, certificates_key(0, "secret"), "", "key.pem: the key has a passphrase; expected one without" },
		{ one, key, "nothing", "ca.pem: no certificate is in it; expected those that vouch for clients, in PEM" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_null(make(rows[i].certificate, rows[i].key, rows[i].ca, &files));
		assert_string_equal(said, rows[i].why);
	}
	struct context_files odd = files;
	odd.ciphers = "NONE-SUCH";
	assert_null(make(one, key, "", &odd));
	assert_string_equal(said, "tls_ciphers: OpenSSL knows none of them; see openssl-ciphers(1)");
}

static void not_a_bundle(void **state)
{
	struct buf why;
	(void)state;
	int ends[2];
	buf_init_fixed(&why, said, sizeof(said));
	assert_int_equal(pipe(ends), 0);
	assert_null(context_new(ends[0], &files, &why));
	close(ends[0]);
	close(ends[1]);
	/* A length that lies. */
	int fd = certificates_bundle("a", "b", "c");
	assert_int_equal(ftruncate(fd, sizeof(struct tlswire_bundle) + 2), 0);
	buf_clear(&why);
	assert_null(context_new(fd, &files, &why));
	assert_string_equal(buf_text(&why), "what was handed over is no certificate");
	close(fd);
}

static void described(void **state)
{
	static const int days[] = { 100, 3, 0, -1, -50 };
	(void)state;
	for (size_t i = 0; i < 5; i++) {
		char memory[512];
		struct buf text;
		int left;
		SSL_CTX *c = make(certificates_text("a\nb.example", days[i], 0), certificates_key(0, NULL), "", &files);
		buf_init_fixed(&text, memory, sizeof(memory));
		context_describe(c, &text, &left);
		assert_true(left == days[i] || (days[i] < 0 && left == days[i] + 1) || (days[i] == -1 && left == -1));
		assert_int_equal(left < 0, days[i] < 0);
		assert_non_null(strstr(buf_text(&text), "b.example, until "));
		assert_null(strchr(buf_text(&text), '\n'));
		SSL_CTX_free(c);
	}
}

/* ---- tickets ---- */

struct talk {
	SSL *server, *client;
	BIO *to_server, *to_client;
};

static void handshake(SSL_CTX *server, SSL_CTX *client, SSL_SESSION **session, bool *resumed)
{
	BIO *a, *b;
	char byte;
	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL *s = SSL_new(server), *c = SSL_new(client);
	SSL_set_bio(s, a, a);
	SSL_set_bio(c, b, b);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	if (*session)
		SSL_set_session(c, *session);
	for (int i = 0; i < 20; i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	assert_true(SSL_is_init_finished(s) && SSL_is_init_finished(c));
	SSL_read(c, &byte, 1); /* takes the tickets of TLS 1.3 */
	*resumed = SSL_session_reused(s) != 0;
	if (*session)
		SSL_SESSION_free(*session);
	*session = SSL_get1_session(c);
	SSL_set_shutdown(s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_set_shutdown(c, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(s);
	SSL_free(c);
	ERR_clear_error();
}

static void take_tickets(int fd)
{
	assert_true(fd >= 0);
	assert_true(context_take_tickets(fd));
}

static void tickets_with(int version)
{
	bool resumed;
	int first = tlswire_make_tickets(-1, true), second = tlswire_make_tickets(first, true), third = tlswire_make_tickets(second, true), none = tlswire_make_tickets(-1, false);
	SSL_CTX *client = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(client, version);
	take_tickets(first);
	SSL_CTX *server = make(certificates_text("a.example", 1, 0), certificates_key(0, NULL), "", &files);
	SSL_CTX *other = make(certificates_text("b.example", 1, 1), certificates_key(1, NULL), "", &files); /* another process, or a new certificate */
	SSL_SESSION *session = NULL, *old;
	handshake(server, client, &session, &resumed);
	assert_false(resumed);
	handshake(other, client, &session, &resumed);
	assert_true(resumed);
	old = SSL_SESSION_dup(session);
	take_tickets(second);
	handshake(server, client, &session, &resumed); /* the one before is still taken */
	assert_true(resumed);
	take_tickets(third);
	handshake(server, client, &old, &resumed); /* but not the one before that */
	assert_false(resumed);
	SSL_SESSION_free(session);
	SSL_SESSION_free(old);
	SSL_CTX_free(server);
	SSL_CTX_free(other);
	take_tickets(none);
	server = make(certificates_text("a.example", 1, 0), certificates_key(0, NULL), "", &files);
	session = NULL;
	handshake(server, client, &session, &resumed);
	handshake(server, client, &session, &resumed);
	assert_false(resumed);
	SSL_SESSION_free(session);
	SSL_CTX_free(server);
	SSL_CTX_free(client);
	assert_false(context_take_tickets(STDERR_FILENO));
	close(first);
	close(second);
	close(third);
	close(none);
}

static void tickets12(void **state)
{
	(void)state;
	tickets_with(TLS1_2_VERSION);
}

static void tickets13(void **state)
{
	(void)state;
	tickets_with(TLS1_3_VERSION);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken), cmocka_unit_test(refused), cmocka_unit_test(not_a_bundle), cmocka_unit_test(described), cmocka_unit_test(tickets12),
		cmocka_unit_test(tickets13),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
