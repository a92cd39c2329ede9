/* The tour, gate: from a patient client to a backend that has greeted it: choose one, connect it, tell it who the client is, wait for its greeting; where that fails, the next
 * one. The backend's greeting is not sent before one last look at the client: a byte that came before it is early talk, however little before. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/backend_tls.h"
#include "gate/front.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "smtp/answer.h"
#include "smtp/line.h"
#include "smtp/proxyhdr.h"
#include "smtp/starttls.h"
#include "smtp/xclient.h"

#define DIAL_SAY_AGAIN (10 * LOOP_SECOND) /* a backend that comes and goes is not written about more often */
#define NO_ROOM "all connections that max allows are open"
#define GREETING_LINE 2048                /* bytes of a greeting's first line at most, where it has to be read */
#define DIAL_RETRY (20 * LOOP_MS)         /* backends that take nobody at present are asked again so soon, by the first of those who wait for them */

/* client NULL: not from its address. */
static int connect_backend(const struct front *front, const struct conf_backend *backend, const struct addr *client)
{
	switch (backend->kind) {
	case CONF_BACKEND_MAIL:
		return sock_connect_unix(front->mail_path);
	case CONF_BACKEND_UNIX:
		return sock_connect_unix(backend->path);
	case CONF_BACKEND_TCP:
		return backend->transparent && client ? sock_connect_as(&backend->at, client) : sock_connect(&backend->at);
	case CONF_BACKEND_EXEC:
		break; /* handover.c */
	}
	return -EINVAL;
}

/* Who the client is, in the backend's way. False: it does not fit, which a correct header always does. */
static bool put_header(const struct front *front, struct session *s, enum conf_proxy proxy)
{
	struct proxyhdr h = { .client = s->conn->client, .pause_ms = s->conn->known ? 0 : s->conn->pause_ms, .has_pause = true };
	if (proxy == CONF_PROXY_NO)
		return true;
	const struct seal *seal = seal_of(front, s->conn);
	if (seal && seal->has_local && !s->conn->proxied)
		h.server = seal->local;
	else if (!arrive_server(front, s->conn, &h.server))
		h.server = h.client;
	if (seal && seal->done)
		h.tls = seal->facts;
	h.xtls = s->conn->offers_tls && s->to->conf->kind == CONF_BACKEND_MAIL;
	if (proxy == CONF_PROXY_V1)
		return proxyhdr_write_v1(&s->out, &h.client, &h.server);
	memcpy(h.id, s->id, sizeof(s->id));
	if (s->ask && s->ask->name_len > 0) {
		memcpy(h.name, s->ask->name, s->ask->name_len + 1u);
		h.forged = s->ask->result == NAMES_FORGED;
	}
	return proxyhdr_write_v2(&s->out, &h);
}

/* ---- what is said of it ---- */

static bool begin_note(struct log_line *l, const struct backend *backend, enum log_level level, const char *event)
{
	if (!log_begin(l, level))
		return false;
	log_text(l, "event", event);
	log_text(l, "backend", backend->conf->name);
	log_text(l, "address", conf_backend_at(backend->conf));
	return true;
}

/* Time to say it: not said before, or long enough ago. */
static bool may_say(const struct front *front, struct backend *backend)
{
	int64_t now = loop_now(&front->loop);
	if (backend->told > 0 && now < backend->told + DIAL_SAY_AGAIN)
		return false;
	backend->told = now;
	return true;
}

/* When it changes, so that whoever reads only warnings learns of it. */
static void note_down(const struct front *front, struct backend *backend)
{
	struct log_line l;
	if (backend->told_down || !may_say(front, backend))
		return;
	backend->told_down = true;
	if (!begin_note(&l, backend, LOG_LEVEL_WARNING, "backend_down"))
		return;
	log_text(&l, "error", backend->why);
	log_end(&l);
}

static void note_up(const struct front *front, struct backend *backend, uint16_t greeting, struct slice said)
{
	struct log_line l;
	if (backend->told_down && begin_note(&l, backend, LOG_LEVEL_NOTICE, "backend_up")) {
		log_int(&l, "turned_away", (int64_t)backend->turned_away);
		log_end(&l);
	}
	backend->told_down = false;
	backend->turned_away = 0;
	if (greeting == SESSION_GREETED || !may_say(front, backend) || !begin_note(&l, backend, LOG_LEVEL_WARNING, "backend_greeting"))
		return;
	log_int(&l, "greeting", greeting);
	log_bytes(&l, "data", said.at, said.len);
	log_end(&l);
}

/* ---- who waits ---- */

static bool is_waiting(const struct front *front, const struct session *s)
{
	return s->prev || front->dial_first == s;
}

/* Only the first in the line has a deadline to ask again. */
static void wait_in_line(struct front *front, struct session *s)
{
	if (!is_waiting(front, s)) {
		s->prev = front->dial_last;
		s->next = NULL;
		*(s->prev ? &s->prev->next : &front->dial_first) = s;
		front->dial_last = s;
	}
	if (front->dial_first == s)
		loop_set_due(&front->loop, &s->backend, loop_now(&front->loop) + DIAL_RETRY);
}

static void wake_first(struct front *front)
{
	if (front->dial_first)
		loop_set_due(&front->loop, &front->dial_first->backend, loop_now(&front->loop)); /* its turn, after the others' */
}

static void leave_line(struct front *front, struct session *s)
{
	if (!is_waiting(front, s))
		return;
	*(s->prev ? &s->prev->next : &front->dial_first) = s->next;
	*(s->next ? &s->next->prev : &front->dial_last) = s->prev;
	s->prev = s->next = NULL;
	loop_set_due(&front->loop, &s->backend, LOOP_NEVER);
	wake_first(front);
}

void dial_leave(struct front *front, struct session *s)
{
	leave_line(front, s);
	handover_leave(front, s);
	backends_left_alone(&front->backends, s);
}

void dial_close(struct front *front, struct session *s)
{
	if (s->backend.fd >= 0 && s->to) {
		backends_closed(&front->backends, s->to);
		wake_first(front);
	}
	loop_close(&front->loop, &s->backend);
	xclient_free(s->xclient);
	s->xclient = NULL;
}

/* ---- one after the other ---- */

static void failed(struct front *front, struct session *s, const char *why)
{
	dial_close(front, s);
	backend_tls_free(s->tls);
	s->tls = NULL;
	buf_fini(&s->out); /* a header that was not sent */
	s->wrong = why;
	metrics_add(METRIC_backend_failures, 1);
	s->skip |= UINT64_C(1) << backends_index(&front->backends, s->to);
	backends_failed(&front->backends, s->to, s, loop_now(&front->loop), why);
	health_down(front->index, backends_index(&front->backends, s->to), why);
	note_down(front, s->to);
}

void dial_gave_up(struct front *front, struct session *s)
{
	if (s->backend.fd >= 0 || handover_is_passed(s))
		failed(front, s, s->backend.fd >= 0 ? backend_tls_late(s) : "not started in time");
	for (unsigned i = 0; i < front->backends.len && !s->conn->probe; i++)
		front->backends.all[i].turned_away += front->backends.all[i].delay > 0;
}

/* Descriptors and memory are with other clients, who will give them back. It may also be otherwise in a moment where the backlog of a Unix socket is full (EAGAIN), or no
 * port is left for connections to this backend (EADDRNOTAVAIL), but then other backends may do. */
static bool is_ours(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* The connection, which is counted, is the session's from here on, also on failure. NULL, or what is wrong. */
static const char *begin(struct front *front, struct session *s, int fd)
{
	s->backend.fd = fd;
	s->wrong = NULL;
	s->active = loop_now(&front->loop);
	relay_fini(&s->relay, &front->relay);
	relay_init(&s->relay, s->conn->source.fd, fd);
	if (!put_header(front, s, (enum conf_proxy)s->to->conf->proxy))
		return strerror(EMSGSIZE);
	s->xclient = s->to->conf->xclient ? xclient_new() : NULL;
	backend_tls_free(s->tls);
	s->tls = s->to->conf->tls != CONF_TLS_NO ? backend_tls_new((enum conf_tls)s->to->conf->tls) : NULL;
	if ((s->to->conf->xclient && !s->xclient) || (s->to->conf->tls != CONF_TLS_NO && !s->tls))
		return strerror(ENOMEM);
	/* On the same machine the connection stands already and takes the header at once; else it is sent when it does. */
	enum sock_result sent = s->out.len > 0 ? sock_write(fd, &s->out) : SOCK_OK;
	if (sent == SOCK_ERROR && errno != ENOTCONN)
		return strerror(errno);
	uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;
	int e = loop_watch(&front->loop, &s->backend, fd, s->out.len > 0 || s->tls ? events | EPOLLOUT : events);
	if (e < 0) {
		s->backend.fd = fd; /* closed with the rest of it */
		return strerror(-e);
	}
	/* The time that is left is parted among those that could still be asked; the last has all of it. */
	int64_t now = loop_now(&front->loop), left = s->conn->source.due - now;
	unsigned others = backends_left(&front->backends, s->skip | UINT64_C(1) << backends_index(&front->backends, s->to), now);
	if (others > 0)
		loop_set_due(&front->loop, &s->backend, now + left / (others + 1));
	return NULL;
}

/* Bits of the backends that it could still be handed to. */
static uint64_t open_to(const struct front *front, const struct session *s)
{
	return ~s->skip & UINT64_MAX >> (CONF_BACKENDS - front->backends.len);
}

/* The first in the line asks for all, but for those backends that it cannot be handed to: for them, the next one who can. */
static void pass_on(struct front *front, const struct session *s)
{
	for (struct session *n = s->next; n && ~front->dial_asked & UINT64_MAX >> (CONF_BACKENDS - front->backends.len); n = n->next)
		if (open_to(front, n) & ~front->dial_asked) {
			loop_set_due(&front->loop, &n->backend, loop_now(&front->loop));
			return;
		}
}

static enum conn_event wait_for_room(struct front *front, struct session *s, uint64_t asked, const char *why)
{
	backends_left_alone(&front->backends, s);
	s->wrong = why;
	wait_in_line(front, s);
	front->dial_asked = front->dial_first == s ? asked : front->dial_asked | asked;
	pass_on(front, s);
	return CONN_NOTHING;
}

/* Those that cannot be connected from the client's address. */
static uint64_t unfit(const struct front *front, const struct session *s)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < front->conf->backends_len && !s->conn->probe; i++) {
		const struct conf_backend *b = &front->conf->backends[i];
		bits |= b->transparent && addr_is4(&b->at) != addr_is4(&s->conn->client) ? UINT64_C(1) << i : 0;
	}
	return bits;
}

static enum conn_event none_left(struct front *front, struct session *s)
{
	if (unfit(front, s) == UINT64_MAX >> (CONF_BACKENDS - front->backends.len))
		s->wrong = "no backend of the client's address family";
	else if (!s->wrong && front->backends.failed) { /* nobody was asked for this client: what others have learned */
		s->to = front->backends.failed;
		s->wrong = s->to->why;
	}
	return CONN_FAILED;
}

/* The time that backends have begins when the first is there to be asked; who has been failed by one has no more of it for having waited for the next. */
static void begin_time(struct front *front, struct session *s)
{
	if (!is_waiting(front, s))
		return;
	leave_line(front, s);
	if (s->skip == unfit(front, s))
		loop_set_due(&front->loop, &s->conn->source, loop_now(&front->loop) + front->conf->backend_timeout);
}

/* The next backend that takes the connection. Those that are busy are passed over; only if there is no other the client waits for them. */
static enum conn_event dial(struct front *front, struct session *s)
{
	const char *busy = NULL, *why;
	uint64_t skip = s->skip;
	for (;;) {
		enum backends_choice choice = backends_choose(&front->backends, skip, s, loop_now(&front->loop), &s->to);
		if (choice == BACKENDS_FULL || (choice == BACKENDS_DOWN && busy))
			return wait_for_room(front, s, open_to(front, s), busy ? busy : NO_ROOM);
		if (choice == BACKENDS_DOWN)
			return none_left(front, s);
		if (s->to->conf->kind == CONF_BACKEND_EXEC) {
			if (s->conn->probe)
				return CONN_PROBED; /* whether a program answers only a client could find out */
			begin_time(front, s);
			enum conn_event event = handover_start(front, s);
			if (event != CONN_FAILED)
				return event;
			failed(front, s, s->wrong);
			skip |= s->skip;
			continue;
		}
		if (!backends_reserve(&front->backends, s->to)) {
			backends_left_alone(&front->backends, s);
			busy = NO_ROOM;
			skip |= UINT64_C(1) << backends_index(&front->backends, s->to);
			continue;
		}
		int fd = connect_backend(front, s->to->conf, s->conn->probe ? NULL : &s->conn->client);
		if (fd < 0)
			backends_closed(&front->backends, s->to);
		if (fd < 0 && is_ours(-fd))
			return wait_for_room(front, s, UINT64_MAX, strerror(-fd));
		if (fd == -EAGAIN || fd == -EADDRNOTAVAIL) {
			backends_left_alone(&front->backends, s);
			busy = fd == -EAGAIN ? "takes no more connections" : strerror(-fd);
			skip |= UINT64_C(1) << backends_index(&front->backends, s->to);
			continue;
		}
		begin_time(front, s);
		why = fd < 0 ? strerror(-fd) : begin(front, s, fd);
		if (!why)
			return CONN_NOTHING;
		failed(front, s, why);
		skip |= s->skip;
	}
}

/* Who comes while others wait goes to the end of their line: thousands who all ask for themselves would keep the processor busy, and whoever
 * happens to ask when there is room would be served, not whoever has waited longest. Unless there is a backend for it that none of them has asked. */
enum conn_event dial_start(struct front *front, struct session *s)
{
	s->skip |= unfit(front, s);
	if (!front->dial_first || front->dial_first == s || open_to(front, s) & ~front->dial_asked)
		return dial(front, s);
	s->to = front->dial_first->to;
	s->wrong = front->dial_first->wrong;
	wait_in_line(front, s);
	return CONN_NOTHING;
}

static enum conn_event next(struct front *front, struct session *s, const char *why)
{
	failed(front, s, why);
	return dial(front, s);
}

enum conn_event dial_next(struct front *front, struct session *s, const char *why)
{
	return next(front, s, why);
}

enum conn_event dial_wait(struct front *front, struct session *s, const char *why)
{
	return wait_for_room(front, s, open_to(front, s), why);
}

void dial_handed(struct front *front, struct session *s)
{
	s->greeting = SESSION_GREETED;
	backends_greeted(&front->backends, s->to);
	health_up(front->index, backends_index(&front->backends, s->to));
	note_up(front, s->to, s->greeting, (struct slice){ "", 0 });
}

void dial_wake(struct front *front)
{
	wake_first(front);
}

enum conn_event dial_due(struct front *front, struct session *s)
{
	if (s->backend.fd < 0)
		return dial_start(front, s);
	return backend_tls_is_over(front, s) ? next(front, s, backend_tls_late(s)) : dial_ready(front, s, 0);
}

/* ---- the greeting ---- */

/* The last look at a client that has been silent so far. */
static enum conn_event look_at_client(struct session *s)
{
	char byte;
	ssize_t n = sock_peek(s->conn->source.fd, &byte, 1);
	if (n > 0)
		return CONN_TALK;
	if (n != -EAGAIN)
		return CONN_HANGUP;
	s->relay.in.readable = false;
	return CONN_GREETING;
}

/* Of the first line; 0: it does not begin with one. Fewer bytes than that tell nothing, and pass for the usual one. */
static uint16_t reply_code(struct slice s)
{
	if (s.len < 3)
		return SESSION_GREETED;
	unsigned code = 0;
	for (size_t i = 0; i < 3; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return 0;
		code = code * 10 + (unsigned)(s.at[i] - '0');
	}
	return (uint16_t)code;
}

/* The backend has shown what the prober wants to know, and is let go; or a client would be told by it to come again, and the next one may be better. */
static enum conn_event probed(struct front *front, struct session *s)
{
	char quit[] = "QUIT\r\n";
	struct buf out;
	if (s->greeting < 200 || s->greeting > 299) {
		dial_close(front, s);
		s->wrong = "greets with other than 220";
		s->skip |= UINT64_C(1) << backends_index(&front->backends, s->to);
		return dial(front, s);
	}
	buf_init_fixed(&out, quit, sizeof(quit) - 1);
	out.len = sizeof(quit) - 1;
	sock_write(s->backend.fd, &out);
	return CONN_PROBED;
}

/* In place of its greeting the backend refuses (554, 421): in the reply that the client has the first line of that code cannot stand (RFC 5321 4.2.1), so it
 * is the reply to each command of the client. */
static enum conn_event declined(struct session *s, struct slice greeting)
{
	bool crlf;
	const char *lf = memchr(greeting.at, '\n', greeting.len);
	struct slice line = line_text((struct slice){ greeting.at, lf ? (size_t)(lf - greeting.at) + 1 : greeting.len }, &crlf);
	metrics_add(METRIC_declined, 1);
	s->refuse.in_len = 0; /* what an observed client has said is still in its socket */
	session_deny_as(s, line);
	return CONN_DECLINED;
}

/* The backend has greeted; whether the client hears it is another question. */
static enum conn_event take_greeting(struct front *front, struct session *s, struct slice greeting)
{
	loop_set_due(&front->loop, &s->backend, LOOP_NEVER);
	s->greeting = reply_code(greeting);
	metrics_observe(HISTOGRAM_backend_greeting, loop_now(&front->loop) - s->active);
	backends_greeted(&front->backends, s->to);
	health_up(front->index, backends_index(&front->backends, s->to));
	note_up(front, s->to, s->greeting, greeting);
	if (s->conn->probe)
		return probed(front, s);
	enum conn_event event = s->conn->pause_ms > 0 && !s->conn->early ? look_at_client(s) : CONN_GREETING;
	if (event == CONN_TALK && (conn_note_talk(front, s->conn) || conn_take_early(front, s->conn)))
		event = CONN_GREETING;
	if (event == CONN_GREETING && s->conn->teased && s->greeting != SESSION_GREETED)
		return declined(s, greeting);
	if (event == CONN_GREETING && !s->conn->teased && !relay_put_out(&s->relay, greeting.at, greeting.len))
		return next(front, s, strerror(ENOMEM));
	return event;
}

/* The client has heard the first line of a greeting already: what the backend says first has to be a whole line, and to fit behind that. */
static enum conn_event greeted(struct front *front, struct session *s, struct slice said)
{
	struct answer a;
	bool crlf;
	if (!s->conn->teased)
		return take_greeting(front, s, said);
	if (!relay_put_out(&s->relay, said.at, said.len))
		return next(front, s, "greets with too much");
	struct slice all = buf_slice(&s->relay.out.held);
	const char *lf = all.len > 0 ? memchr(all.at, '\n', all.len) : NULL;
	if (!lf)
		return all.len < GREETING_LINE ? CONN_NOTHING : next(front, s, "greets with a line that has no end");
	struct slice line = line_text((struct slice){ all.at, (size_t)(lf - all.at) + 1 }, &crlf);
	if (!answer_parse(line, &a) || (a.code != SESSION_GREETED && a.code < 400))
		return next(front, s, "greets with no reply of SMTP");
	return take_greeting(front, s, all);
}

static struct xclient_about about_client(const struct front *front, const struct session *s)
{
	static const enum xclient_name named[NAMES_RESULTS] = { [NAMES_NONE] = XCLIENT_NAMELESS, [NAMES_CONFIRMED] = XCLIENT_NAMED, [NAMES_FORGED] = XCLIENT_FORGED,
		[NAMES_FAILED] = XCLIENT_UNKNOWN, [NAMES_TIMEOUT] = XCLIENT_UNKNOWN };
	struct xclient_about about = { .host = front->conf->hostname, .client = s->conn->client, .name = ask_name(s->ask), .named = XCLIENT_NAMELESS };
	if (ask_is_pending(s->ask))
		about.named = XCLIENT_UNKNOWN;
	else if (s->ask)
		about.named = named[s->ask->result];
	if (!arrive_server(front, s->conn, &about.server))
		about.server = about.client;
	return about;
}

/* A part of the dialogue that comes before the client's. What is sent is a line of ours: a server that does not even take that is of no use. */
static enum conn_event tell_client(struct front *front, struct session *s, struct slice said)
{
	struct xclient_about about = about_client(front, s);
	enum xclient_result result = xclient_take(s->xclient, &about, said, &s->out);
	if (result == XCLIENT_FAILED)
		return next(front, s, xclient_why(s->xclient));
	if (s->out.len > 0 && sock_write(s->backend.fd, &s->out) != SOCK_OK)
		return next(front, s, "does not take our XCLIENT");
	if (result == XCLIENT_MORE)
		return CONN_NOTHING;
	struct xclient *x = s->xclient;
	s->xclient = NULL;
	enum conn_event event = greeted(front, s, xclient_greeting(x));
	xclient_free(x);
	return event;
}

/* In clear, and only to begin TLS. After a refusal, which is for the client to hear, nothing more is said to the backend, not even by the client. */
static enum conn_event ask_for_tls(struct front *front, struct session *s, struct slice said)
{
	const char *why;
	switch (backend_tls_ask(front, s, said, &why)) {
	case BACKEND_TLS_FAILED:
		return next(front, s, why);
	case BACKEND_TLS_REFUSED:
		shutdown(s->backend.fd, SHUT_WR);
		return greeted(front, s, starttls_greeting(s->tls->starttls));
	default:
		return CONN_NOTHING;
	}
}

/* TLS has begun: with STARTTLS the backend has greeted already. */
static enum conn_event sealed(struct front *front, struct session *s)
{
	struct starttls *x = s->tls->starttls;
	s->tls->starttls = NULL;
	enum conn_event event = s->xclient ? tell_client(front, s, starttls_greeting(x)) : greeted(front, s, starttls_greeting(x));
	starttls_free(x);
	return event;
}

enum conn_event dial_ready(struct front *front, struct session *s, uint32_t events)
{
	if (s->backend.fd < 0)
		return CONN_NOTHING; /* an event of this turn for one that is closed already */
	if (events & (EPOLLERR | EPOLLHUP)) {
		int e = sock_connect_result(s->backend.fd);
		if (e < 0 && e != -EINPROGRESS)
			return next(front, s, strerror(-e));
	}
	if (s->out.len > 0 && sock_write(s->backend.fd, &s->out) == SOCK_ERROR)
		return next(front, s, strerror(errno));
	if (backend_tls_is_pending(s) && !backend_tls_asks(s)) {
		const char *why;
		enum backend_tls_result result = backend_tls_run(front, s, &why);
		if (result != BACKEND_TLS_OPEN)
			return result == BACKEND_TLS_FAILED ? next(front, s, why) : CONN_NOTHING;
		if (s->tls->starttls)
			return sealed(front, s);
	}
	if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)))
		return CONN_NOTHING;
	uint64_t skip = s->skip;
	relay_backend_events(&s->relay, events);
	while (s->relay.out.readable) {
		struct buf said;
		buf_init_fixed(&said, front->relay.scratch, RELAY_SCRATCH);
		enum sock_result got = sock_read(s->backend.fd, &said, 0);
		if (got == SOCK_AGAIN)
			return CONN_NOTHING;
		if (got != SOCK_OK)
			return next(front, s, got == SOCK_ERROR ? strerror(errno) : backend_tls_asks(s) ? "closed before TLS began" : "closed without a greeting");
		s->relay.out.readable = said.len == RELAY_SCRATCH || s->relay.out.ending;
		bool asks = backend_tls_asks(s);
		enum conn_event event = asks ? ask_for_tls(front, s, buf_slice(&said)) : s->xclient ? tell_client(front, s, buf_slice(&said)) : greeted(front, s, buf_slice(&said));
		if (event != CONN_NOTHING || s->skip != skip || asks != backend_tls_asks(s)) /* or it is another backend's turn, or that of TLS */
			return event;
	}
	return CONN_NOTHING;
}
