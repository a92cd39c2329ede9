/* ask.h: what is not known of a client when it comes: its name, and what maps say that may block.
 *
 * Asked while the client waits for its greeting anyhow. What is asked for lives in memory of its own, which a connection has while it is held; it shrinks to the name once that
 * is known, and goes on with the session. Private to the files of a connection.
 */
#ifndef TARRY_GATE_ASK_H
#define TARRY_GATE_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "access/rules.h"
#include "gate/names.h"
#include "gate/stage.h"

struct front;
struct conn;
struct ask_pending; /* the questions that are under way */

struct ask {
	int64_t accepted;            /* when the client came */
	int64_t talked_at;           /* when it first sent something before its pause was known; 0: it has not */
	struct ask_pending *pending; /* NULL: all is answered */
	struct access_answers *answers; /* of maps elsewhere, until the client has been judged; NULL: none */
	struct rules_answer *kept;   /* what the access database makes of the client, to be told at RCPT; NULL: nothing */
	uint32_t pauses[STAGE_PAUSES];    /* ms: what maps elsewhere, and those that are here, say of the pauses after the greeting, */
	bool has_pauses;             /* where the former have answered */
	bool late;                   /* its pause was over before all was answered: it is greeted, and its commands wait */
	enum names_result result;
	uint8_t name_len;
	char name[];                 /* as the DNS has it, with a NUL; "": none */
};

/* Whether anything is asked of this door's clients. */
bool ask_is_needed(const struct front *front);
/* Asks. NULL: no memory. conn_answered() follows in a later turn, unless ask_free() comes first; before it before_asked_maps(), if maps are asked. */
struct ask *ask_start(struct front *front, struct conn *conn);
/* Something is still being asked. NULL is fine. */
bool ask_is_pending(const struct ask *ask);
/* What is still asked is not waited for any longer: a client without a name. NULL is fine. */
void ask_stop(struct ask *ask);
/* Also while questions are under way; NULL is fine. */
void ask_free(struct ask *ask);

/* The client has been judged: the answers are no longer needed. */
void ask_judged(struct ask *ask);
/* For later, with a copy of its reply. *ask may be NULL, then there is one afterwards. False: no memory. */
bool ask_keep(struct ask **ask, int64_t accepted, const struct rules_answer *answer);

/* The name, confirmed or not (GreetPause: takes either), or "". */
struct slice ask_name(const struct ask *ask);
/* The name if it is the client's own, or "". */
struct slice ask_confirmed_name(const struct ask *ask);

#endif
