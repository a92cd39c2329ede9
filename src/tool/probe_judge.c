/* The tour, probe: the judgement. Each session's record becomes an outcome, and a pair of outcomes a verdict, by one table. No clock, no
 * connection, no text: so that every cell can be tested. */
#include "tool/probe.h"

static bool is_good(int code)
{
	return code < 400;
}

/* A session without a complete reply. */
static enum probe_outcome outcome_of_end(enum probe_end end)
{
	switch (end) {
	case PROBE_END_CLOSED:
	case PROBE_END_RESET:
	case PROBE_END_ERROR:
		return PROBE_DROPPED;
	case PROBE_END_NOT_SMTP:
	case PROBE_END_TOO_MUCH:
		return PROBE_ALIEN;
	default:
		return PROBE_SILENT;
	}
}

/* What both sessions have in common, up to the greeting; PROBE_SERVED when there was a good one. */
static enum probe_outcome outcome_of_greeting(const struct probe_record *r)
{
	if (!r->tried)
		return PROBE_UNTRIED;
	if (!r->connected)
		return PROBE_NO_CONNECT;
	if (r->replies_len == 0)
		return outcome_of_end(r->end);
	int code = r->replies[0].code;
	if (code >= 500)
		return PROBE_REFUSED;
	if (code >= 400)
		return PROBE_BUSY;
	return code < 300 ? PROBE_SERVED : PROBE_ALIEN; /* nobody greets with 3xx */
}

/* The round trip is the network's share: the greeting needs half of one to arrive, and the server learns half of one late that we stand. */
static int64_t held(const struct probe_record *r)
{
	int64_t ns = r->replies[0].at - r->rtt_ns;
	return ns > 0 ? ns : 0;
}

/* Did the patient client fare no better at this step? Then it is not the early talk that was refused. */
static bool refused_too(const struct probe_record *patient, enum probe_step step)
{
	const struct probe_reply *reply = probe_reply_to(patient, step);
	if (step == PROBE_STEP_HELO && !reply)
		reply = probe_reply_to(patient, PROBE_STEP_EHLO);
	return reply && !is_good(reply->code);
}

/* A server that wants authentication or TLS first says so to everybody (RFC 4954 section 6, RFC 3207 section 4). */
static bool is_policy(int code)
{
	return code == 530;
}

/* The slammer was greeted as if nothing were amiss: what became of its commands? */
static enum probe_outcome commands(const struct probe_facts *facts, struct probe_judgement *j)
{
	const struct probe_record *r = facts->slammer;
	enum probe_step last = facts->deliver ? PROBE_STEP_EOM : PROBE_STEP_MAIL;
	for (size_t i = 1; i < r->replies_len; i++) {
		const struct probe_reply *reply = &r->replies[i];
		if (!is_good(reply->code)) {
			if (!is_policy(reply->code) && !refused_too(facts->patient, reply->to)) {
				j->refusal = reply;
				return PROBE_REFUSED;
			}
			j->both = reply;
			return PROBE_SERVED;
		}
		if (reply->to == last)
			return PROBE_SERVED;
	}
	return outcome_of_end(r->end);
}

static enum probe_outcome slammer_outcome(const struct probe_facts *facts, struct probe_judgement *j)
{
	const struct probe_record *r = facts->slammer;
	enum probe_outcome outcome = outcome_of_greeting(r);
	if (r->late && r->replies_len > 0)
		return PROBE_LATE;
	if (outcome == PROBE_REFUSED || outcome == PROBE_BUSY)
		j->refusal = &r->replies[0];
	return outcome == PROBE_SERVED ? commands(facts, j) : outcome;
}

static enum probe_outcome patient_outcome(const struct probe_facts *facts, struct probe_judgement *j)
{
	enum probe_outcome outcome = outcome_of_greeting(facts->patient);
	if (outcome != PROBE_SERVED)
		return outcome;
	j->held = held(facts->patient);
	return j->held >= facts->threshold ? PROBE_HELD : PROBE_AT_ONCE;
}

/* How a patient client fares decides first: who is not greeted can say nothing about a pause. */
enum probe_verdict probe_judge_cell(enum probe_outcome patient, enum probe_outcome slammer)
{
	/* Rows of patient clients that were greeted or not told; columns UNTRIED NO_CONNECT SILENT DROPPED ALIEN BUSY REFUSED - - SERVED LATE. */
	static const enum probe_verdict untried[PROBE_OUTCOMES] = {
		PROBE_UNSURE, PROBE_UNREACHABLE, PROBE_UNSURE, PROBE_UNSURE, PROBE_NOT_SMTP, PROBE_UNSURE, PROBE_HOLDS,
		PROBE_UNSURE, PROBE_UNSURE, PROBE_NO_PAUSE, PROBE_UNSURE,
	};
	static const enum probe_verdict at_once[PROBE_OUTCOMES] = {
		PROBE_NO_PAUSE, PROBE_UNSURE, PROBE_UNSURE, PROBE_CHECKS_ONLY, PROBE_NOT_SMTP, PROBE_UNSURE, PROBE_CHECKS_ONLY,
		PROBE_UNSURE, PROBE_UNSURE, PROBE_NO_PAUSE, PROBE_NO_PAUSE,
	};
	static const enum probe_verdict held_row[PROBE_OUTCOMES] = {
		PROBE_HOLDS, PROBE_UNSURE, PROBE_UNSURE, PROBE_HOLDS, PROBE_NOT_SMTP, PROBE_UNSURE, PROBE_HOLDS,
		PROBE_UNSURE, PROBE_UNSURE, PROBE_HOLDS_ONLY, PROBE_UNSURE,
	};
	/* Not greeted within the time-out: a longer pause, if the slammer shows that somebody is at home. */
	static const enum probe_verdict silent[PROBE_OUTCOMES] = {
		PROBE_UNSURE, PROBE_UNSURE, PROBE_UNSURE, PROBE_UNSURE, PROBE_NOT_SMTP, PROBE_UNSURE, PROBE_HOLDS,
		PROBE_UNSURE, PROBE_UNSURE, PROBE_HOLDS_ONLY, PROBE_UNSURE,
	};
	switch (patient) {
	case PROBE_UNTRIED:
		return untried[slammer];
	case PROBE_AT_ONCE:
		return at_once[slammer];
	case PROBE_HELD:
		return held_row[slammer];
	case PROBE_SILENT:
		return silent[slammer];
	case PROBE_NO_CONNECT:
		return slammer == PROBE_UNTRIED || slammer == PROBE_NO_CONNECT ? PROBE_UNREACHABLE : PROBE_UNSURE;
	case PROBE_ALIEN:
		return PROBE_NOT_SMTP;
	case PROBE_BUSY:
		return PROBE_UNSURE;
	case PROBE_DROPPED:
		return slammer == PROBE_ALIEN ? PROBE_NOT_SMTP : PROBE_UNWELCOME;
	case PROBE_REFUSED:
		return PROBE_UNWELCOME;
	default:
		return PROBE_UNSURE; /* SERVED and LATE are no outcomes of a patient client */
	}
}

struct probe_judgement probe_judge(const struct probe_facts *facts)
{
	struct probe_judgement j = { .held = -1 };
	j.patient = patient_outcome(facts, &j);
	j.slammer = slammer_outcome(facts, &j);
	j.verdict = probe_judge_cell(j.patient, j.slammer);
	return j;
}

/* Numbers from 64 are those of sysexits(3). */
int probe_judge_exit(enum probe_verdict verdict)
{
	static const int codes[PROBE_VERDICTS] = {
		[PROBE_HOLDS] = 0, [PROBE_NO_PAUSE] = 1, [PROBE_CHECKS_ONLY] = 2, [PROBE_HOLDS_ONLY] = 3,
		[PROBE_UNREACHABLE] = 69, [PROBE_UNSURE] = 75, [PROBE_NOT_SMTP] = 76, [PROBE_UNWELCOME] = 77,
	};
	return codes[verdict];
}

const char *probe_judge_word(enum probe_verdict verdict)
{
	static const char *const words[PROBE_VERDICTS] = {
		[PROBE_HOLDS] = "holds", [PROBE_NO_PAUSE] = "no-pause", [PROBE_CHECKS_ONLY] = "checks-only",
		[PROBE_HOLDS_ONLY] = "holds-only", [PROBE_UNREACHABLE] = "unreachable", [PROBE_UNSURE] = "unsure",
		[PROBE_NOT_SMTP] = "not-smtp", [PROBE_UNWELCOME] = "unwelcome",
	};
	return words[verdict];
}

const char *probe_judge_outcome(enum probe_outcome outcome)
{
	static const char *const words[PROBE_OUTCOMES] = {
		[PROBE_UNTRIED] = "untried", [PROBE_NO_CONNECT] = "no-connection", [PROBE_SILENT] = "silent",
		[PROBE_DROPPED] = "dropped", [PROBE_ALIEN] = "not-smtp", [PROBE_BUSY] = "busy", [PROBE_REFUSED] = "refused",
		[PROBE_AT_ONCE] = "greeted-at-once", [PROBE_HELD] = "held", [PROBE_SERVED] = "served", [PROBE_LATE] = "late",
	};
	return words[outcome];
}
