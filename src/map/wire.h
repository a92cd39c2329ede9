/* wire.h: what a front and a lookup process say to each other: questions and answers, one to a message.
 *
 * A question is up to WIRE_SEARCHES searches, each an ordered list of keys, all for one map. The answer says for each search which is the first of
 * its keys that the map has, and its value; or that it has none of them; or why it could not be asked. Both sides run on one machine, but neither
 * trusts the other's bytes: whatever is read is complete, within its bounds, and has nothing behind it. Slices point into the message. Nothing here
 * blocks, allocates or logs.
 *
 * Numbers are big-endian. Question: "Q" version(1) front(2) id(8) deadline(8), then the body: map(2) searches(1), for each search keys(2), for each key
 * length(2) bytes. Answer: "A" version(1) id(8) searches(1), for each search result(1) and: found: key(2) cut(1) length(2) bytes; failed: length(2) reason.
 */
#ifndef TARRY_MAP_WIRE_H
#define TARRY_MAP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

#define WIRE_VERSION 1
#define WIRE_SEARCHES 16               /* of one question at most */
#define WIRE_KEYS 512                  /* of all its searches together */
#define WIRE_KEY_MAX 1024              /* bytes of a key; none is empty */
#define WIRE_QUESTION_MAX (32 * 1024)  /* bytes of the whole message */
#define WIRE_VALUE_MAX 1024            /* bytes of a value; a longer one is cut, and that is told */
#define WIRE_REASON_MAX 200            /* bytes of a reason */
#define WIRE_ANSWER_MAX (11 + WIRE_SEARCHES * (6 + WIRE_VALUE_MAX))
#define WIRE_BODY_AT 20                /* where the body of a question begins: what follows is the same for the same question */

struct wire_question {
	uint64_t id;
	int64_t deadline; /* CLOCK_MONOTONIC, nanoseconds: nobody waits for an answer any longer */
	uint16_t front;   /* who asks */
	uint16_t map;
	uint16_t searches;                /* 1..WIRE_SEARCHES */
	uint16_t counts[WIRE_SEARCHES];   /* keys of each search, 1.. */
	struct slice keys[WIRE_KEYS];     /* those of the first search, of the second, … */
};

enum wire_result { WIRE_FAILED, WIRE_NONE, WIRE_FOUND };

struct wire_found {
	enum wire_result result;
	bool cut;          /* WIRE_FOUND: the value was longer than WIRE_VALUE_MAX */
	uint16_t key;      /* WIRE_FOUND: which key of its search, from 0 */
	struct slice text; /* WIRE_FOUND: the value; WIRE_FAILED: why */
};

struct wire_answer {
	uint64_t id;
	uint16_t searches;
	struct wire_found found[WIRE_SEARCHES];
};

/* Appends the message. False, and nothing is written: it is beyond one of the bounds, or does not fit into out. */
bool wire_put_question(struct buf *out, const struct wire_question *question);
/* A value longer than WIRE_VALUE_MAX is cut, and so marked; a longer reason too. */
bool wire_put_answer(struct buf *out, const struct wire_answer *answer);

/* False: it is not such a message; *out is then as it was. */
bool wire_get_question(struct slice message, struct wire_question *out);
bool wire_get_answer(struct slice message, struct wire_answer *out);

#endif
