/* The tour, tls: what OpenSSL is told once for all connections: the certificate, the versions, the ciphers, and the keys for tickets. */
#include "tls/context.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

/* TLS 1.2 with forward secrecy, authenticated ciphers first; TLS 1.3 has no others. A client that knows none of them would talk in clear, so those with CBC are the last. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!MD5:!CAMELLIA:!ARIA:!AESCCM:!PSK:!SRP"
#define OPTIONS (SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF)
#define MODES (SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER)

/* Handed over as a whole, and by the parent at any time. */
static struct tlswire_tickets tickets;

const char *context_error(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;
	ERR_clear_error();
	return reason ? reason : "no reason given";
}

/* ---- tickets ---- */

bool context_take_tickets(int fd)
{
	struct tlswire_tickets fresh;
	bool ok = pread(fd, &fresh, sizeof(fresh), 0) == (ssize_t)sizeof(fresh) && fresh.magic == TLSWIRE_MAGIC && fresh.count <= 2;
	if (ok)
		tickets = fresh;
	OPENSSL_cleanse(&fresh, sizeof(fresh));
	return ok;
}

static bool set_mac(EVP_MAC_CTX *mac, struct tlswire_ticket_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end() };
	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) has it: 1 done, 0 none, 2 done and to be renewed. */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	(void)ssl;
	if (encrypt) {
		struct tlswire_ticket_key *key = &tickets.keys[0];
		if (tickets.count == 0)
			return 0;
		memcpy(name, key->name, sizeof(key->name));
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 || EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) != 1)
			return -1;
		return set_mac(mac, key) ? 1 : -1;
	}
	for (uint32_t i = 0; i < tickets.count; i++) {
		struct tlswire_ticket_key *key = &tickets.keys[i];
		if (memcmp(name, key->name, sizeof(key->name)) != 0)
			continue;
		if (!set_mac(mac, key) || EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) != 1)
			return -1;
		return i == 0 ? 1 : 2;
	}
	return 0;
}

/* ---- the certificate ---- */

static bool wrong(struct buf *why, const char *file, const char *what)
{
	buf_putf(why, "%s: %s", file, what);
	ERR_clear_error();
	return false;
}

/* The end of a file is "no start line" to OpenSSL. */
static bool read_all(void)
{
	unsigned long e = ERR_peek_last_error();
	bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	return end;
}

static bool take_chain(SSL_CTX *context, BIO *from, const char *file, struct buf *why)
{
	X509 *own = PEM_read_bio_X509_AUX(from, NULL, NULL, NULL), *next;
	if (!own)
		return wrong(why, file, "no certificate is in it; expected one in PEM, its chain behind it");
	int taken = SSL_CTX_use_certificate(context, own);
	X509_free(own);
	if (taken != 1)
		return wrong(why, file, context_error());
	while ((next = PEM_read_bio_X509(from, NULL, NULL, NULL)))
		if (SSL_CTX_add0_chain_cert(context, next) != 1) {
			X509_free(next);
			return wrong(why, file, context_error());
		}
	return read_all() || wrong(why, file, "a certificate of its chain cannot be read");
}

/* Nobody is there who could be asked. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
	(void)buf;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static bool take_key(SSL_CTX *context, BIO *from, const char *file, const char *certificate, struct buf *why)
{
	bool asked = false;
	EVP_PKEY *key = PEM_read_bio_PrivateKey(from, NULL, no_passphrase, &asked);
	if (!key)
		return wrong(why, file, asked ? "the key has a passphrase; expected one without" : "no private key is in it; expected one in PEM");
	bool taken = SSL_CTX_use_PrivateKey(context, key) == 1;
	EVP_PKEY_free(key);
	if (taken && SSL_CTX_check_private_key(context) == 1)
		return true;
	ERR_clear_error();
	buf_putf(why, "%s: the key does not belong to the certificate in %s", file, certificate);
	return false;
}

/* A client's certificate is looked at, and never asked for in earnest: mail is taken from clients without one. */
static int take_any(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

bool context_take_ca(SSL_CTX *context, BIO *from, struct context_ca as, struct buf *why)
{
	char none[160];
	X509 *ca;
	unsigned n = 0;
	while ((ca = PEM_read_bio_X509(from, NULL, NULL, NULL))) {
		n++;
		bool ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca) == 1 && (!as.tell || SSL_CTX_add_client_CA(context, ca) == 1);
		X509_free(ca);
		if (!ok)
			return wrong(why, as.file, context_error());
	}
	snprintf(none, sizeof(none), "no certificate is in it; expected those that vouch for %s, in PEM", as.whom);
	return (read_all() && n > 0) || wrong(why, as.file, n == 0 ? none : "a certificate in it cannot be read");
}

static bool take_ca(SSL_CTX *context, BIO *from, const char *file, struct buf *why)
{
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, take_any);
	return context_take_ca(context, from, (struct context_ca){ file, "clients", true }, why);
}

static bool take_files(SSL_CTX *context, const char *bytes, const struct tlswire_bundle *head, const struct context_files *files, struct buf *why)
{
	const char *at = bytes + sizeof(*head);
	BIO *certificate = BIO_new_mem_buf(at, (int)head->certificate);
	BIO *key = BIO_new_mem_buf(head->key ? at + head->certificate : at, (int)(head->key ? head->key : head->certificate));
	BIO *ca = head->ca ? BIO_new_mem_buf(at + head->certificate + head->key, (int)head->ca) : NULL;
	bool ok = certificate && key && (ca || !head->ca);
	if (!ok)
		buf_put_text(why, "out of memory");
	ok = ok && take_chain(context, certificate, files->certificate, why) && take_key(context, key, head->key ? files->key : files->certificate, files->certificate, why) &&
		(!ca || take_ca(context, ca, files->ca, why));
	BIO_free(certificate);
	BIO_free(key);
	BIO_free(ca);
	return ok;
}

bool context_set_up(SSL_CTX *context, const char *ciphers, struct buf *why)
{
	SSL_CTX_set_options(context, OPTIONS);
	SSL_CTX_set_mode(context, MODES);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
		return wrong(why, "OpenSSL", context_error());
	if (SSL_CTX_set_cipher_list(context, ciphers[0] ? ciphers : CIPHERS) != 1)
		return wrong(why, "tls_ciphers", "OpenSSL knows none of them; see openssl-ciphers(1)");
	return true;
}

static bool set_up(SSL_CTX *context, const struct context_files *files, struct buf *why)
{
	SSL_CTX_set_dh_auto(context, 1);
	if (tickets.count == 0) {
		SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(context, 0);
	}
	if (SSL_CTX_set_session_id_context(context, (const unsigned char *)"tarry", 5) != 1 || SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticket_key) != 1)
		return wrong(why, "OpenSSL", context_error());
	return context_set_up(context, files->ciphers, why);
}

SSL_CTX *context_new(int bundle, const struct context_files *files, struct buf *why)
{
	struct stat st;
	struct tlswire_bundle head = { .magic = 0 };
	if (fstat(bundle, &st) < 0 || pread(bundle, &head, sizeof(head), 0) != (ssize_t)sizeof(head) || head.magic != TLSWIRE_MAGIC ||
	    (uint64_t)st.st_size != sizeof(head) + (uint64_t)head.certificate + head.key + head.ca) {
		buf_put_text(why, "what was handed over is no certificate");
		return NULL;
	}
	char *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, bundle, 0);
	SSL_CTX *context = bytes == MAP_FAILED ? NULL : SSL_CTX_new(TLS_server_method());
	if (!context)
		buf_put_text(why, "out of memory");
	else if (!set_up(context, files, why) || !take_files(context, bytes, &head, files, why)) {
		SSL_CTX_free(context);
		context = NULL;
	}
	if (bytes != MAP_FAILED)
		munmap(bytes, (size_t)st.st_size);
	return context;
}

void context_describe(SSL_CTX *context, struct buf *out, int *days)
{
	X509 *own = SSL_CTX_get0_certificate(context);
	BIO *text = BIO_new(BIO_s_mem());
	int seconds;
	char *at;
	*days = 0;
	if (!own || !text || ASN1_TIME_diff(days, &seconds, NULL, X509_get0_notAfter(own)) != 1) {
		BIO_free(text);
		return;
	}
	X509_NAME_print_ex(text, X509_get_subject_name(own), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
	long len = BIO_get_mem_data(text, &at);
	buf_put_escaped(out, at, (size_t)len, 200);
	BIO_reset(text);
	ASN1_TIME_print(text, X509_get0_notAfter(own));
	len = BIO_get_mem_data(text, &at);
	buf_putf(out, ", until %.*s", (int)len, at);
	BIO_free(text);
	if (seconds < 0 && *days == 0)
		*days = -1;
}
