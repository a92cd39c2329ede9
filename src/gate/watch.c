/* The tour, gate: the watch. The relay's bytes come through here while there is something to judge: watch_from_client() cuts the client's into commands, one
 * function for each in a table, and watch_queue.c remembers who is owed which reply; watch_backend.c matches the backend's to it, watch_text.c
 * passes messages on. MAIL, RCPT, DATA and BDAT are in watch_mail.c. */
#include "gate/watch.h"

#include <string.h>

#include "gate/watch_inside.h"
#include "gate/watch_words.h"
#include "smtp/foreign.h"
#include "smtp/line.h"
#include "smtp/reply.h"

#define LINE_ROOM 8      /* bytes beyond the line itself that a command may add to to_backend: its CRLF, or a RSET in its place */
#define INJECTED "the client speaks between STARTTLS and TLS" /* what it says would be taken for a part of what comes under the seal of TLS (CVE-2011-0411) */
#define AUTH_LOOKED_AT 8 /* bytes of a long line that say whether it is AUTH */

void watch_init(struct watch *w, const struct watch_rules *rules, void *context, enum watch_tls tls)
{
	*w = (struct watch){ .rules = rules, .context = context, .tls = tls };
	buf_init(&w->to_backend, WATCH_HELD);
	buf_init(&w->to_client, WATCH_HELD);
	buf_init(&w->line, WATCH_AUTH_LINE);
	buf_init(&w->verdict, WATCH_ANSWERS);
	buf_init(&w->reply, WATCH_REPLY_LINE);
	buf_init(&w->held, WATCH_REPLY_LINE);
	watch_queue_init(&w->queue);
	watch_queue_push(&w->queue, WATCH_TURN_GREETING);
}

void watch_fini(struct watch *w)
{
	buf_fini(&w->to_backend);
	buf_fini(&w->to_client);
	buf_fini(&w->line);
	buf_fini(&w->verdict);
	buf_fini(&w->reply);
	buf_fini(&w->held);
	watch_queue_fini(&w->queue);
}

void watch_fail(struct watch *w, const char *why)
{
	if (w->result != WATCH_MORE)
		return;
	if (!w->within)
		reply_put(&w->to_client, 421, "4.3.0", "%s Lost step with the mail server, closing connection", w->rules->hostname);
	w->why = why;
	w->result = WATCH_BROKEN;
}

bool watch_flush(struct watch *w)
{
	if (w->result != WATCH_MORE || w->lines > 0)
		return true;
	if (w->paused)
		return false;
	size_t before = w->to_client.len;
	bool room = watch_queue_flush(&w->queue, &w->to_client);
	w->tail += w->to_client.len - before;
	return room;
}

void watch_answer(struct watch *w)
{
	if (!watch_queue_push_answer(&w->queue))
		watch_fail(w, "out of memory");
}

void watch_forget(struct watch *w)
{
	w->mail = WATCH_NO_MAIL;
	w->recipients = w->accepted = 0;
	w->chunks = w->doubtful = false;
	buf_fini(&w->verdict);
}

void watch_forward(struct watch *w, struct slice line, enum watch_turn turn)
{
	if (buf_put_slice(&w->to_backend, line) && buf_put(&w->to_backend, "\r\n", 2))
		watch_queue_push(&w->queue, turn);
	else
		watch_fail(w, "out of memory");
}

void watch_forward_and_stop(struct watch *w, struct slice line, enum watch_turn turn)
{
	w->state = WATCH_REPLY;
	watch_forward(w, line, turn);
}

void watch_answer_with(struct watch *w, int code, const char *enhanced, const char *text)
{
	reply_put(&w->queue.answers, code, enhanced, "%s", text);
	watch_answer(w);
}

/* A command that is no use to anybody. True: it was one too many, and has been answered. */
static bool too_bad(struct watch *w)
{
	if (++w->bad_commands <= w->rules->max_bad_commands)
		return false;
	reply_put(&w->queue.answers, 421, "4.7.0", "%s Too many bad commands; closing connection", w->rules->hostname);
	watch_answer(w);
	w->state = WATCH_LAST;
	return true;
}

void watch_answer_bad(struct watch *w, int code, const char *enhanced, const char *text)
{
	if (!too_bad(w))
		watch_answer_with(w, code, enhanced, text);
}

static void answer_unrecognized(struct watch *w, struct slice line)
{
	if (too_bad(w))
		return;
	reply_unrecognized(&w->queue.answers, line);
	watch_answer(w);
}

/* The commands. Each is forwarded, answered, or waits for a decision. */

static void take_hello(struct watch *w, struct slice line, const struct command *c)
{
	w->unheard = false;
	watch_stage_forget(w);
	watch_forget(w); /* as if RSET had been said (RFC 5321 4.1.4) */
	watch_forward(w, line, c->verb == COMMAND_EHLO ? WATCH_TURN_EHLO : WATCH_TURN_HELO);
}

/* What was said before TLS does not count in it (RFC 3207 section 4.2). */
static bool is_unheard(struct watch *w)
{
	if (w->unheard)
		watch_answer_with(w, 503, "5.5.1", "EHLO first");
	return w->unheard;
}

static void take_path(struct watch *w, struct slice line, const struct command *c)
{
	if (!is_unheard(w))
		watch_mail_path(w, line, c);
}

static void take_rset(struct watch *w, struct slice line, const struct command *c)
{
	(void)c;
	watch_stage_forget(w);
	watch_forget(w);
	watch_forward(w, line, WATCH_TURN_OTHER);
}

static void take_auth(struct watch *w, struct slice line, const struct command *c)
{
	(void)c;
	if (!is_unheard(w))
		watch_forward_and_stop(w, line, WATCH_TURN_AUTH);
}

/* Where it is the door's, nothing is under way. A client that has said who it is in clear is known to the backend, and would be in TLS. */
static void take_starttls(struct watch *w, struct slice line, const struct command *c)
{
	if (w->tls == WATCH_TLS_PASS)
		watch_forward_and_stop(w, line, WATCH_TURN_STARTTLS);
	else if (w->tls == WATCH_TLS_HIDE)
		watch_answer_with(w, 454, "4.7.0", "TLS not available due to local policy");
	else if (w->tls == WATCH_TLS_ON)
		watch_answer_with(w, 503, "5.5.1", "TLS has begun already");
	else if (c->rest.len > 0)
		watch_answer_bad(w, 501, "5.5.4", "Syntax error (no parameters allowed)");
	else if (w->authenticated)
		watch_answer_with(w, 503, "5.5.1", "STARTTLS comes before AUTH");
	else
		w->state = WATCH_SEAL;
}

static void take_quit(struct watch *w, struct slice line, const struct command *c)
{
	(void)c;
	watch_forward_and_stop(w, line, WATCH_TURN_QUIT);
}

/* Also what nobody knows: whatever is no command of the door's is the backend's to judge. But an empty line is not: there are servers that do not answer it. */
static void take_other(struct watch *w, struct slice line, const struct command *c)
{
	struct command_error error;
	if (c->word.len == 0 || watch_words_resembles(c))
		answer_unrecognized(w, line);
	else if (watch_words_keeps(c, &error))
		watch_answer_bad(w, error.code, error.enhanced, error.text);
	else
		watch_forward(w, line, c->verb == COMMAND_UNKNOWN ? WATCH_TURN_UNKNOWN : WATCH_TURN_OTHER);
}

static const struct verb {
	void (*take)(struct watch *w, struct slice line, const struct command *c);
	bool in_step; /* only when nothing is under way */
	bool staged;  /* the same where there are stages: its reply has to be the only one that is owed */
} verbs[COMMAND_BDAT + 1] = {
	[COMMAND_HELO] = { .take = take_hello, .staged = true },
	[COMMAND_EHLO] = { .take = take_hello, .staged = true },
	[COMMAND_MAIL] = { .take = take_path, .in_step = true },
	[COMMAND_RCPT] = { .take = take_path },
	[COMMAND_DATA] = { .take = watch_mail_message, .in_step = true },
	[COMMAND_BDAT] = { .take = watch_mail_bdat, .in_step = true },
	[COMMAND_RSET] = { .take = take_rset },
	[COMMAND_AUTH] = { .take = take_auth },
	[COMMAND_STARTTLS] = { .take = take_starttls, .staged = true },
	[COMMAND_QUIT] = { .take = take_quit },
};

/* Holds what a server might take for the end of the line. */
static bool is_unfit(struct slice line)
{
	return line.len > 0 && (memchr(line.at, '\0', line.len) || memchr(line.at, '\r', line.len));
}

static bool is_auth(const struct watch *w, struct slice in)
{
	struct slice begin = w->line.len > 0 ? buf_slice(&w->line) : in;
	if (begin.len > AUTH_LOOKED_AT)
		begin.len = AUTH_LOOKED_AT;
	return command_parse(begin).verb == COMMAND_AUTH;
}

static void obey(struct watch *w, struct slice line, const struct command *c)
{
	if (verbs[c->verb].take)
		verbs[c->verb].take(w, line, c);
	else
		take_other(w, line, c);
}

/* Whether it may have to be held back is not known before the replies to those before it are: who sends a hundred RCPTs at once is not to get around it. */
static bool throttle_depends(const struct watch *w, const struct command *c)
{
	return c->verb == COMMAND_RCPT && w->throttle > 0 && w->refused < w->throttle && w->refused + w->rcpts >= w->throttle;
}

/* Sendmail's slow-downs, and its BadRcptThrottle: the recipient is not even looked at before its time, so that what is found out about recipients is found out slowly. */
static bool is_held_back(struct watch *w, const struct command *c)
{
	w->slow = w->slows ? slowdown_count(&w->slowdown, slowdown_kind(c->verb)) : (struct slowdown_step){ .seconds = 0 };
	if (c->verb == COMMAND_RCPT && w->throttle > 0 && w->refused >= w->throttle) {
		w->slow = (struct slowdown_step){ .seconds = 1, .command = w->throttled ? NULL : "RCPT", .count = w->refused };
		w->throttled = true;
	}
	return w->slow.seconds > 0;
}

/* What is owed still goes out. */
static bool is_forbidden(struct watch *w, struct slice said, const struct command *c)
{
	if (!w->rules->forbids || !w->rules->forbids(w->context, said, c, &w->queue.answers))
		return false;
	watch_answer(w);
	w->state = WATCH_LAST;
	return true;
}

/* Another protocol shows in the client's first bytes, and before they make a line: TLS has none. */
static void look_at_opening(struct watch *w, struct slice in)
{
	char memory[FOREIGN_OPENING];
	struct buf first;
	if (w->opened || w->state != WATCH_COMMANDS || in.len == 0 || !watch_queue_has_room(&w->queue))
		return;
	buf_init_fixed(&first, memory, sizeof(memory));
	if (w->line.len > 0)
		buf_put(&first, w->line.at, w->line.len < sizeof(memory) ? w->line.len : sizeof(memory));
	buf_put(&first, in.at, in.len < sizeof(memory) - first.len ? in.len : sizeof(memory) - first.len);
	w->opened = first.len == sizeof(memory);
	is_forbidden(w, buf_slice(&first), NULL);
}

/* False: not now. */
static bool judge(struct watch *w, struct slice *in, const struct line *line)
{
	bool crlf;
	struct slice text = line_text(line->bytes, &crlf);
	struct command c = command_parse(text);
	bool in_step = verbs[c.verb].in_step || (verbs[c.verb].staged && w->stages) || (c.verb == COMMAND_STARTTLS && w->tls == WATCH_TLS_OFFER) || throttle_depends(w, &c);
	if ((in_step && w->queue.len > 0) || WATCH_HELD - w->to_backend.len < line->bytes.len + LINE_ROOM)
		return false;
	w->crlf = w->crlf || crlf;
	enum command_verb taken = is_unfit(text) ? COMMAND_UNKNOWN : c.verb;
	w->opened = true;
	if (c.verb == COMMAND_UNKNOWN && is_forbidden(w, text, &c))
		return true; /* what it has sent does not matter any more */
	if (is_unfit(text))
		watch_answer_bad(w, 500, "5.5.2", "Control character in command");
	else if (is_held_back(w, &c))
		w->state = WATCH_SLOWED;
	else
		obey(w, text, &c);
	if (w->state != WATCH_ASKED && w->state != WATCH_SLOWED)
		line_used(&w->line, in, line);
	else if (!line_keep(&w->line, in, line))
		watch_fail(w, "out of memory");
	watch_stage_begin(w, taken);
	return true;
}

static bool take_command(struct watch *w, struct slice *in, bool eof)
{
	struct line line;
	if (!watch_queue_has_room(&w->queue))
		return false;
	enum line_result got = line_next(&w->line, in, COMMAND_LINE, eof, &line);
	if (got == LINE_LONG && is_auth(w, *in))
		got = line_next(&w->line, in, WATCH_AUTH_LINE, eof, &line);
	if (got == LINE_READY)
		return judge(w, in, &line);
	if (got == LINE_MORE)
		return false;
	w->state = WATCH_LONG;
	watch_answer_bad(w, 500, "5.5.2", "Line too long");
	return true;
}

/* It goes through as it is, whatever it looks like. */
static bool take_auth_line(struct watch *w, struct slice *in)
{
	struct line line = { .in_place = 0 };
	bool crlf;
	enum line_result got = line_next(&w->line, in, WATCH_AUTH_LINE, false, &line);
	if (got == LINE_MORE || (got == LINE_READY && WATCH_HELD - w->to_backend.len < line.bytes.len + LINE_ROOM))
		return false;
	struct slice text = got == LINE_READY ? line_text(line.bytes, &crlf) : slice_of("");
	if (got == LINE_LONG || is_unfit(text)) {
		watch_fail(w, "the client's line in AUTH is none");
		return true;
	}
	watch_forward_and_stop(w, text, WATCH_TURN_AUTH);
	line_used(&w->line, in, &line);
	watch_stage_begin(w, COMMAND_AUTH);
	return true;
}

static void inject(struct watch *w)
{
	w->injected = true;
	w->talked |= 1u << STAGE_STARTTLS;
}

static bool take(struct watch *w, struct slice *in, bool eof)
{
	switch (w->state) {
	case WATCH_COMMANDS:
		return take_command(w, in, eof);
	case WATCH_LONG:
		if (!line_skip(&w->line, in))
			return false;
		w->state = WATCH_COMMANDS;
		watch_stage_begin(w, COMMAND_UNKNOWN);
		return true;
	case WATCH_AUTH:
		return take_auth_line(w, in);
	case WATCH_TEXT:
		return watch_text_take(w, in);
	case WATCH_CHUNK:
		return watch_text_take_chunk(w, in);
	case WATCH_REPLY:
		if (watch_queue_first(&w->queue) == WATCH_TURN_STARTTLS && in->len > 0)
			inject(w);
		return false;
	case WATCH_SEAL:
	case WATCH_ASKED:
	case WATCH_SLOWED:
	case WATCH_LAST:
		break;
	}
	return false;
}

/* What can be said now, and whether this is the end. */
static enum watch_result settle(struct watch *w)
{
	watch_flush(w);
	if (w->result != WATCH_MORE || w->queue.len > 0)
		return w->result;
	if (w->state == WATCH_LAST)
		w->result = WATCH_END;
	if (w->state == WATCH_SEAL)
		w->result = WATCH_TLS;
	return w->result;
}

enum watch_result watch_from_client(struct watch *w, struct slice *in, bool eof)
{
	watch_flush(w);
	if (w->result == WATCH_MORE && !watch_stage_holds(w, *in)) /* where it was not its turn to speak, it does not matter what it says */
		look_at_opening(w, *in);
	while (w->result == WATCH_MORE && !watch_stage_holds(w, *in) && take(w, in, eof))
		watch_flush(w);
	if (w->state == WATCH_SEAL && in->len > 0) {
		inject(w);
		watch_fail(w, INJECTED);
	}
	bool line_waits = w->state == WATCH_ASKED || w->state == WATCH_SLOWED || (w->state == WATCH_COMMANDS && w->line.len > 0);
	w->client_ended = w->client_ended || (eof && in->len == 0 && !line_waits && !w->withholds);
	return settle(w);
}

enum watch_result watch_from_backend(struct watch *w, struct slice *in, bool eof)
{
	while (w->result == WATCH_MORE && watch_backend_take(w, in))
		;
	watch_stage_tell(w);
	/* A line that is whole, or an answer, waits for room in to_client. */
	bool waits = in->len > 0 || (w->reply.len > 0 && w->reply.at[w->reply.len - 1] == '\n') || watch_queue_first(&w->queue) == WATCH_TURN_ANSWER;
	if (eof && !waits && w->result == WATCH_MORE) {
		/* A client that waits for a reply is told why it gets none (RFC 5321 section 3.8). */
		if (!w->within && w->queue.len > 0 && watch_queue_first(&w->queue) != WATCH_TURN_QUIT)
			reply_put(&w->to_client, 421, "4.3.0", "%s Mail server has gone, closing connection", w->rules->hostname);
		w->result = WATCH_END;
	}
	return settle(w);
}

void watch_decided(struct watch *w, enum watch_decision decision, struct slice reply)
{
	bool crlf;
	if (w->result != WATCH_MORE || w->state != WATCH_ASKED || decision == WATCH_WAIT)
		return;
	struct slice line = line_text(buf_slice(&w->line), &crlf);
	struct command c = command_parse(line);
	w->state = WATCH_COMMANDS;
	buf_put_slice(&w->queue.answers, reply);
	watch_mail_act(w, line, &c, decision);
	buf_fini(&w->line);
	watch_flush(w);
}

const struct slowdown_step *watch_slowed(const struct watch *w)
{
	return w->state == WATCH_SLOWED && w->result == WATCH_MORE ? &w->slow : NULL;
}

/* What was owed when it came may have gone out meanwhile, and nothing new: whatever there was room for, there still is. */
void watch_slow_over(struct watch *w)
{
	bool crlf;
	if (!watch_slowed(w))
		return;
	struct slice line = line_text(buf_slice(&w->line), &crlf);
	struct command c = command_parse(line);
	w->state = WATCH_COMMANDS;
	obey(w, line, &c);
	if (w->state != WATCH_ASKED)
		buf_fini(&w->line);
	watch_flush(w);
}

void watch_slow_cut(struct watch *w)
{
	if (!watch_slowed(w))
		return;
	buf_fini(&w->line);
	w->state = WATCH_LAST;
	reply_put(&w->queue.answers, 421, "4.7.0", "%s Too many commands of this kind, closing connection", w->rules->hostname);
	watch_answer(w);
	watch_flush(w);
}

/* A backend that is not told needs not be: the EHLO that has to follow undoes all that was said to it (RFC 5321 section 4.1.4). */
void watch_sealed(struct watch *w, enum watch_sealed sealed, const char *tell)
{
	if (w->result != WATCH_TLS)
		return;
	w->result = WATCH_MORE;
	w->state = WATCH_COMMANDS;
	if (sealed == WATCH_INJECTED) {
		watch_talked(w);
		inject(w);
		watch_fail(w, INJECTED);
	} else if (sealed == WATCH_UNSEALED) {
		watch_answer_with(w, 454, "4.7.0", "TLS not available due to temporary reason");
		watch_flush(w);
	} else {
		w->tls = WATCH_TLS_ON;
		w->unheard = true;
		w->crlf = false;
		watch_stage_sealed(w);
		slowdown_restart(&w->slowdown);
		watch_forget(w);
		if (tell)
			watch_forward(w, slice_of(tell), WATCH_TURN_OWN);
	}
}
