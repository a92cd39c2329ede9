/* The policy: every cell of state × event × exempt, against a table written by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gate/conn.h"

struct cell {
	enum conn_state state;
	enum conn_event event;
	int exempt; /* -1: both */
	enum conn_state next;
	enum conn_verdict verdict;
};

/* Whatever is not here stays where it is and decides nothing. */
static const struct cell cells[] = {
	{ CONN_FREE, CONN_ACCEPTED, -1, CONN_HOLD, CONN_UNDECIDED },
	{ CONN_FREE, CONN_ADMITTED, -1, CONN_DIAL, CONN_UNDECIDED },
	{ CONN_FREE, CONN_LIMITED, -1, CONN_CLOSE, CONN_LIMIT },
	{ CONN_FREE, CONN_SEALING, -1, CONN_TLS, CONN_UNDECIDED },
	{ CONN_TLS, CONN_ASKED, -1, CONN_ASK, CONN_UNDECIDED },
	{ CONN_TLS, CONN_ACCEPTED, -1, CONN_HOLD, CONN_UNDECIDED },
	{ CONN_TLS, CONN_ADMITTED, -1, CONN_DIAL, CONN_UNDECIDED },
	{ CONN_TLS, CONN_DENIED, -1, CONN_REFUSE, CONN_REFUSED },
	{ CONN_TLS, CONN_DROPPED, -1, CONN_CLOSE, CONN_REFUSED },
	{ CONN_TLS, CONN_HANGUP, -1, CONN_DONE, CONN_GONE },
	{ CONN_TLS, CONN_ENDED, -1, CONN_DONE, CONN_GONE },
	{ CONN_TLS, CONN_TIME, -1, CONN_DONE, CONN_GONE },
	{ CONN_TLS, CONN_STOP, -1, CONN_DONE, CONN_TEMPFAIL },
	{ CONN_TLS, CONN_LEAVE, -1, CONN_DONE, CONN_TEMPFAIL },
	{ CONN_RELAY, CONN_SEALING, -1, CONN_STARTTLS, CONN_UNDECIDED },
	{ CONN_STARTTLS, CONN_SEALED, -1, CONN_RELAY, CONN_UNDECIDED },
	{ CONN_STARTTLS, CONN_FAILED, -1, CONN_RELAY, CONN_UNDECIDED },
	{ CONN_STARTTLS, CONN_HANGUP, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_STARTTLS, CONN_ENDED, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_STARTTLS, CONN_TIME, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_STARTTLS, CONN_LEAVE, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_FREE, CONN_ASKED, -1, CONN_ASK, CONN_UNDECIDED },
	{ CONN_ASK, CONN_ACCEPTED, -1, CONN_HOLD, CONN_UNDECIDED },
	{ CONN_ASK, CONN_ADMITTED, -1, CONN_DIAL, CONN_UNDECIDED },
	{ CONN_ASK, CONN_TALK, -1, CONN_REFUSE, CONN_EARLY },
	{ CONN_ASK, CONN_CUT, -1, CONN_CLOSE, CONN_EARLY },
	{ CONN_ASK, CONN_HANGUP, -1, CONN_DONE, CONN_GONE },
	{ CONN_ASK, CONN_ENDED, -1, CONN_DONE, CONN_GONE },
	{ CONN_ASK, CONN_DENIED, -1, CONN_REFUSE, CONN_REFUSED },
	{ CONN_ASK, CONN_DROPPED, -1, CONN_CLOSE, CONN_REFUSED },
	{ CONN_ASK, CONN_STOP, -1, CONN_CLOSE, CONN_TEMPFAIL },
	{ CONN_ASK, CONN_LEAVE, -1, CONN_CLOSE, CONN_TEMPFAIL },
	{ CONN_HOLD, CONN_ADMITTED, -1, CONN_DIAL, CONN_UNDECIDED },
	{ CONN_FREE, CONN_DENIED, -1, CONN_REFUSE, CONN_REFUSED },
	{ CONN_FREE, CONN_DROPPED, -1, CONN_CLOSE, CONN_REFUSED },
	{ CONN_FREE, CONN_ENDED, -1, CONN_DONE, CONN_GONE },
	{ CONN_HOLD, CONN_DENIED, -1, CONN_REFUSE, CONN_REFUSED },
	{ CONN_HOLD, CONN_DROPPED, -1, CONN_CLOSE, CONN_REFUSED },
	{ CONN_HOLD, CONN_TALK, -1, CONN_REFUSE, CONN_EARLY },
	{ CONN_HOLD, CONN_CUT, -1, CONN_CLOSE, CONN_EARLY },
	{ CONN_HOLD, CONN_HANGUP, -1, CONN_DONE, CONN_GONE },
	{ CONN_HOLD, CONN_ENDED, -1, CONN_DONE, CONN_GONE },
	{ CONN_HOLD, CONN_TIME, -1, CONN_DIAL, CONN_UNDECIDED },
	{ CONN_HOLD, CONN_STOP, -1, CONN_CLOSE, CONN_TEMPFAIL },
	{ CONN_HOLD, CONN_LEAVE, -1, CONN_CLOSE, CONN_TEMPFAIL },
	{ CONN_HOLD, CONN_MOVED, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_DIAL, CONN_TALK, 0, CONN_REFUSE, CONN_EARLY },
	{ CONN_DIAL, CONN_CUT, 0, CONN_CLOSE, CONN_EARLY },
	{ CONN_DIAL, CONN_DECLINED, 0, CONN_REFUSE, CONN_PATIENT },
	{ CONN_DIAL, CONN_DECLINED, 1, CONN_REFUSE, CONN_EXEMPT },
	{ CONN_DIAL, CONN_HANGUP, -1, CONN_DONE, CONN_GONE },
	{ CONN_DIAL, CONN_ENDED, -1, CONN_DONE, CONN_GONE },
	{ CONN_DIAL, CONN_GREETING, 0, CONN_RELAY, CONN_PATIENT },
	{ CONN_DIAL, CONN_GREETING, 1, CONN_RELAY, CONN_EXEMPT },
	{ CONN_DIAL, CONN_PROBED, -1, CONN_REFUSE, CONN_PROBE },
	{ CONN_DIAL, CONN_HANDED, 0, CONN_DONE, CONN_PATIENT },
	{ CONN_DIAL, CONN_HANDED, 1, CONN_DONE, CONN_EXEMPT },
	{ CONN_DIAL, CONN_DENIED, -1, CONN_REFUSE, CONN_REFUSED },
	{ CONN_DIAL, CONN_DROPPED, -1, CONN_CLOSE, CONN_REFUSED },
	{ CONN_DIAL, CONN_FAILED, -1, CONN_CLOSE, CONN_NOBACKEND },
	{ CONN_DIAL, CONN_TIME, -1, CONN_CLOSE, CONN_NOBACKEND },
	{ CONN_DIAL, CONN_STOP, -1, CONN_CLOSE, CONN_TEMPFAIL },
	{ CONN_DIAL, CONN_LEAVE, -1, CONN_CLOSE, CONN_TEMPFAIL },
	{ CONN_RELAY, CONN_TALK, -1, CONN_REFUSE, CONN_EARLY },
	{ CONN_RELAY, CONN_ANSWERED, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_RELAY, CONN_ENDED, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_RELAY, CONN_LEAVE, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_RELAY, CONN_TIME, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_REFUSE, CONN_ANSWERED, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_REFUSE, CONN_ENDED, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_REFUSE, CONN_STOP, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_REFUSE, CONN_LEAVE, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_REFUSE, CONN_TIME, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_REFUSE, CONN_TARRY, -1, CONN_TARPIT, CONN_UNDECIDED },
	{ CONN_TARPIT, CONN_RELEASED, -1, CONN_REFUSE, CONN_UNDECIDED },
	{ CONN_TARPIT, CONN_ANSWERED, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_TARPIT, CONN_TIME, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_TARPIT, CONN_STOP, -1, CONN_CLOSE, CONN_UNDECIDED },
	{ CONN_TARPIT, CONN_ENDED, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_TARPIT, CONN_LEAVE, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_CLOSE, CONN_ENDED, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_CLOSE, CONN_TIME, -1, CONN_DONE, CONN_UNDECIDED },
	{ CONN_CLOSE, CONN_LEAVE, -1, CONN_DONE, CONN_UNDECIDED },
};

static struct conn_next expected(enum conn_state state, enum conn_event event, int exempt)
{
	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		if (cells[i].state == state && cells[i].event == event && (cells[i].exempt == -1 || cells[i].exempt == exempt))
			return (struct conn_next){ cells[i].next, cells[i].verdict };
	return (struct conn_next){ state, CONN_UNDECIDED };
}

static void every_cell(void **context)
{
	unsigned seen = 0;
	(void)context;
	for (int state = 0; state < CONN_STATES; state++)
		for (int event = 0; event < CONN_EVENTS; event++)
			for (int exempt = 0; exempt < 2; exempt++) {
				struct conn_next is = conn_step((enum conn_state)state, (enum conn_event)event, exempt);
				struct conn_next want = expected((enum conn_state)state, (enum conn_event)event, exempt);
				if (is.state != want.state || is.verdict != want.verdict)
					fail_msg("%s, %s, exempt %d: %s, %s; expected %s, %s", conn_state_name((enum conn_state)state),
					         conn_event_name((enum conn_event)event), exempt, conn_state_name(is.state), conn_verdict_name(is.verdict),
					         conn_state_name(want.state), conn_verdict_name(want.verdict));
				seen++;
			}
	assert_int_equal(seen, CONN_STATES * CONN_EVENTS * 2);
}

/* What must hold of any policy, whatever the table says. */
static void invariants(void **context)
{
	(void)context;
	for (int event = 0; event < CONN_EVENTS; event++)
		for (int exempt = 0; exempt < 2; exempt++) {
			/* Only a backend that has greeted leads to RELAY, and only RELAY to STARTTLS and back: nobody is let in by anything else. */
			for (int state = 0; state < CONN_STATES; state++)
				if (state != CONN_STARTTLS && conn_step((enum conn_state)state, (enum conn_event)event, exempt).state == CONN_STARTTLS)
					assert_int_equal(state, CONN_RELAY);
			for (int state = 0; state < CONN_STATES; state++)
				if (state != CONN_RELAY && state != CONN_STARTTLS && conn_step((enum conn_state)state, (enum conn_event)event, exempt).state == CONN_RELAY) {
					assert_int_equal(state, CONN_DIAL);
					assert_int_equal(event, CONN_GREETING);
				}
			/* Nothing leaves DONE, and who was refused is never served. */
			assert_int_equal(conn_step(CONN_DONE, (enum conn_event)event, exempt).state, CONN_DONE);
			enum conn_state after = conn_step(CONN_REFUSE, (enum conn_event)event, exempt).state;
			assert_true(after == CONN_REFUSE || after == CONN_TARPIT || after == CONN_CLOSE || after == CONN_DONE);
			after = conn_step(CONN_TARPIT, (enum conn_event)event, exempt).state;
			assert_true(after == CONN_REFUSE || after == CONN_TARPIT || after == CONN_CLOSE || after == CONN_DONE);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_cell), cmocka_unit_test(invariants) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
