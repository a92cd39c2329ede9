/* The tour, probe: one act on one connection. It follows the act's scripts and measures; what it means is probe_weigh.c's business.
 *
 *   IDLE ▶ DIAL ▶ LEAD ──said──▶ (--early) ▶ DEED ──answered, or silence──▶ AFTER ──QUIT answered, or 421──▶ LINGER ──▶ DONE
 *                  │  ▲                       │  ▲
 *                  ▼  │                       ▼  │        any: end of the connection, time ▶ DONE
 *                HANDSHAKE                 HANDSHAKE ▶ LISTEN (for answers in TLS to what was said in clear)
 *
 * Replies come in the order of what was said, so what is awaited is a queue. Where less is answered than was said, the last reply, 221, belongs to QUIT. */
#include "tool/probe_all.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/sock.h"

enum state { IDLE, DIAL, LEAD, EARLY, DEED, AFTER, HANDSHAKE, LISTEN, LINGER, DONE };

static void ready(struct loop *loop, struct source *source, uint32_t events);
static void due(struct loop *loop, struct source *source);
static const struct source_ops ops = { .ready = ready, .due = due };
static const struct probe_ear_ops ear_ops;

static void advance(struct probe_play *p);

static const struct probe_all_plan *plan_of(const struct probe_play *p)
{
	return p->round->plan;
}

static int64_t now(const struct probe_play *p)
{
	return loop_now(p->round->loop);
}

static int64_t elapsed(const struct probe_play *p)
{
	return now(p) - p->since;
}

/* Never longer than the whole act may take. */
static void wait_for(struct probe_play *p, int64_t ns)
{
	int64_t at = now(p) + ns;
	loop_set_due(p->round->loop, &p->source, at < p->until ? at : p->until);
}

/* The only place that changes a state. */
static void enter(struct probe_play *p, enum state state)
{
	p->state = (int)state;
	if (state != DONE)
		return;
	probe_ear_stop(&p->ear);
	loop_close(p->round->loop, &p->source);
}

bool probe_play_is_done(const struct probe_play *p)
{
	return p->state == DONE;
}

/* ---- the transcript ---- */

static void transcribe(const struct probe_play *p, const char *direction, struct slice line)
{
	char memory[PROBE_LINE * 4 + 1];
	struct buf text;
	FILE *to = plan_of(p)->transcript;
	if (!to)
		return;
	int64_t t = elapsed(p);
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, line.at, line.len, PROBE_LINE);
	fprintf(to, "%8lld.%03lld ms  %s %s %s %s\n", (long long)(t / LOOP_MS), (long long)(t % LOOP_MS / 1000), probe_act_way(p->way), p->act->name, direction, buf_text(&text));
}

static void transcribe_out(const struct probe_play *p, struct slice said)
{
	while (said.len > 0) {
		const char *nl = memchr(said.at, '\n', said.len);
		size_t len = nl ? (size_t)(nl - said.at) + 1 : said.len;
		transcribe(p, ">", (struct slice){ said.at, len });
		said.at += len;
		said.len -= len;
	}
}

/* ---- the end ---- */

static void end(struct probe_play *p, enum probe_end how, int error)
{
	if (p->state == DONE)
		return;
	p->record.end = how;
	p->record.end_at = elapsed(p);
	if (error != 0)
		p->record.error = error;
	transcribe(p, "*", slice_of(probe_report_end(how)));
	probe_queue_realign(&p->queue, &p->record, p->deed);
	p->unanswered += probe_queue_unanswered(&p->queue);
	enter(p, DONE);
	probe_round_ended(p->round, p);
}

/* It cannot be done here, or has turned out not to be what it should; so nothing is judged. */
static void leave_out(struct probe_play *p, const char *why)
{
	p->left_out = why;
	end(p, PROBE_END_OPEN, 0);
}

/* ---- saying ---- */

/* Send what is in out. A failed send is not the end: what the server said before it hung up is still to be read, and reading tells how it ended. */
static void push(struct probe_play *p)
{
	enum sock_result r = sock_write(p->source.fd, &p->out);
	if (r == SOCK_ERROR)
		buf_clear(&p->out);
	loop_rewatch(p->round->loop, &p->source, r == SOCK_AGAIN ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static enum probe_phase phase_of(const struct probe_play *p)
{
	return p->state == LEAD ? PROBE_PHASE_LEAD : p->state == AFTER ? PROBE_PHASE_AFTER : PROBE_PHASE_DEED;
}

static void put(struct probe_play *p, char letter)
{
	const struct probe_all_plan *plan = plan_of(p);
	struct probe_words_of words = { p->helo, plan->from, plan->to };
	size_t before = p->out.len;
	/* What leads to the deed is said as a good client says it. */
	probe_act_put(&p->out, p->state == LEAD ? &probe_acts[PROBE_ACT_PATIENT] : p->act, letter, &words);
	if (p->out.len > before)
		transcribe_out(p, (struct slice){ p->out.at + before, p->out.len - before });
	unsigned n = letter == 'J' ? probe_act_lines(p->act) : 1;
	for (unsigned i = 0; i < n; i++)
		probe_queue_put(&p->queue, probe_act_step(letter), phase_of(p));
}

static bool has(const char *script, char letter)
{
	return strchr(script, letter) != NULL;
}

static bool is_teaser_awaited(const struct probe_play *p)
{
	return p->state == LEAD && p->next > p->lead && p->next[-1] == 't';
}

/* How long the next reply may take: the deed may be one that is never answered, in whole or in part. */
static void await(struct probe_play *p)
{
	const struct probe_all_plan *plan = plan_of(p);
	int64_t quiet = plan->wait < PROBE_QUIET ? plan->wait : PROBE_QUIET;
	const struct probe_record *r = &p->record;
	bool begun = r->replies_len > 0 && r->replies[r->replies_len - 1].phase == PROBE_PHASE_DEED;
	if (p->state != DEED || (p->act->how & PROBE_LEGAL))
		wait_for(p, plan->timeout);
	else if (p->queue.len > 0 && p->queue.at[0].step == PROBE_STEP_FALSE)
		wait_for(p, plan->wait);
	else if (begun && (p->queue.len == 0 || p->queue.at[0].step == PROBE_STEP_JUNK || has(p->deed, 'T')))
		wait_for(p, quiet); /* the end of an answer to what is no command; or what TLS has to begin behind */
	else if (p->queue.len > 0 && p->queue.at[0].step == PROBE_STEP_JUNK)
		wait_for(p, plan->wait);
	else
		wait_for(p, begun ? plan->wait : plan->timeout);
}

static void do_deed(struct probe_play *p)
{
	const char *missing = probe_act_missing(p->act, p->offers);
	if (missing) {
		leave_out(p, missing);
		return;
	}
	enter(p, DEED);
	if (p->act->lead[0] == '\0' && p->deed[0] != '\0')
		probe_queue_put(&p->queue, PROBE_STEP_GREETING, PROBE_PHASE_DEED);
	p->record.talk_at = elapsed(p);
	for (const char *letter = p->deed; *letter; letter++)
		put(p, *letter);
	push(p);
	await(p);
	if (p->deed[0] == '\0')
		advance(p);
}

/* ---- TLS ---- */

/* The connection goes to tarry-tls, and what is said in it comes and goes by the pair. */
static void handshake(struct probe_play *p)
{
	struct probe_round *round = p->round;
	int connection = p->source.fd;
	p->handshake_due = false;
	loop_unwatch(round->loop, &p->source);
	p->injected = p->state == AFTER;
	buf_clear(&p->ear.in); /* nothing that came in clear may become a part of what comes in TLS */
	p->record.partial.lines = 0;
	enter(p, HANDSHAKE);
	int fd = probe_seal_begin(&round->seal, connection, plan_of(p)->timeout);
	int e = fd < 0 ? fd : loop_watch(round->loop, &p->source, fd, EPOLLIN);
	if (e < 0) {
		p->source.fd = fd; /* so that it is closed */
		end(p, PROBE_END_ERROR, e);
		return;
	}
	p->facts_due = true;
	p->offers = 0;
	transcribe(p, "*", slice_of("TLS"));
	wait_for(p, plan_of(p)->timeout + LOOP_SECOND); /* tarry-tls says itself when it takes too long */
}

static void sealed(struct probe_play *p)
{
	p->tls = true;
	if (p->way == PROBE_WAY_TLS)
		p->since = now(p); /* a client has nothing to say before */
	if (p->injected) {
		enter(p, LISTEN);
		wait_for(p, plan_of(p)->wait);
	} else {
		enter(p, LEAD);
		advance(p);
	}
}

/* False: there is nothing to be heard now. */
static bool is_sealed(struct probe_play *p)
{
	enum probe_sealed sealed_now = probe_seal_answer(p->source.fd, p->tls_words, sizeof(p->tls_words));
	if (sealed_now == PROBE_SEALED_NOT_YET)
		return false;
	p->facts_due = false;
	transcribe(p, "*", slice_of(p->tls_words));
	if (sealed_now == PROBE_SEALED_FAILED)
		end(p, PROBE_END_ERROR, 0);
	else
		sealed(p);
	return p->state != DONE;
}

/* ---- from one part to the next ---- */

static void say_quit(struct probe_play *p)
{
	p->next = "";
	enter(p, AFTER);
	if (p->in_data) { /* QUIT would be text of the message, and its end would send it */
		end(p, PROBE_END_OPEN, 0);
		return;
	}
	put(p, 'Q');
	push(p);
	await(p);
}

static bool was_starttls_accepted(const struct probe_play *p)
{
	const struct probe_record *r = &p->record;
	for (size_t i = 0; i < r->replies_len; i++)
		if (r->replies[i].to == PROBE_STEP_STARTTLS)
			return r->replies[i].code / 100 == 2;
	return false;
}

/* The deed is over, answered or not: on to what is said after. */
static void after(struct probe_play *p)
{
	bool false_end = has(p->deed, 'F'), injected = has(p->deed, 'T');
	probe_queue_forget_junk(&p->queue);
	size_t left = p->queue.len;
	p->next = p->after;
	enter(p, AFTER);
	if (injected) {
		if (was_starttls_accepted(p))
			advance(p);
		else
			say_quit(p);
	} else if (false_end) {
		bool answered = left == 0;
		p->queue.len = 0;
		if (answered)
			say_quit(p);
		else
			advance(p);
	} else if (left > 0) {
		say_quit(p);
	} else {
		advance(p);
	}
}

/* Nothing is awaited: the next thing is said. */
static void advance(struct probe_play *p)
{
	if (p->state == DEED) {
		after(p);
		return;
	}
	char letter = *p->next;
	if (letter == '\0' && p->state == LEAD) {
		if (p->act->lead[0] == '\0' && p->deed[0] && plan_of(p)->early > 0) {
			enter(p, EARLY);
			probe_queue_put(&p->queue, PROBE_STEP_GREETING, PROBE_PHASE_DEED);
			wait_for(p, plan_of(p)->early);
		} else {
			do_deed(p);
		}
		return;
	}
	if (letter == '\0') {
		enter(p, LINGER);
		wait_for(p, PROBE_LINGER);
		return;
	}
	p->next++;
	if (letter == '*') {
		p->handshake_due = true; /* when all that has come in clear is heard */
		return;
	}
	if (letter == 't')
		probe_queue_put(&p->queue, PROBE_STEP_GREETING, PROBE_PHASE_DEED);
	else
		put(p, letter);
	if (p->out.len > 0)
		push(p);
	await(p);
}

/* ---- hearing ---- */

static struct probe_play *of_ear(struct probe_ear *ear)
{
	return (struct probe_play *)((char *)ear - offsetof(struct probe_play, ear));
}

static int64_t ear_elapsed(struct probe_ear *ear)
{
	return elapsed(of_ear(ear));
}

static void ear_line(struct probe_ear *ear, struct slice line)
{
	struct probe_play *p = of_ear(ear);
	transcribe(p, "<", line);
	if (p->queue.len > 0 && p->queue.at[0].step == PROBE_STEP_EHLO)
		p->offers |= probe_act_offer(line);
}

static void ear_end(struct probe_ear *ear, enum probe_end how, int error)
{
	end(of_ear(ear), how, error);
}

static bool is_good(const struct probe_reply *reply)
{
	return reply->code < 400 && (reply->to != PROBE_STEP_DATA || reply->code == 354);
}

/* The reply's consequences; not for LISTEN and LINGER, which only listen. */
static void answered(struct probe_play *p, const struct probe_reply *reply)
{
	if (p->state == EARLY)
		leave_out(p, "it was greeted before it talked");
	else if (is_teaser_awaited(p))
		leave_out(p, "the greeting came whole, without a teaser");
	else if ((p->state == LEAD || p->state == AFTER) && !is_good(reply))
		say_quit(p);
	else if (p->queue.len == 0 && p->state == DEED && p->deed[0] == 'J')
		await(p); /* there may be more lines */
	else if (p->queue.len == 0)
		advance(p);
	else
		await(p);
}

static void ear_reply(struct probe_ear *ear, struct probe_reply *reply)
{
	struct probe_play *p = of_ear(ear);
	probe_queue_answer(&p->queue, reply, p->state == LISTEN ? PROBE_PHASE_DEED : phase_of(p));
	p->in_data = reply->code == 354;
	if (p->state == LISTEN || p->state == LINGER || p->handshake_due)
		return;
	if (reply->code == 421 || reply->code == 221 || reply->to == PROBE_STEP_QUIT) {
		enter(p, LINGER);
		wait_for(p, PROBE_LINGER);
		return;
	}
	answered(p, reply);
}

static const struct probe_ear_ops ear_ops = { .elapsed = ear_elapsed, .line = ear_line, .reply = ear_reply, .end = ear_end };

static void begin_tls_if_due(struct probe_play *p)
{
	if (p->handshake_due && p->state != DONE)
		handshake(p);
}

static void receive(struct probe_play *p)
{
	/* What comes behind the server's 220 in clear was said before TLS began. */
	if (p->state == DONE || (p->facts_due && !is_sealed(p)))
		return;
	probe_ear_receive(&p->ear, p->source.fd);
	if (is_teaser_awaited(p) && p->record.partial.lines > 0 && p->record.partial.first_code / 100 == 2)
		do_deed(p); /* all that has come is read, and the greeting goes on */
	begin_tls_if_due(p);
}

/* ---- connecting ---- */

static void dial_failed(struct probe_play *p, int error);

static void dial(struct probe_play *p)
{
	struct probe_round *round = p->round;
	const struct probe_all_plan *plan = round->plan;
	const struct addr *to = round->found ? &round->address : &plan->addrs[p->address];
	p->record.tried = true;
	p->since = now(p);
	if (!round->found)
		round->address = *to;
	struct addr from = probe_all_address(&plan->source, p->number);
	int fd = plan->has_source ? sock_connect_from(to, &from) : sock_connect(to);
	if (fd < 0) {
		dial_failed(p, fd);
		return;
	}
	enter(p, DIAL);
	int e = loop_watch(round->loop, &p->source, fd, EPOLLOUT);
	if (e < 0) {
		p->source.fd = fd; /* so that it is closed */
		dial_failed(p, e);
		return;
	}
	wait_for(p, plan->timeout);
}

static void dial_failed(struct probe_play *p, int error)
{
	struct probe_round *round = p->round;
	p->record.error = error;
	transcribe(p, "*", slice_of(strerror(-error)));
	loop_close(round->loop, &p->source);
	p->address++;
	if (!round->found && p->address < plan_of(p)->addrs_len) {
		dial(p);
		return;
	}
	if (!round->found)
		round->unreachable = true;
	enter(p, DONE);
	probe_round_ended(round, p);
}

static void name_myself(struct probe_play *p, const struct addr *local)
{
	char literal[ADDR_TEXT];
	const char *name = plan_of(p)->helo;
	snprintf(p->helo, sizeof(p->helo), "%s", name ? name : addr_format_literal(local, literal));
}

/* False: it could not be sent, and the act is over. */
static bool send_header(struct probe_play *p, struct addr local)
{
	const struct probe_all_plan *plan = plan_of(p);
	if (plan->proxy == PROBE_PROXY_NO)
		return true;
	probe_all_header(plan, p->number, &local, &p->round->address, &p->out);
	transcribe(p, "*", slice_of(plan->proxy == PROBE_PROXY_V1 ? "a PROXY v1 header" : "a PROXY v2 header"));
	push(p);
	if (p->out.len == 0)
		return true;
	end(p, PROBE_END_ERROR, -EAGAIN);
	return false;
}

static void connected(struct probe_play *p)
{
	struct addr local = { .port = 0 };
	int64_t t = now(p);
	p->record.connected = true;
	p->record.error = 0;
	p->record.connect_ns = t - p->since;
	p->record.rtt_ns = probe_round_trip(p->source.fd);
	p->since = t;
	p->until = t + PROBE_PATIENCE * plan_of(p)->timeout;
	p->round->found = true;
	sock_local(p->source.fd, &local);
	name_myself(p, &local);
	loop_rewatch(p->round->loop, &p->source, EPOLLIN);
	enter(p, LEAD);
	if (send_header(p, local))
		advance(p);
	begin_tls_if_due(p);
}

static struct probe_play *of_source(struct source *source)
{
	return (struct probe_play *)((char *)source - offsetof(struct probe_play, source));
}

static void ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct probe_play *p = of_source(source);
	(void)loop;
	if (p->state == DIAL) {
		int e = sock_connect_result(source->fd);
		if (e == 0)
			connected(p);
		else if (e != -EINPROGRESS)
			dial_failed(p, e);
		return;
	}
	if ((events & EPOLLOUT) && p->out.len > 0)
		push(p);
	receive(p);
}

/* Silence. */
static void too_quiet(struct probe_play *p)
{
	const struct probe_expected *first = p->queue.len > 0 ? &p->queue.at[0] : NULL;
	switch (p->state) {
	case EARLY:
		p->queue.len = 0;
		do_deed(p);
		break;
	case DEED:
		if (now(p) >= p->until || (first && first->step == PROBE_STEP_GREETING) || has(p->deed, 'Q'))
			end(p, PROBE_END_TIMEOUT, 0);
		else
			after(p);
		break;
	case LISTEN:
		p->unanswered += probe_queue_unanswered(&p->queue);
		p->queue.len = 0;
		enter(p, AFTER);
		advance(p);
		break;
	default:
		end(p, p->state == LINGER ? PROBE_END_OPEN : PROBE_END_TIMEOUT, 0);
		break;
	}
}

static void due(struct loop *loop, struct source *source)
{
	struct probe_play *p = of_source(source);
	(void)loop;
	if (p->state == DIAL) {
		dial_failed(p, -ETIMEDOUT);
		return;
	}
	receive(p); /* what came in the same moment was in time */
	if (p->state == DONE || source->place != 0)
		return;
	too_quiet(p);
	begin_tls_if_due(p);
}

/* ---- beginning ---- */

void probe_play_init(struct probe_play *p, struct probe_round *round, const struct probe_act *act, enum probe_way way, unsigned number)
{
	bool to = round->plan->to != NULL;
	memset(p, 0, sizeof(*p));
	p->round = round;
	p->act = act;
	p->way = way;
	p->number = number;
	p->deed = to && act->deed_to ? act->deed_to : act->deed;
	p->after = to && act->after_to ? act->after_to : act->after;
	p->lead = p->next = probe_act_lead(act, way, p->lead_memory);
	if (way == PROBE_WAY_STARTTLS && p->after[0] == 'g')
		p->after++;
	p->record.talk_at = -1;
	p->until = LOOP_NEVER;
	source_init(&p->source, &ops);
	probe_ear_init(&p->ear, &ear_ops, &p->record);
	buf_init(&p->out, PROBE_OUT);
}

void probe_play_begin(struct probe_play *p)
{
	dial(p);
}

void probe_play_fini(struct probe_play *p)
{
	loop_close(p->round->loop, &p->source);
	probe_ear_fini(&p->ear);
	buf_fini(&p->out);
}
