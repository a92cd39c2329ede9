/* watch_model.h: a small mail server to stand behind a watch in tests: bytes in, replies out, and a strict eye on what it is sent.
 *
 * It reads as RFC 5321 has it: lines end in CRLF, text at CRLF.CRLF. What a door must never let through is its fault: a bare CR or LF, a NUL, a command
 * that the rules have refused, DATA without a recipient. Replies bear numbers, so that their order shows.
 */
#ifndef TARRY_TEST_WATCH_MODEL_H
#define TARRY_TEST_WATCH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "gate/watch.h"

#define MODEL_MOST (4 * 1024 * 1024)

enum model_state { MODEL_COMMANDS, MODEL_TEXT, MODEL_CHUNK, MODEL_AUTH, MODEL_TLS, MODEL_CLOSED };

struct model {
	enum model_state state;
	const char *fault;    /* the first that was seen */
	struct buf line;      /* so far */
	struct buf out;       /* replies */
	struct buf messages;  /* what has been accepted: each text, unstuffed, and "<end>\n" */
	struct buf message;   /* being received */
	unsigned replies;     /* so far */
	unsigned recipients, accepted; /* of this transaction; messages so far */
	bool mail;
	bool no_pipelining;   /* it does not offer that */
	size_t chunk;
	bool chunk_last;
};

/* Says its greeting. */
void model_init(struct model *m);
void model_fini(struct model *m);
void model_take(struct model *m, struct slice bytes);

/* Rules to go with it, by the local part: "no…" is refused (550), "drop…" accepted by the door, "later…" decided later (then refused when it is "later.no…"); a
 * sender "discard…" has its message discarded, "mute…" refused at DATA. context: a struct model_rules. */
struct model_rules {
	bool later;           /* a decision is owed: */
	enum watch_decision decision;
	char reply[512];
	char sender[16];      /* its local part, cut */
	unsigned recipients, accepted, asked; /* as told at DATA, and how often */
};
extern const struct watch_rules model_rules;
/* Give the decision that is owed, if any. */
void model_decide(struct model_rules *rules, struct watch *w);

#endif
