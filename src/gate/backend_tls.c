/* The tour, gate: TLS towards a backend. As with clients OpenSSL is elsewhere (seal.c); what is handed over here is the other end of the conversation. */
#include "gate/backend_tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "smtp/starttls.h"

#define RETRY (20 * LOOP_MS) /* to hand it over */

struct backend_tls *backend_tls_new(enum conf_tls how)
{
	struct backend_tls *tls = calloc(1, sizeof(*tls));
	if (!tls || how != CONF_TLS_STARTTLS) {
		if (tls)
			tls->state = BACKEND_TLS_CONNECT;
		return tls;
	}
	tls->state = BACKEND_TLS_ASK;
	tls->starttls = starttls_new();
	if (tls->starttls)
		return tls;
	free(tls);
	return NULL;
}

void backend_tls_free(struct backend_tls *tls)
{
	if (!tls)
		return;
	starttls_free(tls->starttls);
	free(tls);
}

bool backend_tls_asks(const struct session *s)
{
	return s->tls && s->tls->state == BACKEND_TLS_ASK;
}

bool backend_tls_is_pending(const struct session *s)
{
	return s->tls && s->tls->state != BACKEND_TLS_DONE;
}

const char *backend_tls_late(const struct session *s)
{
	if (backend_tls_asks(s) && starttls_greeting(s->tls->starttls).len > 0)
		return "no answer in time to our EHLO and STARTTLS";
	if (!backend_tls_is_pending(s) || s->tls->state == BACKEND_TLS_CONNECT || s->tls->state == BACKEND_TLS_ASK)
		return "no greeting in time";
	return s->tls->state == BACKEND_TLS_HAND ? s->tls->waits : "no TLS handshake in time";
}

bool backend_tls_is_over(const struct front *front, const struct session *s)
{
	return !backend_tls_is_pending(s) || s->tls->state != BACKEND_TLS_HAND || loop_now(&front->loop) >= s->tls->until;
}

static enum backend_tls_result fail(const char **why, const char *text)
{
	*why = text;
	return BACKEND_TLS_FAILED;
}

/* From the connection to the near end of the pair. */
static enum backend_tls_result exchange(struct front *front, struct session *s, int near, const char **why)
{
	int connected = s->backend.fd;
	loop_unwatch(&front->loop, &s->backend); /* or it would be heard of as long as tarry-tls has it */
	close(connected);
	int e = loop_watch(&front->loop, &s->backend, near, EPOLLIN | EPOLLRDHUP | EPOLLET);
	s->backend.fd = near; /* closed with the rest of it */
	relay_fini(&s->relay, &front->relay);
	relay_init(&s->relay, s->conn->source.fd, near);
	s->tls->state = BACKEND_TLS_HANDSHAKE;
	return e < 0 ? fail(why, strerror(-e)) : BACKEND_TLS_MORE;
}

/* tarry-tls may have as long as any backend; the front, which gives up when the session's time is over, is sooner. */
static enum backend_tls_result hand(struct front *front, struct session *s, const char **why)
{
	const struct tlswire_order order = { .magic = TLSWIRE_MAGIC, .backend = 1 + backends_index(&front->backends, s->to),
		.timeout = (uint32_t)(front->conf->backend_timeout / LOOP_MS) };
	bool first = s->tls->state != BACKEND_TLS_HAND;
	int near;
	enum seal_start started = seal_order(front, &order, s->backend.fd, &near);
	if (first)
		s->tls->until = s->backend.place ? s->backend.due : LOOP_NEVER;
	s->tls->state = BACKEND_TLS_HAND;
	if (started == SEAL_SENT) {
		loop_set_due(&front->loop, &s->backend, s->tls->until);
		return exchange(front, s, near, why);
	}
	s->tls->waits = started == SEAL_FAILED ? "no descriptor or memory for TLS" : "no process to do the TLS handshake"; /* neither is the backend's fault */
	int64_t again = loop_now(&front->loop) + RETRY;
	loop_set_due(&front->loop, &s->backend, again < s->tls->until ? again : s->tls->until);
	return BACKEND_TLS_MORE;
}

static enum backend_tls_result read_facts(struct session *s, const char **why)
{
	struct backend_tls *t = s->tls;
	enum seal_read read = seal_take_facts(s->backend.fd, &t->facts, &t->got);
	if (read == SEAL_MORE)
		return BACKEND_TLS_MORE;
	if (read == SEAL_BROKEN) {
		snprintf(s->to->said, sizeof(s->to->said), "TLS: %s", t->facts.error);
		return fail(why, s->to->said);
	}
	t->state = BACKEND_TLS_DONE;
	metrics_add(METRIC_backend_tls, 1);
	return BACKEND_TLS_OPEN;
}

enum backend_tls_result backend_tls_run(struct front *front, struct session *s, const char **why)
{
	switch (s->tls->state) {
	case BACKEND_TLS_ASK:
		return BACKEND_TLS_MORE;
	case BACKEND_TLS_CONNECT: /* an event of this turn may be that of another connection, which is closed already */
		if (s->out.len > 0 || sock_connect_result(s->backend.fd) == -EINPROGRESS)
			return BACKEND_TLS_MORE;
		return hand(front, s, why);
	case BACKEND_TLS_HAND:
		return hand(front, s, why);
	case BACKEND_TLS_HANDSHAKE:
		return read_facts(s, why);
	case BACKEND_TLS_DONE:
		break;
	}
	return BACKEND_TLS_OPEN;
}

/* What is sent is a line of ours: a server that does not even take that is of no use. */
enum backend_tls_result backend_tls_ask(struct front *front, struct session *s, struct slice said, const char **why)
{
	enum starttls_result result = starttls_take(s->tls->starttls, front->conf->hostname, said, &s->out);
	if (result == STARTTLS_FAILED)
		return fail(why, starttls_why(s->tls->starttls));
	if (result == STARTTLS_REFUSED)
		return BACKEND_TLS_REFUSED;
	if (s->out.len > 0 && sock_write(s->backend.fd, &s->out) != SOCK_OK)
		return fail(why, "does not take our STARTTLS");
	return result == STARTTLS_READY ? hand(front, s, why) : BACKEND_TLS_MORE;
}
