/* The tour, gate: the policy of a connection: what follows from what, a table in the form of a function. Pure: no connection, no clock, no log. conn.c does what it says. */
#include "gate/conn.h"

static struct conn_next go(enum conn_state state, enum conn_verdict verdict)
{
	return (struct conn_next){ state, verdict };
}

static struct conn_next step_free(enum conn_event event)
{
	switch (event) {
	case CONN_SEALING:
		return go(CONN_TLS, CONN_UNDECIDED);
	case CONN_ASKED:
		return go(CONN_ASK, CONN_UNDECIDED);
	case CONN_ACCEPTED:
		return go(CONN_HOLD, CONN_UNDECIDED);
	case CONN_ADMITTED:
		return go(CONN_DIAL, CONN_UNDECIDED);
	case CONN_LIMITED:
		return go(CONN_CLOSE, CONN_LIMIT);
	case CONN_DENIED:
		return go(CONN_REFUSE, CONN_REFUSED);
	case CONN_DROPPED:
		return go(CONN_CLOSE, CONN_REFUSED);
	case CONN_ENDED:
		return go(CONN_DONE, CONN_GONE);
	default:
		return go(CONN_FREE, CONN_UNDECIDED);
	}
}

/* Nothing can be said to who has not finished its handshake. */
static struct conn_next step_tls(enum conn_event event)
{
	switch (event) {
	case CONN_ASKED:
	case CONN_ACCEPTED:
	case CONN_ADMITTED:
	case CONN_DENIED:
	case CONN_DROPPED:
		return step_free(event);
	case CONN_HANGUP:
	case CONN_ENDED:
	case CONN_TIME:
		return go(CONN_DONE, CONN_GONE);
	case CONN_STOP:
	case CONN_LEAVE:
		return go(CONN_DONE, CONN_TEMPFAIL);
	default:
		return go(CONN_TLS, CONN_UNDECIDED);
	}
}

static struct conn_next step_starttls(enum conn_event event)
{
	switch (event) {
	case CONN_SEALED:
	case CONN_FAILED:
		return go(CONN_RELAY, CONN_UNDECIDED);
	case CONN_HANGUP:
	case CONN_ENDED:
	case CONN_TIME:
	case CONN_LEAVE:
		return go(CONN_DONE, CONN_UNDECIDED);
	default:
		return go(CONN_STARTTLS, CONN_UNDECIDED);
	}
}

static struct conn_next step_hold(enum conn_state state, enum conn_event event)
{
	switch (event) {
	case CONN_ACCEPTED: /* the answers came: the pause is known now */
		return go(CONN_HOLD, CONN_UNDECIDED);
	case CONN_ADMITTED:
		return go(CONN_DIAL, CONN_UNDECIDED);
	case CONN_TALK:
		return go(CONN_REFUSE, CONN_EARLY);
	case CONN_CUT:
		return go(CONN_CLOSE, CONN_EARLY);
	case CONN_HANGUP:
	case CONN_ENDED:
		return go(CONN_DONE, CONN_GONE);
	case CONN_MOVED:
		return go(state == CONN_HOLD ? CONN_DONE : state, CONN_UNDECIDED);
	case CONN_TIME:
		return go(state == CONN_HOLD ? CONN_DIAL : state, CONN_UNDECIDED);
	case CONN_DENIED:
		return go(CONN_REFUSE, CONN_REFUSED);
	case CONN_DROPPED:
		return go(CONN_CLOSE, CONN_REFUSED);
	case CONN_STOP:
	case CONN_LEAVE:
		return go(CONN_CLOSE, CONN_TEMPFAIL);
	default:
		return go(state, CONN_UNDECIDED);
	}
}

/* Until the greeting has gone out, talk is early. An exempt client's talk is not looked at: it waits in the socket for the backend. */
static struct conn_next step_dial(enum conn_event event, bool exempt)
{
	switch (event) {
	case CONN_TALK:
		return exempt ? go(CONN_DIAL, CONN_UNDECIDED) : go(CONN_REFUSE, CONN_EARLY);
	case CONN_CUT:
		return exempt ? go(CONN_DIAL, CONN_UNDECIDED) : go(CONN_CLOSE, CONN_EARLY);
	case CONN_HANGUP:
	case CONN_ENDED:
		return go(CONN_DONE, CONN_GONE);
	case CONN_GREETING:
		return go(CONN_RELAY, exempt ? CONN_EXEMPT : CONN_PATIENT);
	case CONN_DECLINED: /* the client hears it in answer to its commands */
		return go(CONN_REFUSE, exempt ? CONN_EXEMPT : CONN_PATIENT);
	case CONN_PROBED:
		return go(CONN_REFUSE, CONN_PROBE);
	case CONN_HANDED:
		return go(CONN_DONE, exempt ? CONN_EXEMPT : CONN_PATIENT);
	case CONN_DENIED: /* found out late, and a program could not be told */
		return go(CONN_REFUSE, CONN_REFUSED);
	case CONN_DROPPED:
		return go(CONN_CLOSE, CONN_REFUSED);
	case CONN_FAILED:
	case CONN_TIME:
		return go(CONN_CLOSE, CONN_NOBACKEND);
	case CONN_STOP:
	case CONN_LEAVE:
		return go(CONN_CLOSE, CONN_TEMPFAIL);
	default:
		return go(CONN_DIAL, CONN_UNDECIDED);
	}
}

/* Whoever is in the tarpit is a refused client. */
static struct conn_next step_tarpit(enum conn_event event)
{
	switch (event) {
	case CONN_RELEASED:
		return go(CONN_REFUSE, CONN_UNDECIDED);
	case CONN_ANSWERED:
	case CONN_TIME:
	case CONN_STOP:
		return go(CONN_CLOSE, CONN_UNDECIDED);
	case CONN_ENDED:
	case CONN_LEAVE:
		return go(CONN_DONE, CONN_UNDECIDED);
	default:
		return go(CONN_TARPIT, CONN_UNDECIDED);
	}
}

static struct conn_next step_talking(enum conn_state state, enum conn_event event)
{
	switch (event) {
	case CONN_SEALING:
		return go(state == CONN_RELAY ? CONN_STARTTLS : state, CONN_UNDECIDED);
	case CONN_TALK: /* at a later stage; the null server hears nothing else */
		return state == CONN_RELAY ? go(CONN_REFUSE, CONN_EARLY) : go(state, CONN_UNDECIDED);
	case CONN_TARRY:
		return go(state == CONN_REFUSE ? CONN_TARPIT : state, CONN_UNDECIDED);
	case CONN_ANSWERED:
		return go(CONN_CLOSE, CONN_UNDECIDED);
	case CONN_ENDED:
	case CONN_LEAVE:
		return go(CONN_DONE, CONN_UNDECIDED);
	case CONN_STOP: /* the mail server inside has its own last words for the client, a message may be about to be acknowledged */
		return state == CONN_RELAY ? go(CONN_RELAY, CONN_UNDECIDED) : go(CONN_CLOSE, CONN_UNDECIDED);
	case CONN_TIME:
		return state == CONN_RELAY ? go(CONN_DONE, CONN_UNDECIDED) : go(CONN_CLOSE, CONN_UNDECIDED);
	default:
		return go(state, CONN_UNDECIDED);
	}
}

struct conn_next conn_step(enum conn_state state, enum conn_event event, bool exempt)
{
	switch (state) {
	case CONN_FREE:
		return step_free(event);
	case CONN_TLS:
		return step_tls(event);
	case CONN_STARTTLS:
		return step_starttls(event);
	case CONN_ASK:
	case CONN_HOLD:
		return step_hold(state, event);
	case CONN_DIAL:
		return step_dial(event, exempt);
	case CONN_RELAY:
	case CONN_REFUSE:
		return step_talking(state, event);
	case CONN_TARPIT:
		return step_tarpit(event);
	case CONN_CLOSE:
		return event == CONN_ENDED || event == CONN_TIME || event == CONN_LEAVE ? go(CONN_DONE, CONN_UNDECIDED) : go(CONN_CLOSE, CONN_UNDECIDED);
	default:
		return go(state, CONN_UNDECIDED);
	}
}

const char *conn_event_name(enum conn_event event)
{
	static const char *const names[CONN_EVENTS] = { "nothing", "asked", "accepted", "admitted", "sealing", "sealed", "limited", "denied", "dropped", "talk", "cut", "hangup", "time",
		"greeting", "probed", "handed", "declined", "failed", "tarry", "released", "answered", "ended", "stop", "leave", "moved" };
	return names[event];
}

const char *conn_limit_name(enum conn_limit limit)
{
	static const char *const names[] = { [CONN_LIMIT_NONE] = "none", [CONN_LIMIT_TOTAL] = "max_connections",
		[CONN_LIMIT_DESCRIPTORS] = "descriptors", [CONN_LIMIT_CLIENT] = "max_per_client" };
	return names[limit];
}

const char *conn_verdict_name(enum conn_verdict verdict)
{
	static const char *const names[CONN_VERDICTS] = { "undecided", "patient", "exempt", "early", "refused", "gone", "limited", "nobackend", "tempfail", "probe", "known" };
	return names[verdict];
}

bool conn_verdict_passes(enum conn_verdict verdict)
{
	return verdict == CONN_PATIENT || verdict == CONN_EXEMPT || verdict == CONN_KNOWN;
}
