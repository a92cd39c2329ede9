/* The tour, gate: from a front that leaves to the one that comes after it: one message and one descriptor for each held client. */
#include "gate/handoff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "gate/arrive.h"
#include "gate/ask.h"
#include "gate/front.h"
#include "gate/seal.h"
#include "smtp/proxyhdr.h"

#define BURST 32 /* moved in one turn, before others get theirs */
#define SOON (100 * LOOP_MS) /* whose pause is over by then stays: moving would only be a chance to be late */
#define MAGIC (UINT32_C(0x74680000) | HANDOFF_VERSION)
#define RETRY (10 * LOOP_MS) /* when the system has too many descriptors on their way */

struct message {
	uint32_t magic;
	uint8_t teased, proxied, tls; /* tls: enum conf_tls, where it is proxied */
	int64_t accepted;
	struct addr client, peer, server;
	char id[PROXYHDR_ID_MAX + 1];
};

/* ---- the front that leaves ---- */

static bool may_move(const struct front *front, const struct conn *conn, int64_t now)
{
	return conn->state == CONN_HOLD && conn->source.due > now + SOON && !conn->has_session && !conn->probe && !conn->early && !conn->ending && !seal_of(front, conn);
}

/* The bytes sent, or -errno. */
static ssize_t send_one(struct front *front, struct conn *conn)
{
	const struct origin *origin = arrive_origin(front, conn);
	struct message m;
	memset(&m, 0, sizeof(m));
	m.magic = MAGIC;
	m.teased = conn->teased;
	m.accepted = conn->ask ? conn->ask->accepted : conn->source.due - (int64_t)conn->pause_ms * LOOP_MS;
	m.client = conn->client;
	if (origin) {
		m.proxied = true;
		m.tls = (uint8_t)origin->tls;
		m.peer = origin->peer;
		m.server = origin->server;
		if (origin->id)
			memcpy(m.id, origin->id, strlen(origin->id));
	}
	return sock_send_fd(front->handoff.out.fd, &m, sizeof(m), conn->source.fd);
}

static void finish(struct front *front)
{
	struct source *out = &front->handoff.out;
	loop_close(&front->loop, out);
	if (front->leaving)
		front_may_leave(front);
}

/* A burst of them. What the socket does not take now waits, and so do the clients: they are held anyhow. */
static void move_some(struct front *front)
{
	struct handoff *h = &front->handoff;
	unsigned moved = 0;
	int64_t now = loop_now(&front->loop);
	for (; h->next < front->conns_used && moved < BURST; h->next++) {
		struct conn *conn = &front->conns[h->next];
		if (!may_move(front, conn, now))
			continue;
		ssize_t n = send_one(front, conn);
		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n == -ETOOMANYREFS || n == -ENOBUFS || n == -ENOMEM) {
			loop_rewatch(&front->loop, &h->out, 0); /* there is room in the socket, that would wake us all the time */
			loop_set_due(&front->loop, &h->out, loop_now(&front->loop) + RETRY);
			return;
		}
		if (n < 0) { /* nobody is there any more: they stay */
			h->next = front->conns_used;
			break;
		}
		conn_moved(front, conn);
		metrics_add(METRIC_moved, 1);
		moved++;
	}
	if (h->next >= front->conns_used)
		finish(front);
}

static void out_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)loop;
	if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLOUT)) {
		(void)source;
		finish(front);
		return;
	}
	move_some(front);
}

static void out_due(struct loop *loop, struct source *source)
{
	loop_rewatch(loop, source, EPOLLOUT);
	move_some((struct front *)loop);
}

static const struct source_ops out_ops = { out_ready, out_due };

void handoff_begin(struct front *front, int fd)
{
	struct handoff *h = &front->handoff;
	if (h->out.fd >= 0) { /* once is enough */
		close(fd);
		return;
	}
	h->next = 0;
	if (loop_watch(&front->loop, &h->out, fd, EPOLLOUT) < 0)
		close(fd);
}

bool handoff_is_busy(const struct front *front)
{
	return front->handoff.out.fd >= 0;
}

/* ---- the front that comes after it ---- */

/* False: there is nothing more at present. */
static bool take_one(struct front *front, struct source *source)
{
	struct message m;
	int fd;
	ssize_t n = sock_recv_fd(source->fd, &m, sizeof(m), &fd);
	if (n == -EINTR)
		return true;
	if (n == -EAGAIN)
		return false;
	if (n <= 0) { /* that was the last one */
		loop_close(&front->loop, source);
		return false;
	}
	if (n != (ssize_t)sizeof(m) || m.magic != MAGIC || fd < 0) { /* see owner.c */
		if (fd >= 0)
			close(fd);
		metrics_add(METRIC_limited_total, 1);
		return true;
	}
	m.id[sizeof(m.id) - 1] = '\0';
	struct origin origin = { .peer = m.peer, .server = m.server, .tls = m.tls <= CONF_TLS_IMPLICIT ? (enum conf_tls)m.tls : CONF_TLS_NO, .id = m.proxied && m.id[0] ? strdup(m.id) : NULL };
	listen_take_over(front, fd, &m.client, m.proxied ? &origin : NULL, &(struct conn_past){ m.accepted, m.teased });
	return true;
}

static void in_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)events;
	for (int i = 0; i < BURST; i++)
		if (!take_one((struct front *)loop, source))
			break;
}

static const struct source_ops in_ops = { in_ready, NULL };

void handoff_receive(struct front *front, int fd)
{
	struct handoff *h = &front->handoff;
	unsigned i = 0;
	while (i < h->in_len && h->in[i].fd >= 0)
		i++;
	if (i == HANDOFF_FROM || loop_watch(&front->loop, &h->in[i], fd, EPOLLIN) < 0) {
		close(fd);
		return;
	}
	if (i == h->in_len)
		h->in_len++;
}

/* ---- together ---- */

void handoff_init(struct front *front)
{
	source_init(&front->handoff.out, &out_ops);
	for (unsigned i = 0; i < HANDOFF_FROM; i++)
		source_init(&front->handoff.in[i], &in_ops);
}

void handoff_fini(struct front *front)
{
	loop_close(&front->loop, &front->handoff.out);
	for (unsigned i = 0; i < front->handoff.in_len; i++)
		loop_close(&front->loop, &front->handoff.in[i]);
}
