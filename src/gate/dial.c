/* The tour, gate: from a patient client to a backend that has greeted it. The backend's greeting is not sent before one last look at the client: a byte
 * that came before it is early talk, however little before. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/log.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/session.h"
#include "smtp/proxyhdr.h"

#define DIAL_SAY_AGAIN (10 * LOOP_SECOND) /* a backend that comes and goes is not written about more often */
#define DIAL_RETRY (20 * LOOP_MS) /* a backend that takes nobody at present is asked again so soon, by the first of those who wait for it */

static int connect_backend(const struct front *front, const struct conf_backend *backend)
{
	switch (backend->kind) {
	case CONF_BACKEND_MAIL:
		return sock_connect_unix(front->mail_path);
	case CONF_BACKEND_UNIX:
		return sock_connect_unix(backend->path);
	case CONF_BACKEND_TCP:
		return sock_connect(&backend->at);
	}
	return -EINVAL;
}

/* Who the client is, in the backend's way. False: it does not fit, which a correct header always does. */
static bool put_header(struct session *s, enum conf_proxy proxy)
{
	struct proxyhdr h = { .client = s->conn->client, .pause_ms = s->conn->pause_ms, .has_pause = true };
	if (proxy == CONF_PROXY_NO)
		return true;
	if (!sock_local(s->conn->source.fd, &h.server))
		h.server = h.client;
	if (proxy == CONF_PROXY_V1)
		return proxyhdr_write_v1(&s->out, &h.client, &h.server);
	memcpy(h.id, s->id, sizeof(s->id));
	if (s->ask && s->ask->name_len > 0) {
		memcpy(h.name, s->ask->name, s->ask->name_len + 1u);
		h.forged = s->ask->result == NAMES_FORGED;
	}
	return proxyhdr_write_v2(&s->out, &h);
}

static enum conn_event failed(struct session *s, int error)
{
	s->error = error;
	return CONN_FAILED;
}

/* It may be otherwise in a moment: the backlog of a Unix socket is full, or descriptors and memory are with other clients, who will give them back. */
static bool may_pass(int error)
{
	return error == EAGAIN || error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static bool begin_note(struct log_line *l, const struct front *front, enum log_level level, const char *event)
{
	const struct conf_backend *backend = &front->conf->backends[0];
	if (!log_begin(l, level))
		return false;
	log_text(l, "event", event);
	log_text(l, "backend", backend->name);
	log_text(l, "address", backend->address);
	return true;
}

/* Time to say it: not said before, or long enough ago. */
static bool may_say(struct front *front)
{
	int64_t now = loop_now(&front->loop);
	if (front->backend_said > 0 && now < front->backend_said + DIAL_SAY_AGAIN)
		return false;
	front->backend_said = now;
	return true;
}

void dial_note_down(struct front *front, const struct session *s)
{
	struct log_line l;
	front->turned_away++;
	if (front->backend_down || !may_say(front))
		return;
	front->backend_down = true;
	if (!begin_note(&l, front, LOG_LEVEL_WARNING, "backend_down"))
		return;
	log_text(&l, "error", session_backend_error(s));
	log_end(&l);
}

void dial_note_up(struct front *front, const struct session *s)
{
	struct log_line l;
	if (front->backend_down && begin_note(&l, front, LOG_LEVEL_NOTICE, "backend_up")) {
		log_int(&l, "turned_away", (int64_t)front->turned_away);
		log_end(&l);
	}
	front->backend_down = false;
	front->turned_away = 0;
	if (s->greeting == SESSION_GREETED || !may_say(front) || !begin_note(&l, front, LOG_LEVEL_WARNING, "backend_greeting"))
		return;
	log_int(&l, "greeting", s->greeting);
	log_bytes(&l, "data", s->relay.out.held.at, s->relay.out.held.len);
	log_end(&l);
}

static bool is_waiting(const struct front *front, const struct session *s)
{
	return s->prev || front->dial_first == s;
}

static void wait_in_line(struct front *front, struct session *s)
{
	s->prev = front->dial_last;
	s->next = NULL;
	*(s->prev ? &s->prev->next : &front->dial_first) = s;
	front->dial_last = s;
}

void dial_leave_line(struct front *front, struct session *s)
{
	if (!is_waiting(front, s))
		return;
	*(s->prev ? &s->prev->next : &front->dial_first) = s->next;
	*(s->next ? &s->next->prev : &front->dial_last) = s->prev;
	s->prev = s->next = NULL;
	loop_set_due(&front->loop, &s->backend, LOOP_NEVER);
	if (front->dial_first)
		loop_set_due(&front->loop, &front->dial_first->backend, loop_now(&front->loop)); /* its turn, after the others' */
}

/* Who comes while others wait goes to the end of their line: thousands who all ask for themselves would keep the processor busy, and whoever
 * happens to ask when there is room would be served, not whoever has waited longest. Only the first in the line has a deadline to ask again. */
enum conn_event dial_start(struct front *front, struct session *s)
{
	const struct conf_backend *backend = &front->conf->backends[0];
	if (front->dial_first && front->dial_first != s) {
		s->error = front->dial_first->error;
		wait_in_line(front, s);
		return CONN_NOTHING;
	}
	int fd = connect_backend(front, backend);
	if (fd < 0 && may_pass(-fd)) {
		s->error = fd == -EAGAIN ? 0 : -fd; /* what the log says should it stay so */
		if (!is_waiting(front, s))
			wait_in_line(front, s);
		loop_set_due(&front->loop, &s->backend, loop_now(&front->loop) + DIAL_RETRY);
		return CONN_NOTHING;
	}
	dial_leave_line(front, s);
	if (fd < 0)
		return failed(s, -fd);
	s->backend.fd = fd; /* the session owns it from here on */
	s->error = 0;
	relay_init(&s->relay, s->conn->source.fd, fd);
	if (!put_header(s, backend->proxy))
		return failed(s, EMSGSIZE);
	/* On the same machine the connection stands already and takes the header at once; else it is sent when it does. */
	enum sock_result sent = s->out.len > 0 ? sock_write(fd, &s->out) : SOCK_OK;
	if (sent == SOCK_ERROR && errno != ENOTCONN)
		return failed(s, errno);
	uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET;
	int e = loop_watch(&front->loop, &s->backend, fd, s->out.len > 0 ? events | EPOLLOUT : events);
	return e < 0 ? failed(s, -e) : CONN_NOTHING;
}

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

enum conn_event dial_ready(struct front *front, struct session *s, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLHUP)) {
		int e = sock_connect_result(s->backend.fd);
		if (e < 0 && e != -EINPROGRESS)
			return failed(s, -e);
	}
	if (s->out.len > 0) {
		enum sock_result sent = sock_write(s->backend.fd, &s->out);
		if (sent == SOCK_ERROR)
			return failed(s, errno);
	}
	if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)))
		return CONN_NOTHING;
	struct buf greeting;
	buf_init_fixed(&greeting, front->relay.scratch, RELAY_SCRATCH);
	enum sock_result got = sock_read(s->backend.fd, &greeting, 0);
	if (got == SOCK_AGAIN)
		return CONN_NOTHING;
	if (got != SOCK_OK)
		return failed(s, got == SOCK_EOF ? 0 : errno);
	enum conn_event next = s->conn->pause_ms > 0 && !s->conn->early ? look_at_client(s) : CONN_GREETING;
	if (next == CONN_TALK && conn_take_early(front, s->conn))
		next = CONN_GREETING;
	if (next != CONN_GREETING)
		return next;
	s->greeting = reply_code(buf_slice(&greeting));
	relay_backend_events(&s->relay, events & ~(uint32_t)EPOLLIN);
	if (greeting.len < RELAY_SCRATCH && !s->relay.out.ending)
		s->relay.out.readable = false;
	if (!relay_put_out(&s->relay, greeting.at, greeting.len))
		return failed(s, ENOMEM);
	return CONN_GREETING;
}
