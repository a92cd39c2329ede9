/* The tour, gate: the tarpit. freeze() makes little of a session and tarpit_thaw() the session of that; between them one reply goes out at a time. */
#include "gate/tarpit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "gate/ask.h"
#include "gate/forbid.h"
#include "gate/front.h"
#include "gate/session.h"
#include "gate/states.h"
#include "gate/stress.h"

#define TARPIT_UNREAD 4096 /* bytes that the kernel keeps of what such a client sends (it doubles them, for its own overhead): without it that would be some 100 KB for each */
/* Replies that fall due at the same time are spread, or those who came together would be answered together for ever, and clients that wait for their greeting would be greeted late. */
#define TARPIT_TURN 32    /* replies in one turn of the loop */
#define TARPIT_SPREAD 512 /* milliseconds over which the others are spread */
#define TARPIT_KEPT (4 * 1024 * 1024) /* bytes of what clients have said that a front keeps for all of them: who is refused before its greeting has all that in its socket, but who was relayed has been read */

/* What a session is while nothing is said: small enough that thousands cost next to nothing. */
struct tarpit {
	int64_t accepted, decided, active;
	int64_t answer_at;      /* when the next reply is due; 0: nothing is owed, the client has its turn */
	struct ask *ask;        /* the client's name */
	struct slowdown slowdown;
	uint16_t bad, answered;
	uint16_t kept_len, denied_len;
	uint32_t denied_line;
	uint8_t verdict, cause, kind, stage;
	bool tempfails, slowed, greeted;
	char id[SESSION_ID];
	char bytes[];           /* what was read and not answered, then the reply to a client that the access database refuses */
};

/* Bytes that have been read and not answered. */
static size_t unanswered(const struct session *s)
{
	return s->refuse.in_len + s->relay.in.held.len;
}

bool tarpit_takes(const struct front *front, const struct conn *conn)
{
	const struct session *s = conn->session;
	if (front->conf->refuse_tarpit == 0 || front->stress.on || conn->probe || conn->ending || s->eof)
		return false;
	bool room = metrics_sum_rows(METRIC_tarpit, front_rows(front)) < front->conf->refuse_tarpit_max && front->tarpit_kept + unanswered(s) <= TARPIT_KEPT;
	metrics_add(METRIC_tarpit_full, !room);
	return room;
}

static void set_due(struct front *front, struct conn *conn)
{
	const struct tarpit *t = conn->tarpit;
	int64_t next = t->answer_at > 0 ? t->answer_at : t->active + stress_refuse_timeout(front), end = t->decided + stress_refuse_lifetime(front);
	loop_set_due(&front->loop, &conn->source, next < end ? next : end);
}

/* The session goes, and its deadline is set. False: no memory, it stays. */
static bool freeze(struct front *front, struct conn *conn, int64_t answer_at)
{
	struct session *s = conn->session;
	const struct buf *held = &s->relay.in.held;
	struct tarpit *t = malloc(sizeof(*t) + unanswered(s) + s->denied.len);
	if (!t)
		return false;
	*t = (struct tarpit){ .accepted = s->accepted, .decided = s->decided, .active = s->active, .answer_at = answer_at, .ask = s->ask, .slowdown = s->refuse.slowdown,
		.bad = s->refuse.bad, .answered = s->refuse.answered, .kept_len = (uint16_t)unanswered(s), .denied_len = (uint16_t)s->denied.len, .denied_line = s->denied_line,
		.verdict = (uint8_t)s->verdict, .cause = (uint8_t)s->cause, .kind = (uint8_t)s->kind, .stage = (uint8_t)s->stage,
		.tempfails = s->tempfails, .slowed = s->refuse.slowed, .greeted = s->tarpit == SESSION_TARPIT_GREETED };
	memcpy(t->id, s->id, sizeof(t->id));
	if (s->refuse.in_len > 0)
		memcpy(t->bytes, s->refuse.in, s->refuse.in_len);
	if (held->len > 0)
		memcpy(t->bytes + s->refuse.in_len, held->at, held->len);
	if (s->denied.len > 0)
		memcpy(t->bytes + t->kept_len, s->denied.at, s->denied.len);
	front->tarpit_kept += t->kept_len;
	s->ask = NULL;
	session_free(front, s);
	conn->has_session = false;
	conn->tarpit = t;
	set_due(front, conn);
	return true;
}

/* What was kept of it: its next line, and what is behind that. */
static bool recall(struct front *front, struct session *s, const struct tarpit *t)
{
	size_t n = t->kept_len < REFUSE_LINE ? t->kept_len : REFUSE_LINE;
	if (!session_hear(front, s) || !buf_put(&s->relay.in.held, t->bytes + n, t->kept_len - n))
		return false;
	memcpy(s->refuse.in, t->bytes, n);
	s->refuse.in_len = n;
	return buf_put(&s->denied, t->bytes + t->kept_len, t->denied_len);
}

bool tarpit_thaw(struct front *front, struct conn *conn)
{
	struct tarpit *t = conn->tarpit;
	struct session *s = session_new(front, conn, t->accepted);
	front->tarpit_kept -= t->kept_len;
	if (!s || !recall(front, s, t)) {
		session_free(front, s);
		ask_free(t->ask);
		free(t);
		conn->ask = NULL;
		return false;
	}
	conn->session = s;
	conn->has_session = true;
	s->ask = t->ask;
	s->decided = t->decided;
	s->active = t->active;
	s->verdict = t->verdict;
	s->cause = t->cause;
	s->kind = t->kind;
	s->stage = t->stage;
	s->tempfails = t->tempfails;
	s->denied_line = t->denied_line;
	memcpy(s->id, t->id, sizeof(s->id));
	s->tarpit = SESSION_TARPIT_GREETED;
	struct refuse *r = &s->refuse;
	if (!t->greeted)
		states_refuse_begin(front, conn);
	r->foreign = NULL;
	r->bad = t->bad;
	r->answered = t->answered;
	r->slowdown = t->slowdown;
	r->slowed = t->slowed;
	r->one = false;
	free(t);
	return true;
}

/* Whoever has said all that it will say is not kept: there may be nobody any more. */
enum conn_event tarpit_ready(struct front *front, struct conn *conn, uint32_t events)
{
	struct tarpit *t = conn->tarpit;
	if (events & (EPOLLERR | EPOLLHUP))
		return CONN_ENDED;
	if (events & EPOLLRDHUP)
		return CONN_RELEASED;
	if (!(events & EPOLLIN))
		return CONN_NOTHING;
	t->active = loop_now(&front->loop);
	if (t->answer_at == 0) {
		t->answer_at = t->active + front->conf->refuse_tarpit;
		set_due(front, conn);
	}
	return CONN_NOTHING;
}

/* Those of this turn have had theirs. */
static bool is_put_off(struct front *front, struct conn *conn)
{
	struct tarpit *t = conn->tarpit;
	if (front->tarpit_turn != front->loop.turns) {
		front->tarpit_turn = front->loop.turns;
		front->tarpit_answered = 0;
	}
	if (front->tarpit_answered++ < TARPIT_TURN)
		return false;
	int64_t later = loop_now(&front->loop) + (1 + (conn - front->conns) % TARPIT_SPREAD) * LOOP_MS;
	if (t->answer_at > 0)
		t->answer_at = later;
	loop_set_due(&front->loop, &conn->source, later);
	return true;
}

/* Off the socket goes what has been answered, and nothing more. */
static void take(int fd, char *scratch, size_t len)
{
	if (len > 0 && recv(fd, scratch, len, MSG_DONTWAIT) < 0)
		return; /* it was there a moment ago; the next look says what became of the socket */
}

struct look {
	enum refuse_result result;
	bool answered; /* a line */
	bool more;     /* there is another line, or may be */
};

/* One line of what is there, if there is one. last: whatever is there is a line. CONN_NOTHING, or what became of the client. */
static enum conn_event answer_line(struct front *front, struct conn *conn, bool last, struct look *look)
{
	struct session *s = conn->session;
	struct refuse *r = &s->refuse;
	struct refuse_rules rules = states_refuse_rules(front, conn);
	states_refuse_take_held(s);
	size_t kept = r->in_len, room = s->relay.in.held.len > 0 ? 0 : REFUSE_LINE - kept;
	ssize_t n = room > 0 ? sock_peek(conn->source.fd, r->in + kept, room) : -EAGAIN;
	if (n == 0)
		return CONN_RELEASED;
	if (n < 0 && n != -EAGAIN)
		return CONN_ENDED;
	r->in_len += n > 0 ? (size_t)n : 0;
	size_t whole = r->in_len;
	r->one = true;
	/* What was slowed down without a line end was half a line whose client was silent for too long. */
	look->result = refuse_run(r, &rules, last || (r->slowed && !memchr(r->in, '\n', whole)));
	size_t used = whole - r->in_len;
	look->answered = used > 0;
	look->more = memchr(r->in, '\n', r->in_len) || whole == REFUSE_LINE;
	take(conn->source.fd, front->relay.scratch, used > kept ? used - kept : 0);
	r->in_len = used < kept ? kept - used : 0; /* the others are in the socket */
	return CONN_NOTHING;
}

/* One reply, and back; a client that does not read what it is answered has a session until it does. */
static enum conn_event say(struct front *front, struct conn *conn, bool owed)
{
	struct session *s = conn->session;
	struct look look = { REFUSE_MORE, true, false };
	int64_t now = loop_now(&front->loop), wait = front->conf->refuse_tarpit;
	char byte;
	if (s->refuse.out.len > 0) { /* the greeting */
		look.more = s->refuse.in_len > 0 || sock_peek(conn->source.fd, &byte, 1) > 0;
	} else {
		enum conn_event event = answer_line(front, conn, !owed, &look); /* nothing owed: silent for too long, and then half a line is one */
		if (event != CONN_NOTHING)
			return event;
	}
	if (look.result == REFUSE_END && s->refuse.foreign)
		forbid(s, s->refuse.foreign, slice_of(""));
	if (look.result == REFUSE_END)
		return CONN_ANSWERED;
	if (look.result == REFUSE_SLOW)
		wait = s->refuse.slow_s * LOOP_SECOND;
	else if (!look.answered && !owed)
		return CONN_TIME; /* there is not even half a line */
	enum sock_result sent = s->refuse.out.len > 0 ? sock_write(conn->source.fd, &s->refuse.out) : SOCK_OK;
	if (sent != SOCK_OK)
		return sent == SOCK_AGAIN ? CONN_RELEASED : CONN_ENDED;
	if (look.answered)
		s->active = now; /* it was we who were silent */
	bool next = look.more || look.result == REFUSE_SLOW;
	return freeze(front, conn, next ? now + wait : 0) ? CONN_NOTHING : CONN_RELEASED;
}

/* Who was relayed hears at once what it is owed and that it is refused: it has waited for replies as long as the mail server took. */
enum conn_event tarpit_enter(struct front *front, struct conn *conn)
{
	struct session *s = conn->session;
	int most = TARPIT_UNREAD;
	setsockopt(conn->source.fd, SOL_SOCKET, SO_RCVBUF, &most, sizeof(most)); /* what does not fit is sent again later, by TCP */
	s->tarpit = SESSION_TARPIT_BEGUN;
	ask_stop(s->ask); /* what a late map says of it is of no use any more */
	ask_judged(s->ask);
	metrics_add(METRIC_tarpitted, 1);
	if (s->stage == STAGE_NONE)
		return freeze(front, conn, loop_now(&front->loop) + front->conf->refuse_tarpit) ? CONN_NOTHING : CONN_RELEASED;
	states_refuse_begin(front, conn);
	s->tarpit = SESSION_TARPIT_GREETED;
	states_count_relayed(s);
	return say(front, conn, true);
}

enum conn_event tarpit_due(struct front *front, struct conn *conn)
{
	bool owed = conn->tarpit->answer_at > 0;
	if (is_put_off(front, conn))
		return CONN_NOTHING;
	if (!tarpit_thaw(front, conn))
		return CONN_ENDED;
	struct session *s = conn->session;
	if (loop_now(&front->loop) >= s->decided + stress_refuse_lifetime(front)) {
		states_refuse_timeout(front, conn);
		return CONN_TIME;
	}
	return say(front, conn, owed);
}
