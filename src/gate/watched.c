/* The tour, gate: bytes between two sockets and the watch: send what it has written, offer it what has come, repeat. */
#include "gate/watched.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/session.h"

#define WATCHED_ROUNDS 16 /* before others get their turn */
#define PIPE_HELD (WATCH_HELD + RELAY_HELD) /* bytes of one direction when it becomes a plain relay at most */

static bool is_judged(const struct front *front, const struct session *s)
{
	return judge_is_needed(front, s) || ask_is_pending(s->ask);
}

enum watched_extent watched_extent(const struct front *front, const struct session *s)
{
	const struct conf_backend *b = s->to->conf;
	if (is_judged(front, s) || front->conf->bad_rcpt_throttle > 0 || s->conn->observe) /* of an observed client it is to be known whether the backend takes its mail */
		return WATCHED_ALL;
	if (b->kind == CONF_BACKEND_MAIL)
		return s->conn->offers_tls ? WATCHED_ALL : WATCHED_NOTHING; /* what it is told of TLS it must be told by the door alone */
	return b->normalize ? WATCHED_ALL : WATCHED_HELLO;
}

bool watched_start(struct front *front, struct session *s, enum watched_extent extent)
{
	struct watched *w = malloc(sizeof(*w));
	if (!w)
		return false;
	judge_init(&w->judge, front, s, &w->watch);
	if (!is_judged(front, s)) {
		w->judge.rules.mail = w->judge.rules.rcpt = NULL;
		w->judge.rules.data = NULL;
	}
	w->watch.until_mail = extent == WATCHED_HELLO;
	w->watch.unless_trusted = s->to->conf->proxy == CONF_PROXY_NO && !s->to->conf->transparent;
	w->watch.slows = front->conf->slow_commands && !s->conn->observe;
	w->watch.throttle = s->conn->observe ? 0 : (unsigned)front->conf->bad_rcpt_throttle;
	w->slow_until = 0;
	buf_init(&w->client_in, RELAY_HELD);
	w->backend_in = s->relay.out.held;
	buf_init(&s->relay.out.held, RELAY_HELD);
	s->watched = w;
	s->seen = true;
	return true;
}

void watched_stop(struct session *s)
{
	struct watched *w = s->watched;
	if (!w)
		return;
	s->messages += w->watch.messages;
	judge_fini(&w->judge);
	watch_fini(&w->watch);
	buf_fini(&w->client_in);
	buf_fini(&w->backend_in);
	free(w);
	s->watched = NULL;
}

void watched_answered(struct front *front, struct session *s)
{
	judge_answered(&s->watched->judge, front);
}

bool watched_blocked_on_client(const struct session *s)
{
	return s->watched->watch.to_client.len > 0 && !s->relay.out.writable;
}

bool watched_blocked_on_backend(const struct session *s)
{
	return s->watched->watch.to_backend.len > 0 && !s->relay.in.writable;
}

/* False: `to` takes nothing more. */
static bool send_out(struct pump *p, struct buf *out)
{
	size_t before = out->len;
	if (before == 0 || !p->writable)
		return true;
	enum sock_result e = sock_write(p->to, out);
	p->bytes += before - out->len;
	if (e == SOCK_AGAIN)
		p->writable = false;
	if (e == SOCK_OK)
		buf_fini(out); /* a connection at rest holds no buffer */
	return e != SOCK_ERROR;
}

/* A side's next bytes, unless some are still waiting: into the front's scratch buffer. */
static void read_more(struct pump *p, struct buf *scratch)
{
	if (p->eof || !p->readable)
		return;
	enum sock_result e = sock_read(p->from, scratch, 0);
	if (e == SOCK_AGAIN)
		p->readable = false;
	else if (e == SOCK_EOF || e == SOCK_ERROR)
		p->eof = true;
	else if (scratch->len < RELAY_SCRATCH && !p->ending)
		p->readable = false;
	p->reset = p->reset || e == SOCK_ERROR;
}

typedef enum watch_result (*take_function)(struct watch *w, struct slice *in, bool eof);

/* What one side has sent, to the watch; what it does not take is kept. True: something was taken. */
static bool offer(struct front *front, struct watch *watch, struct pump *p, struct buf *kept, take_function take)
{
	struct buf scratch;
	buf_init_fixed(&scratch, front->relay.scratch, RELAY_SCRATCH);
	if (kept->len == 0)
		read_more(p, &scratch);
	struct slice in = buf_slice(kept->len > 0 ? kept : &scratch);
	size_t before = in.len;
	take(watch, &in, p->eof);
	if (kept->len > 0)
		buf_drop(kept, before - in.len);
	else if (!buf_put_slice(kept, in))
		p->reset = p->eof = true; /* no memory: it cannot go on, and what would come next must not take the place of what is lost */
	if (kept->len == 0)
		buf_fini(kept);
	return in.len < before;
}

/* Nothing more needs to be seen: what is on its way goes first, the pumps do the rest. */
static bool become_plain(struct pump *p, struct buf *out, struct buf *in)
{
	p->held = *out;
	p->held.max = PIPE_HELD;
	buf_init(out, WATCH_HELD);
	return buf_put_slice(&p->held, buf_slice(in));
}

/* All that is owed in clear goes first; and what the client has said behind its STARTTLS must not be there. */
static enum relay_result begin_tls(struct session *s)
{
	struct watched *w = s->watched;
	char byte;
	if (!send_out(&s->relay.out, &w->watch.to_client))
		return RELAY_BROKEN;
	if (w->watch.to_client.len > 0)
		return RELAY_IDLE;
	if (w->client_in.len == 0 && sock_peek(s->relay.in.from, &byte, 1) <= 0)
		return RELAY_SEAL;
	watch_sealed(&w->watch, WATCH_INJECTED, NULL);
	return RELAY_AGAIN;
}

void watched_sealed(struct session *s, enum watch_sealed sealed, const char *tell)
{
	watch_sealed(&s->watched->watch, sealed, tell);
}

static enum relay_result finish(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	if (w->watch.result == WATCH_TLS)
		return begin_tls(s);
	if (w->watch.result == WATCH_PIPE) {
		bool ok = become_plain(&s->relay.in, &w->watch.to_backend, &w->client_in) && become_plain(&s->relay.out, &w->watch.to_client, &w->backend_in);
		judge_blinded(&w->judge);
		watched_stop(s);
		s->seen = false;
		return ok ? relay_run(&s->relay, &front->relay) : RELAY_BROKEN;
	}
	send_out(&s->relay.in, &w->watch.to_backend);
	s->broken = w->watch.why;
	buf_fini(&s->out); /* the PROXY header's, sent long ago */
	s->out = w->watch.to_client;
	buf_init(&w->watch.to_client, WATCH_HELD);
	s->relay.out.bytes += s->out.len;
	return RELAY_BACKEND_ENDED;
}

int64_t watched_waits(const struct session *s)
{
	return s->watched && s->watched->slow_until > 0 ? s->watched->slow_until : LOOP_NEVER;
}

/* The client's command is held back. True: its time has passed, and it goes on. */
static bool slow_down(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	const struct slowdown_step *slow = watch_slowed(&w->watch);
	if (!slow)
		return false;
	int64_t now = loop_now(&front->loop);
	if (w->slow_until == 0) {
		w->slow_until = now + slow->seconds * LOOP_SECOND;
		metrics_add(METRIC_slowed_commands, 1);
		if (slow->command)
			refuse_log_attack(&s->conn->client, slow);
	}
	if (now < w->slow_until)
		return false;
	w->slow_until = 0;
	s->active = now; /* it was we who were silent */
	watch_slow_over(&w->watch);
	return true;
}

enum relay_result watched_run(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	struct pump *in = &s->relay.in, *out = &s->relay.out;
	for (int round = 0; round < WATCHED_ROUNDS; round++) {
		/* What the client says waits for what is asked about it. */
		bool moved = !ask_is_pending(s->ask) && offer(front, &w->watch, in, &w->client_in, watch_from_client);
		moved = offer(front, &w->watch, out, &w->backend_in, watch_from_backend) || moved;
		if (moved)
			s->active = loop_now(&front->loop); /* also where nothing is passed on: a message that is thrown away */
		moved = slow_down(front, s) || moved;
		if (w->watch.result != WATCH_MORE)
			return finish(front, s);
		size_t waiting = w->watch.to_client.len + w->watch.to_backend.len;
		if (in->reset || !send_out(out, &w->watch.to_client))
			return RELAY_BROKEN;
		if (!send_out(in, &w->watch.to_backend)) { /* a backend that has gone takes no more, but what it said last is still for the client */
			buf_fini(&w->watch.to_backend);
			out->readable = out->ending = true;
		}
		if (w->watch.client_ended && w->watch.to_backend.len == 0 && !in->closed) {
			shutdown(in->to, SHUT_WR);
			in->closed = true;
		}
		if (!moved && w->watch.to_client.len + w->watch.to_backend.len == waiting)
			return RELAY_IDLE;
	}
	return RELAY_AGAIN;
}
