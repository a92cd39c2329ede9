/* The tour, gate: a transaction, as the watch follows it: MAIL, RCPT, DATA and BDAT, what the rules decide of each, and what is done then: it goes to the backend, is answered
 * here, or its message is swallowed. All but RCPT are judged only when nothing is under way: what they depend on is known then, not guessed. */
#include "gate/watch_inside.h"

#include "smtp/reply.h"

#define CHUNK_DIGITS 18  /* digits of a chunk's size */

/* A MAIL begins anew, whatever comes of it: no recipient is ever counted for another sender than the one that was judged last. */
static void act_mail(struct watch *w, struct slice line, enum watch_decision decision)
{
	watch_forget(w);
	w->refused = 0;
	w->throttled = false;
	if (decision == WATCH_PASS) {
		w->mail = WATCH_MAIL_SENT;
		watch_forward(w, line, WATCH_TURN_MAIL);
		if (w->until_mail && (w->distrusts || !w->unless_trusted) && w->result == WATCH_MORE)
			w->result = WATCH_PIPE;
		return;
	}
	if (decision == WATCH_ACCEPT)
		w->mail = WATCH_MAIL_OURS;
	watch_answer(w);
}

static void act_rcpt(struct watch *w, struct slice line, enum watch_decision decision)
{
	if (decision == WATCH_PASS) {
		w->rcpts++;
		watch_forward(w, line, WATCH_TURN_RCPT);
		return;
	}
	w->accepted += decision == WATCH_ACCEPT;
	w->refused += decision == WATCH_ANSWER;
	watch_answer(w);
}

struct chunk {
	uint64_t size;
	bool last;
};

/* The argument of BDAT (RFC 3030 section 2), to the letter: a server that read another number out of it would take text for commands. */
static bool parse_chunk(struct slice rest, struct chunk *out)
{
	size_t n = 0;
	uint64_t size = 0;
	while (n < rest.len && n <= CHUNK_DIGITS && rest.at[n] >= '0' && rest.at[n] <= '9')
		size = size * 10 + (uint64_t)(rest.at[n++] - '0');
	if (n == 0 || n > CHUNK_DIGITS)
		return false;
	struct slice word = slice_trim((struct slice){ rest.at + n, rest.len - n });
	bool last = slice_is_nocase(word, "LAST") && word.at > rest.at + n;
	if (rest.len > n && !last)
		return false;
	*out = (struct chunk){ size, last };
	return true;
}

/* DATA or BDAT gets the answer that has been written to queue.answers, the latter when its chunk is swallowed. */
static void refuse_message(struct watch *w, const struct command *c)
{
	struct chunk chunk;
	if (c->verb != COMMAND_BDAT || !parse_chunk(c->rest, &chunk)) {
		watch_answer(w);
		return;
	}
	watch_text_put_off(w);
	watch_text_begin_chunk(w, chunk.size, chunk.last, true);
}

static void discard_message(struct watch *w, const struct command *c)
{
	struct chunk chunk;
	bool open = w->mail == WATCH_MAIL_OPEN;
	watch_forget(w);
	watch_text_put_off(w);
	if (open)
		watch_forward(w, slice_of("RSET"), WATCH_TURN_OWN);
	if (c->verb == COMMAND_BDAT && parse_chunk(c->rest, &chunk)) {
		w->mail = WATCH_MAIL_DISCARDED;
		watch_text_begin_chunk(w, chunk.size, chunk.last, true);
	} else {
		watch_answer_with(w, 354, NULL, "Enter mail, end with \".\" on a line by itself");
		watch_text_begin(w, true);
	}
}

static void pass_message(struct watch *w, struct slice line, const struct command *c)
{
	struct chunk chunk;
	if (c->verb == COMMAND_BDAT && parse_chunk(c->rest, &chunk)) {
		w->chunks = true;
		watch_forward(w, line, WATCH_TURN_BDAT);
		watch_text_begin_chunk(w, chunk.size, chunk.last, false);
	} else {
		watch_forward_and_stop(w, line, WATCH_TURN_DATA);
	}
}

static void need(struct watch *w, const struct command *c, const char *what)
{
	reply_put(&w->queue.answers, 503, "5.0.0", "Need %s", what);
	refuse_message(w, c);
}

static void act_message(struct watch *w, struct slice line, const struct command *c, enum watch_decision decision)
{
	if (decision == WATCH_DISCARD) {
		discard_message(w, c);
	} else if (decision != WATCH_PASS) {
		refuse_message(w, c);
	} else if (w->recipients == 0) {
		need(w, c, "RCPT (recipient)");
	} else {
		pass_message(w, line, c);
	}
}

void watch_mail_act(struct watch *w, struct slice line, const struct command *c, enum watch_decision decision)
{
	if (decision == WATCH_PASS || decision == WATCH_WAIT)
		watch_queue_drop_unclaimed(&w->queue);
	if (decision == WATCH_WAIT)
		w->state = WATCH_ASKED;
	else if (c->verb == COMMAND_MAIL)
		act_mail(w, line, decision);
	else if (c->verb == COMMAND_RCPT)
		act_rcpt(w, line, decision);
	else
		act_message(w, line, c, decision);
}

static void refuse_path(struct watch *w, const struct command *c, const struct command_error *error)
{
	w->refused += c->verb == COMMAND_RCPT;
	watch_answer_with(w, error->code, error->enhanced, error->text);
}

void watch_mail_path(struct watch *w, struct slice line, const struct command *c)
{
	enum watch_decision (*rule)(void *, const struct command_path *, struct slice, struct buf *) = c->verb == COMMAND_MAIL ? w->rules->mail : w->rules->rcpt;
	struct command_path path;
	struct command_error error;
	struct slice parameters;
	if (c->verb == COMMAND_RCPT && (w->mail == WATCH_NO_MAIL || w->mail == WATCH_MAIL_DISCARDED))
		watch_answer_with(w, 503, "5.0.0", "Need MAIL before RCPT");
	else if (c->verb == COMMAND_MAIL && w->mail != WATCH_NO_MAIL && !w->doubtful) /* not to be sent then (RFC 5321 4.1.4); the backend would keep the sender it has, and the rules have judged another */
		watch_answer_with(w, 503, "5.5.0", "Sender already specified");
	else if (!rule)
		watch_mail_act(w, line, c, WATCH_PASS);
	else if (command_parse_path(c, &path, &parameters, &error))
		watch_mail_act(w, line, c, rule(w->context, &path, parameters, &w->queue.answers));
	else
		refuse_path(w, c, &error);
}

void watch_mail_message(struct watch *w, struct slice line, const struct command *c)
{
	if (w->mail == WATCH_NO_MAIL)
		need(w, c, "MAIL command");
	else if (w->recipients + w->accepted == 0)
		need(w, c, "RCPT (recipient)");
	else if (w->rules->data && !w->chunks)
		watch_mail_act(w, line, c, w->rules->data(w->context, w->recipients, w->accepted, &w->queue.answers));
	else
		watch_mail_act(w, line, c, WATCH_PASS);
}

void watch_mail_bdat(struct watch *w, struct slice line, const struct command *c)
{
	struct chunk chunk;
	if (!parse_chunk(c->rest, &chunk)) {
		watch_answer_bad(w, 501, "5.5.4", "Syntax error in parameters");
	} else if (!w->chunking) {
		reply_put(&w->queue.answers, 502, "5.5.1", "Command not implemented");
		refuse_message(w, c);
	} else if (w->mail == WATCH_MAIL_DISCARDED) {
		watch_text_begin_chunk(w, chunk.size, chunk.last, true);
	} else {
		watch_mail_message(w, line, c);
	}
}
