/* The tour, probe: what an act amounts to. Its record becomes one word, by what the server said to the deed and to what was said after it; what a client that waits
 * is told, too, decides nothing. No clock, no connection, no text: so that every case can be tested. */
#include "tool/probe_all.h"

#include <string.h>
#include <sysexits.h>

static bool has(const char *script, char letter)
{
	return strchr(script, letter) != NULL;
}

static bool is_good_at(const struct probe_play *play, enum probe_step step)
{
	const struct probe_reply *reply = play ? probe_reply_to(&play->record, step) : NULL;
	return reply && reply->phase != PROBE_PHASE_LEAD && reply->code < 400;
}

/* Refused to everybody: 530 (RFC 4954 section 6, RFC 3207 section 4), or no less to the client that waits. To that one a 5xx says something about the
 * sender or the recipient, which is no matter as long as no message is to be sent; and a 4xx, that it has to come again. */
static bool is_excused(const struct probe_play *play, const struct probe_reply *reply, const struct probe_play *patient)
{
	const struct probe_reply *same = patient ? probe_reply_to(&patient->record, reply->to) : NULL;
	if (play->act == &probe_acts[PROBE_ACT_PATIENT])
		return reply->code == 530 || (reply->code >= 500 && !has(play->after, '.') && (reply->to == PROBE_STEP_MAIL || reply->to == PROBE_STEP_RCPT));
	return reply->code == 530 || (same && same->code >= 400 && reply->code / 100 <= same->code / 100);
}

/* What must be answered well for the client to have been served. */
static enum probe_step goal(const struct probe_play *play, const struct probe_play *patient)
{
	const char *said[] = { play->deed, play->after };
	static const char ends[] = { '.', 'B', 'F' };
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < sizeof(ends); k++)
			if (has(said[i], ends[k]))
				return PROBE_STEP_EOM;
	if (has(play->deed, 'T'))
		return PROBE_STEP_NOOP;
	static const enum probe_step steps[] = { PROBE_STEP_RCPT, PROBE_STEP_MAIL };
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!patient || is_good_at(patient, steps[i]))
			return steps[i];
	return has(play->deed, 'H') ? PROBE_STEP_HELO : PROBE_STEP_EHLO;
}

/* No reply decided: how did it end? */
static struct probe_weight by_end(const struct probe_play *play, const struct probe_reply *to_junk)
{
	switch (play->record.end) {
	case PROBE_END_NOT_SMTP:
	case PROBE_END_TOO_MUCH:
		return (struct probe_weight){ PROBE_WORD_NOT_SMTP, NULL };
	case PROBE_END_TIMEOUT:
	case PROBE_END_OPEN:
	case PROBE_END_NONE:
		if (!to_junk)
			return (struct probe_weight){ PROBE_WORD_SILENT, NULL };
		break;
	case PROBE_END_CLOSED:
	case PROBE_END_RESET:
	case PROBE_END_ERROR:
		if (!to_junk)
			return (struct probe_weight){ PROBE_WORD_CLOSED, NULL };
		break;
	}
	return (struct probe_weight){ to_junk->code >= 500 ? PROBE_WORD_REFUSED : PROBE_WORD_TEMPFAIL, to_junk };
}

/* The end of a message was said twice: first as it should not be. */
static struct probe_weight end_of_message(const struct probe_play *play, const struct probe_reply *reply)
{
	bool false_end = has(play->deed, 'F');
	bool taken = !false_end || reply->to == PROBE_STEP_FALSE;
	return (struct probe_weight){ taken ? PROBE_WORD_ACCEPTED : PROBE_WORD_IGNORED, reply };
}

/* True: *out is it. */
static bool decides(const struct probe_play *play, const struct probe_play *patient, const struct probe_reply *reply, struct probe_weight *out)
{
	bool message = reply->to == PROBE_STEP_EOM || reply->to == PROBE_STEP_FALSE;
	if (reply->phase == PROBE_PHASE_LEAD || reply->to == PROBE_STEP_QUIT || reply->to == PROBE_STEP_LINE)
		return false;
	if (message && reply->code / 100 == 2) {
		*out = end_of_message(play, reply);
		return true;
	}
	if (reply->code < 400 || reply->to == PROBE_STEP_JUNK || is_excused(play, reply, patient))
		return false;
	*out = (struct probe_weight){ reply->code >= 500 ? PROBE_WORD_REFUSED : PROBE_WORD_TEMPFAIL, reply };
	return true;
}

static struct probe_weight weigh_replies(const struct probe_play *play, const struct probe_play *patient)
{
	const struct probe_record *r = &play->record;
	const struct probe_reply *to_junk = NULL;
	struct probe_weight weight;
	for (size_t i = 0; i < r->replies_len; i++) {
		const struct probe_reply *reply = &r->replies[i];
		if (decides(play, patient, reply, &weight))
			return weight;
		if (reply->to == PROBE_STEP_JUNK && reply->phase == PROBE_PHASE_DEED && reply->code >= 400 && !to_junk)
			to_junk = reply;
	}
	enum probe_step step = goal(play, patient);
	const struct probe_reply *good = is_good_at(play, step) ? probe_reply_to(r, step) : NULL;
	bool junk = has(play->deed, 'J'), any_to_junk = probe_reply_to(r, PROBE_STEP_JUNK) != NULL;
	if (good)
		return (struct probe_weight){ junk && !any_to_junk ? PROBE_WORD_IGNORED : PROBE_WORD_PASSED, good };
	const struct probe_reply *message = probe_reply_to(r, PROBE_STEP_EOM);
	if (step == PROBE_STEP_EOM && message && play != patient && patient && !is_good_at(patient, step))
		return (struct probe_weight){ PROBE_WORD_NOT_REACHED, message }; /* no message is taken from anybody */
	/* Part of the deed has no answer, and the server goes on: with TLS, or to the end as QUIT wants it. */
	if (play->unanswered > 0 && (is_good_at(play, PROBE_STEP_QUIT) || (has(play->deed, 'T') && is_good_at(play, PROBE_STEP_EHLO))))
		return (struct probe_weight){ PROBE_WORD_IGNORED, NULL };
	return by_end(play, to_junk);
}

struct probe_weight probe_weigh(const struct probe_play *play, const struct probe_play *patient)
{
	const struct probe_record *r = &play->record;
	if (play->left_out)
		return (struct probe_weight){ PROBE_WORD_LEFT_OUT, NULL };
	if (!r->connected)
		return (struct probe_weight){ PROBE_WORD_NO_CONNECTION, NULL };
	if (r->talk_at < 0)
		return (struct probe_weight){ r->end == PROBE_END_NOT_SMTP || r->end == PROBE_END_TOO_MUCH ? PROBE_WORD_NOT_SMTP : PROBE_WORD_NOT_REACHED,
		                              r->replies_len > 0 ? &r->replies[r->replies_len - 1] : NULL };
	return weigh_replies(play, patient);
}

const char *probe_weigh_word(enum probe_word word)
{
	static const char *const words[PROBE_WORDS] = {
		"passed", "accepted-message", "refused", "tempfail", "closed", "ignored", "silent", "not-smtp", "not-reached", "no-connection", "left-out",
	};
	return words[word];
}

enum probe_mark probe_weigh_mark(const struct probe_act *act, enum probe_word word)
{
	bool legal = act->how & PROBE_LEGAL;
	switch (word) {
	case PROBE_WORD_PASSED:
	case PROBE_WORD_ACCEPTED:
		return legal ? PROBE_MARK_GOOD : PROBE_MARK_SERVED;
	case PROBE_WORD_REFUSED:
	case PROBE_WORD_TEMPFAIL:
	case PROBE_WORD_CLOSED:
		return legal ? PROBE_MARK_PUNISHED : PROBE_MARK_CAUGHT;
	case PROBE_WORD_IGNORED:
		return legal ? PROBE_MARK_PUNISHED : act->how & PROBE_MAY_IGNORE ? PROBE_MARK_CAUGHT : PROBE_MARK_SERVED;
	default:
		return PROBE_MARK_NONE;
	}
}

/* Who is refused although it waits decides over all. */
static int patient_exit(enum probe_word word)
{
	switch (word) {
	case PROBE_WORD_PASSED:
	case PROBE_WORD_ACCEPTED:
		return EX_OK;
	case PROBE_WORD_REFUSED:
	case PROBE_WORD_CLOSED:
		return probe_judge_exit(PROBE_UNWELCOME);
	case PROBE_WORD_NOT_SMTP:
		return probe_judge_exit(PROBE_NOT_SMTP);
	case PROBE_WORD_NO_CONNECTION:
		return probe_judge_exit(PROBE_UNREACHABLE);
	default:
		return probe_judge_exit(PROBE_UNSURE);
	}
}

static void add(struct probe_sum *sum, const struct probe_play *play, enum probe_word word)
{
	unsigned *const counts[] = {
		[PROBE_MARK_NONE] = word == PROBE_WORD_LEFT_OUT ? &sum->left_out : &sum->unknown, [PROBE_MARK_CAUGHT] = &sum->caught,
		[PROBE_MARK_SERVED] = &sum->served, [PROBE_MARK_GOOD] = &sum->good, [PROBE_MARK_PUNISHED] = &sum->punished,
	};
	(*counts[probe_weigh_mark(play->act, word)])++;
}

struct probe_sum probe_weigh_all(const struct probe_round *round)
{
	struct probe_sum sum = { .patient = PROBE_WORD_PASSED };
	bool any = false, patient = false, alien = false;
	for (size_t i = 0; i < round->plays_len; i++) {
		const struct probe_play *play = round->plays[i];
		enum probe_word word = probe_weigh(play, probe_round_patient(round, play->way)).word;
		add(&sum, play, word);
		any |= play->record.connected;
		alien |= word == PROBE_WORD_NOT_SMTP;
		if (play->act == &probe_acts[PROBE_ACT_PATIENT] && !play->left_out) {
			patient = true;
			if (sum.exit == EX_OK)
				sum.exit = patient_exit(word);
			if (sum.exit != EX_OK || word == PROBE_WORD_ACCEPTED)
				sum.patient = word;
		}
	}
	if (!any)
		sum.exit = probe_judge_exit(PROBE_UNREACHABLE);
	else if (sum.exit == EX_OK && !patient && sum.caught + sum.served + sum.good + sum.punished == 0)
		sum.exit = probe_judge_exit(alien ? PROBE_NOT_SMTP : PROBE_UNSURE);
	else if (sum.exit == EX_OK)
		sum.exit = sum.punished > 0 ? 2 : sum.served > 0 ? 1 : EX_OK;
	return sum;
}
