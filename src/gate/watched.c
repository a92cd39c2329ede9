/* The tour, gate: bytes between two sockets and the watch: send what it has written, offer it what has come, repeat. */
#include "gate/watched.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"
#include "gate/front.h"
#include "gate/known.h"
#include "gate/session.h"
#include "gate/stages.h"
#include "gate/stress.h"

#define WATCHED_ROUNDS 16 /* before others get their turn */
#define WATCHED_BRIEF 1   /* seconds: no slot is held for longer for a client that has gone, or will say no more */
#define LEAVE_LOOK 16 /* bytes that tell whether a client only says QUIT */
#define PIPE_HELD (WATCH_HELD + RELAY_HELD) /* bytes of one direction when it becomes a plain relay at most */

static bool is_judged(const struct front *front, const struct session *s)
{
	return judge_is_needed(front, s) || ask_is_pending(s->ask);
}

enum watched_extent watched_extent(const struct front *front, const struct session *s)
{
	const struct conf_backend *b = s->to->conf;
	bool let = stages_let(s);
	/* Of an observed client it is to be known whether the backend takes its mail. */
	if (is_judged(front, s) || front->conf->bad_rcpt_throttle > 0 || !let || s->conn->observe)
		return WATCHED_ALL;
	if (b->kind == CONF_BACKEND_MAIL && s->conn->offers_tls)
		return WATCHED_ALL; /* what it is told of TLS it must be told by the door alone */
	if (b->kind == CONF_BACKEND_MAIL && let)
		return WATCHED_NOTHING;
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
	w->stages = stages_of(front, s);
	w->counted = 0;
	w->watch.stages = stages_let(s) ? NULL : &w->stages;
	w->passed = false;
	w->watch.until_mail = extent == WATCHED_HELLO;
	w->watch.as_it_is = !is_judged(front, s) && !s->to->conf->normalize && s->to->conf->kind != CONF_BACKEND_MAIL;
	watch_await_greeting(&w->watch, s->conn->teased);
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

static void set_resume(struct session *s, int64_t at)
{
	metrics_add(METRIC_paused, (at > 0) - (s->resume > 0));
	s->resume = at;
}

void watched_stop(struct session *s)
{
	struct watched *w = s->watched;
	if (!w)
		return;
	set_resume(s, 0);
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
	s->watched->stages = stages_of(front, s);
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
	if (p->lost)
		buf_fini(out);
	if (before == 0 || p->lost || !p->writable)
		return true;
	enum sock_result e = sock_write(p->to, out);
	p->bytes += before - out->len;
	if (e == SOCK_AGAIN)
		p->writable = false;
	if (e == SOCK_ERROR)
		p->error = errno;
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

static void lose_rest(struct pump *p)
{
	p->reset = p->eof = true;
	p->error = ENOMEM;
}

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
		lose_rest(p); /* no memory: it cannot go on, and what would come next must not take the place of what is lost */
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

/* What the client has said, for the log, and for the null server: it stays where it is if it is not refused. */
static void show_talk(struct front *front, struct session *s, bool refused)
{
	struct buf *in = &s->watched->client_in, said;
	size_t n = in->len < REFUSE_LINE ? in->len : REFUSE_LINE;
	char memory[REFUSE_LINE];
	buf_init_fixed(&said, memory, sizeof(memory));
	if (n > 0) {
		buf_put(&said, in->at, n);
		buf_drop(in, refused ? n : 0);
	} else if (refused) {
		sock_read(s->relay.in.from, &said, 0);
	} else {
		ssize_t peeked = sock_peek(s->relay.in.from, memory, sizeof(memory));
		said.len = peeked > 0 ? (size_t)peeked : 0;
	}
	session_said(front, s, buf_slice(&said));
}

/* Once for each stage, whatever follows from it. */
static void count_talk(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	uint16_t new = w->watch.talked & (uint16_t)~w->counted;
	w->counted = w->watch.talked;
	for (enum stage stage = STAGE_GREET; new && stage < STAGES; stage++) {
		if (!(new & 1u << stage))
			continue;
		metrics_add(stages_counter(stage), 1);
		if (w->stages.reactions[stage] != STAGE_OBSERVE || s->would != CONN_UNDECIDED)
			continue;
		show_talk(front, s, false);
		session_would(front, s, CONN_EARLY, stage_name(stage));
	}
}

/* The client goes to the null server, with all that it has said. */
static enum relay_result refuse(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	s->stage = w->watch.early;
	s->tempfails = w->stages.reactions[s->stage] == STAGE_TEMPFAIL;
	show_talk(front, s, true);
	s->relay.in.held = w->client_in;
	buf_init(&w->client_in, RELAY_HELD);
	s->eof = s->relay.in.eof;
	s->readable = !s->eof;
	buf_fini(&s->out); /* nothing, but for who looks twice */
	s->out = w->watch.to_client;
	buf_init(&w->watch.to_client, WATCH_HELD);
	s->relay.out.bytes += s->out.len;
	watched_stop(s);
	return RELAY_TALK;
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
	if (w->watch.result == WATCH_EARLY)
		return refuse(front, s);
	if (w->watch.result == WATCH_TLS)
		return begin_tls(s);
	if (w->watch.result == WATCH_PIPE) {
		known_unseen(front, s->conn);
		bool ok = become_plain(&s->relay.in, &w->watch.to_backend, &w->client_in) && become_plain(&s->relay.out, &w->watch.to_client, &w->backend_in);
		judge_blinded(&w->judge);
		watched_stop(s);
		s->seen = false;
		return ok ? relay_run(&s->relay, &front->relay) : RELAY_BROKEN;
	}
	send_out(&s->relay.in, &w->watch.to_backend);
	s->broken = w->watch.why;
	buf_fini(&s->out); /* nothing, but for who looks twice */
	s->out = w->watch.to_client;
	buf_init(&w->watch.to_client, WATCH_HELD);
	s->relay.out.bytes += s->out.len;
	return RELAY_BACKEND_ENDED;
}

/* What the client says waits for what is asked about it; that its greeting has been sent is told to the watch all the same. */
static bool hear_client(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	struct slice nothing = { "", 0 };
	if (!ask_is_pending(s->ask))
		return offer(front, &w->watch, &s->relay.in, &w->client_in, watch_from_client);
	watch_from_client(&w->watch, &nothing, false);
	return false;
}

/* Bytes of the client that have come and not been read, at the last moment before it is answered, or before the backend gets the end of its message. */
static void look(struct session *s)
{
	struct watch *w = &s->watched->watch;
	const struct buf *kept = &s->watched->client_in;
	char said[LEAVE_LOOK];
	size_t len = kept->len < sizeof(said) / 2 ? kept->len : sizeof(said) / 2;
	if (!watch_is_waiting(w))
		return;
	if (len > 0)
		memcpy(said, kept->at, len);
	ssize_t n = sock_peek(s->relay.in.from, said + len, sizeof(said) - len);
	if (n > 0 && !watch_takes_leave(w, (struct slice){ said, len + (size_t)n }))
		watch_talked(w);
}

/* True: a pause is over. */
static bool pause_stage(struct front *front, struct session *s)
{
	struct watch *w = &s->watched->watch;
	int64_t now = loop_now(&front->loop);
	if (!w->paused)
		return false;
	if (s->resume == 0) {
		s->watched->pause_ms = stress_pause_ms(front, w->pause_ms);
		set_resume(s, now + (int64_t)s->watched->pause_ms * LOOP_MS);
		s->paused_ms += s->watched->pause_ms;
	}
	if (now < s->resume)
		return false;
	look(s);
	if (w->result != WATCH_MORE)
		return false;
	set_resume(s, 0);
	s->active = now;
	watch_go_on(w);
	return true;
}

/* Who has waited longer than that already goes on at once. */
void watched_hurry(const struct front *front, struct session *s)
{
	int64_t left = (s->resume - loop_now(&front->loop)) / LOOP_MS;
	if (s->resume == 0 || left <= 0)
		return;
	uint32_t saved = s->watched->pause_ms - stress_pause_ms(front, s->watched->pause_ms);
	if (saved > left)
		saved = (uint32_t)left;
	s->watched->pause_ms -= saved;
	s->paused_ms -= saved;
	s->resume -= saved * LOOP_MS;
}

int64_t watched_waits(const struct session *s)
{
	int64_t slow = s->watched && s->watched->slow_until > 0 ? s->watched->slow_until : LOOP_NEVER;
	return s->resume > 0 && s->resume < slow ? s->resume : slow;
}

/* The client's command is held back. True: its time has passed, and it goes on. */
static bool slow_down(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	const struct slowdown_step *slow = watch_slowed(&w->watch);
	if (!slow)
		return false;
	int64_t now = loop_now(&front->loop);
	if (s->relay.in.ending && slow->seconds > WATCHED_BRIEF) {
		w->slow_until = 0;
		watch_slow_cut(&w->watch);
		return true;
	}
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

/* A backend that has gone takes no more, but what it said last is still for the client. One that is there all the same must not take what comes behind the gap for the rest of a message. */
static void lose_backend(struct session *s)
{
	if (errno != EPIPE && errno != ECONNRESET)
		log_event(LOG_LEVEL_WARNING, "backend_lost", "backend %s, id %s: %s", s->to->conf->name, s->id, strerror(errno));
	s->relay.in.lost = true;
	shutdown(s->relay.in.to, SHUT_WR);
	buf_fini(&s->watched->watch.to_backend);
	s->relay.out.readable = s->relay.out.ending = true;
}

/* Once: its first message has been accepted, and it has not talked. */
static bool has_passed(struct watched *w)
{
	bool before = w->passed;
	w->passed = before || (w->watch.messages > 0 && w->watch.talked == 0);
	return w->passed && !before;
}

enum relay_result watched_run(struct front *front, struct session *s)
{
	struct watched *w = s->watched;
	struct pump *in = &s->relay.in, *out = &s->relay.out;
	for (int round = 0; round < WATCHED_ROUNDS; round++) {
		bool moved = hear_client(front, s);
		moved = offer(front, &w->watch, out, &w->backend_in, watch_from_backend) || moved;
		if (moved)
			s->active = loop_now(&front->loop); /* also where nothing is passed on: a message that is thrown away */
		moved = slow_down(front, s) || moved;
		moved = pause_stage(front, s) || moved;
		if (w->watch.to_client.len > 0 && out->writable)
			look(s);
		if (w->watch.talked != w->counted)
			count_talk(front, s);
		bool passes = has_passed(w);
		if (w->watch.result != WATCH_MORE) {
			if (passes)
				known_passed(front, s->conn);
			return finish(front, s);
		}
		size_t waiting = w->watch.to_client.len + w->watch.to_backend.len;
		bool sent = !in->reset && send_out(out, &w->watch.to_client);
		if (passes) /* nobody has to wait until the keeper knows */
			known_passed(front, s->conn);
		if (!sent)
			return RELAY_BROKEN;
		if (!send_out(in, &w->watch.to_backend))
			lose_backend(s);
		if (w->watch.client_ended && w->watch.to_backend.len == 0 && !in->closed) {
			shutdown(in->to, SHUT_WR);
			in->closed = true;
		}
		if (!moved && w->watch.to_client.len + w->watch.to_backend.len == waiting)
			return RELAY_IDLE;
	}
	return RELAY_AGAIN;
}
