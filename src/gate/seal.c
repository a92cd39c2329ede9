/* The tour, gate: TLS that ends at the door. OpenSSL is elsewhere; here a descriptor is exchanged for another one, and a struct of facts is read. */
#include "gate/seal.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/session.h"
#include "gate/states.h"

struct seals {
	int orders;
	bool ends_here;
	struct seal *of[]; /* by the connection's slot; a page is touched when one on it is first taken */
};

int seal_init(struct front *front, int orders, bool ends_here)
{
	front->seals = calloc(1, sizeof(*front->seals) + front->conns_len * sizeof(struct seal *));
	if (!front->seals) {
		close(orders);
		return -ENOMEM;
	}
	front->seals->orders = orders;
	front->seals->ends_here = ends_here;
	return 0;
}

void seal_fini(struct front *front)
{
	if (!front->seals)
		return;
	for (uint32_t i = 0; i < front->conns_used; i++)
		free(front->seals->of[i]);
	close(front->seals->orders);
	free(front->seals);
	front->seals = NULL;
}

bool seal_ends_here(const struct front *front)
{
	return front->seals && front->seals->ends_here;
}

static struct seal **place_of(const struct front *front, const struct conn *conn)
{
	return &front->seals->of[conn - front->conns];
}

const struct seal *seal_of(const struct front *front, const struct conn *conn)
{
	return front->seals ? *place_of(front, conn) : NULL;
}

void seal_free(struct front *front, const struct conn *conn)
{
	if (!front->seals)
		return;
	free(*place_of(front, conn));
	*place_of(front, conn) = NULL;
}

/* From the accepted socket to the near end of the pair. */
static enum seal_start exchange(struct front *front, struct conn *conn, int near)
{
	uint32_t events = CONN_EVENTS_WATCHED;
	int accepted = conn->source.fd;
	loop_unwatch(&front->loop, &conn->source); /* or it would be heard of as long as tarry-tls has it */
	loop_set_due(&front->loop, &conn->source, LOOP_NEVER);
	close(accepted);
	conn->ending = false;
	int e = loop_watch(&front->loop, &conn->source, near, events);
	conn->source.fd = near;
	if (conn->has_session) {
		struct session *s = conn->session;
		s->relay.in.from = s->relay.out.to = near;
		s->relay.in.readable = s->relay.out.writable = true;
		s->relay.in.ending = s->client_out = false;
	}
	return e < 0 ? SEAL_FAILED : SEAL_SENT;
}

static struct seal *seal_new(struct front *front, const struct conn *conn)
{
	struct seal *seal = calloc(1, sizeof(*seal));
	if (!seal)
		return NULL;
	seal->begun = loop_now(&front->loop);
	seal->has_local = sock_local(conn->source.fd, &seal->local);
	*place_of(front, conn) = seal;
	return seal;
}

enum seal_start seal_order(const struct front *front, const struct tlswire_order *order, int fd, int *near)
{
	int pair[2];
	if (!front->seals || metrics_sum(METRIC_tls_running) <= 0)
		return SEAL_LATER;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return SEAL_FAILED;
	const int fds[] = { fd, pair[1] };
	ssize_t n = sock_send_fds(front->seals->orders, order, sizeof(*order), fds, 2);
	close(pair[1]);
	if (n < 0) {
		close(pair[0]);
		/* ETOOMANYREFS: as many descriptors are on their way as the account may have. */
		return n == -EAGAIN || n == -ENOBUFS || n == -ETOOMANYREFS ? SEAL_LATER : SEAL_FAILED;
	}
	*near = pair[0];
	return SEAL_SENT;
}

enum seal_start seal_start(struct front *front, struct conn *conn, bool starttls)
{
	const struct tlswire_order order = { .magic = TLSWIRE_MAGIC, .starttls = starttls };
	struct seal *seal = *place_of(front, conn);
	int near;
	if (!seal)
		seal = seal_new(front, conn);
	if (!seal)
		return SEAL_FAILED;
	enum seal_start started = seal_order(front, &order, conn->source.fd, &near);
	if (started != SEAL_SENT)
		return started;
	seal->sent = true;
	return exchange(front, conn, near);
}

enum seal_read seal_take_facts(int near, struct tlswire_facts *facts, uint32_t *got)
{
	static const char gone[] = "the process that had it has gone";
	while (*got < sizeof(*facts)) {
		ssize_t n = recv(near, (char *)facts + *got, sizeof(*facts) - *got, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return SEAL_MORE;
		if (n <= 0)
			break;
		*got += (uint32_t)n;
	}
	if (*got == sizeof(*facts) && tlswire_facts_ok(facts))
		return facts->ok ? SEAL_DONE : SEAL_BROKEN;
	*facts = (struct tlswire_facts){ .ok = 0 };
	tlswire_put(facts->error, sizeof(facts->error), gone, sizeof(gone) - 1);
	return SEAL_BROKEN;
}

enum seal_read seal_read(struct front *front, struct conn *conn)
{
	struct seal *seal = *place_of(front, conn);
	enum seal_read read = seal->sent ? seal_take_facts(conn->source.fd, &seal->facts, &seal->got) : SEAL_MORE;
	if (read == SEAL_MORE)
		return read;
	seal->took = loop_now(&front->loop) - seal->begun;
	seal->done = read == SEAL_DONE;
	if (seal->done)
		metrics_observe(HISTOGRAM_tls_handshake, seal->took);
	metrics_add(seal->done ? METRIC_tls_handshakes : METRIC_tls_failed, 1);
	metrics_add(METRIC_tls_resumed, seal->done && seal->facts.resumed);
	return read;
}

void seal_log(struct log_line *l, const struct seal *seal)
{
	if (!seal)
		return;
	const struct tlswire_facts *f = &seal->facts;
	log_text(l, "tls", seal->done ? f->version : "failed");
	if (!seal->done) {
		log_text(l, "tls_error", f->error[0] ? f->error : seal->sent ? "no handshake in time" : "no process to do the handshake");
		return;
	}
	log_text(l, "cipher", f->cipher);
	if (f->name[0])
		log_text(l, "tls_name", f->name);
	if (f->resumed)
		log_text(l, "tls_resumed", "yes");
	if (f->certificate) {
		log_text(l, "tls_client", f->common_name);
		log_text(l, "tls_verified", f->verified ? "yes" : "no");
	}
	log_ms(l, "tls_ms", seal->took);
}
