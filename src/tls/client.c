/* The tour, tls: a client, or a backend, to which we are the client; what is said of the one holds for the other. Two one-way pumps around an SSL, both edge-triggered: whatever becomes ready, both are run until neither can move anything. */
#include "tls/client.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "core/sock.h"
#include "core/tlswire.h"
#include "tls/context.h"
#include "tls/peers.h"

#define ROUNDS 16          /* of CLIENT_HELD bytes before others get their turn */
#define DRAIN_MOST (1 << 20)
#define EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct client {
	struct source outer; /* first: callbacks find the client by it; its deadline is the client's */
	struct source inner; /* its deadline: the turn that is owed after ROUNDS */
	struct clients *all;
	struct client *next, *prev; /* in done: next alone */
	SSL *ssl;
	enum client_state state;
	bool in_ended;  /* nothing more comes from the client, */
	bool in_passed; /* and the front has been told */
	bool out_ended; /* nothing more comes from the front */
	bool failed;    /* TLS is broken: nothing can be said in it */
	bool front_gone;
	size_t drained;
	struct buf to_inner, to_outer;
};

static char scratch[CLIENT_HELD];

/* A front may still be about to close its own descriptors of them: only what is unwatched is not heard of any more. */
static void close_shared(struct loop *loop, struct source *source)
{
	int fd = source->fd;
	loop_unwatch(loop, source);
	loop_close(loop, source); /* the deadline */
	if (fd >= 0)
		close(fd);
}

static void finish(struct client *c)
{
	struct clients *all = c->all;
	if (c->state == CLIENT_DONE)
		return;
	if (c->state == CLIENT_HANDSHAKE && !SSL_is_server(c->ssl))
		peers_failed(c->ssl);
	c->state = CLIENT_DONE;
	close_shared(all->loop, &c->outer);
	close_shared(all->loop, &c->inner);
	SSL_free(c->ssl);
	c->ssl = NULL;
	buf_fini(&c->to_inner);
	buf_fini(&c->to_outer);
	*(c->prev ? &c->prev->next : &all->first) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->next = all->done;
	all->done = c;
	all->len--;
}

static void set_deadline(struct client *c, int64_t from_now)
{
	loop_set_due(c->all->loop, &c->outer, loop_now(c->all->loop) + from_now);
}

/* What ends a connection is a failure of this machine, and not the other side or what lies between. */
static bool is_ours(int error)
{
	static const int theirs[] = { 0, EPIPE, ECONNRESET, ECONNABORTED, ENOTCONN, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN };
	for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++)
		if (error == theirs[i])
			return false;
	return true;
}

/* It ends in the middle; who speaks in it sees no more than that. */
static void note_loss(struct client *c, int error)
{
	if (!is_ours(error))
		return;
	c->all->lost++;
	c->all->lost_error = error;
}

/* What a call of the library has failed for, which SSL_get_error() calls e; 0: something that the other side has said. */
static int error_of(int e)
{
	int error = e == SSL_ERROR_SYSCALL ? errno : 0;
	for (unsigned long said; (said = ERR_get_error()) != 0;)
		if (ERR_GET_REASON(said) == ERR_R_MALLOC_FAILURE)
			error = ENOMEM;
	return error;
}

/* ---- the handshake ---- */

static bool send_facts(struct client *c, const struct tlswire_facts *facts)
{
	return send(c->inner.fd, facts, sizeof(*facts), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(*facts);
}

static void put_text(char *field, size_t size, const char *text)
{
	tlswire_put(field, size, text ? text : "", text ? strlen(text) : 0);
}

static void put_certificate(const SSL *ssl, struct tlswire_facts *f)
{
	X509 *shown = SSL_get0_peer_certificate(ssl);
	if (!shown)
		return;
	X509_NAME *subject = X509_get_subject_name(shown);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	const ASN1_STRING *name = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)) : NULL;
	f->certificate = 1;
	f->verified = SSL_get_verify_result(ssl) == X509_V_OK;
	if (name)
		tlswire_put(f->common_name, sizeof(f->common_name), (const char *)ASN1_STRING_get0_data(name), (size_t)ASN1_STRING_length(name));
}

static void drain_begin(struct client *c)
{
	shutdown(c->outer.fd, SHUT_WR);
	c->state = CLIENT_DRAIN;
	set_deadline(c, CLIENT_LINGER);
}

static void fail(struct client *c, const char *why)
{
	struct tlswire_facts f = { .magic = TLSWIRE_MAGIC };
	put_text(f.error, sizeof(f.error), why);
	if (!SSL_is_server(c->ssl))
		peers_failed(c->ssl);
	send_facts(c, &f);
	drain_begin(c); /* the alert is on its way */
}

static void succeed(struct client *c)
{
	struct tlswire_facts f = { .magic = TLSWIRE_MAGIC, .ok = 1, .resumed = SSL_session_reused(c->ssl) != 0 };
	put_text(f.version, sizeof(f.version), SSL_get_version(c->ssl));
	put_text(f.cipher, sizeof(f.cipher), SSL_get_cipher_name(c->ssl));
	put_text(f.name, sizeof(f.name), SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name));
	put_certificate(c->ssl, &f);
	loop_set_due(c->all->loop, &c->outer, LOOP_NEVER);
	c->state = CLIENT_OPEN;
	if (!send_facts(c, &f))
		finish(c);
}

/* A call that a signal has ended is made again at once: of an edge nobody is told twice. */
static bool interrupted(int e)
{
	return (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) && errno == EINTR;
}

static void before_call(void)
{
	ERR_clear_error();
	errno = 0;
}

/* True: it has come to an end, or can go on. */
static bool handshake(struct client *c)
{
	before_call();
	int r = SSL_do_handshake(c->ssl);
	if (r == 1) {
		succeed(c);
		return true;
	}
	int e = SSL_get_error(c->ssl, r);
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return interrupted(e);
	bool spoken = e == SSL_ERROR_SSL && ERR_peek_error() != 0;
	long verified = SSL_get_verify_result(c->ssl);
	bool mistrusted = spoken && !SSL_is_server(c->ssl) && ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
	if (mistrusted)
		ERR_clear_error();
	fail(c, mistrusted ? X509_verify_cert_error_string(verified) : spoken ? context_error() : "closed before the handshake was done");
	return true;
}

/* ---- in: from the client to the front ---- */

/* False: it takes nothing more now. A front that is not gone although it takes nothing any more (there was no memory for it) hears of the end, as does the client when what is for it has been sent. */
static bool flush_inner(struct client *c)
{
	enum sock_result r = sock_write(c->inner.fd, &c->to_inner);
	if (r == SOCK_ERROR) {
		note_loss(c, errno);
		shutdown(c->inner.fd, SHUT_RDWR);
		c->front_gone = true;
		c->in_ended = c->in_passed = true;
		buf_fini(&c->to_inner);
	}
	return r == SOCK_OK;
}

static bool pass_in_end(struct client *c)
{
	if (!c->in_passed)
		shutdown(c->inner.fd, SHUT_WR);
	c->in_passed = true;
	return false;
}

/* True: something has moved. */
static bool pump_in(struct client *c)
{
	size_t n = 0;
	if (c->to_inner.len > 0 && !flush_inner(c))
		return false;
	if (c->in_ended)
		return pass_in_end(c);
	before_call();
	int r = SSL_read_ex(c->ssl, scratch, sizeof(scratch), &n);
	if (r != 1) {
		int e = SSL_get_error(c->ssl, r);
		if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
			buf_fini(&c->to_inner); /* a connection at rest holds no buffer */
			return interrupted(e);
		}
		c->failed = e != SSL_ERROR_ZERO_RETURN;
		c->in_ended = true;
		if (c->failed)
			note_loss(c, error_of(e));
		return true;
	}
	if (!buf_put(&c->to_inner, scratch, n)) {
		note_loss(c, ENOMEM);
		finish(c);
		return false;
	}
	flush_inner(c);
	return true;
}

/* ---- out: from the front to the client ---- */

/* False: it takes nothing more now. */
static bool flush_outer(struct client *c)
{
	while (c->to_outer.len > 0 && !c->failed) {
		size_t n = 0;
		before_call();
		int r = SSL_write_ex(c->ssl, c->to_outer.at, c->to_outer.len, &n);
		if (r == 1) {
			buf_drop(&c->to_outer, n);
			continue;
		}
		int e = SSL_get_error(c->ssl, r);
		if (interrupted(e))
			continue;
		if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
			return false;
		c->failed = true;
		note_loss(c, error_of(e));
	}
	return !c->failed;
}

static bool pump_out(struct client *c)
{
	if (c->failed || c->out_ended || (c->to_outer.len > 0 && !flush_outer(c)))
		return false;
	ssize_t n = recv(c->inner.fd, scratch, sizeof(scratch), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		buf_fini(&c->to_outer);
		return errno == EINTR;
	}
	if (n <= 0) {
		c->out_ended = true;
		return true;
	}
	if (!buf_put(&c->to_outer, scratch, (size_t)n)) {
		note_loss(c, ENOMEM);
		finish(c);
		return false;
	}
	flush_outer(c);
	return true;
}

/* ---- the end ---- */

/* Both ways are over, or one of them for good. */
static void settle(struct client *c)
{
	if (c->failed) { /* what it said before is the front's */
		if (c->to_inner.len == 0 || c->front_gone)
			finish(c);
		return;
	}
	if (!c->out_ended || c->to_outer.len > 0)
		return;
	if (!(SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN)) {
		ERR_clear_error();
		SSL_shutdown(c->ssl);
		ERR_clear_error();
		shutdown(c->outer.fd, SHUT_WR);
	}
	if (c->in_passed && c->to_inner.len == 0) {
		if (c->front_gone)
			drain_begin(c);
		else
			finish(c);
	}
}

/* True: there may be more. */
static bool drain(struct client *c)
{
	ssize_t n = recv(c->outer.fd, scratch, sizeof(scratch), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return false;
	c->drained += n > 0 ? (size_t)n : 0;
	if ((n <= 0 && errno != EINTR) || n == 0 || c->drained > DRAIN_MOST)
		finish(c);
	return c->state == CLIENT_DRAIN;
}

static bool step(struct client *c)
{
	if (c->state == CLIENT_HANDSHAKE)
		return handshake(c);
	if (c->state == CLIENT_DRAIN)
		return drain(c);
	bool in = c->state == CLIENT_OPEN && pump_in(c);
	bool out = c->state == CLIENT_OPEN && pump_out(c);
	if (c->state == CLIENT_OPEN && !in && !out)
		settle(c);
	return c->state == CLIENT_DRAIN || in || out;
}

static void run(struct client *c)
{
	for (int i = 0; i < ROUNDS; i++)
		if (c->state == CLIENT_DONE || !step(c))
			return;
	if (c->state != CLIENT_DONE)
		loop_set_due(c->all->loop, &c->inner, loop_now(c->all->loop)); /* after the others */
}

static void outer_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)loop;
	(void)events;
	run((struct client *)source);
}

static void outer_due(struct loop *loop, struct source *source)
{
	struct client *c = (struct client *)source;
	(void)loop;
	if (c->state == CLIENT_HANDSHAKE)
		fail(c, "no handshake in time");
	else
		finish(c);
}

static struct client *of_inner(struct source *source)
{
	return (struct client *)((char *)source - offsetof(struct client, inner));
}

/* A front that has closed its side wants nothing more from the client; what it left for it is still to be sent. */
static void inner_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct client *c = of_inner(source);
	(void)loop;
	if ((events & (EPOLLHUP | EPOLLERR)) && !c->front_gone && c->state != CLIENT_DONE) {
		c->front_gone = c->in_ended = c->in_passed = true;
		buf_fini(&c->to_inner);
		if (c->state == CLIENT_HANDSHAKE)
			finish(c);
		else if (c->state == CLIENT_OPEN)
			set_deadline(c, CLIENT_FLUSH);
	}
	run(c);
}

static void inner_due(struct loop *loop, struct source *source)
{
	(void)loop;
	run(of_inner(source));
}

static const struct source_ops outer_ops = { outer_ready, outer_due };
static const struct source_ops inner_ops = { inner_ready, inner_due };

/* A client whose socket does not take one line does not read: it has sent STARTTLS, and many commands before. */
static bool greet_client(int outer)
{
	return send(outer, TLSWIRE_GREETING, sizeof(TLSWIRE_GREETING) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(TLSWIRE_GREETING) - 1;
}

void client_new(struct clients *all, SSL *ssl, int outer, int inner, bool greet, int64_t timeout)
{
	struct client *c = calloc(1, sizeof(*c));
	if (!c || SSL_set_fd(ssl, outer) != 1 || (greet && !greet_client(outer))) {
		free(c);
		SSL_free(ssl);
		close(outer);
		close(inner);
		return;
	}
	c->all = all;
	c->ssl = ssl;
	buf_init(&c->to_inner, CLIENT_HELD);
	buf_init(&c->to_outer, CLIENT_HELD);
	source_init(&c->outer, &outer_ops);
	source_init(&c->inner, &inner_ops);
	c->next = all->first;
	if (c->next)
		c->next->prev = c;
	all->first = c;
	all->len++;
	int e = loop_watch(all->loop, &c->outer, outer, EVENTS);
	if (e == 0)
		e = loop_watch(all->loop, &c->inner, inner, EVENTS);
	c->outer.fd = outer;
	c->inner.fd = inner;
	if (e < 0) {
		finish(c);
		return;
	}
	set_deadline(c, timeout);
}

void client_reap(struct clients *all)
{
	while (all->done) {
		struct client *c = all->done;
		all->done = c->next;
		free(c);
	}
}

void client_end_all(struct clients *all)
{
	while (all->first)
		finish(all->first);
	client_reap(all);
}
