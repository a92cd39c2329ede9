/* The tour, tls: the other direction. A backend is a server as any other; whether its certificate is looked at is the configuration's to say, and if it is, its name counts, too. */
#include "tls/peers.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <openssl/x509v3.h>

#include "tls/context.h"

/* ---- the last session, which hangs on the context and goes with it ---- */

static void free_session(void *context, void *session, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
	(void)context;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	SSL_SESSION_free(session);
}

static int place(void)
{
	static int index = -1;
	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_session);
	return index;
}

static void keep_session(SSL_CTX *context, SSL_SESSION *session)
{
	SSL_SESSION *before = SSL_CTX_get_ex_data(context, place());
	SSL_SESSION_free(SSL_CTX_set_ex_data(context, place(), session) == 1 ? before : session);
}

/* 1: it is ours now. */
static int new_session(SSL *ssl, SSL_SESSION *session)
{
	keep_session(SSL_get_SSL_CTX(ssl), session);
	return 1;
}

void peers_failed(SSL *ssl)
{
	keep_session(SSL_get_SSL_CTX(ssl), NULL);
}

/* ---- contexts ---- */

/* One of the authority's, or the backend's own: whatever stands in the file is the end of the chain. */
static bool look_at_certificate(SSL_CTX *context, const char *at, const struct tlswire_backend *b, struct buf *why)
{
	BIO *from = BIO_new_mem_buf(at, (int)b->ca);
	bool ok = from != NULL && X509_STORE_set_flags(SSL_CTX_get_cert_store(context), X509_V_FLAG_PARTIAL_CHAIN) == 1;
	if (!ok)
		buf_put_text(why, "out of memory");
	ok = ok && context_take_ca(context, from, (struct context_ca){ b->about, "the backend", false }, why);
	BIO_free(from);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	return ok;
}

static SSL_CTX *context_of(const char *at, const struct tlswire_backend *b, struct buf *why)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (!context)
		buf_put_text(why, "out of memory");
	else if (!context_set_up(context, "", why) || (b->ca > 0 && !look_at_certificate(context, at, b, why))) {
		SSL_CTX_free(context);
		context = NULL;
	}
	if (context && place() >= 0) {
		SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(context, new_session);
	}
	return context;
}

static bool is_sound(const struct tlswire_backends *head, uint64_t size)
{
	uint64_t sum = sizeof(*head);
	bool ok = size >= sizeof(*head) && head->magic == TLSWIRE_MAGIC && head->count <= CONF_BACKENDS;
	for (uint32_t i = 0; ok && i < head->count; i++) {
		const struct tlswire_backend *b = &head->of[i];
		sum += b->ca;
		ok = b->ca <= TLSWIRE_FILE_MAX && memchr(b->name, '\0', sizeof(b->name)) && memchr(b->about, '\0', sizeof(b->about));
	}
	return ok && sum == size;
}

bool peers_take(struct peers *peers, int fd, struct buf *why)
{
	struct peers fresh = { .of = { NULL } };
	struct stat st;
	const struct tlswire_backends *head = fstat(fd, &st) == 0 && st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
	bool ok = head != MAP_FAILED && is_sound(head, (uint64_t)st.st_size);
	if (!ok)
		buf_put_text(why, "what was handed over of the backends is none");
	const char *at = ok ? (const char *)(head + 1) : NULL;
	for (uint32_t i = 0; ok && i < head->count; i++) {
		const struct tlswire_backend *b = &head->of[i];
		memcpy(fresh.names[i], b->name, sizeof(b->name));
		fresh.of[i] = b->wanted ? context_of(at, b, why) : NULL;
		ok = fresh.of[i] || !b->wanted;
		at += b->ca;
	}
	if (head != MAP_FAILED)
		munmap((void *)(uintptr_t)head, (size_t)st.st_size);
	peers_fini(ok ? peers : &fresh);
	if (ok)
		*peers = fresh; /* connections keep what they have as long as they need it */
	return ok;
}

SSL *peers_connect(const struct peers *peers, unsigned backend)
{
	SSL *ssl = backend < CONF_BACKENDS && peers->of[backend] ? SSL_new(peers->of[backend]) : NULL;
	if (!ssl)
		return NULL;
	const char *name = peers->names[backend];
	SSL_SESSION *session = SSL_CTX_get_ex_data(peers->of[backend], place());
	SSL_set_connect_state(ssl);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (name[0] && (SSL_set_tlsext_host_name(ssl, name) != 1 || SSL_set1_host(ssl, name) != 1)) {
		SSL_free(ssl);
		return NULL;
	}
	if (session && SSL_SESSION_is_resumable(session))
		SSL_set_session(ssl, session);
	return ssl;
}

void peers_fini(struct peers *peers)
{
	for (unsigned i = 0; i < CONF_BACKENDS; i++) {
		SSL_CTX_free(peers->of[i]);
		peers->of[i] = NULL;
	}
}
