/* watch_queue.h: the replies that a client is owed, in their order.
 *
 * One turn for each: a command on its way to the backend, whose reply is to come, or a reply of the door's own, which waits for its place. Bounded:
 * WATCH_PENDING turns, WATCH_ANSWERS bytes of answers. Allocates through its buf alone.
 */
#ifndef TARRY_GATE_WATCH_QUEUE_H
#define TARRY_GATE_WATCH_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define WATCH_PENDING 64          /* replies owed at most; then the client is read no more (RFC 2920 lets it wait) */
#define WATCH_ANSWERS (8 * 1024)  /* bytes of the door's own replies that wait for their place */
#define WATCH_ANSWER_BYTES 1024   /* bytes of one at most */
#define WATCH_AT_ONCE 2           /* turns that one command may add */

/* What the backend is expected to answer. */
enum watch_turn {
	WATCH_TURN_NONE,     /* nothing is owed */
	WATCH_TURN_ANSWER,   /* the door's own, and not the backend's */
	WATCH_TURN_GREETING,
	WATCH_TURN_HELO,
	WATCH_TURN_EHLO,
	WATCH_TURN_MAIL,
	WATCH_TURN_RCPT,
	WATCH_TURN_DATA,
	WATCH_TURN_TEXT,     /* the end of the message text */
	WATCH_TURN_BDAT,
	WATCH_TURN_AUTH,     /* and each line of the exchange */
	WATCH_TURN_STARTTLS,
	WATCH_TURN_QUIT,
	WATCH_TURN_OTHER,
	WATCH_TURN_UNKNOWN,  /* a command that the door does not know */
	WATCH_TURN_OWN,      /* a command of the door's own: the client does not see the reply */
};

struct watch_queue {
	uint8_t turns[WATCH_PENDING];
	uint16_t lengths[WATCH_PENDING]; /* of answers, else 0 */
	uint8_t first, len;
	size_t claimed;                  /* bytes of answers that have their turn */
	struct buf answers;
};

void watch_queue_init(struct watch_queue *q);
void watch_queue_fini(struct watch_queue *q);

/* For WATCH_AT_ONCE turns and an answer of WATCH_ANSWER_BYTES bytes. */
bool watch_queue_has_room(const struct watch_queue *q);
/* There must be room. */
void watch_queue_push(struct watch_queue *q, enum watch_turn turn);
/* The turn of what has been appended to q->answers since the last time: a whole reply. If that is nothing, it becomes a 451. False: no memory. */
bool watch_queue_push_answer(struct watch_queue *q);
/* What has been appended to q->answers since the last time. */
struct slice watch_queue_unclaimed(const struct watch_queue *q);
void watch_queue_drop_unclaimed(struct watch_queue *q);

enum watch_turn watch_queue_first(const struct watch_queue *q);
/* The first one, which is no answer, has been answered. */
void watch_queue_pop(struct watch_queue *q);
/* Move the answers whose turn it is. False: `to` has no room for one. */
bool watch_queue_flush(struct watch_queue *q, struct buf *to);

#endif
