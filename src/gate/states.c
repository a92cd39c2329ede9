/* The tour, gate: what follows the verdict. Three states, each with what it does when it is entered, when the client's descriptor is ready, and when its
 * deadline falls: RELAY, REFUSE and CLOSE; and DONE, which only cleans up. */
#include "gate/states.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/admit.h"
#include "gate/early.h"
#include "gate/forbid.h"
#include "gate/front.h"
#include "gate/known.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "gate/stress.h"
#include "gate/tarpit.h"
#include "gate/turned.h"
#include "gate/watched.h"
#include "smtp/reply.h"

#define STATES_LATELY (500 * LOOP_MS)
#define TURN_AWAY_READS 16 /* of RELAY_SCRATCH bytes: what a client that is turned away may have sent without being reset */
#define REFUSE_ROUNDS 16 /* reads of one refused client before others get their turn */

/* ---- relay ---- */

/* It has not been greeted yet, and is told in place of that. */
static enum conn_event no_memory(struct front *front, struct conn *conn)
{
	char memory[SESSION_OUT];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	if (conn->teased)
		early_put_end(&line, front->conf->hostname);
	reply_put(&line, 421, "4.3.0", "%s Out of memory, try again later", front->conf->hostname);
	conn->session->broken = "out of memory";
	return sock_write(conn->source.fd, &line) == SOCK_ERROR ? CONN_ENDED : CONN_ANSWERED;
}

enum conn_event states_relay(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	if (s->watched) { /* back from STARTTLS */
		s->active = loop_now(&front->loop);
		loop_set_due(&front->loop, &conn->source, s->active + front->conf->relay_timeout);
		return states_relay_ready(front, conn, conn->ending ? EPOLLRDHUP : 0);
	}
	s->greeted = s->active = loop_now(&front->loop);
	if (conn->pause_ms > 0 && !conn->known && !conn->early)
		metrics_observe(HISTOGRAM_greeting_late, s->greeted - s->accepted - (int64_t)conn->pause_ms * LOOP_MS);
	buf_fini(&s->out); /* the PROXY header's, which has been sent */
	loop_set_due(&front->loop, &conn->source, s->active + front->conf->relay_timeout);
	if (conn->ending)
		relay_client_events(&s->relay, EPOLLRDHUP);
	enum watched_extent extent = watched_extent(front, s);
	if (extent != WATCHED_NOTHING && !watched_start(front, s, extent))
		return no_memory(front, conn);
	conn->teased = false; /* the backend's greeting is the rest of it */
	return states_relay_ready(front, conn, 0);
}

enum conn_event states_relay_answered(struct front *front, struct conn *conn)
{
	watched_answered(front, conn->session);
	return states_relay_ready(front, conn, 0);
}

/* Whoever blocks is watched for writing too, from the first time on. */
static void watch_blocked(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	bool on_client = s->watched ? watched_blocked_on_client(s) : relay_blocked_on_client(&s->relay);
	bool on_backend = s->watched ? watched_blocked_on_backend(s) : relay_blocked_on_backend(&s->relay);
	if (on_client && !s->client_out)
		s->client_out = loop_rewatch(&front->loop, &conn->source, CONN_EVENTS_WATCHED | EPOLLOUT) == 0;
	if (on_backend && !s->backend_out)
		s->backend_out = loop_rewatch(&front->loop, &s->backend, CONN_EVENTS_WATCHED | EPOLLOUT) == 0;
}

static void relay_wait(struct front *front, struct conn *conn)
{
	const struct session *s = conn->session;
	int64_t waits = watched_waits(s);
	loop_set_due(&front->loop, &conn->source, waits == LOOP_NEVER ? s->active + front->conf->relay_timeout : waits);
}

/* That one of both has gone is in the connection's line; what else ends it stands here. */
static void report_broken(const struct session *s, int error)
{
	if (error != 0 && error != EPIPE && error != ECONNRESET && error != ETIMEDOUT)
		log_event(LOG_LEVEL_WARNING, "relay_lost", "backend %s, id %s: %s", s->to ? s->to->conf->name : "none", s->id, strerror(error));
}

enum conn_event states_relay_ready(struct front *front, struct conn *conn, uint32_t events)
{
	struct session *s = conn->session;
	uint64_t before = s->relay.in.bytes + s->relay.out.bytes;
	int64_t waited = watched_waits(s);
	relay_client_events(&s->relay, events);
	enum relay_result result = s->watched ? watched_run(front, s) : relay_run(&s->relay, &front->relay);
	if (s->relay.in.bytes + s->relay.out.bytes != before)
		s->active = loop_now(&front->loop);
	if (result == RELAY_BROKEN)
		report_broken(s, s->relay.in.error ? s->relay.in.error : s->relay.out.error);
	if (result == RELAY_BACKEND_ENDED)
		return CONN_ANSWERED;
	if (result == RELAY_TALK)
		return CONN_TALK;
	if (result == RELAY_SEAL)
		return CONN_SEALING;
	if (result == RELAY_ENDED || result == RELAY_BROKEN)
		return CONN_ENDED;
	watch_blocked(front, conn);
	if (result == RELAY_AGAIN)
		loop_set_due(&front->loop, &conn->source, s->active); /* at once, but after the others */
	else if (watched_waits(s) != waited)
		relay_wait(front, conn);
	return CONN_NOTHING;
}

/* The deadline is not moved with every byte: when it comes, it is compared with the last activity and moved on. Who is made to wait is not idle. */
enum conn_event states_relay_due(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	if (watched_waits(s) == LOOP_NEVER && loop_now(&front->loop) >= s->active + front->conf->relay_timeout)
		return CONN_TIME;
	relay_wait(front, conn);
	return states_relay_ready(front, conn, 0);
}

bool states_relay_is_busy(const struct front *front, const struct conn *conn)
{
	const struct session *s = conn->session;
	if (s->watched && (s->watched->watch.mail != WATCH_NO_MAIL || s->watched->watch.queue.len > 0))
		return true;
	return loop_now(&front->loop) < s->active + STATES_LATELY;
}

void states_relay_hurry(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	int64_t waited = watched_waits(s);
	watched_hurry(front, s);
	if (watched_waits(s) < waited)
		relay_wait(front, conn);
}

/* ---- starttls ---- */

enum conn_event states_starttls(struct front *front, struct conn *conn)
{
	enum seal_start started = seal_start(front, conn, true);
	bool sent = seal_of(front, conn) && seal_of(front, conn)->sent;
	if (started == SEAL_SENT) {
		loop_set_due(&front->loop, &conn->source, loop_now(&front->loop) + front->conf->tls_timeout + LOOP_SECOND); /* tarry-tls gives up in time */
		return CONN_NOTHING;
	}
	if (sent)
		return CONN_ENDED;
	seal_free(front, conn);
	metrics_add(METRIC_tls_unavailable, 1);
	watched_sealed(conn->session, WATCH_UNSEALED, NULL);
	return CONN_FAILED;
}

enum conn_event states_starttls_ready(struct front *front, struct conn *conn, uint32_t events)
{
	(void)events;
	enum seal_read read = seal_read(front, conn);
	if (read != SEAL_DONE)
		return read == SEAL_MORE ? CONN_NOTHING : CONN_ENDED;
	/* Its header went out long ago; the mail server inside takes a word more. */
	const struct tlswire_facts *facts = &seal_of(front, conn)->facts;
	char tell[sizeof(facts->version) + sizeof(facts->cipher) + 8];
	snprintf(tell, sizeof(tell), "XTLS %s %s", facts->version, facts->cipher);
	watched_sealed(conn->session, WATCH_SEALED, conn->session->to->conf->kind == CONF_BACKEND_MAIL ? tell : NULL);
	return CONN_SEALED;
}

/* ---- refuse ---- */

struct refuse_rules states_refuse_rules(const struct front *front, const struct conn *conn)
{
	const struct session *s = conn->session;
	struct reply_client client = { &conn->client, ask_name(s->ask), s->ask && s->ask->result == NAMES_FORGED };
	struct slice denied = s->tempfails ? slice_of(stage_reply(s->stage, STAGE_TEMPFAIL)) : buf_slice(&s->denied);
	denied.len -= s->tempfails ? 2 : 0; /* without its line end */
	return (struct refuse_rules){ .hostname = front->conf->hostname, .client = client, .greeting = front->conf->smtp_login_msg,
		.max_bad_commands = (unsigned)front->conf->max_bad_commands, .denied = denied, .forbidden = front->conf->forbidden_commands };
}

static enum conn_event refuse_wait(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	int64_t end = s->decided + stress_refuse_lifetime(front);
	int64_t idle = s->active + stress_refuse_timeout(front);
	loop_set_due(&front->loop, &conn->source, idle < end ? idle : end);
	return CONN_NOTHING;
}

static enum conn_event refuse_slow(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	int64_t end = s->decided + stress_refuse_lifetime(front);
	int64_t slow = loop_now(&front->loop) + s->refuse.slow_s * LOOP_SECOND;
	s->slow = true;
	loop_set_due(&front->loop, &conn->source, slow < end ? slow : end);
	return CONN_NOTHING;
}

void states_refuse_take_held(struct session *s)
{
	struct buf *held = &s->relay.in.held;
	size_t room = REFUSE_LINE - s->refuse.in_len, n = held->len < room ? held->len : room;
	if (n == 0)
		return;
	memcpy(s->refuse.in + s->refuse.in_len, held->at, n);
	s->refuse.in_len += n;
	buf_drop(held, n);
	if (held->len == 0)
		buf_fini(held);
}

/* Reads more for the null server. */
static enum sock_result refuse_read(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	struct buf in;
	buf_init_fixed(&in, s->refuse.in, REFUSE_LINE);
	in.len = s->refuse.in_len;
	size_t room = REFUSE_LINE - in.len;
	enum sock_result got = sock_read(conn->source.fd, &in, 0);
	if (got == SOCK_OK) {
		s->readable = in.len - s->refuse.in_len == room || conn->ending;
		s->refuse.in_len = in.len;
		s->active = loop_now(&front->loop);
	} else {
		s->readable = false;
		s->eof = got == SOCK_EOF;
	}
	return got;
}

/* Answer, send, read, until there is nothing to read or the client must wait. */
static enum conn_event refuse_turn(struct front *front, struct conn *conn, bool last)
{
	struct session *s = conn->session;
	struct refuse_rules rules = states_refuse_rules(front, conn);
	for (int round = 0; round < REFUSE_ROUNDS; round++) {
		enum refuse_result result = refuse_run(&s->refuse, &rules, (last || s->eof) && s->relay.in.held.len == 0);
		if (result == REFUSE_END && s->refuse.foreign && !conn->probe)
			forbid(s, s->refuse.foreign, slice_of(""));
		if (result == REFUSE_END)
			return CONN_ANSWERED;
		size_t replies = s->refuse.out.len;
		enum sock_result sent = replies > 0 ? sock_write(conn->source.fd, &s->refuse.out) : SOCK_OK;
		if (sent == SOCK_ERROR)
			return CONN_ENDED;
		if (sent == SOCK_AGAIN)
			loop_rewatch(&front->loop, &conn->source, CONN_EVENTS_WATCHED | EPOLLOUT);
		if (result == REFUSE_SLOW && !conn->ending) /* also for who does not read */
			return refuse_slow(front, conn);
		if (sent == SOCK_AGAIN)
			return refuse_wait(front, conn);
		if (result == REFUSE_SLOW)
			continue; /* who has said all that it will say is not kept */
		if (replies + COMMAND_LINE >= REFUSE_OUT)
			continue; /* it stopped for want of room: there may be more lines */
		if (s->relay.in.held.len > 0) {
			states_refuse_take_held(s);
			continue;
		}
		if (s->eof)
			return CONN_ANSWERED;
		if (!s->readable)
			return refuse_wait(front, conn);
		if (refuse_read(front, conn) == SOCK_ERROR)
			return CONN_ENDED;
	}
	loop_set_due(&front->loop, &conn->source, loop_now(&front->loop)); /* at once, but after the others */
	return CONN_NOTHING;
}

void states_refuse_begin(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	char memory[SESSION_OUT];
	struct buf greeting;
	if (s->stage != STAGE_NONE) {
		refuse_init_after(&s->refuse, buf_slice(&s->out), slice_of(stage_reply(s->stage, s->tempfails ? STAGE_TEMPFAIL : STAGE_REFUSE)));
		buf_fini(&s->out);
		return;
	}
	struct refuse_rules rules = states_refuse_rules(front, conn);
	buf_init_fixed(&greeting, memory, sizeof(memory));
	if (rules.denied.len == 0)
		early_put_reply(front, s, conn->teased, &greeting);
	rules.first = buf_slice(&greeting);
	refuse_init(&s->refuse, &rules);
	conn->teased = false;
}

enum conn_event states_refuse(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	if (s->tarpit != SESSION_TARPIT_NONE) /* it comes out of the tarpit */
		return refuse_turn(front, conn, false);
	dial_close(front, s); /* a backend that was being dialled is not needed, one that has been talked to must not go on */
	s->active = s->decided;
	if (s->peeked)
		s->refuse.in_len = 0;
	bool hears = session_hear(front, s);
	/* Whom the backend declines the door has not refused: its line is written at the end, from what a tarpit does not keep. */
	if (hears && !conn_verdict_passes(s->verdict) && tarpit_takes(front, conn))
		return CONN_TARRY;
	if (hears || s->stage != STAGE_NONE)
		states_refuse_begin(front, conn);
	if (!hears)
		return CONN_ANSWERED; /* no memory: it is told once, and no more */
	return refuse_turn(front, conn, false);
}

void states_refuse_hurry(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	int64_t before = conn->source.due, end = s->decided + stress_refuse_lifetime(front);
	if (!s->slow)
		refuse_wait(front, conn);
	else
		loop_set_due(&front->loop, &conn->source, before < end ? before : end);
	if (conn->source.due > before)
		loop_set_due(&front->loop, &conn->source, before); /* others only have had their turn */
}

void states_refuse_timeout(const struct front *front, struct conn *conn)
{
	reply_put(&conn->session->refuse.out, 421, "4.4.2", "%s Timeout; closing connection", front->conf->hostname);
}

/* If there is no line end, it was half a line that had to wait. */
static enum conn_event refuse_slow_over(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	s->slow = false;
	s->active = loop_now(&front->loop); /* it was we who were silent */
	return refuse_turn(front, conn, !memchr(s->refuse.in, '\n', s->refuse.in_len));
}

enum conn_event states_refuse_ready(struct front *front, struct conn *conn, uint32_t events)
{
	struct session *s = conn->session;
	if (events & (EPOLLERR | EPOLLHUP))
		return CONN_ENDED;
	if (events & (EPOLLIN | EPOLLRDHUP))
		s->readable = true;
	if (s->slow && conn->ending)
		return refuse_slow_over(front, conn);
	if (s->slow) /* only what was said before it may still go out */
		return s->refuse.out.len > 0 && sock_write(conn->source.fd, &s->refuse.out) == SOCK_ERROR ? CONN_ENDED : CONN_NOTHING;
	return refuse_turn(front, conn, false);
}

/* A slow-down is over; or others have had their turn; or the client has been silent: half a line is answered as a line (as Sendmail does), and silence after
 * that ends it without a word. */
enum conn_event states_refuse_due(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	if (loop_now(&front->loop) >= s->decided + stress_refuse_lifetime(front)) {
		states_refuse_timeout(front, conn);
		return CONN_TIME;
	}
	if (s->slow)
		return refuse_slow_over(front, conn);
	if (loop_now(&front->loop) < s->active + stress_refuse_timeout(front))
		return refuse_turn(front, conn, false);
	if (s->refuse.in_len == 0 || s->refuse.out.len > 0)
		return CONN_TIME;
	s->active = loop_now(&front->loop);
	return refuse_turn(front, conn, true);
}

/* ---- close ---- */

void states_limit_reply(struct buf *out, const char *host, enum conn_limit limit)
{
	if (limit == CONN_LIMIT_CLIENT)
		reply_put(out, 421, "4.7.0", "%s Too many connections from your address", host);
	else
		reply_put(out, 421, "4.3.2", "%s Too many connections, try again later", host);
}

void states_say_and_close(struct front *front, int fd, struct buf *line)
{
	if (sock_write(fd, line) == SOCK_OK)
		shutdown(fd, SHUT_WR);
	for (int i = 0; i < TURN_AWAY_READS; i++)
		if (recv(fd, front->relay.scratch, RELAY_SCRATCH, MSG_DONTWAIT) < RELAY_SCRATCH)
			break;
	close(fd);
}

void states_turn_away(struct front *front, int fd, const struct addr *client, const struct conn_way *way)
{
	char memory[SESSION_OUT], id[SESSION_ID];
	struct session_head head = { CONN_LIMIT, client, id, 0, 0, NULL, way->origin, NULL };
	enum conn_limit limit = way->limit == CONN_LIMIT_NONE ? CONN_LIMIT_TOTAL : way->limit;
	struct buf line;
	struct log_line l;
	buf_init_fixed(&line, memory, sizeof(memory));
	if (way->tls != CONF_TLS_IMPLICIT) /* in clear it would be noise there */
		states_limit_reply(&line, front->conf->hostname, limit);
	states_say_and_close(front, fd, &line);
	if (limit == CONN_LIMIT_CLIENT)
		ban_offends_at_door(front, client, way->origin != NULL, BAN_LIMITED);
	session_make_id(front, id);
	turned_away_at_once(front, &head);
	if (!session_log_head(&l, &head))
		return;
	log_text(&l, "reason", conn_limit_name(limit));
	log_end(&l);
}

/* The last words of a connection that the null server or a backend did not end itself. */
static void last_words(const struct front *front, struct session *s)
{
	const char *host = front->conf->hostname;
	if (s->verdict == CONN_EARLY) {
		early_put_reply(front, s, s->conn->teased, &s->out);
		return;
	}
	if (s->conn->teased) /* the reply that has begun has its end first: two codes in one are no reply (RFC 5321 4.2.1) */
		early_put_end(&s->out, host);
	if (s->verdict == CONN_LIMIT)
		states_limit_reply(&s->out, host, s->limit);
	else if (s->verdict == CONN_REFUSED && buf_put_slice(&s->out, buf_slice(&s->denied)))
		buf_put_text(&s->out, "\r\n");
	else if (s->verdict == CONN_NOBACKEND)
		reply_put(&s->out, 421, "4.3.2", "%s Service not available, try again later", host);
	else if (s->verdict == CONN_TEMPFAIL)
		reply_put(&s->out, 421, "4.3.2", "%s Service shutting down, try again later", host);
}

/* Throws away what the client still sends. True: the end, or more than it may send. */
static bool drain(const struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	while (s->readable) {
		struct buf scratch;
		buf_init_fixed(&scratch, front->relay.scratch, RELAY_SCRATCH);
		enum sock_result got = sock_read(conn->source.fd, &scratch, 0);
		if (got == SOCK_AGAIN)
			s->readable = false;
		else if (got != SOCK_OK)
			return true;
		s->drained += scratch.len;
		if (s->drained > (size_t)front->conf->linger_bytes)
			return true;
		if (got == SOCK_OK && scratch.len < RELAY_SCRATCH && !conn->ending)
			s->readable = false;
	}
	return s->eof;
}

static enum conn_event close_turn(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	if (s->out.len > 0) {
		enum sock_result sent = sock_write(conn->source.fd, &s->out);
		if (sent == SOCK_ERROR) {
			report_broken(s, errno);
			return CONN_ENDED;
		}
		if (sent == SOCK_AGAIN) {
			loop_rewatch(&front->loop, &conn->source, CONN_EVENTS_WATCHED | EPOLLOUT);
			return CONN_NOTHING;
		}
	}
	if (!s->shut)
		shutdown(conn->source.fd, SHUT_WR);
	s->shut = true;
	return drain(front, conn) ? CONN_ENDED : CONN_NOTHING;
}

enum conn_event states_close(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	dial_close(front, s);
	if (s->watched)
		watched_stop(s);
	else
		buf_fini(&s->out); /* a PROXY header that was not sent */
	if (s->refuse.out.len > 0 || s->refuse.answered > 0 || s->tarpit == SESSION_TARPIT_GREETED) {
		s->out = s->refuse.out; /* the replies move on as they are */
		buf_init(&s->refuse.out, REFUSE_OUT);
	} else if (s->relay.in.bytes > 0 || s->greeted > 0) {
		s->readable = !s->relay.in.eof;
		s->eof = s->relay.in.eof;
		s->shut = s->relay.out.closed;
	} else {
		last_words(front, s);
	}
	loop_set_due(&front->loop, &conn->source, loop_now(&front->loop) + front->conf->linger);
	return close_turn(front, conn);
}

enum conn_event states_close_ready(struct front *front, struct conn *conn, uint32_t events)
{
	struct session *s = conn->session;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->readable = true;
	return close_turn(front, conn);
}

/* ---- done ---- */

void states_count_relayed(struct session *s)
{
	metrics_add(METRIC_relayed_in, (int64_t)s->relay.in.bytes);
	metrics_add(METRIC_relayed_out, (int64_t)s->relay.out.bytes);
	s->relay.in.bytes = s->relay.out.bytes = 0;
}

enum conn_event states_done(struct front *front, struct conn *conn)
{
	struct session *s = conn->has_session ? conn->session : NULL; /* there was no memory for one */
	if (s) {
		dial_close(front, s);
		if (s->forbidden) { /* it speaks another protocol */
			ban_offends(front, conn, BAN_FORBIDDEN);
			known_forfeit(front, conn);
		}
		if (conn_verdict_passes(s->verdict))
			session_log(front, s);
		states_count_relayed(s);
		if (!conn->probe)
			metrics_add(METRIC_refused_commands, s->refuse.answered);
	}
	guard_ended(front, conn);
	if (!conn->probe)
		admit_closed(front, &conn->client); /* at once: in one turn a client may come and go more often than it may have connections */
	if (s && s->token > 0) { /* the spawner, or a program, may have the same socket: epoll would not forget it */
		int fd = conn->source.fd;
		loop_unwatch(&front->loop, &conn->source);
		conn->source.fd = fd;
	}
	loop_close(&front->loop, &conn->source);
	conn->pause_ms = front->done_list;
	front->done_list = (uint32_t)(conn - front->conns) + 1;
	return CONN_NOTHING;
}

void states_reap(struct front *front)
{
	while (front->done_list > 0) {
		struct conn *conn = &front->conns[front->done_list - 1];
		uint32_t next = conn->pause_ms;
		if (conn->has_session && conn->session->limit != CONN_LIMIT_NONE) {
			front->limited--;
			metrics_add(METRIC_limited_open, -1);
		}
		if (conn->has_session)
			session_free(front, conn->session);
		else
			ask_free(conn->ask);
		seal_free(front, conn);
		if (conn->proxied) {
			free(front->origins[conn - front->conns].id);
			conn->proxied = false;
		}
		metrics_add(METRIC_open, -1);
		front->open--;
		conn->ask = NULL;
		conn->has_session = false;
		conn->state = CONN_FREE;
		conn->pause_ms = front->free_list;
		front->free_list = front->done_list;
		front->done_list = next;
	}
}
