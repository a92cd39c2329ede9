/* The tour, gate: from the front that accepted a client to the front that owns it: one message, one descriptor. */
#include "gate/owner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "smtp/proxyhdr.h"

#define BURST 16 /* taken in one turn, before others get theirs */

struct message {
	struct addr client, peer, server;
	uint8_t tls;    /* enum conf_tls */
	uint8_t direct; /* there is no load balancer: nothing of peer, server and id */
	char id[PROXYHDR_ID_MAX + 1];
};

/* False: the queue is empty. */
static bool take_one(struct front *front)
{
	struct message m;
	int fd;
	ssize_t n = sock_recv_fd(front->owned.fd, &m, sizeof(m), &fd);
	if (n == -EINTR)
		return true;
	if (n <= 0)
		return false;
	if (n != (ssize_t)sizeof(m) || fd < 0) { /* without a descriptor to spare the kernel drops the one that comes; reserve_descriptors is there so that this does not happen */
		if (fd >= 0)
			close(fd);
		metrics_add(METRIC_limited_total, 1);
		return true;
	}
	m.id[sizeof(m.id) - 1] = '\0';
	metrics_add(METRIC_owner_passed, 1);
	if (m.direct) {
		listen_admit(front, fd, &m.client, (enum conf_tls)m.tls);
		return true;
	}
	struct origin origin = { .peer = m.peer, .server = m.server, .tls = (enum conf_tls)m.tls, .id = m.id[0] ? strdup(m.id) : NULL };
	listen_admit_from(front, fd, &m.client, &origin);
	return true;
}

static void owner_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	for (int i = 0; i < BURST; i++)
		if (!take_one((struct front *)loop))
			break;
}

static void no_due(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops owner_ops = { owner_ready, no_due };

int owner_start(struct front *front, int in, const int *out)
{
	source_init(&front->owned, &owner_ops);
	front->owners_out = out;
	int e = in >= 0 ? loop_watch(&front->loop, &front->owned, in, EPOLLIN) : 0;
	if (e < 0)
		front->owned.fd = in; /* closed with the rest */
	metrics_add(METRIC_serving, 1);
	return e;
}

/* The parent's copy of the other end would take it also while nobody is there. False: it is this front's, or the other one takes nobody at present. */
static bool give(struct front *front, int fd, const struct message *m)
{
	unsigned owner = sock_steered_to(&m->client, front->fronts);
	if (!front->owners_out || owner == front->index)
		return false;
	if (metrics_row_value(METRIC_serving, front->rows ? front->rows[owner] : owner) == 0 || sock_send_fd(front->owners_out[owner], m, sizeof(*m), fd) != (ssize_t)sizeof(*m)) {
		metrics_add(METRIC_owner_missed, 1);
		return false;
	}
	close(fd);
	return true;
}

bool owner_give_direct(struct front *front, int fd, const struct addr *client, enum conf_tls tls)
{
	struct message m;
	memset(&m, 0, sizeof(m));
	m.client = *client;
	m.tls = (uint8_t)tls;
	m.direct = true;
	return give(front, fd, &m);
}

bool owner_give(struct front *front, int fd, const struct addr *client, const struct origin *origin)
{
	struct message m;
	memset(&m, 0, sizeof(m));
	m.client = *client;
	m.peer = origin->peer;
	m.server = origin->server;
	m.tls = (uint8_t)origin->tls;
	if (origin->id)
		memcpy(m.id, origin->id, strlen(origin->id));
	if (!give(front, fd, &m))
		return false;
	free(origin->id);
	return true;
}

void owner_take_all(struct front *front)
{
	while (front->owned.fd >= 0 && take_one(front))
		;
}

void owner_stop(struct front *front)
{
	loop_close(&front->loop, &front->owned);
	front->owners_out = NULL;
}
