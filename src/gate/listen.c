/* The tour, gate, first file: accept(). Who comes is counted against the limits here; conn.c takes it from there. A door that is full says so
 * (421) instead of letting connections rot in the backlog, and a system without descriptors makes it rest for a moment instead of spinning. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/owner.h"

/* Connections accepted before others get their turn: one, so that a lone client costs no call in vain, doubling to this while they come turn after turn. */
#define LISTEN_BURST 64

static struct front *front_of(struct loop *loop)
{
	return (struct front *)loop; /* its first member */
}

int64_t listen_known_reserve(const struct conf *conf)
{
	return conf->max_connections * conf->known_reserve / 100;
}

/* Those that no client gets, and where clients are remembered those that no stranger gets. */
static size_t kept_descriptors(const struct front *front)
{
	size_t kept = (size_t)front->conf->reserve_descriptors;
	return kept + (front->knows && front->nofile > kept ? (front->nofile - kept) * (size_t)front->conf->known_reserve / 100 : 0);
}

static enum conn_limit limit_for(struct front *front, int fd, const struct addr *client)
{
	const struct conf *conf = front->conf;
	/* Who has been told 421 and is about to leave takes nobody's place. Clients that fronts finish which leave count as well. */
	unsigned rows = front_rows(front);
	int64_t open = metrics_sum_rows(METRIC_open, rows) - metrics_sum_rows(METRIC_limited_open, rows);
	bool full = open >= conf->max_connections, few = (size_t)fd + kept_descriptors(front) >= front->nofile;
	stress_came(front, full ? open : open + 1);
	if ((full || few) && front->knows && front->knows(front, client)) {
		full = open >= conf->max_connections + listen_known_reserve(conf);
		few = (size_t)fd + (size_t)conf->reserve_descriptors >= front->nofile;
		metrics_add(METRIC_known_reserved, !full && !few);
	}
	if (full || few) {
		metrics_add(METRIC_limited_total, 1);
		return full ? CONN_LIMIT_TOTAL : CONN_LIMIT_DESCRIPTORS;
	}
	if (conf->max_per_client > 0 && clients_count(&front->clients, addr_client_key(client)) >= conf->max_per_client) {
		metrics_add(METRIC_limited_client, 1);
		return CONN_LIMIT_CLIENT;
	}
	return CONN_LIMIT_NONE;
}

static void admit(struct front *front, int fd, const struct addr *client, const struct origin *origin, enum conf_tls tls)
{
	metrics_add(METRIC_connections, 1);
	if (front->bans.on && ban_meets(front, fd, client, tls)) {
		if (origin)
			free(origin->id);
		return;
	}
	conn_admit(front, fd, client, &(struct conn_way){ .limit = limit_for(front, fd, client), .tls = tls, .origin = origin });
}

void listen_admit_from(struct front *front, int fd, const struct addr *client, const struct origin *origin)
{
	admit(front, fd, client, origin, origin->tls);
}

void listen_admit(struct front *front, int fd, const struct addr *client, enum conf_tls tls)
{
	admit(front, fd, client, NULL, tls);
}

void listen_admit_probe(struct front *front, int fd, const struct addr *client, enum conf_tls tls)
{
	metrics_add(METRIC_probes, 1);
	conn_admit(front, fd, client, &(struct conn_way){ .tls = tls, .probe = true });
}

/* Whose connection it is: that of who connected, unless the listener says otherwise. */
static void take_in(struct front *front, const struct listener *listener, int fd, const struct addr *peer)
{
	const struct conf_listen *conf = listener->conf;
	enum conf_tls tls = conf ? (enum conf_tls)conf->tls : CONF_TLS_STARTTLS;
	if (conf && conf_has(&conf->probers, peer) && !(conf->proxy && conf_has(&conf->trusted, peer)))
		listen_admit_probe(front, fd, peer, tls);
	else if (conf && conf->proxy)
		arrive_take(front, fd, peer, conf);
	else if (!listener->shared || !owner_give_direct(front, fd, peer, tls))
		listen_admit(front, fd, peer, tls);
}

static void rest(struct front *front, int error)
{
	struct log_line l;
	int64_t until = loop_now(&front->loop) + front->conf->accept_backoff;
	for (unsigned i = 0; i < front->listeners_len; i++) {
		loop_unwatch(&front->loop, &front->listeners[i].source);
		loop_set_due(&front->loop, &front->listeners[i].source, until);
	}
	metrics_add(METRIC_accept_backoff, 1);
	log_begin(&l, LOG_LEVEL_WARNING);
	log_text(&l, "event", "accept_backoff");
	log_text(&l, "error", strerror(-error));
	log_ms(&l, "rest_ms", front->conf->accept_backoff);
	log_end(&l);
}

/* At most so many. False: nobody is waiting any more, or accepting rests. */
static bool accept_some(struct front *front, struct listener *listener, unsigned most)
{
	for (unsigned i = 0; i < most; i++) {
		struct addr client;
		int fd = sock_accept(listener->fd, &client);
		if (fd == -EAGAIN)
			return false;
		if (fd == -ECONNABORTED || fd == -EINTR || fd == -EPROTO)
			continue; /* this client has gone already; the next one is waiting */
		if (fd < 0) {
			rest(front, fd); /* EMFILE, ENFILE, ENOBUFS, ENOMEM, or worse */
			return false;
		}
		take_in(front, listener, fd, &client);
	}
	return true;
}

static void listener_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct listener *listener = (struct listener *)source;
	/* Clients in one turn after the other: a crowd. */
	unsigned burst = loop->turns == listener->turn + 1 ? 2 * listener->burst : 1;
	if (burst > LISTEN_BURST)
		burst = LISTEN_BURST;
	listener->burst = burst;
	listener->turn = loop->turns;
	(void)events;
	accept_some(front_of(loop), listener, burst);
}

/* Of those that share a socket not all are woken for each client. */
static int watch(struct front *front, struct listener *listener)
{
	return loop_watch(&front->loop, &listener->source, listener->fd, EPOLLIN | (listener->shared ? EPOLLEXCLUSIVE : 0));
}

static void listener_due(struct loop *loop, struct source *source)
{
	if (watch(front_of(loop), (struct listener *)source) < 0)
		loop_set_due(loop, source, loop_now(loop) + front_of(loop)->conf->accept_backoff);
}

static const struct source_ops listener_ops = { listener_ready, listener_due };

int listen_start(struct front *front, const int *fds, const struct front_listener *listens, unsigned len)
{
	int e = 0;
	front->listeners_len = len;
	for (unsigned i = 0; i < len; i++) {
		unsigned section = listens ? listens[i].listen : i;
		source_init(&front->listeners[i].source, &listener_ops);
		front->listeners[i].fd = fds[i];
		front->listeners[i].conf = section < front->conf->listens_len ? &front->conf->listens[section] : NULL;
		front->listeners[i].shared = listens && listens[i].shared;
		front->listeners[i].burst = 1;
	}
	for (unsigned i = 0; i < len && e == 0; i++)
		e = watch(front, &front->listeners[i]);
	return e;
}

void listen_stop(struct front *front)
{
	for (unsigned i = 0; i < front->listeners_len; i++) {
		struct listener *listener = &front->listeners[i];
		loop_set_due(&front->loop, &listener->source, LOOP_NEVER);
		loop_unwatch(&front->loop, &listener->source);
		close(listener->fd);
	}
	front->listeners_len = 0;
}

void listen_empty(struct front *front)
{
	for (unsigned i = 0; i < front->listeners_len; i++)
		accept_some(front, &front->listeners[i], SOMAXCONN);
	listen_stop(front);
}

/* What its listener has, as it is now: what the client came in to was the same address. Where none has it any more, it is what a listener has that says nothing. */
static enum conf_tls tls_there(const struct front *front, int fd)
{
	struct addr at;
	const struct conf_listen *found = NULL;
	if (!sock_local(fd, &at))
		return CONF_TLS_STARTTLS;
	for (size_t i = 0; i < front->conf->listens_len; i++) {
		const struct conf_listen *listen = &front->conf->listens[i];
		bool same = addr_same_ip(&listen->at, &at);
		if (listen->at.port == at.port && (same || !found))
			found = listen;
		if (same && listen->at.port == at.port)
			break;
	}
	return found ? (enum conf_tls)found->tls : CONF_TLS_STARTTLS;
}

void listen_take_over(struct front *front, int fd, const struct addr *client, const struct origin *origin, const struct conn_past *past)
{
	if (origin && !front->origins)
		front->origins = calloc(front->conns_len, sizeof(*front->origins));
	if (origin && !front->origins) {
		free(origin->id);
		origin = NULL;
	}
	enum conf_tls tls = origin ? origin->tls : tls_there(front, fd);
	conn_take_over(front, fd, client, &(struct conn_way){ .tls = tls == CONF_TLS_IMPLICIT ? CONF_TLS_NO : tls, .origin = origin }, past);
}
