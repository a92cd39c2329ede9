/* The tour, gate: before a client is known. A load balancer connects for it and says who it is in a PROXY header; here the header is awaited, read, believed or not.
 * Whoever is not in `trust` is turned away unheard, and a header is never optional: otherwise a client could send one itself. */
#include "gate/arrive.h"

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
#include "gate/states.h"
#include "smtp/proxyhdr.h"
#include "smtp/reply.h"

#define SAY_AGAIN (10 * LOOP_SECOND) /* the same trouble is not written about more often */
#define LINE_MAX_BYTES 512

/* Why a connection does not become a client's. */
enum trouble { STRANGER, MALFORMED, LATE, UNKNOWN, TROUBLES };

struct arrival {
	struct source source; /* first: callbacks find the arrival by it */
	struct addr peer;
	uint32_t next;        /* index + 1 in the list of those that are free, or over */
	const struct conf_listen *listen;
};

struct arrivals {
	uint32_t waiting;
	uint32_t used; /* slots beyond have never been touched */
	uint32_t free_list, done_list; /* index + 1; 0: empty */
	struct {
		int64_t said;
		int64_t unsaid;
	} notes[TROUBLES];
	struct arrival slots[ARRIVE_MAX];
};

static void arrival_ready(struct loop *loop, struct source *source, uint32_t events);
static void arrival_due(struct loop *loop, struct source *source);

static const struct source_ops arrival_ops = { arrival_ready, arrival_due };

int arrive_init(struct front *front)
{
	bool wanted = false;
	for (size_t i = 0; i < front->conf->listens_len; i++)
		wanted = wanted || front->conf->listens[i].proxy;
	if (!wanted)
		return 0;
	front->arrivals = calloc(1, sizeof(*front->arrivals));
	front->origins = calloc(front->conns_len, sizeof(*front->origins));
	return front->arrivals && front->origins ? 0 : -ENOMEM;
}

static struct arrival *take_slot(struct arrivals *a)
{
	if (a->free_list > 0) {
		struct arrival *arrival = &a->slots[a->free_list - 1];
		a->free_list = arrival->next;
		return arrival;
	}
	return a->used < ARRIVE_MAX ? &a->slots[a->used++] : NULL;
}

/* The connection is somebody else's now, or closed. */
static void finish(struct front *front, struct arrival *arrival)
{
	struct arrivals *a = front->arrivals;
	loop_close(&front->loop, &arrival->source);
	arrival->next = a->done_list;
	a->done_list = (uint32_t)(arrival - a->slots) + 1;
	a->waiting--;
	metrics_add(METRIC_arriving, -1);
}

void arrive_reap(struct front *front)
{
	struct arrivals *a = front->arrivals;
	while (a && a->done_list > 0) {
		struct arrival *arrival = &a->slots[a->done_list - 1];
		uint32_t next = arrival->next;
		arrival->next = a->free_list;
		a->free_list = a->done_list;
		a->done_list = next;
	}
}

/* One line for each kind of trouble in a while, with how many there were meanwhile. */
static void note(struct front *front, enum trouble trouble, const struct addr *peer, const char *error, struct slice data)
{
	static const char *const reasons[TROUBLES] = { "stranger", "malformed", "timeout", "unknown" };
	struct arrivals *a = front->arrivals;
	struct log_line l;
	int64_t now = loop_now(&front->loop);
	metrics_add(METRIC_proxy_refused, 1);
	if (a->notes[trouble].said > 0 && now < a->notes[trouble].said + SAY_AGAIN) {
		a->notes[trouble].unsaid++;
		return;
	}
	a->notes[trouble].said = now;
	log_begin(&l, LOG_LEVEL_WARNING);
	log_text(&l, "event", "proxy_refused");
	log_addr(&l, "peer", peer);
	log_int(&l, "port", peer->port);
	log_text(&l, "reason", reasons[trouble]);
	log_text(&l, "error", error);
	if (data.len > 0) {
		log_int(&l, "bytes", (int64_t)data.len);
		log_bytes(&l, "data", data.at, data.len);
	}
	if (a->notes[trouble].unsaid > 0)
		log_int(&l, "unsaid", a->notes[trouble].unsaid);
	log_end(&l);
	a->notes[trouble].unsaid = 0;
}

static void say_and_close(struct front *front, int fd, const char *dsn, const char *text)
{
	char memory[LINE_MAX_BYTES];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	reply_put(&line, 421, dsn, "%s %s", front->conf->hostname, text);
	states_say_and_close(front, fd, &line);
}

void arrive_take(struct front *front, int fd, const struct addr *peer, const struct conf_listen *listen)
{
	if (!conf_has(&listen->trusted, peer)) {
		note(front, STRANGER, peer, "not in trust of this listener: what it says of a client would not be believed", (struct slice){ NULL, 0 });
		say_and_close(front, fd, "4.7.0", "Not for you");
		return;
	}
	bool room = (size_t)fd + (size_t)front->conf->reserve_descriptors < front->nofile;
	struct arrival *arrival = room ? take_slot(front->arrivals) : NULL;
	if (!arrival) {
		metrics_add(METRIC_limited_total, 1);
		states_turn_away(front, fd, peer, &(struct conn_way){ .limit = room ? CONN_LIMIT_TOTAL : CONN_LIMIT_DESCRIPTORS, .tls = (enum conf_tls)listen->tls });
		return;
	}
	source_init(&arrival->source, &arrival_ops);
	arrival->peer = *peer;
	arrival->listen = listen;
	metrics_add(METRIC_arriving, 1);
	front->arrivals->waiting++;
	if (loop_watch(&front->loop, &arrival->source, fd, EPOLLIN | EPOLLRDHUP | EPOLLET) < 0) {
		arrival->source.fd = fd; /* closed with the rest of it */
		finish(front, arrival);
		return;
	}
	loop_set_due(&front->loop, &arrival->source, loop_now(&front->loop) + front->conf->proxy_timeout);
}

static void refuse(struct front *front, struct arrival *arrival, enum trouble trouble, const char *error, struct slice data)
{
	note(front, trouble, &arrival->peer, error, data);
	finish(front, arrival);
}

/* All zeros is nobody's address. */
static bool is_anybody(const struct addr *client)
{
	static const uint8_t none[16];
	return addr_is4(client) ? memcmp(client->ip + 12, none, 4) != 0 : memcmp(client->ip, none, sizeof(none)) != 0;
}

/* The header is read; the descriptor is given away here in any case. */
static void become_client(struct front *front, struct arrival *arrival, const struct proxyhdr *header)
{
	struct addr client = header->local ? arrival->peer : header->client;
	bool probe = header->local ? !header->unknown || conf_has(&arrival->listen->probers, &client) : conf_has(&arrival->listen->probers, &client);
	struct origin origin = { .peer = arrival->peer, .server = header->server, .tls = (enum conf_tls)arrival->listen->tls };
	int fd = arrival->source.fd;
	loop_unwatch(&front->loop, &arrival->source);
	if (probe) {
		listen_admit_probe(front, fd, &client, origin.tls);
	} else if (header->local) {
		note(front, UNKNOWN, &arrival->peer, "a header that does not say who the client is: no rule could be applied to it", (struct slice){ NULL, 0 });
		say_and_close(front, fd, "4.7.0", "Your address is not known here, try again later");
	} else {
		origin.id = header->id[0] ? strdup(header->id) : NULL;
		if (!owner_give(front, fd, &client, &origin))
			listen_admit_from(front, fd, &client, &origin);
	}
	finish(front, arrival);
}

static void arrival_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)loop;
	struct arrival *arrival = (struct arrival *)source;
	struct proxyhdr header;
	const char *why = "the header is cut short";
	bool ended = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
	ssize_t n = sock_peek(source->fd, front->relay.scratch, PROXYHDR_V2_MAX);
	if (n == -EAGAIN && !ended)
		return;
	if (n <= 0) { /* a check that only connects, for one */
		finish(front, arrival);
		return;
	}
	struct slice data = { front->relay.scratch, (size_t)n };
	int len = proxyhdr_read(data, &header, &why);
	if (len == 0 && !ended)
		return;
	if (len <= 0)
		refuse(front, arrival, MALFORMED, why, data);
	else if (!header.local && !is_anybody(&header.client))
		refuse(front, arrival, MALFORMED, "the client's address is all zeros", data);
	else if (recv(source->fd, front->relay.scratch, (size_t)len, 0) != len)
		refuse(front, arrival, MALFORMED, "the header could not be read", data);
	else
		become_client(front, arrival, &header);
}

static void arrival_due(struct loop *loop, struct source *source)
{
	struct front *front = (struct front *)loop;
	ssize_t n = sock_peek(source->fd, front->relay.scratch, PROXYHDR_V2_MAX);
	refuse(front, (struct arrival *)source, LATE, n > 0 ? "no whole header in time (proxy_timeout)" : "no header in time (proxy_timeout); does it send one (send-proxy-v2)?",
	       (struct slice){ front->relay.scratch, n > 0 ? (size_t)n : 0 });
}

const struct origin *arrive_origin(const struct front *front, const struct conn *conn)
{
	return conn->proxied ? &front->origins[conn - front->conns] : NULL;
}

bool arrive_server(const struct front *front, const struct conn *conn, struct addr *server)
{
	if (!conn->proxied)
		return sock_local(conn->source.fd, server);
	*server = arrive_origin(front, conn)->server;
	return true;
}

unsigned arrive_waiting(const struct front *front)
{
	return front->arrivals ? front->arrivals->waiting : 0;
}

void arrive_stop(struct front *front)
{
	struct arrivals *a = front->arrivals;
	for (uint32_t i = 0; a && i < a->used; i++) {
		struct arrival *arrival = &a->slots[i];
		if (arrival->source.fd < 0)
			continue;
		int fd = arrival->source.fd;
		loop_unwatch(&front->loop, &arrival->source);
		say_and_close(front, fd, "4.3.2", "Service shutting down, try again later");
		finish(front, arrival);
	}
}

void arrive_fini(struct front *front)
{
	struct arrivals *a = front->arrivals;
	for (uint32_t i = 0; a && i < a->used; i++)
		if (a->slots[i].source.fd >= 0)
			finish(front, &a->slots[i]);
	free(a);
	free(front->origins);
	front->arrivals = NULL;
	front->origins = NULL;
}
