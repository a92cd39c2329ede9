/* The tour, probe: what is awaited. Replies have no names but their order, so each takes what stands first in the queue; a server that answers less, or more, than was
 * said makes them slip, and that is put right here as far as it can be. */
#include "tool/probe_all.h"

#include <string.h>

void probe_queue_put(struct probe_queue *q, enum probe_step step, enum probe_phase phase)
{
	if (q->len < PROBE_PENDING)
		q->at[q->len++] = (struct probe_expected){ step, phase };
}

static struct probe_expected take(struct probe_queue *q)
{
	struct probe_expected first = q->at[0];
	q->len--;
	memmove(q->at, q->at + 1, q->len * sizeof(q->at[0]));
	return first;
}

/* If the message went out with it, each of its lines is a command now, and is answered. */
static void refused_data(struct probe_queue *q, unsigned lines)
{
	if (q->len == 0 || q->at[0].step != PROBE_STEP_EOM || q->at[0].phase != PROBE_PHASE_DEED || q->len + lines > PROBE_PENDING)
		return;
	memmove(q->at + lines, q->at, q->len * sizeof(q->at[0]));
	for (unsigned i = 0; i < lines; i++)
		q->at[i] = (struct probe_expected){ PROBE_STEP_LINE, PROBE_PHASE_DEED };
	q->len += lines;
}

/* A greeting that was begun, and then what the client said in the meantime was answered in its place: postscreen says "220-" and "250 ". But not when it is the client that
 * is refused (RFC 5321 3.1, RFC 7504). */
static bool is_broken_off(const struct probe_reply *reply)
{
	return reply->first_code / 100 == 2 && reply->code != reply->first_code && reply->code != 421 && reply->code != 521 && reply->code != 554;
}

void probe_queue_answer(struct probe_queue *q, struct probe_reply *reply, enum probe_phase otherwise)
{
	struct probe_expected expected = { PROBE_STEP_NONE, otherwise };
	if (q->len > 0)
		expected = take(q);
	if (expected.step == PROBE_STEP_GREETING && q->len > 0 && is_broken_off(reply))
		expected = take(q);
	reply->to = expected.step;
	reply->phase = expected.phase;
	if (reply->to == PROBE_STEP_DATA && reply->code != 354)
		refused_data(q, probe_act_message_lines());
}

void probe_queue_forget_junk(struct probe_queue *q)
{
	size_t left = 0;
	for (size_t i = 0; i < q->len; i++)
		if (q->at[i].step != PROBE_STEP_JUNK)
			q->at[left++] = q->at[i];
	q->len = left;
}

unsigned probe_queue_unanswered(const struct probe_queue *q)
{
	unsigned n = 0;
	for (size_t i = 0; i < q->len; i++)
		n += q->at[i].phase == PROBE_PHASE_DEED && q->at[i].step != PROBE_STEP_JUNK && q->at[i].step != PROBE_STEP_QUIT;
	return n;
}

/* The whole deed is one write that ends in QUIT, with bytes in front that anybody may answer as he likes: counted from the end. */
static void realign_deed(struct probe_record *r, const char *deed, const char *letter)
{
	for (size_t i = r->replies_len; i > 0 && r->replies[i - 1].phase == PROBE_PHASE_DEED; i--) {
		r->replies[i - 1].to = probe_act_step(*letter);
		if (letter > deed)
			letter--;
	}
}

void probe_queue_realign(struct probe_queue *q, struct probe_record *r, const char *deed)
{
	const char *quit = strchr(deed, 'Q');
	size_t of_deed = 0;
	for (size_t i = 0; i < r->replies_len; i++)
		of_deed += r->replies[i].phase == PROBE_PHASE_DEED;
	if (q->len == 0 || q->at[q->len - 1].step != PROBE_STEP_QUIT || r->replies_len == 0 || r->replies[r->replies_len - 1].code != 221)
		return;
	if (quit && deed[0] == 'J') {
		if (of_deed < strlen(deed))
			return; /* a 221 to the bytes themselves, as Postfix has it for HTTP */
		realign_deed(r, deed, quit);
		q->len = 0;
		return;
	}
	/* What its reply was taken for has none. */
	struct probe_reply *last = &r->replies[r->replies_len - 1];
	struct probe_expected taken_for = { last->to, last->phase };
	last->to = PROBE_STEP_QUIT;
	last->phase = q->at[q->len - 1].phase;
	q->at[q->len - 1] = taken_for;
}
