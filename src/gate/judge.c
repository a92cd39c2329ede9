/* The tour, gate: MAIL and RCPT of a client that is being relayed: what the access database says of them, and of the client where that is told here. */
#include "gate/judge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/metrics.h"
#include "gate/admit.h"
#include "gate/ask.h"
#include "gate/forbid.h"
#include "gate/front.h"
#include "gate/seal.h"
#include "gate/session.h"
#include "smtp/reply.h"

#define JUDGE_LOGGED 100 /* refusals of one connection that have a line in the log; how many there were stands in its last line */
#define USER_TEXT (3 * COMMAND_PATH)

struct judge_asked {
	struct judge *judge;
	bool rcpt;     /* about a recipient, else about a sender */
	unsigned left; /* maps that have not answered */
	struct access_answers answers;
	struct judge_wait {
		struct lookup_wait wait; /* first: its callback finds the rest by it */
		struct judge_asked *asked;
		unsigned map;
	} waits[ACCESS_MAPS];
};

/* ---- users ---- */

static bool user_set(struct judge_user *u, const struct command_path *path)
{
	char memory[COMMAND_PATH];
	struct buf local;
	buf_clear(&u->text);
	u->path_len = u->local_len = 0;
	buf_init_fixed(&local, memory, sizeof(memory));
	if (!command_unquote(path->local, &local) || !buf_put_slice(&u->text, path->text))
		return false;
	u->path_len = path->text.len;
	u->local_len = local.len;
	return buf_put_slice(&u->text, buf_slice(&local)) && buf_put_slice(&u->text, path->domain);
}

static struct slice user_path(const struct judge_user *u)
{
	return (struct slice){ u->text.len > 0 ? u->text.at : "", u->path_len };
}

static struct slice user_local(const struct judge_user *u)
{
	return (struct slice){ u->text.len > 0 ? u->text.at + u->path_len : "", u->local_len };
}

static struct slice user_domain(const struct judge_user *u)
{
	size_t from = u->path_len + u->local_len;
	return (struct slice){ u->text.len > 0 ? u->text.at + from : "", u->text.len - from };
}

/* ---- the log ---- */

/* One line for each refusal, discard or quarantine; reply: what was sent, or with an observed client had been, without its line end. */
static void report(const struct judge *j, const char *event, bool rcpt, const struct rules_answer *answer, struct slice reply)
{
	const struct session *s = j->session;
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_INFO))
		return;
	bool observed = s->conn->observe && answer->decision.action != ACCESS_QUARANTINE;
	log_text(&l, "event", observed ? "observed" : event);
	if (observed)
		log_text(&l, "would", reply.len > 0 ? conn_verdict_name(session_refused_as(answer)) : event);
	log_addr(&l, "client", &s->conn->client);
	log_int(&l, "port", s->conn->client.port);
	log_text(&l, "id", s->id);
	log_bytes(&l, "from", user_path(&j->sender).at, user_path(&j->sender).len);
	if (rcpt)
		log_bytes(&l, "to", user_path(&j->recipient).at, user_path(&j->recipient).len);
	if (reply.len > 0)
		log_bytes(&l, observed ? "would_reply" : "reply", reply.at, reply.len);
	if (answer->decision.action == ACCESS_QUARANTINE)
		log_bytes(&l, "reason", answer->decision.reply.text.at, answer->decision.reply.text.len);
	if (answer->hit.value.line > 0)
		log_int(&l, "access_line", answer->hit.value.line);
	log_end(&l);
}

/* ---- decisions ---- */

static bool refuses(const struct rules_answer *answer)
{
	return answer->decision.action == ACCESS_REFUSE || answer->decision.action == ACCESS_TEMPFAIL;
}

static enum watch_decision refuse(const struct judge *j, bool rcpt, const struct rules_answer *answer, struct buf *reply)
{
	char memory[WATCH_ANSWER_BYTES - 2]; /* its line end has room in any case */
	const struct macros who = session_macros(j->front, j->session);
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	if (!rules_put_reply(&line, &answer->decision.reply, user_path(rcpt ? &j->recipient : &j->sender), &who)) {
		/* A text that does not fit is cut short, never left out. */
		struct access_reply shorter = answer->decision.reply;
		shorter.text.len = shorter.text.len < 64 ? shorter.text.len : 64;
		rules_put_reply(&line, &shorter, (struct slice){ "", 0 }, &who);
	}
	if (j->session->rejected++ < JUDGE_LOGGED)
		report(j, "rejected", rcpt, answer, buf_slice(&line));
	if (j->session->conn->observe) {
		session_would_refuse(j->front, j->session, answer, rcpt ? "rcpt" : "mail");
		metrics_add(METRIC_would_reject, 1);
		return WATCH_PASS;
	}
	buf_put_slice(reply, buf_slice(&line));
	buf_put_text(reply, "\r\n");
	metrics_add(rcpt ? METRIC_rejected_recipients : METRIC_rejected_senders, 1);
	return WATCH_ANSWER;
}

static enum watch_decision take_unseen(const struct judge *j, struct buf *reply)
{
	struct slice to = user_path(&j->recipient);
	reply_put(reply, 250, "2.1.5", "%.*s... Recipient ok", (int)to.len, to.at);
	return WATCH_ACCEPT;
}

/* What an answer means for a sender or a recipient. */
static enum watch_decision act(struct judge *j, bool rcpt, const struct rules_answer *answer, struct buf *reply)
{
	switch (answer->decision.action) {
	case ACCESS_REFUSE:
	case ACCESS_TEMPFAIL:
		return refuse(j, rcpt, answer, reply);
	case ACCESS_DISCARD:
		if (!j->discard)
			report(j, "discard", rcpt, answer, (struct slice){ "", 0 });
		j->discard = true;
		break;
	case ACCESS_QUARANTINE:
		report(j, "quarantine", rcpt, answer, (struct slice){ "", 0 });
		break;
	default:
		break;
	}
	return rcpt && j->discard && !j->session->conn->observe ? take_unseen(j, reply) : WATCH_PASS;
}

/* Without delay_checks there is no recipient to whom it is told: what is decided about the client is so for each of its messages. */
static enum watch_decision decide_mail(struct judge *j, const struct rules_answer *sender, struct buf *reply)
{
	const bool delayed = j->front->conf->delay_checks != RULES_DELAY_OFF;
	const enum access_action client = j->client.decision.action;
	j->discard = false;
	if (delayed)
		return WATCH_PASS;
	enum watch_decision decision = act(j, false, sender, reply);
	if (decision == WATCH_PASS && (client == ACCESS_DISCARD || client == ACCESS_QUARANTINE))
		act(j, false, &j->client, reply);
	return decision;
}

static enum watch_decision decide(struct judge *j, bool rcpt, const struct access_answers *answers, struct buf *reply)
{
	const struct rules rules = { j->front->access, j->front->conf, answers };
	struct rules_answer sender = rules_sender(&rules, user_local(&j->sender), user_domain(&j->sender));
	if (!rcpt)
		return decide_mail(j, &sender, reply);
	struct rules_answer answer = rules_recipient(&rules, user_local(&j->recipient), user_domain(&j->recipient), &sender, &j->client);
	return act(j, true, &answer, reply);
}

/* ---- maps elsewhere ---- */

static bool make_plan(const struct judge_asked *a)
{
	const struct judge *j = a->judge;
	const struct rules rules = { j->front->access, j->front->conf, NULL };
	const bool wants_sender = !a->rcpt || j->front->conf->delay_checks != RULES_DELAY_OFF;
	struct access_user sender = { .local = { "", 0 }, .domain = { "", 0 } }, recipient = sender;
	if (wants_sender && (user_local(&j->sender).len > 0 || user_domain(&j->sender).len > 0))
		sender = rules_user(&rules, user_local(&j->sender), user_domain(&j->sender));
	if (a->rcpt)
		recipient = rules_user(&rules, user_local(&j->recipient), user_domain(&j->recipient));
	return access_plan_users(j->front->access, j->front->plan, &sender, &recipient);
}

static void asked_free(struct judge *j)
{
	struct judge_asked *a = j->asked;
	if (!a)
		return;
	for (unsigned i = 0; i < ACCESS_MAPS; i++)
		lookup_cancel(j->front->lookup, &a->waits[i].wait);
	access_answers_fini(&a->answers);
	free(a);
	j->asked = NULL;
}

static void map_answered(struct lookup_wait *wait, const struct wire_answer *answer)
{
	const struct judge_wait *w = (const struct judge_wait *)wait;
	struct judge_asked *a = w->asked;
	struct judge *j = a->judge;
	char memory[WATCH_ANSWER_BYTES];
	struct buf reply;
	make_plan(a);
	access_take_answer(&a->answers, w->map, j->front->plan, answer);
	if (--a->left > 0)
		return;
	buf_init_fixed(&reply, memory, sizeof(memory));
	enum watch_decision decision = decide(j, a->rcpt, &a->answers, &reply);
	asked_free(j);
	watch_decided(j->watch, decision, buf_slice(&reply));
	conn_go_on(j->front, j->session->conn);
}

/* Nobody gets past rules that cannot be asked: an answer without a reply is a 451. */
static enum watch_decision no_memory(const struct judge *j)
{
	struct log_line l;
	if (log_begin(&l, LOG_LEVEL_ERROR)) {
		log_text(&l, "event", "no_memory");
		log_addr(&l, "client", &j->session->conn->client);
		log_text(&l, "id", j->session->id);
		log_text(&l, "error", strerror(ENOMEM));
		log_end(&l);
	}
	return WATCH_ANSWER;
}

static enum watch_decision ask(struct judge *j, bool rcpt, struct buf *reply)
{
	struct front *front = j->front;
	unsigned map = front->lookup ? access_next_elsewhere(front->access, 0) : ACCESS_MAPS, number = 0;
	if (map == ACCESS_MAPS)
		return decide(j, rcpt, NULL, reply);
	struct judge_asked *a = j->asked = calloc(1, sizeof(*a));
	if (!a)
		return no_memory(j);
	a->judge = j;
	a->rcpt = rcpt;
	if (!make_plan(a)) { /* more labels than any name of a mail server has */
		asked_free(j);
		return WATCH_ANSWER; /* the same: never past the maps */
	}
	for (; map < ACCESS_MAPS; map = access_next_elsewhere(front->access, map + 1), number++) {
		struct judge_wait *w = &a->waits[map];
		w->wait.done = map_answered;
		w->asked = a;
		w->map = map;
		front->plan->question.map = (uint16_t)number;
		const struct wire_answer *answer = lookup_ask(front->lookup, &front->plan->question, &w->wait);
		if (!answer)
			a->left++;
		else
			access_take_answer(&a->answers, map, front->plan, answer);
	}
	if (a->left > 0)
		return WATCH_WAIT;
	enum watch_decision decision = decide(j, rcpt, &a->answers, reply);
	asked_free(j);
	return decision;
}

/* ---- what the watch asks ---- */

static enum watch_decision on_mail(void *context, const struct command_path *from, struct slice parameters, struct buf *reply)
{
	struct judge *j = context;
	(void)parameters;
	if (!user_set(&j->sender, from))
		return no_memory(j);
	if (refuses(&j->client) && j->front->conf->delay_checks == RULES_DELAY_OFF) { /* it was found out too late to say so at connect */
		enum watch_decision decision = refuse(j, false, &j->client, reply);
		if (decision != WATCH_PASS)
			return decision;
	}
	return ask(j, false, reply);
}

static enum watch_decision on_rcpt(void *context, const struct command_path *to, struct slice parameters, struct buf *reply)
{
	struct judge *j = context;
	(void)parameters;
	return user_set(&j->recipient, to) ? ask(j, true, reply) : no_memory(j);
}

static enum watch_decision on_data(void *context, unsigned recipients, unsigned accepted, struct buf *reply)
{
	const struct judge *j = context;
	(void)recipients;
	(void)accepted;
	if (!j->discard)
		return WATCH_PASS;
	metrics_add(j->session->conn->observe ? METRIC_would_discard : METRIC_discarded, 1);
	if (j->session->conn->observe)
		return WATCH_PASS;
	reply_put(reply, 250, "2.0.0", "%s Message accepted for delivery", j->session->id);
	return WATCH_DISCARD;
}

/* ---- beginning and end ---- */

/* Refused before over the rate before over the connections, before taken with a remark. */
struct rules_answer judge_about_client(const struct front *front, const struct session *s)
{
	struct rules_answer client = s->ask && s->ask->kept ? *s->ask->kept : (struct rules_answer){ .decision = { .action = ACCESS_OK } };
	if (refuses(&client))
		return client;
	if (s->conn->over_rate)
		return admit_over_rate(front);
	return s->conn->over_conns ? admit_over_conns(front) : client;
}

bool judge_is_needed(const struct front *front, const struct session *s)
{
	const struct rules rules = { front->access, front->conf, NULL };
	struct rules_answer client = judge_about_client(front, s);
	return rules_blocks(&client) || rules_need_dialogue(&rules);
}

/* Inside a TLS of the backend's it could not be told. */
static bool hides_tls(const struct judge *j)
{
	return !j->session->conn->observe && (refuses(&j->client) || j->client.decision.action == ACCESS_DISCARD);
}

void judge_blinded(struct judge *j)
{
	if (j->session->conn->observe && refuses(&j->client))
		session_would_refuse(j->front, j->session, &j->client, j->front->conf->delay_checks == RULES_DELAY_OFF ? "mail" : "rcpt");
}

/* Inside a TLS that ends here nothing is hidden from the rules. */
static enum watch_tls tls_of(const struct judge *j)
{
	const struct conn *conn = j->session->conn;
	if (seal_of(j->front, conn))
		return WATCH_TLS_ON;
	bool passes = !hides_tls(j) && j->session->to->conf->tls == CONF_TLS_NO; /* a backend that is spoken to in TLS would have the client's begin inside */
	return conn->offers_tls ? WATCH_TLS_OFFER : passes ? WATCH_TLS_PASS : WATCH_TLS_HIDE;
}

static bool on_foreign(void *context, struct slice said, const struct command *command, struct buf *reply)
{
	const struct judge *j = context;
	return forbid_said(j->front, j->session, said, command, reply);
}

void judge_init(struct judge *j, struct front *front, struct session *s, struct watch *watch)
{
	*j = (struct judge){ .front = front, .session = s, .watch = watch, .client = judge_about_client(front, s) };
	j->rules = (struct watch_rules){ front->conf->hostname, (unsigned)front->conf->max_bad_commands, on_mail, on_rcpt, on_data, on_foreign };
	buf_init(&j->sender.text, USER_TEXT);
	buf_init(&j->recipient.text, USER_TEXT);
	watch_init(watch, &j->rules, j, tls_of(j));
}

void judge_answered(struct judge *j, struct front *front)
{
	j->client = judge_about_client(front, j->session);
	j->watch->tls = tls_of(j);
}

void judge_fini(struct judge *j)
{
	asked_free(j);
	buf_fini(&j->sender.text);
	buf_fini(&j->recipient.text);
}
