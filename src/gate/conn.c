/* The tour, gate, second file: a connection from accept() to its end. The policy is conn_step.c's. First one row per state;
 * then the driver, the only writer of conn->state; then HOLD and DIAL, in which the verdict falls (what comes before them is in before.c, what follows in states.c);
 * then the way in. */
#include "gate/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/admit.h"
#include "gate/ask.h"
#include "gate/before.h"
#include "gate/early.h"
#include "gate/front.h"
#include "gate/known.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "gate/stages.h"
#include "gate/states.h"
#include "gate/stress.h"
#include "gate/study.h"
#include "gate/tarpit.h"
#include "gate/turned.h"
#include "smtp/reply.h"

/* ---- one row per state ---- */

static enum conn_event hold_enter(struct front *, struct conn *);
static enum conn_event hold_ready(struct front *, struct conn *, uint32_t);
static enum conn_event dial_enter(struct front *, struct conn *);
static enum conn_event dial_client_ready(struct front *, struct conn *, uint32_t);

static enum conn_event nothing_ready(struct front *front, struct conn *conn, uint32_t events)
{
	(void)front;
	(void)conn;
	(void)events;
	return CONN_NOTHING;
}

static enum conn_event time_is_up(struct front *front, struct conn *conn)
{
	(void)front;
	(void)conn;
	return CONN_TIME;
}

static const struct {
	const char *name;
	enum conn_event (*enter)(struct front *, struct conn *);
	enum conn_event (*ready)(struct front *, struct conn *, uint32_t events); /* the client's descriptor */
	enum conn_event (*due)(struct front *, struct conn *);                   /* the deadline */
	enum metric gauge;                                                       /* how many there are; METRIC_COUNT: not counted */
} rows[CONN_STATES] = {
	[CONN_FREE] = { "free", NULL, nothing_ready, time_is_up, METRIC_COUNT },
	[CONN_TLS] = { "tls", before_tls, before_tls_ready, before_tls_due, METRIC_handshaking },
	[CONN_ASK] = { "ask", before_ask, before_ask_ready, before_ask_due, METRIC_asked },
	[CONN_HOLD] = { "hold", hold_enter, hold_ready, time_is_up, METRIC_held },
	[CONN_DIAL] = { "dial", dial_enter, dial_client_ready, time_is_up, METRIC_dialling },
	[CONN_REFUSE] = { "refuse", states_refuse, states_refuse_ready, states_refuse_due, METRIC_refusing },
	[CONN_TARPIT] = { "tarpit", tarpit_enter, tarpit_ready, tarpit_due, METRIC_tarpit },
	[CONN_RELAY] = { "relay", states_relay, states_relay_ready, states_relay_due, METRIC_relayed },
	[CONN_STARTTLS] = { "starttls", states_starttls, states_starttls_ready, time_is_up, METRIC_handshaking },
	[CONN_CLOSE] = { "close", states_close, states_close_ready, time_is_up, METRIC_closing },
	[CONN_DONE] = { "done", states_done, nothing_ready, time_is_up, METRIC_COUNT },
};

const char *conn_state_name(enum conn_state state)
{
	return rows[state].name;
}

/* ---- the driver ---- */

static void log_change(const struct conn *conn, enum conn_state to, enum conn_event cause)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_DEBUG))
		return;
	log_text(&l, "event", "state");
	log_addr(&l, "client", &conn->client);
	log_int(&l, "port", conn->client.port);
	log_text(&l, "from", rows[conn->state].name);
	log_text(&l, "to", rows[to].name);
	log_text(&l, "cause", conn_event_name(cause));
	log_end(&l);
}

static void decide(struct front *front, struct conn *conn, enum conn_verdict verdict, enum conn_event cause)
{
	static const enum metric counters[CONN_VERDICTS] = { [CONN_PATIENT] = METRIC_patient, [CONN_EXEMPT] = METRIC_exempt, [CONN_KNOWN] = METRIC_known,
		[CONN_EARLY] = METRIC_early, [CONN_REFUSED] = METRIC_refused, [CONN_GONE] = METRIC_gone, [CONN_NOBACKEND] = METRIC_nobackend, [CONN_TEMPFAIL] = METRIC_tempfail };
	struct session *s = conn->session;
	if (verdict == CONN_PATIENT && conn->known)
		verdict = CONN_KNOWN;
	s->verdict = verdict;
	s->cause = cause;
	s->decided = loop_now(&front->loop);
	if (verdict == CONN_NOBACKEND)
		dial_gave_up(front, s);
	if (conn->probe)
		return;
	if (verdict == CONN_EARLY && s->stage == STAGE_NONE)
		metrics_add(early_counter(s->kind), 1);
	if (verdict == CONN_EARLY)
		ban_offends(front, conn, s->stage == STAGE_NONE ? BAN_EARLY : BAN_LATER);
	else if (verdict == CONN_LIMIT && s->limit == CONN_LIMIT_CLIENT)
		ban_offends(front, conn, BAN_LIMITED);
	if (verdict == CONN_EARLY)
		known_forfeit(front, conn);
	study_decided(s);
	if (verdict != CONN_LIMIT && s->stage == STAGE_NONE) /* those are counted by their kind, where it was found */
		metrics_add(counters[verdict], 1);
	/* Who is relayed has its line at the end, when there is more to say. */
	if (conn_verdict_passes(verdict))
		return;
	session_log(front, s);
	turned_away(front, s);
}

/* The only writer of conn->state. */
static void change(struct conn *conn, enum conn_state to, enum conn_event cause)
{
	log_change(conn, to, cause);
	if (rows[conn->state].gauge != METRIC_COUNT)
		metrics_add(rows[conn->state].gauge, -1);
	if (rows[to].gauge != METRIC_COUNT)
		metrics_add(rows[to].gauge, 1);
	conn->state = (uint8_t)to & 15;
}

/* For want of memory, or because of the system, it ends without a word. */
static void log_lost(const struct conn *conn, int error)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_ERROR))
		return;
	log_text(&l, "event", "client_lost");
	log_addr(&l, "client", &conn->client);
	log_int(&l, "port", conn->client.port);
	log_text(&l, "error", strerror(error));
	log_end(&l);
}

/* Events are answered one after the other until none follows. */
static void drive(struct front *front, struct conn *conn, enum conn_event event)
{
	while (event != CONN_NOTHING) {
		struct conn_next next = conn_step(conn->state, event, conn->pause_ms == 0 || conn->early);
		if (next.state == conn->state)
			return;
		if (next.state != CONN_HOLD && next.state != CONN_ASK && next.state != CONN_TLS && event != CONN_MOVED && !session_need(front, conn)) {
			if (event != CONN_ENDED) /* or it has been said why */
				log_lost(conn, ENOMEM);
			change(conn, CONN_DONE, event);
			states_done(front, conn);
			return;
		}
		if (next.verdict != CONN_UNDECIDED && !(conn->early && (next.state == CONN_RELAY || event == CONN_DECLINED)))
			decide(front, conn, next.verdict, event);
		if (conn->state == CONN_RELAY || conn->state == CONN_STARTTLS)
			conn->session->end = front->stopping ? CONN_STOP : event;
		if (conn->state == CONN_DIAL)
			dial_leave(front, conn->session);
		change(conn, next.state, event);
		event = rows[next.state].enter(front, conn);
	}
}

static void client_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)loop;
	struct conn *conn = (struct conn *)source;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
		conn->ending = true;
	drive(front, conn, rows[conn->state].ready(front, conn, events));
}

static void client_due(struct loop *loop, struct source *source)
{
	struct front *front = (struct front *)loop;
	struct conn *conn = (struct conn *)source;
	if (conn->state == CONN_HOLD)
		metrics_observe(HISTOGRAM_pause_late, loop_now(loop) - source->due);
	drive(front, conn, rows[conn->state].due(front, conn));
}

static const struct source_ops client_ops = { client_ready, client_due };

static void backend_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct front *front = (struct front *)loop;
	struct session *s = (struct session *)source;
	enum conn_event event = CONN_NOTHING;
	if (s->conn->state == CONN_DIAL) {
		event = dial_ready(front, s, events);
		if (event == CONN_TALK) /* bytes that a last look found */
			event = conn_take_talk(front, s->conn);
	} else if (s->conn->state == CONN_STARTTLS) {
		relay_backend_events(&s->relay, events); /* it is heard when the handshake is done */
	} else if (s->conn->state == CONN_RELAY) {
		relay_backend_events(&s->relay, events);
		event = states_relay_ready(front, s->conn, 0);
	}
	drive(front, s->conn, event);
}

static void backend_due(struct loop *loop, struct source *source)
{
	struct front *front = (struct front *)loop;
	struct session *s = (struct session *)source;
	if (s->conn->state == CONN_DIAL)
		conn_happened(front, s->conn, dial_due(front, s));
}

static const struct source_ops backend_ops = { backend_ready, backend_due };

static void set_deadline(struct front *front, struct conn *conn, int64_t from_now)
{
	loop_set_due(&front->loop, &conn->source, loop_now(&front->loop) + from_now);
}

/* ---- hold ---- */

/* Nothing has been sent to it, so there is room for a line; whoever cannot take that has gone. */
static enum conn_event tease(struct front *front, struct conn *conn)
{
	char memory[512];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	reply_put_more(&line, SESSION_GREETED, "%s %s", front->conf->hostname, front->conf->greet_teaser_text);
	if (sock_write(conn->source.fd, &line) != SOCK_OK)
		return CONN_HANGUP;
	conn->teased = true;
	metrics_add(METRIC_teased, 1);
	return CONN_NOTHING;
}

/* The pause began when the client came, whatever was asked meanwhile. */
static enum conn_event hold_enter(struct front *front, struct conn *conn)
{
	const struct ask *ask = *session_ask(conn);
	int64_t accepted = conn->has_session ? conn->session->accepted : ask ? ask->accepted : front_came(front);
	loop_set_due(&front->loop, &conn->source, accepted + (int64_t)conn->pause_ms * LOOP_MS);
	return front->conf->greet_teaser && !conn->teased ? tease(front, conn) : CONN_NOTHING;
}

/* What it has said is written down and stays in its socket; how many bytes, or what sock_peek() says. */
static ssize_t peek(struct front *front, struct conn *conn)
{
	char said[REFUSE_LINE]; /* not the scratch memory: a backend's greeting may be there */
	ssize_t n = sock_peek(conn->source.fd, said, sizeof(said));
	session_said(front, conn->session, (struct slice){ said, n > 0 ? (size_t)n : 0 });
	return n;
}

/* The first bytes are enough; what comes later, or was seen of it, changes nothing. */
bool conn_note_talk(struct front *front, struct conn *conn)
{
	char byte;
	if (!conn->observe)
		return false;
	if ((conn->has_session && conn->session->would != CONN_UNDECIDED) || sock_peek(conn->source.fd, &byte, 1) <= 0 || !session_need(front, conn))
		return true;
	peek(front, conn);
	session_would(front, conn->session, CONN_EARLY, "greet");
	return true;
}

/* What it says stays where it is, until the backend is there. */
static enum conn_event observed_ready(struct front *front, struct conn *conn)
{
	char byte;
	ssize_t n = sock_peek(conn->source.fd, &byte, 1);
	if (n <= 0)
		return n == -EAGAIN ? CONN_NOTHING : CONN_HANGUP;
	conn_note_talk(front, conn);
	return CONN_NOTHING;
}

bool conn_take_early(struct front *front, struct conn *conn)
{
	static const struct rules_answer answer = { .decision = { ACCESS_REFUSE, { .code = 550, .dsn = "5.0.0", .text = { "Command rejected", 16 } } } };
	char byte;
	if (!front->conf->delay_early || conf_hands_over(front->conf) || front->conf->delay_checks == RULES_DELAY_OFF || !front->access)
		return false;
	if (sock_peek(conn->source.fd, &byte, 1) <= 0 || !session_need(front, conn))
		return false;
	struct session *s = conn->session;
	/* No mail server has an answer for what is no SMTP. */
	conn->early = peek(front, conn) > 0 && early_judge(front, s) != CONN_CUT && ask_keep(&s->ask, s->accepted, &answer);
	if (conn->early)
		decide(front, conn, CONN_EARLY, CONN_TALK);
	s->refuse.in_len = 0; /* it is the mail server's now, or still to be heard */
	return conn->early;
}

/* Before a tarpit what it said stays where it is: it may be long until it is answered, and the kernel keeps it for us. */
static enum sock_result hear(const struct front *front, int fd, struct buf *in)
{
	if (front->conf->refuse_tarpit == 0)
		return sock_read(fd, in, 0);
	ssize_t n = sock_peek(fd, in->at, REFUSE_LINE);
	in->len = n > 0 ? (size_t)n : 0;
	return n > 0 ? SOCK_OK : n == -EAGAIN ? SOCK_AGAIN : SOCK_EOF;
}

/* Reading tells talk from a hang-up; what is read goes to the null server. */
static enum conn_event hold_ready(struct front *front, struct conn *conn, uint32_t events)
{
	struct buf scratch;
	(void)events;
	if (conn->observe)
		return observed_ready(front, conn);
	if (conn_take_early(front, conn))
		return conn->state == CONN_HOLD ? CONN_TIME : conn->state == CONN_ASK ? CONN_ADMITTED : CONN_NOTHING;
	buf_init_fixed(&scratch, front->relay.scratch, REFUSE_LINE);
	enum sock_result got = hear(front, conn->source.fd, &scratch);
	if (got == SOCK_AGAIN)
		return CONN_NOTHING; /* urgent data alone (RFC 6093), for one */
	if (got != SOCK_OK)
		return CONN_HANGUP;
	if (!session_need(front, conn))
		return CONN_HANGUP;
	struct session *s = conn->session;
	session_said(front, s, buf_slice(&scratch));
	s->peeked = front->conf->refuse_tarpit > 0;
	s->readable = scratch.len == REFUSE_LINE || conn->ending || s->peeked;
	return early_judge(front, s);
}

enum conn_event conn_take_talk(struct front *front, struct conn *conn)
{
	return hold_ready(front, conn, EPOLLIN);
}

/* ---- dial ---- */

static enum conn_event dial_enter(struct front *front, struct conn *conn)
{
	source_init(&conn->session->backend, &backend_ops);
	set_deadline(front, conn, front->conf->backend_timeout);
	enum conn_event event = dial_start(front, conn->session);
	return event == CONN_TALK ? conn_take_talk(front, conn) : event; /* found by a last look */
}

/* An exempt client's bytes stay where they are; only a client that goes away without a word ends the dialling. */
static enum conn_event dial_client_ready(struct front *front, struct conn *conn, uint32_t events)
{
	char byte;
	if (handover_is_passed(conn->session))
		return CONN_NOTHING; /* what it says may be for the program already */
	if (conn->pause_ms > 0 && !conn->early)
		return hold_ready(front, conn, events);
	ssize_t n = sock_peek(conn->source.fd, &byte, 1);
	return n > 0 || n == -EAGAIN ? CONN_NOTHING : CONN_HANGUP;
}

/* ---- the way in ---- */

static struct conn *take_slot(struct front *front)
{
	struct conn *conn;
	if (front->free_list > 0) {
		conn = &front->conns[front->free_list - 1];
		front->free_list = conn->pause_ms;
	} else if (front->conns_used < front->conns_len) {
		conn = &front->conns[front->conns_used++];
	} else {
		return NULL;
	}
	front->open++;
	metrics_add(METRIC_open, 1);
	return conn;
}

/* An observed client that had been refused now: that is written down, and it goes on as if it had not. */
static bool let_pass(struct front *front, struct conn *conn, const struct admit *a)
{
	if (!session_need(front, conn))
		return false;
	if (conn->state == CONN_TLS) /* its pause begins here */
		conn->session->accepted = loop_now(&front->loop);
	session_would_refuse(front, conn->session, &a->answer, "connect");
	conn->over_rate = conn->over_conns = false; /* once is enough */
	return true;
}

/* What a client that has just come gets; the event that follows. */
static enum conn_event judge(struct front *front, struct conn *conn)
{
	struct admit a = admit_client(front, conn);
	study_begin(conn, &a);
	conn->exempt = a.exempt;
	stages_remember(front, conn, *session_ask(conn));
	conn->known = a.known;
	conn->over_rate = a.over_rate;
	conn->over_conns = a.over_conns;
	conn->observe = conn->observe || a.observe;
	bool kept = !a.refused ? !rules_blocks(&a.answer) || ask_keep(session_ask(conn), loop_now(&front->loop), &a.answer) : !conn->observe || let_pass(front, conn, &a);
	if (!kept) { /* no memory to remember by that it is refused, or had been */
		log_lost(conn, ENOMEM);
		return CONN_ENDED;
	}
	if (!a.refused || conn->observe) {
		bool waits = conn->pause_ms > 0 && !conn->known;
		if (waits && a.may_know)
			known_ask(front, conn, *session_ask(conn));
		ask_judged(*session_ask(conn));
		return waits ? CONN_ACCEPTED : CONN_ADMITTED;
	}
	if (session_need(front, conn)) { /* else it ends without a word */
		session_deny(front, conn->session, &a.answer.decision.reply, a.answer.hit.value.line);
		ban_refused(front, conn, &a.answer);
		ask_judged(conn->session->ask);
	}
	return a.answer.decision.reply.code == 421 ? CONN_DROPPED : CONN_DENIED;
}

/* It has its greeting, or is about to: a refusal is told to its commands, and whether it has to wait for its replies is known before the first of them is heard. */
static void answered_late(struct front *front, struct conn *conn)
{
	struct ask **ask = session_ask(conn);
	struct admit a = admit_client(front, conn);
	conn->exempt = conn->exempt || a.exempt;
	conn->observe = conn->observe || a.observe;
	conn->over_rate = a.over_rate;
	conn->over_conns = a.over_conns;
	stages_remember(front, conn, *ask);
	bool kept = conn->early || !(a.refused || rules_blocks(&a.answer)) || ask_keep(ask, (*ask)->accepted, &a.answer);
	ask_judged(*ask);
	if (!kept) { /* no memory to remember by that it is refused */
		log_lost(conn, ENOMEM);
		drive(front, conn, CONN_ENDED);
	} else if (conn->state == CONN_RELAY) {
		drive(front, conn, states_relay_answered(front, conn));
	} else if (conn->state == CONN_DIAL) {
		conn_happened(front, conn, handover_answered(front, conn->session));
	}
}

void conn_answered(struct front *front, struct conn *conn)
{
	if (conn->state == CONN_ASK)
		drive(front, conn, before_said(front, conn, judge(front, conn)));
	else if (conn->state == CONN_HOLD || conn->state == CONN_DIAL || conn->state == CONN_RELAY)
		answered_late(front, conn);
}

void conn_happened(struct front *front, struct conn *conn, enum conn_event event)
{
	if (event == CONN_TALK) /* found by a look */
		event = conn_take_talk(front, conn);
	drive(front, conn, event);
}

void conn_is_known(struct front *front, struct conn *conn)
{
	if (conn->state != CONN_HOLD || !session_need(front, conn))
		return;
	conn->known = true;
	conn->studied = false;
	drive(front, conn, CONN_ADMITTED);
}

void conn_go_on(struct front *front, struct conn *conn)
{
	drive(front, conn, rows[conn->state].ready(front, conn, 0));
}

/* Who is over a limit may use a slot and a descriptor of the reserve for the time that its 421 takes, while half of the reserve is free: the other half
 * of the descriptors is for the backends of those who were let in. One client may use as many so as it may
 * have connections, or it could fill the door with 421s that it does not read. */
static bool has_room(const struct front *front, int fd, const struct addr *client, enum conn_limit limit)
{
	uint32_t kept = (uint32_t)front->conf->reserve_descriptors / 2;
	if (limit == CONN_LIMIT_CLIENT && clients_count(&front->clients, addr_client_key(client)) >= 2 * front->conf->max_per_client)
		return false;
	return limit == CONN_LIMIT_NONE || (front->limited < kept && (size_t)fd + kept < front->nofile);
}

/* A prober waits for nothing. */
void conn_meet(struct front *front, struct conn *conn)
{
	static const struct access_reply reply = { .code = 550, .dsn = "5.7.1", .text = { "Health checks only: no mail is taken from your address", 54 } };
	if (conn->probe) {
		if (session_need(front, conn))
			session_deny(front, conn->session, &reply, 0);
		drive(front, conn, CONN_ADMITTED);
		return;
	}
	conn->ask = ask_is_needed(front) ? ask_start(front, conn) : NULL;
	drive(front, conn, conn->ask ? CONN_ASKED : judge(front, conn));
}

/* Watched from now on, in the state FREE. False: the system does not allow it, and it is over. */
static bool begin(struct front *front, struct conn *conn, int fd, const struct addr *client, const struct conn_way *way)
{
	source_init(&conn->source, &client_ops);
	conn->client = *client;
	conn->state = CONN_FREE;
	conn->ending = conn->early = conn->observe = conn->teased = conn->exempt = conn->known = conn->over_rate = conn->over_conns = conn->has_session = false;
	conn->studied = false;
	conn->pause_by = CONN_PAUSE_USUAL;
	conn->proxied = way->origin != NULL;
	conn->probe = way->probe;
	conn->observe = front->conf->mode == CONF_OBSERVE && !way->probe;
	conn->offers_tls = seal_ends_here(front) && way->tls == CONF_TLS_STARTTLS && !way->probe;
	conn->ask = NULL;
	conn->pause_ms = 0;
	if (way->origin)
		front->origins[conn - front->conns] = *way->origin;
	if (!way->probe) {
		admit_opened(front, client);
		guard_came(front, client);
	}
	int e = loop_watch(&front->loop, &conn->source, fd, CONN_EVENTS_WATCHED);
	if (e == 0)
		return true;
	conn->source.fd = fd; /* closed with the rest of it */
	log_lost(conn, -e);
	change(conn, CONN_DONE, CONN_ENDED);
	states_done(front, conn);
	return false;
}

/* Who is over a limit gets no handshake, which is the most expensive thing a door can do for anybody, and so can be told nothing where TLS comes first. */
void conn_admit(struct front *front, int fd, const struct addr *client, const struct conn_way *way)
{
	bool implicit = way->tls == CONF_TLS_IMPLICIT && seal_ends_here(front);
	bool room = has_room(front, fd, client, way->limit) && !(implicit && way->limit != CONN_LIMIT_NONE);
	struct conn *conn = room ? take_slot(front) : NULL;
	if (!conn) {
		states_turn_away(front, fd, client, way);
		if (way->origin)
			free(way->origin->id);
		return;
	}
	if (!begin(front, conn, fd, client, way))
		return;
	if (way->limit != CONN_LIMIT_NONE) {
		if (session_need(front, conn)) {
			conn->session->limit = way->limit;
			front->limited++;
			metrics_add(METRIC_limited_open, 1);
		}
		drive(front, conn, CONN_LIMITED);
		return;
	}
	if (implicit)
		drive(front, conn, CONN_SEALING);
	else
		conn_meet(front, conn);
}

/* It counts from now on; from before is only its clock, and what it has heard. */
void conn_take_over(struct front *front, int fd, const struct addr *client, const struct conn_way *way, const struct conn_past *past)
{
	struct conn *conn = take_slot(front);
	if (!conn) {
		states_turn_away(front, fd, client, way);
		if (way->origin)
			free(way->origin->id);
		return;
	}
	if (!begin(front, conn, fd, client, way))
		return;
	conn->teased = past->teased;
	front->came = past->accepted;
	conn_meet(front, conn);
	front->came = 0;
}

void conn_moved(struct front *front, struct conn *conn)
{
	int fd = conn->source.fd;
	loop_unwatch(&front->loop, &conn->source); /* the other front has the same socket: epoll would not forget it */
	conn->source.fd = fd;
	drive(front, conn, CONN_MOVED);
}
