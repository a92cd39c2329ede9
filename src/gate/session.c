/* The tour, gate: a session's birth, death and line in the log. */
#include "gate/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/metrics.h"
#include "gate/backend_tls.h"
#include "gate/early.h"
#include "gate/front.h"
#include "gate/known.h"
#include "gate/seal.h"
#include "gate/study.h"
#include "gate/tarpit.h"
#include "gate/turned.h"
#include "gate/watched.h"

_Static_assert(METRICS_ROWS == 1 << 10, "the row has 10 bits of an id");

/* Seconds, the front's row (its number is also that of one that leaves) and a running number, in 13 digits of base 32: unique on one machine, and in the order of time. */
void session_make_id(struct front *front, char out[SESSION_ID])
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
	uint64_t n = (uint64_t)time(NULL) << 30 | (uint64_t)(front_row(front) % METRICS_ROWS) << 20 | (front->serial++ & 0xfffff);
	for (int i = SESSION_ID - 2; i >= 0; i--) {
		out[i] = digits[n & 31];
		n >>= 5;
	}
	out[SESSION_ID - 1] = '\0';
}

struct session *session_new(struct front *front, struct conn *conn, int64_t accepted)
{
	struct session *s = front->spares;
	if (s) {
		front->spares = s->next;
		front->spares_len--;
	} else {
		s = malloc(sizeof(*s));
		if (!s)
			return NULL;
	}
	s->backend = (struct source){ .fd = -1 };
	s->conn = conn;
	s->ask = NULL;
	s->next = s->prev = NULL;
	s->accepted = s->decided = s->active = accepted;
	s->greeted = 0;
	s->verdict = CONN_UNDECIDED;
	s->cause = CONN_NOTHING;
	s->end = CONN_NOTHING;
	s->limit = CONN_LIMIT_NONE;
	s->kind = TALK_TEXT;
	s->to = NULL;
	s->skip = 0;
	s->wrong = NULL;
	s->tls = NULL;
	s->xclient = NULL;
	s->greeting = 0;
	s->handover = HANDOVER_NONE;
	s->token = 0;
	s->handed = 0;
	s->readable = true;
	s->eof = s->slow = s->shut = s->client_out = s->backend_out = s->peeked = false;
	s->tarpit = SESSION_TARPIT_NONE;
	s->drained = 0;
	buf_init(&s->denied, SESSION_DENIED);
	buf_init(&s->out, SESSION_OUT);
	s->refuse = (struct refuse){ .in = NULL };
	buf_init(&s->refuse.out, REFUSE_OUT);
	relay_init(&s->relay, -1, -1);
	s->watched = NULL;
	s->broken = NULL;
	s->forbidden = NULL;
	s->rejected = s->messages = s->denied_line = 0;
	s->seen = false;
	s->would = CONN_UNDECIDED;
	s->would_stage = NULL;
	s->would_at = 0;
	s->stage = STAGE_NONE;
	s->tempfails = false;
	s->paused_ms = 0;
	s->resume = 0;
	session_make_id(front, s->id);
	return s;
}

/* What the client of a session says; in the pool: the next one. */
union session_line {
	union session_line *next;
	char bytes[REFUSE_LINE];
};

bool session_hear(struct front *front, struct session *s)
{
	union session_line *line = front->lines;
	if (s->refuse.in)
		return true;
	if (line) {
		front->lines = line->next;
		front->lines_len--;
	} else {
		line = malloc(sizeof(*line));
	}
	s->refuse.in = line ? line->bytes : NULL;
	return line;
}

static void free_line(struct front *front, struct session *s)
{
	union session_line *line = (union session_line *)s->refuse.in;
	s->refuse.in = NULL;
	if (line && front->lines_len < SESSION_SPARES) {
		line->next = front->lines;
		front->lines = line;
		front->lines_len++;
	} else {
		free(line);
	}
}

void session_said(struct front *front, struct session *s, struct slice said)
{
	size_t room = said.len > 0 && session_hear(front, s) ? REFUSE_LINE : 0;
	s->kind = talk_kind(said);
	s->refuse.in_len = said.len < room ? said.len : room;
	if (s->refuse.in_len > 0)
		memcpy(s->refuse.in, said.at, s->refuse.in_len);
}

bool session_need(struct front *front, struct conn *conn)
{
	struct ask *ask = conn->ask;
	int64_t accepted = front_came(front);
	if (conn->has_session)
		return true;
	if (conn->state == CONN_TARPIT)
		return conn->tarpit && tarpit_thaw(front, conn);
	if (ask)
		accepted = ask->accepted;
	else if (conn->state == CONN_TLS && seal_of(front, conn))
		accepted = seal_of(front, conn)->begun;
	else if (conn->state == CONN_HOLD)
		accepted = conn->source.due - (int64_t)conn->pause_ms * LOOP_MS; /* due stays in place when the deadline is cleared */
	struct session *s = session_new(front, conn, accepted);
	if (!s)
		return false;
	if (ask && !ask->late)
		ask_stop(ask);
	s->ask = ask;
	conn->session = s;
	conn->has_session = true;
	return true;
}

struct ask **session_ask(struct conn *conn)
{
	return conn->has_session ? &conn->session->ask : &conn->ask;
}

void session_free(struct front *front, struct session *s)
{
	if (!s)
		return;
	dial_close(front, s);
	backend_tls_free(s->tls);
	watched_stop(s);
	relay_fini(&s->relay, &front->relay);
	refuse_fini(&s->refuse);
	free_line(front, s);
	ask_free(s->ask);
	buf_fini(&s->denied);
	buf_fini(&s->out);
	if (front->spares_len < SESSION_SPARES) {
		s->next = front->spares;
		front->spares = s;
		front->spares_len++;
	} else {
		free(s);
	}
}

struct macros session_macros(const struct front *front, const struct session *s)
{
	static const enum macros_resolve resolved[NAMES_RESULTS] = { [NAMES_NONE] = MACROS_FAIL, [NAMES_CONFIRMED] = MACROS_OK, [NAMES_FORGED] = MACROS_FORGED,
		[NAMES_FAILED] = MACROS_TEMP, [NAMES_TIMEOUT] = MACROS_TEMP };
	return (struct macros){ front->conf->hostname, &s->conn->client, ask_name(s->ask), s->ask ? resolved[s->ask->result] : MACROS_FAIL };
}

void session_deny(const struct front *front, struct session *s, const struct access_reply *reply, uint32_t line)
{
	const struct macros who = session_macros(front, s);
	char memory[SESSION_DENIED - 1];
	struct buf whole;
	/* From a file: nothing in it may end the line, or be taken for another one. What is too long is cut. */
	buf_init_fixed(&whole, memory, sizeof(memory));
	buf_putf(&whole, "%u %s ", reply->code, reply->dsn);
	if (reply->macros)
		macros_put(&whole, reply->text, &who);
	for (size_t i = 0; i < reply->text.len && !reply->macros; i++)
		buf_put_char(&whole, (unsigned char)reply->text.at[i] < ' ' || reply->text.at[i] == 0x7f ? ' ' : reply->text.at[i]);
	buf_put_slice(&s->denied, buf_slice(&whole));
	s->denied_line = line;
}

bool session_would(struct front *front, struct session *s, enum conn_verdict would, const char *stage)
{
	static const enum metric counters[CONN_VERDICTS] = { [CONN_EARLY] = METRIC_would_early, [CONN_REFUSED] = METRIC_would_refused, [CONN_LIMIT] = METRIC_would_limited,
		[CONN_TEMPFAIL] = METRIC_would_tempfail };
	if (s->would != CONN_UNDECIDED)
		return false;
	s->would = would;
	s->would_stage = stage;
	s->would_at = loop_now(&front->loop);
	metrics_add(counters[would], 1);
	turned_observed(front, s);
	study_observed(s);
	if (would == CONN_EARLY && s->conn->observe) /* a stage that is only observed is no offence */
		ban_offends(front, s->conn, strcmp(stage, stage_name(STAGE_GREET)) == 0 ? BAN_EARLY : BAN_LATER);
	if (would == CONN_EARLY)
		known_forfeit(front, s->conn);
	return true;
}

/* A limit's answer comes of no key. */
enum conn_verdict session_refused_as(const struct rules_answer *answer)
{
	if (answer->decision.action == ACCESS_TEMPFAIL)
		return CONN_TEMPFAIL;
	return answer->hit.found || answer->hit.failed || answer->decision.action != ACCESS_REFUSE ? CONN_REFUSED : CONN_LIMIT;
}

void session_would_refuse(struct front *front, struct session *s, const struct rules_answer *answer, const char *stage)
{
	if (!session_would(front, s, session_refused_as(answer), stage))
		return;
	if (strcmp(stage, "connect") == 0)
		ban_refused(front, s->conn, answer);
	if (answer->decision.action != ACCESS_DISCARD)
		session_deny(front, s, &answer->decision.reply, answer->hit.value.line);
}

void session_deny_as(struct session *s, struct slice line)
{
	buf_clear(&s->denied);
	/* A stranger's, as far as the door is concerned; and it may be the first of several. */
	for (size_t i = 0; i < line.len && s->denied.len + 1 < SESSION_DENIED; i++)
		buf_put_char(&s->denied, (unsigned char)line.at[i] < ' ' || line.at[i] == 0x7f || (i == 3 && line.at[i] == '-') ? ' ' : line.at[i]);
}

void session_pool_free(struct front *front)
{
	while (front->spares) {
		struct session *s = front->spares;
		front->spares = s->next;
		free(s);
	}
	front->spares_len = 0;
	while (front->lines) {
		union session_line *line = front->lines;
		front->lines = line->next;
		free(line);
	}
	front->lines_len = 0;
}

static void log_talk(struct log_line *l, const struct front *front, const struct session *s)
{
	enum conf_reaction_kind reaction = early_reaction(front->conf, s->kind).kind;
	log_text(l, "kind", talk_kind_name(s->kind));
	if (reaction != CONF_REACTION_REFUSE && s->stage == STAGE_NONE && (!s->would_stage || strcmp(s->would_stage, stage_name(STAGE_GREET)) == 0)) /* at a later stage the kind decides nothing */
		log_text(l, "reaction", conf_reaction_name(reaction));
	if (s->conn->early)
		log_text(l, "delayed", "yes");
	log_int(l, "bytes", (int64_t)s->refuse.in_len);
	log_bytes(l, "data", s->refuse.in, s->refuse.in_len);
	if (s->kind == TALK_PROXY)
		log_text(l, "hint", "if this is a load balancer of yours, let its listener have proxy = yes, and its address in trust");
}

static void log_reply(struct log_line *l, const char *key, const struct session *s)
{
	if (s->denied.len > 0)
		log_bytes(l, key, s->denied.at, s->denied.len);
	else if (s->denied.full)
		log_text(l, "error", "out of memory");
	if (s->denied_line > 0)
		log_int(l, "access_line", s->denied_line);
}

/* verdict= is what was done, would= what enforcing had done. */
static void log_would(struct log_line *l, const struct front *front, const struct session *s)
{
	log_text(l, "would", conn_verdict_name(s->would));
	log_text(l, "would_stage", s->would_stage);
	log_ms(l, "would_after_ms", s->would_at - s->accepted);
	/* Of whom the null server has answered, it has used what was said and the reply. */
	if (s->cause == CONN_DECLINED && s->would == CONN_EARLY)
		log_text(l, "kind", talk_kind_name(s->kind));
	else if (s->cause == CONN_DECLINED)
		return;
	else if (s->would == CONN_EARLY && s->refuse.in_len > 0)
		log_talk(l, front, s);
	else
		log_reply(l, "would_reply", s);
}

/* Who ended a relay, or what. */
static const char *end_name(const struct session *s)
{
	if (s->broken)
		return "protocol";
	if (s->forbidden)
		return "forbidden";
	if (s->cause == CONN_DECLINED)
		return "declined";
	switch (s->end) {
	case CONN_ANSWERED: /* where the dialogue is read, also after the client has ended and the backend has followed it */
		return s->relay.in.closed && !s->relay.out.closed ? "client" : "backend";
	case CONN_TIME:
		return "timeout";
	case CONN_STOP:
		return "stop";
	default:
		return s->relay.in.closed && s->relay.out.closed ? "client" : "reset";
	}
}

/* What had been between the client and the backend until then. */
static void log_stage(struct log_line *l, const struct session *s)
{
	struct slice reply = slice_of(stage_reply(s->stage, s->tempfails ? STAGE_TEMPFAIL : STAGE_REFUSE));
	reply.len -= reply.len >= 2 ? 2 : 0; /* its line end */
	log_text(l, "stage", stage_name(s->stage));
	log_bytes(l, "reply", reply.at, reply.len);
	log_text(l, "backend", s->to->conf->name);
	log_int(l, "in", (int64_t)s->relay.in.bytes);
	log_int(l, "out", (int64_t)s->relay.out.bytes);
	if (s->paused_ms > 0)
		log_int(l, "paused_ms", s->paused_ms);
}

static void log_relayed(struct log_line *l, const struct front *front, const struct session *s)
{
	log_text(l, "backend", s->to->conf->name);
	if (s->handed > 0) {
		log_int(l, "handed", s->handed); /* how it goes on is not known here */
		return;
	}
	if (s->tls && s->tls->facts.ok)
		log_text(l, "backend_tls", s->tls->facts.version);
	if (s->greeting != SESSION_GREETED)
		log_int(l, "greeting", s->greeting);
	log_int(l, "in", (int64_t)s->relay.in.bytes);
	log_int(l, "out", (int64_t)s->relay.out.bytes);
	if (s->paused_ms > 0)
		log_int(l, "paused_ms", s->paused_ms);
	log_text(l, "end", end_name(s));
	if (s->rejected > 0)
		log_int(l, s->conn->observe ? "would_reject" : "rejected", s->rejected);
	if (s->broken)
		log_text(l, "error", s->broken);
	if (s->broken && s->relay.in.bytes == 0 && s->to->conf->proxy != CONF_PROXY_NO)
		log_text(l, "hint", "does it expect the PROXY header that this backend's section has it sent? It may have taken that for commands");
	uint32_t messages = s->messages + (s->watched ? s->watched->watch.messages : 0);
	if (messages > 0 || s->seen)
		log_int(l, "messages", messages);
	log_ms(l, "duration_ms", loop_now(&front->loop) - s->accepted);
}

bool session_log_head(struct log_line *l, const struct session_head *head)
{
	if (!log_begin(l, LOG_LEVEL_INFO))
		return false;
	log_text(l, "verdict", conn_verdict_name(head->verdict));
	log_addr(l, "client", head->client);
	log_int(l, "port", head->client->port);
	if (head->origin) {
		char to[ADDR_TEXT];
		log_addr(l, "via", &head->origin->peer);
		log_text(l, "to", addr_format_port(&head->origin->server, to));
	}
	if (head->origin && head->origin->id)
		log_text(l, "via_id", head->origin->id);
	if (head->ask && head->ask->name_len > 0)
		log_text(l, "name", head->ask->name);
	else if (head->ask)
		log_text(l, "name", names_result_name(head->ask->result));
	if (head->ask && head->ask->result == NAMES_FORGED)
		log_text(l, "forged", "yes");
	if (head->ask && head->ask->late)
		log_text(l, "answers", "late");
	log_text(l, "id", head->id);
	log_int(l, "pause_ms", head->pause_ms);
	log_ms(l, "after_ms", head->after);
	seal_log(l, head->seal);
	return true;
}

/* Whose pause it was, if not greet_pause. */
static void log_pause(struct log_line *l, const struct conn *conn)
{
	if (conn->known || conn->pause_ms == 0)
		return;
	if (conn->pause_by == CONN_PAUSE_EXPLORE)
		log_text(l, "explored", "yes");
	else if (conn->pause_by != CONN_PAUSE_USUAL)
		log_text(l, "pause_by", conn->pause_by == CONN_PAUSE_RULE ? "rule" : "stress");
}

void session_log(const struct front *front, const struct session *s)
{
	struct log_line l;
	struct session_head head = { s->verdict, &s->conn->client, s->id, s->conn->known ? 0 : s->conn->pause_ms, s->decided - s->accepted, s->ask,
		arrive_origin(front, s->conn), seal_of(front, s->conn) };
	if (!session_log_head(&l, &head))
		return;
	log_pause(&l, s->conn);
	if (s->verdict == CONN_EARLY && s->stage != STAGE_NONE)
		log_stage(&l, s);
	if (s->verdict == CONN_EARLY && s->stage == STAGE_NONE && s->ask && s->ask->talked_at > 0) /* and was judged when its pause was known */
		log_ms(&l, "talked_ms", s->ask->talked_at - s->accepted);
	if (s->verdict == CONN_EARLY)
		log_talk(&l, front, s);
	if (s->would != CONN_UNDECIDED)
		log_would(&l, front, s);
	if (s->verdict == CONN_REFUSED)
		log_reply(&l, "reply", s);
	if (s->verdict == CONN_LIMIT)
		log_text(&l, "reason", conn_limit_name(s->limit));
	if (conn_verdict_passes(s->verdict))
		log_relayed(&l, front, s);
	if (s->verdict == CONN_NOBACKEND) {
		log_text(&l, "backend", s->to ? s->to->conf->name : "none");
		log_text(&l, "error", s->wrong ? s->wrong : "no backend");
	}
	log_end(&l);
}
