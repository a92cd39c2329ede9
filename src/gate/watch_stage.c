/* The tour, gate: who speaks before it is its turn. A command that ends a group (RFC 2920 section 3.1), or any command of a client that was not offered PIPELINING, is
 * followed by silence until its reply has been sent; a byte before that is talk. Here too is what makes a client wait longer than it must: the pause of a stage,
 * for which the reply is withheld, and at the end of a message its last byte from the backend, so that talk until then can still undo it.
 *
 * RFC 2920 lets commands follow a message's end in the same group, and has NOOP, VRFY and the like end one: where PIPELINING was offered neither is looked
 * for, since nobody gains by talking there. BDAT may be in the middle of a group (RFC 3030 section 4.2). */
#include <strings.h>

#include "gate/watch_inside.h"

static enum stage stage_of(enum command_verb verb)
{
	switch (verb) {
	case COMMAND_HELO:
	case COMMAND_EHLO:
		return STAGE_HELO;
	case COMMAND_MAIL:
		return STAGE_MAIL;
	case COMMAND_RCPT:
		return STAGE_RCPT;
	case COMMAND_DATA:
	case COMMAND_BDAT: /* one that has no chunk to end it */
		return STAGE_DATA;
	case COMMAND_STARTTLS:
		return STAGE_STARTTLS;
	case COMMAND_QUIT: /* whatever follows it, nobody hears it */
		return STAGE_NONE;
	default:
		return STAGE_COMMAND;
	}
}

static bool ends_group(enum command_verb verb)
{
	return verb == COMMAND_HELO || verb == COMMAND_EHLO || verb == COMMAND_DATA || verb == COMMAND_STARTTLS;
}

static void pause_for(struct watch *w, uint32_t ms)
{
	uint32_t left = w->stages->budget > w->spent ? w->stages->budget - w->spent : 0;
	w->pause_ms = ms < left ? ms : left;
	w->spent += w->pause_ms;
	w->paused = w->pause_ms > 0;
}

static void begin(struct watch *w, enum stage stage, uint32_t pause_ms)
{
	if (stage == STAGE_NONE || (w->stages->reactions[stage] == STAGE_LET && pause_ms == 0))
		return;
	w->stage = stage;
	w->noted = w->committed = false;
	w->tail = 0;
	pause_for(w, pause_ms);
}

static void end(struct watch *w)
{
	w->stage = STAGE_NONE;
	w->noted = w->committed = false;
	w->tail = 0;
}

void watch_await_greeting(struct watch *w, bool begun)
{
	if (w->stages)
		begin(w, STAGE_GREET, 0);
	w->committed = begun;
}

void watch_stage_begin(struct watch *w, enum command_verb verb)
{
	bool goes_on = w->state == WATCH_CHUNK || w->state == WATCH_LAST; /* its chunk follows; nothing does */
	bool there = w->stage != STAGE_NONE && (w->paused || verb == COMMAND_BDAT || !w->stages->observes); /* a chunk of no bytes has begun its own */
	if (!w->stages || there || w->result != WATCH_MORE || goes_on || (w->pipelining && !ends_group(verb)))
		return;
	enum stage stage = stage_of(verb);
	begin(w, stage, verb == COMMAND_BDAT || stage >= STAGE_PAUSES ? 0 : w->stages->pauses[stage]);
}

/* The backend gets the end of a message only when it is clear that the client has said no more, as far as that may still be: what comes later is told at
 * the next reply, for a message that was taken must not be refused. */
void watch_stage_end(struct watch *w, bool for_backend, bool last)
{
	if (!w->stages || w->pipelining || w->result != WATCH_MORE)
		return;
	begin(w, last ? STAGE_EOM : STAGE_DATA, last ? w->stages->pauses[STAGE_EOM] : 0);
	if (last)
		w->spent = 0;
	if (!last || !for_backend || w->stage != STAGE_EOM || (w->stages->observes && !w->paused))
		return;
	w->withheld = w->to_backend.at[--w->to_backend.len];
	w->withholds = w->paused = true;
}

void watch_stage_forget(struct watch *w)
{
	w->spent = 0;
}

void watch_stage_sealed(struct watch *w)
{
	end(w);
	w->pipelining = false;
}

/* All of the reply has come; none of it waits behind another one. After a 354 the next reply is owed already. */
static bool is_complete(const struct watch *w)
{
	bool text = w->state == WATCH_TEXT && watch_queue_first(&w->queue) == WATCH_TURN_TEXT;
	return !w->paused && (w->queue.len == 0 || text) && w->lines == 0 && w->state != WATCH_ASKED && w->state != WATCH_SLOWED && w->state != WATCH_SEAL;
}

bool watch_is_waiting(const struct watch *w)
{
	bool pipe = w->result == WATCH_PIPE && w->stage == STAGE_STARTTLS;
	return w->stage != STAGE_NONE && (w->result == WATCH_MORE || pipe) && !w->noted && w->early == STAGE_NONE && w->stages->reactions[w->stage] != STAGE_LET;
}

/* In place of the reply, as long as none of it is on its way; else behind it. */
void watch_stage_tell(struct watch *w)
{
	bool begun = w->committed || w->to_client.len < w->tail;
	if (w->early == STAGE_NONE || w->result != WATCH_MORE || (begun && !is_complete(w)))
		return;
	if (!begun)
		w->to_client.len -= w->tail;
	w->result = WATCH_EARLY;
}

/* Whatever is decided of talk, what follows a STARTTLS never gets into what comes under the seal of TLS. */
void watch_talked(struct watch *w)
{
	if (!watch_is_waiting(w))
		return;
	enum stage_reaction reaction = (enum stage_reaction)w->stages->reactions[w->stage];
	w->talked |= (uint16_t)(1u << w->stage);
	w->noted = true;
	if (reaction != STAGE_OBSERVE)
		w->early = w->stage;
	else if (w->stage == STAGE_STARTTLS)
		w->injected = true;
	if (w->result == WATCH_PIPE && reaction == STAGE_OBSERVE) {
		w->result = WATCH_MORE;
		w->to_client.len -= w->to_client.len < w->tail ? w->to_client.len : w->tail;
		watch_fail(w, WATCH_INJECTION);
	} else if (reaction != STAGE_OBSERVE) {
		w->result = WATCH_MORE;
		watch_stage_tell(w);
	}
}

/* QUIT, or an empty line, behind HELO, the end of a message, or what does nothing: simple programs send that along, and gain nothing by it. Also the beginning of it. */
bool watch_takes_leave(const struct watch *w, struct slice in)
{
	while (in.len > 0 && (in.at[0] == '\r' || in.at[0] == '\n'))
		in = (struct slice){ in.at + 1, in.len - 1 };
	bool whole = in.len > 4;
	bool lenient = w->stage == STAGE_EOM || w->stage == STAGE_COMMAND || w->stage == STAGE_HELO;
	return lenient && strncasecmp(in.at, "QUIT", whole ? 4 : in.len) == 0 && (!whole || in.at[4] == '\r' || in.at[4] == '\n');
}

bool watch_stage_holds(struct watch *w, struct slice in)
{
	if (w->stage == STAGE_NONE)
		return false;
	if (is_complete(w) && w->to_client.len == 0 && w->early == STAGE_NONE) {
		end(w);
		return false;
	}
	if (in.len > 0 && !watch_takes_leave(w, in))
		watch_talked(w);
	return w->paused || !w->stages->observes;
}

void watch_go_on(struct watch *w)
{
	if (!w->paused || w->result != WATCH_MORE)
		return;
	w->paused = false;
	if (w->withholds) {
		w->withholds = false;
		w->committed = true;
		if (!buf_put_char(&w->to_backend, w->withheld))
			watch_fail(w, "out of memory");
	}
	watch_flush(w);
}
