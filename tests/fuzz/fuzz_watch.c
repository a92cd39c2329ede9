/* Fuzz target: the watch between a client that says anything and, by the first byte's lowest bit, a model mail server or one that says anything too.
 *
 * The rest is pieces: a byte of which the two highest bits say who speaks or what happens and the others how long the piece is, and the piece. What must hold
 * whatever is said: the model never sees what the rules refused, nor a line or an end of text that the door did not see; the client
 * hears whole replies, those of the model in their order; nothing held grows beyond its ceiling; an end is an end; who talks at a stage (the first byte's upper half says what
 * becomes of that, and which pauses there are) hears of no message taken that the model has not taken, and the other way round.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../unit/gate/watch_model.h"
#include "check.h"
#include "smtp/answer.h"

#define HEARD (1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play {
	struct watch watch;
	struct model model;
	struct model_rules rules;
	bool hostile;           /* the backend is not the model */
	bool client_eof, backend_eof;
	struct buf client, backend; /* said, and not yet taken */
	struct buf heard;       /* by the client */
	enum watch_result result;
	struct stages stages;
};

/* 0: none. Else reactions by two bits, and with the third pauses, which strike PIPELINING with the fourth. */
static void set_stages(struct play *p, uint8_t how)
{
	static const uint8_t reactions[][2] = { { STAGE_LET, STAGE_REFUSE }, { STAGE_REFUSE, STAGE_REFUSE }, { STAGE_TEMPFAIL, STAGE_OBSERVE }, { STAGE_OBSERVE, STAGE_OBSERVE } };
	p->stages = (struct stages){ .strikes = (how & 8) != 0, .budget = 3000 };
	for (enum stage stage = STAGE_GREET; stage < STAGES; stage++) {
		p->stages.reactions[stage] = reactions[how & 3][stage % 2];
		if (stage >= STAGE_HELO && stage < STAGE_PAUSES)
			p->stages.pauses[stage] = how & 4 ? 700 * (stage % 3) : 0;
	}
	p->stages.observes = (how & 3) == 3;
	p->watch.stages = how > 0 ? &p->stages : NULL;
	p->watch.as_it_is = how > 0 && p->hostile; /* the model wants what it gets to be canonical */
	watch_await_greeting(&p->watch, how == 9);
}

/* Lines that begin so; what follows a line that was sent in part is its rest. */
static unsigned lines(const struct buf *before, const struct buf *b, const char *text)
{
	bool start = !before || before->len == 0 || before->at[before->len - 1] == '\n';
	unsigned n = 0;
	for (size_t at = 0; at < b->len; at++) {
		n += start && b->len - at >= strlen(text) && memcmp(b->at + at, text, strlen(text)) == 0;
		start = b->at[at] == '\n';
	}
	return n;
}

/* What the model has taken its client is told, or is about to be, or there was no room for it yet. */
static void check_taken(const struct play *p)
{
	unsigned told = lines(NULL, &p->heard, "250 message taken #") + lines(&p->heard, &p->watch.to_client, "250 message taken #");
	if (!p->hostile && p->result != WATCH_PIPE)
		check(told <= p->model.accepted);
	if (!p->hostile && p->result == WATCH_EARLY)
		check(told == p->model.accepted);
	check(!p->stages.strikes || !p->watch.stages || p->hostile || lines(NULL, &p->heard, "250-PIPELINING") == 0);
}

/* "… #12" at the end of a reply of the model's. */
static bool find_number(struct slice line, unsigned *out)
{
	size_t at = line.len;
	while (at > 0 && line.at[at - 1] >= '0' && line.at[at - 1] <= '9')
		at--;
	if (at == line.len || at < 2 || memcmp(line.at + at - 2, " #", 2) != 0)
		return false;
	*out = 0;
	for (; at < line.len; at++)
		*out = *out * 10 + (unsigned)(line.at[at] - '0');
	return true;
}

/* As many replies as there are, each of one code, the last one perhaps not whole; the model's in their order. */
static void check_heard(const struct play *p)
{
	size_t at = 0;
	int code = 0;
	unsigned last = 0;
	while (at < p->heard.len) {
		const char *end = memchr(p->heard.at + at, '\n', p->heard.len - at);
		struct answer a;
		check(end && end > p->heard.at + at && end[-1] == '\r');
		struct slice line = { p->heard.at + at, (size_t)(end - 1 - (p->heard.at + at)) };
		at += line.len + 2;
		check(answer_parse(line, &a));
		check(code == 0 || code == a.code);
		code = a.more ? a.code : 0;
		unsigned n;
		if (p->hostile || !find_number(line, &n))
			continue; /* of no number: the door's own */
		check(n >= last && n < p->model.replies);
		last = n + 1;
	}
	/* In step, there are as many replies as the client is to get. */
	check(p->watch.within || code == 0);
}

static void check_bounds(const struct watch *w)
{
	check(w->to_backend.len <= WATCH_HELD && w->to_client.len <= WATCH_HELD);
	check(w->line.cap <= WATCH_AUTH_LINE && w->reply.cap <= WATCH_REPLY_LINE && w->held.cap <= WATCH_REPLY_LINE);
	check(w->queue.len <= WATCH_PENDING && w->queue.answers.cap <= WATCH_ANSWERS && w->verdict.cap <= WATCH_ANSWERS);
	check(w->queue.claimed <= w->queue.answers.len);
	check((w->why != NULL) == (w->result == WATCH_BROKEN));
	check(w->result != WATCH_EARLY || (w->early != STAGE_NONE && w->talked & 1u << w->early));
	check(!w->stages || (w->spent <= w->stages->budget && (!w->withholds || w->paused)));
	check(w->stages || (w->stage == STAGE_NONE && !w->paused && (w->talked & ~(1u << STAGE_STARTTLS)) == 0));
	check(!watch_slowed(w) || (w->slow.seconds > 0 && w->slow.seconds <= SLOWDOWN_MOST && w->line.len > 0));
}

static void send_out(struct play *p, size_t most)
{
	struct watch *w = &p->watch;
	size_t n;
	if (w->result == WATCH_EARLY)
		buf_fini(&w->to_backend);
	n = w->to_backend.len < most ? w->to_backend.len : most;
	if (!p->hostile && w->result != WATCH_PIPE) { /* what goes into a pipe is nobody's business */
		model_take(&p->model, (struct slice){ w->to_backend.at, n });
		if (p->model.fault)
			fprintf(stderr, "%s\n", p->model.fault);
		check(!p->model.fault);
	}
	buf_drop(&w->to_backend, n);
	n = w->to_client.len < most ? w->to_client.len : most;
	check(buf_put(&p->heard, w->to_client.at, n));
	buf_drop(&w->to_client, n);
}

static void offer(struct play *p, size_t most)
{
	struct slice in = { p->client.at, p->client.len < most ? p->client.len : most };
	struct buf *backend = p->hostile ? &p->backend : &p->model.out;
	size_t before = in.len;
	enum watch_result was = p->result;
	bool eof = p->client_eof && in.len == p->client.len;
	watch_from_client(&p->watch, &in, eof);
	check(in.len <= before && (was == WATCH_MORE || in.len == before));
	buf_drop(&p->client, before - in.len);
	in = (struct slice){ backend->at, backend->len < most ? backend->len : most };
	before = in.len;
	p->result = watch_from_backend(&p->watch, &in, p->backend_eof && in.len == backend->len);
	check(was == WATCH_MORE || was == p->result);
	check(p->result == p->watch.result);
	buf_drop(backend, before - in.len);
	check_bounds(&p->watch);
}

/* To the end of what can be done. */
static void settle(struct play *p)
{
	size_t before, after = 0;
	for (int still = 0; still < 3; still = before == after ? still + 1 : 0) {
		before = after;
		offer(p, SIZE_MAX);
		send_out(p, SIZE_MAX);
		model_decide(&p->rules, &p->watch);
		watch_go_on(&p->watch);
		p->result = p->watch.result;
		watch_slow_over(&p->watch);
		after = p->heard.len + 3 * p->watch.to_client.len + 5 * p->watch.to_backend.len + 7 * p->model.replies + 2 * HEARD - p->client.len - p->backend.len;
	}
}

static void act(struct play *p, uint8_t what)
{
	switch (what & 7) {
	case 0:
		model_decide(&p->rules, &p->watch);
		break;
	case 1:
		p->client_eof = true;
		break;
	case 2:
		p->backend_eof = p->hostile;
		break;
	case 3:
		watch_go_on(&p->watch);
		p->result = p->watch.result;
		break;
	case 5:
		watch_talked(&p->watch);
		p->result = p->watch.result;
		break;
	case 4:
		settle(p);
		break;
	case 7:
		watch_slow_over(&p->watch);
		p->result = p->watch.result;
		break;
	case 6:
		watch_sealed(&p->watch, (enum watch_sealed)((what >> 3) % 3), NULL);
		p->result = p->watch.result;
		break;
	default:
		offer(p, what & 0x38);
		break;
	}
}

/* In step and with nothing to say, a model and its client have had all that they are to have. */
static void check_end(const struct play *p)
{
	check_heard(p);
	check_taken(p);
	if (p->hostile || p->result != WATCH_MORE)
		return;
	check(p->watch.queue.len == 0 || p->watch.state == WATCH_TEXT || p->watch.state == WATCH_CHUNK);
	check(p->model.out.len == 0);
	check(p->watch.state == WATCH_TEXT || p->watch.state == WATCH_CHUNK || p->client.len == 0);
	if (p->watch.state == WATCH_COMMANDS && p->watch.to_backend.len == 0) {
		check(p->model.state == MODEL_COMMANDS && p->model.line.len == 0);
		check(p->watch.mail != WATCH_MAIL_OPEN || p->watch.recipients == p->model.recipients);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct play p;
	if (size < 1)
		return 0;
	p = (struct play){ .hostile = data[0] & 1, .result = WATCH_MORE };
	watch_init(&p.watch, &model_rules, &p.rules, (enum watch_tls)((data[0] >> 1 & 1) | (data[0] >> 2 & 2)));
	set_stages(&p, data[0] >> 4);
	p.watch.slows = data[0] & 0x20;
	p.watch.throttle = data[0] >> 6;
	model_init(&p.model);
	buf_init(&p.client, HEARD);
	buf_init(&p.backend, HEARD);
	buf_init(&p.heard, 4 * HEARD);
	for (size_t i = 1; i < size;) {
		uint8_t what = data[i++];
		size_t len = what & 0x3f;
		len = len < size - i ? len : size - i;
		switch (what >> 6) {
		case 0:
		case 1:
			check(buf_put(what >> 6 || !p.hostile ? &p.client : &p.backend, data + i, len));
			i += len;
			offer(&p, SIZE_MAX);
			break;
		case 2:
			act(&p, what);
			break;
		default:
			send_out(&p, (size_t)len * 8);
			offer(&p, SIZE_MAX);
			break;
		}
	}
	if (!(data[0] & 4))
		settle(&p);
	if (!(data[0] & 4))
		check_end(&p);
	watch_fini(&p.watch);
	model_fini(&p.model);
	buf_fini(&p.client);
	buf_fini(&p.backend);
	buf_fini(&p.heard);
	return 0;
}
