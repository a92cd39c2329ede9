/* The tour, gate: what the backend says. Line by line it goes to the client, once it is clear that somebody has asked for it; its last line
 * says what follows. A backend that does not keep to SMTP is not argued with. */
#include "gate/watch_inside.h"

#include "gate/watch_words.h"
#include "smtp/answer.h"
#include "smtp/line.h"

#define CODE_CLOSING 421   /* may come at any time, and is the end (RFC 5321 section 3.8) */
#define CODE_TEXT 354
#define CODE_AUTH 334
#define CODE_READY 220
#define OFFER 14           /* bytes of "250 STARTTLS" and its line end */

static bool is_ok(int code)
{
	return code / 100 == 2;
}

/* A reply that the client can make the same of as we do. */
static bool fits(const struct watch *w, enum watch_turn turn, int code)
{
	bool refusal = code >= 400;
	switch (turn) {
	case WATCH_TURN_NONE:
	case WATCH_TURN_ANSWER:
		return false;
	case WATCH_TURN_DATA:
		return refusal || code == CODE_TEXT;
	case WATCH_TURN_TEXT: /* before its end only a refusal makes sense, unless the backend sees it elsewhere than we do */
		return refusal || (is_ok(code) && (w->state != WATCH_TEXT || w->plain));
	case WATCH_TURN_BDAT:
		return refusal || (is_ok(code) && w->state != WATCH_CHUNK);
	case WATCH_TURN_AUTH:
		return refusal || is_ok(code) || code == CODE_AUTH;
	case WATCH_TURN_STARTTLS:
		return refusal || code == CODE_READY;
	case WATCH_TURN_UNKNOWN: /* with 220 something else than SMTP would begin */
		return refusal || (is_ok(code) && code != CODE_READY);
	default:
		return refusal || is_ok(code);
	}
}

/* The first line of a reply, or another one. False: it is no part of one that is owed. */
static bool belongs(struct watch *w, enum watch_turn turn, const struct answer *a)
{
	if (w->lines++ == 0) {
		w->code = a->code;
		w->offers_chunking = w->offers_pipelining = w->offers_whom = false;
		if (a->code != CODE_CLOSING && !fits(w, turn, a->code))
			watch_fail(w, turn == WATCH_TURN_NONE ? "the mail server speaks without being asked" : "the mail server's reply does not fit the command");
	} else if (a->code != w->code) {
		watch_fail(w, "the mail server's reply has two codes");
	} else if (w->lines > WATCH_REPLY_LINES) {
		watch_fail(w, "the mail server's reply has no end");
	}
	return w->result == WATCH_MORE;
}

static void put_line(struct watch *w, struct slice line)
{
	size_t before = w->to_client.len;
	if (!buf_put_slice(&w->to_client, line) || !buf_put(&w->to_client, "\r\n", 2))
		watch_fail(w, "out of memory");
	w->tail += w->to_client.len - before;
}

/* What a line of EHLO offers, by its keyword. True: the client is not to see it. */
static bool read_offer(struct watch *w, struct slice keyword)
{
	bool pipelining = slice_is_nocase(keyword, "PIPELINING");
	bool struck = watch_words_strikes(keyword) || (w->tls != WATCH_TLS_PASS && slice_is_nocase(keyword, "STARTTLS")) || (pipelining && w->stages && w->stages->strikes);
	w->offers_whom = w->offers_whom || slice_is_nocase(keyword, "XCLIENT") || slice_is_nocase(keyword, "XFORWARD");
	w->offers_chunking = w->offers_chunking || slice_is_nocase(keyword, "CHUNKING");
	w->offers_pipelining = w->offers_pipelining || (pipelining && !struck);
	return struck;
}

/* The list of what the backend offers. A line is held until the next one has come, since striking the last makes another one the last. */
static void pass_offer(struct watch *w, struct slice line, const struct answer *a)
{
	bool struck = w->lines > 1 && read_offer(w, answer_keyword(a));
	if (!struck && w->held.len > 0) {
		put_line(w, buf_slice(&w->held));
		w->within = true;
		buf_clear(&w->held);
	}
	if (!struck && !buf_put_slice(&w->held, line))
		watch_fail(w, "out of memory");
	if (a->more || w->held.len == 0)
		return;
	bool offer = w->tls == WATCH_TLS_OFFER;
	if (offer && w->held.len == 3)
		buf_put_char(&w->held, '-'); /* a code alone */
	if (w->held.len > 3)
		w->held.at[3] = offer ? '-' : ' ';
	put_line(w, buf_slice(&w->held));
	buf_clear(&w->held);
	if (offer && buf_putf(&w->held, "%03d STARTTLS", w->code))
		put_line(w, buf_slice(&w->held));
	buf_fini(&w->held);
}

static void pass_line(struct watch *w, enum watch_turn turn, struct slice line, const struct answer *a)
{
	if (turn == WATCH_TURN_EHLO && is_ok(w->code)) {
		pass_offer(w, line, a);
	} else if (turn != WATCH_TURN_OWN || w->code == CODE_CLOSING) {
		put_line(w, line);
		w->within = true;
	}
}

/* TLS may begin only if neither side has said more than it was to say: it would be taken for a part of what comes under the seal of TLS (CVE-2011-0411). */
static bool may_seal(struct watch *w, struct slice beyond)
{
	if (w->injected)
		watch_fail(w, WATCH_INJECTION);
	else if (beyond.len > 0)
		watch_fail(w, "the mail server speaks between its reply to STARTTLS and TLS");
	return w->result == WATCH_MORE;
}

/* The reply to DATA, AUTH, STARTTLS or QUIT, which the client has been waiting for. */
static void resume(struct watch *w, enum watch_turn turn)
{
	w->state = w->state == WATCH_REPLY ? WATCH_COMMANDS : w->state;
	if (w->code == CODE_TEXT) {
		watch_queue_push(&w->queue, WATCH_TURN_TEXT);
		watch_text_begin(w, false);
	} else if (w->code == CODE_AUTH) {
		w->state = WATCH_AUTH;
	} else if (turn == WATCH_TURN_AUTH && is_ok(w->code)) {
		w->authenticated = true;
	} else if (turn == WATCH_TURN_STARTTLS && w->code == CODE_READY) {
		w->result = WATCH_PIPE;
	} else if (turn == WATCH_TURN_QUIT && is_ok(w->code)) {
		w->result = WATCH_END;
	}
}

static void follow(struct watch *w, enum watch_turn turn)
{
	switch (turn) {
	case WATCH_TURN_HELO:
	case WATCH_TURN_EHLO:
		if (is_ok(w->code)) {
			w->chunking = w->offers_chunking;
			w->pipelining = turn == WATCH_TURN_EHLO && w->offers_pipelining;
		}
		w->distrusts = turn == WATCH_TURN_EHLO && is_ok(w->code) && !w->offers_whom;
		break;
	case WATCH_TURN_MAIL:
		if (w->mail == WATCH_MAIL_SENT)
			w->mail = is_ok(w->code) ? WATCH_MAIL_OPEN : WATCH_NO_MAIL;
		break;
	case WATCH_TURN_RCPT:
		w->recipients += is_ok(w->code); /* if MAIL was refused, it will not count */
		w->refused += !is_ok(w->code);
		w->rcpts--;
		break;
	case WATCH_TURN_TEXT:
		w->messages += is_ok(w->code);
		if (w->state == WATCH_TEXT && is_ok(w->code))
			w->result = WATCH_PIPE; /* what follows is for those two to agree on */
		else if (w->state == WATCH_TEXT)
			w->result = WATCH_END; /* it does not want the rest, but a client that is sending does not listen */
		break;
	case WATCH_TURN_DATA:
		w->doubtful = w->code != CODE_TEXT;
		resume(w, turn);
		break;
	case WATCH_TURN_AUTH:
	case WATCH_TURN_STARTTLS:
	case WATCH_TURN_QUIT:
		resume(w, turn);
		break;
	case WATCH_TURN_BDAT: /* there is one at a time */
		w->doubtful = w->doubtful || !is_ok(w->code);
		w->messages += w->chunk_last && is_ok(w->code);
		break;
	case WATCH_TURN_NONE:
	case WATCH_TURN_ANSWER:
	case WATCH_TURN_GREETING:
	case WATCH_TURN_OTHER:
	case WATCH_TURN_UNKNOWN:
	case WATCH_TURN_OWN:
		break;
	}
}

/* The last line has been passed on. */
static void end_reply(struct watch *w, enum watch_turn turn)
{
	w->lines = 0;
	w->within = false;
	if (w->code == CODE_CLOSING) {
		w->result = WATCH_END;
		return;
	}
	watch_queue_pop(&w->queue);
	follow(w, turn);
}

bool watch_backend_take(struct watch *w, struct slice *in)
{
	struct line line = { .in_place = 0 };
	struct answer a;
	bool crlf;
	/* Room for a line, for one that was held, and for one of ours. */
	if (!watch_flush(w) || WATCH_HELD - w->to_client.len < 2 * (WATCH_REPLY_LINE + 2) + OFFER)
		return false;
	enum line_result got = line_next(&w->reply, in, WATCH_REPLY_LINE, false, &line);
	if (got == LINE_MORE)
		return false;
	struct slice text = got == LINE_READY ? line_text(line.bytes, &crlf) : slice_of("");
	if (!answer_parse(text, &a)) {
		watch_fail(w, got == LINE_LONG ? "the mail server's line has no end" : "the mail server does not speak SMTP");
		return true;
	}
	enum watch_turn turn = watch_queue_first(&w->queue);
	struct slice beyond = { in->at, in->len - line.in_place };
	if (!belongs(w, turn, &a) || (turn == WATCH_TURN_STARTTLS && a.code == CODE_READY && !a.more && !may_seal(w, beyond)))
		return true;
	pass_line(w, turn, text, &a);
	line_used(&w->reply, in, &line);
	if (!a.more && w->result == WATCH_MORE)
		end_reply(w, turn);
	return true;
}
