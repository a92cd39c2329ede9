/* The tour, gate: who is owed which reply next. A ring of turns, and beside it the bytes of the replies that are the door's own. */
#include "gate/watch_queue.h"

#include "smtp/reply.h"

void watch_queue_init(struct watch_queue *q)
{
	q->first = q->len = 0;
	q->claimed = 0;
	buf_init(&q->answers, WATCH_ANSWERS);
}

void watch_queue_fini(struct watch_queue *q)
{
	buf_fini(&q->answers);
}

bool watch_queue_has_room(const struct watch_queue *q)
{
	return q->len + WATCH_AT_ONCE <= WATCH_PENDING && q->answers.len + WATCH_ANSWER_BYTES <= WATCH_ANSWERS;
}

static void push(struct watch_queue *q, enum watch_turn turn, size_t length)
{
	unsigned at = (q->first + q->len) % WATCH_PENDING;
	q->turns[at] = (uint8_t)turn;
	q->lengths[at] = (uint16_t)length;
	q->len++;
}

void watch_queue_push(struct watch_queue *q, enum watch_turn turn)
{
	push(q, turn, 0);
}

bool watch_queue_push_answer(struct watch_queue *q)
{
	if (q->answers.len == q->claimed && !reply_put(&q->answers, 451, "4.3.0", "Temporary system failure. Please try again later."))
		return false;
	push(q, WATCH_TURN_ANSWER, q->answers.len - q->claimed);
	q->claimed = q->answers.len;
	return true;
}

struct slice watch_queue_unclaimed(const struct watch_queue *q)
{
	if (q->answers.len == q->claimed)
		return slice_of("");
	return (struct slice){ q->answers.at + q->claimed, q->answers.len - q->claimed };
}

void watch_queue_drop_unclaimed(struct watch_queue *q)
{
	q->answers.len = q->claimed;
}

enum watch_turn watch_queue_first(const struct watch_queue *q)
{
	return q->len > 0 ? (enum watch_turn)q->turns[q->first] : WATCH_TURN_NONE;
}

void watch_queue_pop(struct watch_queue *q)
{
	q->first = (uint8_t)((q->first + 1) % WATCH_PENDING);
	q->len--;
}

bool watch_queue_flush(struct watch_queue *q, struct buf *to)
{
	size_t moved = 0;
	bool room = true;
	while (watch_queue_first(q) == WATCH_TURN_ANSWER) {
		room = buf_put(to, q->answers.at + moved, q->lengths[q->first]);
		if (!room)
			break;
		moved += q->lengths[q->first];
		watch_queue_pop(q);
	}
	if (moved > 0) {
		buf_drop(&q->answers, moved);
		q->claimed -= moved;
	}
	if (q->answers.len == 0)
		buf_fini(&q->answers);
	return room;
}
