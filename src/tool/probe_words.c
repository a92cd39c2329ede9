/* The tour, probe: the verdict in plain words. The sentence says what the server does; the notes say what else somebody who runs a mail
 * server would want to know, or what the test could not see. Whatever the server said is escaped. */
#include "tool/probe.h"

#include <ctype.h>
#include <string.h>

#define SHOWN 120                       /* bytes of a server's text in a sentence */
#define LONG_PAUSE (30 * LOOP_SECOND)   /* many clients give up waiting for a greeting now; RFC 5321 4.5.3.2.1 would have them wait 5 minutes */

void probe_words_time(struct buf *out, int64_t ns)
{
	double ms = (double)ns / 1e6;
	if (ms < 9.95)
		buf_putf(out, "%.1f ms", ms);
	else if (ms < 999.5)
		buf_putf(out, "%.0f ms", ms);
	else
		buf_putf(out, "%.2f s", ms / 1e3);
}

/* A time that was set, not measured: whole seconds without decimals. */
static void put_setting(struct buf *out, int64_t ns)
{
	if (ns % LOOP_SECOND == 0)
		buf_putf(out, "%lld s", (long long)(ns / LOOP_SECOND));
	else
		probe_words_time(out, ns);
}

static void put_error(struct buf *out, int error)
{
	const char *text = strerror(-error);
	buf_put_char(out, (char)tolower((unsigned char)text[0]));
	buf_put_text(out, text + (text[0] != '\0'));
}

static void put_reply(struct buf *out, const struct probe_reply *reply)
{
	struct slice text = probe_reply_text(reply);
	buf_putf(out, "%d", reply->code);
	if (text.len > 0) {
		buf_put_char(out, ' ');
		buf_put_escaped(out, text.at, text.len, SHOWN);
	}
}

/* Since the slammer talked. */
static void put_after_talk(struct buf *out, const struct probe_record *r, int64_t at)
{
	buf_put_text(out, " after ");
	probe_words_time(out, r->talk_at >= 0 && at > r->talk_at ? at - r->talk_at : at);
}

static void put_alien(struct buf *out, const struct probe_record *r)
{
	struct slice junk = { r->junk, r->junk_len };
	const char *guess = probe_reply_guess(junk);
	if (r->replies_len > 0 && r->end != PROBE_END_NOT_SMTP && r->end != PROBE_END_TOO_MUCH) {
		buf_put_text(out, "it greets with ");
		put_reply(out, &r->replies[0]);
	} else if (r->end == PROBE_END_TOO_MUCH) {
		if (r->partial.lines == PROBE_LINES)
			buf_putf(out, "a reply goes on after %d lines", PROBE_LINES);
		else
			buf_putf(out, "it says more than SMTP allows (a line over %d bytes, %d replies, or %d KB)", PROBE_LINE, PROBE_REPLIES, PROBE_BYTES / 1024);
	} else {
		buf_put_text(out, "it says \"");
		buf_put_escaped(out, junk.at, junk.len, SHOWN);
		buf_put_char(out, '"');
		if (guess)
			buf_putf(out, " (%s)", guess);
	}
}

/* A 421 that is about how many come: by its own code (4.7.0 and the like), or when it says so, or says nothing. */
static bool is_limit(const struct probe_reply *reply)
{
	struct slice text = { reply->text, reply->text_len };
	if (reply->code != 421)
		return false;
	return text.len < 3 || memcmp(text.at, "4.3", 3) != 0 || memmem(text.at, text.len, "onnections", 10);
}

/* The patient client's part of the sentence. */
static void put_patient(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	const struct probe_record *r = facts->patient;
	switch (j->patient) {
	case PROBE_NO_CONNECT:
		buf_put_text(out, "cannot connect: ");
		put_error(out, r->error);
		break;
	case PROBE_SILENT:
		if (j->verdict == PROBE_HOLDS || j->verdict == PROBE_HOLDS_ONLY)
			buf_put_text(out, "holds the greeting longer than ");
		else if (r->partial.lines > 0)
			buf_putf(out, "the greeting, %u line%s so far, was not complete within ", r->partial.lines, r->partial.lines == 1 ? "" : "s");
		else
			buf_put_text(out, "no greeting within ");
		put_setting(out, facts->timeout);
		break;
	case PROBE_DROPPED:
		buf_putf(out, "%s the connection without a greeting, after ", r->end == PROBE_END_RESET ? "resets" : "closes");
		probe_words_time(out, r->end_at);
		break;
	case PROBE_ALIEN:
		buf_put_text(out, "does not speak SMTP: ");
		put_alien(out, r);
		break;
	case PROBE_BUSY:
		buf_put_text(out, "refused with ");
		put_reply(out, &r->replies[0]);
		buf_put_text(out, is_limit(&r->replies[0]) ? ": too many connections?" : ": for now");
		break;
	case PROBE_REFUSED:
		buf_put_text(out, "a client that waits is refused, after ");
		probe_words_time(out, r->replies[0].at);
		buf_put_text(out, " with ");
		put_reply(out, &r->replies[0]);
		break;
	case PROBE_AT_ONCE:
		buf_put_text(out, "you are greeted at once");
		break;
	case PROBE_HELD:
		buf_put_text(out, "holds the greeting ");
		probe_words_time(out, j->held);
		break;
	default:
		break;
	}
}

static void put_refusal(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	put_after_talk(out, facts->slammer, j->refusal->at);
	buf_putf(out, " with %d", j->refusal->code);
	if (j->refusal->to != PROBE_STEP_GREETING)
		buf_putf(out, " to %s", probe_reply_step(j->refusal->to));
}

/* The slammer's part of the sentence. */
static void put_slammer(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	const struct probe_record *r = facts->slammer;
	switch (j->slammer) {
	case PROBE_NO_CONNECT:
		buf_put_text(out, j->patient == PROBE_UNTRIED ? "cannot connect: " : "the slammer cannot connect: ");
		put_error(out, r->error);
		break;
	case PROBE_SILENT:
		buf_put_text(out, "early talk gets no answer within ");
		put_setting(out, facts->timeout);
		break;
	case PROBE_DROPPED:
		buf_put_text(out, "early talk is cut off");
		put_after_talk(out, r, r->end_at);
		buf_put_text(out, r->replies_len > 0 ? ", commands unanswered" : " without a reply");
		break;
	case PROBE_ALIEN:
		buf_put_text(out, j->patient == PROBE_UNTRIED ? "does not speak SMTP: " : "does not speak SMTP with who talks early: ");
		put_alien(out, r);
		break;
	case PROBE_BUSY:
		buf_put_text(out, "the slammer was refused");
		put_refusal(out, facts, j);
		buf_put_text(out, ": too many connections, or the answer to early talk?");
		break;
	case PROBE_REFUSED:
		buf_put_text(out, "early talk refused");
		put_refusal(out, facts, j);
		break;
	case PROBE_SERVED:
		buf_put_text(out, "a slamming client was served");
		break;
	case PROBE_LATE:
		buf_put_text(out, "the slammer was answered after ");
		probe_words_time(out, r->replies[0].at);
		buf_put_text(out, ", before it talked");
		break;
	default:
		break;
	}
}

void probe_words(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	bool both = j->patient != PROBE_UNTRIED && j->slammer != PROBE_UNTRIED;
	switch (j->verdict) {
	case PROBE_NO_PAUSE:
		if (j->slammer == PROBE_SERVED)
			buf_put_text(out, "no pause: a slamming client was served");
		else if (j->slammer == PROBE_LATE)
			buf_put_text(out, "no pause: you are greeted at once, before the slammer talked");
		else
			buf_put_text(out, "you are greeted at once: is your address exempt?");
		return;
	case PROBE_CHECKS_ONLY:
		if (j->slammer == PROBE_REFUSED) {
			buf_put_text(out, "early talk is refused although you are greeted at once:");
			put_refusal(out, facts, j);
			return;
		}
		break;
	case PROBE_HOLDS_ONLY:
		put_patient(out, facts, j);
		buf_put_text(out, ", but early talk is not refused");
		return;
	case PROBE_UNREACHABLE:
		both = false;
		break;
	default:
		break;
	}
	put_patient(out, facts, j);
	if (both)
		buf_put_text(out, "; ");
	if (both || j->patient == PROBE_UNTRIED)
		put_slammer(out, facts, j);
}

/* The notes. */

static void note_reset(struct buf *out, const struct probe_judgement *j, const struct probe_record *slammer)
{
	if (slammer->end != PROBE_END_RESET)
		return;
	if (j->slammer == PROBE_REFUSED || j->slammer == PROBE_BUSY)
		buf_put_text(out, "the connection was reset right after the refusal: on a slower path a client may never read why it was refused\n");
	else if (j->slammer == PROBE_DROPPED)
		buf_put_text(out, "early talk is answered by a reset alone: a client cannot know why\n");
}

static void note_greeting(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	const struct probe_reply *greeting = &facts->patient->replies[0];
	if (j->held < 0)
		return;
	if (greeting->lines > 1 && greeting->at - greeting->first_at >= facts->threshold) {
		buf_put_text(out, "a first line comes after ");
		probe_words_time(out, greeting->first_at);
		buf_put_text(out, " and the greeting ends with a later one: a teaser, meant for who does not read on\n");
	}
	if (j->held >= LONG_PAUSE)
		buf_put_text(out, "many clients wait 30 s for a greeting, some only 5: a pause this long loses good mail\n");
}

static void note_patient(struct buf *out, const struct probe_facts *facts)
{
	const struct probe_record *r = facts->patient;
	for (size_t i = 1; i < r->replies_len; i++) {
		const struct probe_reply *reply = &r->replies[i];
		if (reply->code < 400 || reply->to == PROBE_STEP_QUIT || (reply->to == PROBE_STEP_EHLO && r->helo_too))
			continue;
		buf_putf(out, "the patient client, too, was refused at %s: ", probe_reply_step(reply->to));
		put_reply(out, reply);
		buf_put_char(out, '\n');
		return;
	}
}

/* What the test of the slammer could not see. */
static void note_delivered(struct buf *out, const struct probe_record *r, const char *who)
{
	for (size_t i = 0; i < r->replies_len; i++)
		if (r->replies[i].to == PROBE_STEP_EOM && r->replies[i].code / 100 == 2)
			buf_putf(out, "the %s's message was accepted for delivery\n", who);
}

static void note_slammer(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	if (j->slammer == PROBE_SERVED && j->both) {
		buf_putf(out, "the slammer's %s was answered with ", probe_reply_step(j->both->to));
		put_reply(out, j->both);
		buf_put_text(out, ", as anybody's is: that is not about early talk\n");
	}
	if (j->slammer == PROBE_SERVED && !facts->deliver && j->verdict != PROBE_NO_PAUSE)
		buf_put_text(out, "tried up to MAIL: some servers refuse early talkers only at RCPT; --deliver FROM TO would show that\n");
	if (j->slammer == PROBE_SILENT && facts->slammer->replies_len > 0)
		buf_put_text(out, "the slammer was greeted and its commands were not answered: what came early may have been thrown away\n");
	if (j->slammer == PROBE_LATE && j->verdict == PROBE_UNSURE)
		buf_put_text(out, "to talk early, --early must be less than the pause\n");
	if (j->slammer == PROBE_REFUSED && j->refusal->code < 500)
		buf_put_text(out, "a 4xx reply invites the client to try again\n");
}

static void note_verdict(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	if (j->verdict == PROBE_NO_PAUSE && j->slammer == PROBE_SERVED && j->patient != PROBE_UNTRIED)
		buf_put_text(out, "if a pause is configured, your address may be exempt from it: test from one without an exception in the access database\n");
	if (j->verdict == PROBE_CHECKS_ONLY)
		buf_put_text(out, "your address may be exempt from the pause, or known from an earlier visit; or the server checks without pausing\n");
	if (j->verdict == PROBE_HOLDS_ONLY && j->patient == PROBE_HELD)
		buf_put_text(out, "a server that is only slow (looking up names, say) looks the same\n");
	if (j->verdict == PROBE_UNWELCOME)
		buf_put_text(out, "so nothing can be said about a pause: test from an address that this server accepts mail from\n");
	if (j->verdict == PROBE_UNSURE && (j->patient == PROBE_SILENT || j->slammer == PROBE_SILENT)) {
		buf_put_text(out, "a longer --timeout may tell; a pause can be as long as 300 s\n");
		if (j->slammer == PROBE_DROPPED)
			buf_put_text(out, "a port where TLS comes first behaves so\n");
	}
	if (j->slammer == PROBE_BUSY && (j->patient == PROBE_HELD || j->patient == PROBE_AT_ONCE))
		buf_put_text(out, "the two sessions ran side by side; --slammer and --patient, one after the other, tell a limit from an answer to early talk\n");
	if (j->patient == PROBE_UNTRIED && j->slammer == PROBE_REFUSED)
		buf_put_text(out, "whether a client that waits is greeted was not tried\n");
	if (facts->deliver) {
		note_delivered(out, facts->patient, "patient client");
		note_delivered(out, facts->slammer, "slammer");
	}
}

void probe_words_notes(struct buf *out, const struct probe_facts *facts, const struct probe_judgement *j)
{
	note_verdict(out, facts, j);
	note_reset(out, j, facts->slammer);
	note_greeting(out, facts, j);
	note_slammer(out, facts, j);
	note_patient(out, facts);
}
