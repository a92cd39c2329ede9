/* confreaction.h: what somebody gets who has talked too early, as an option says it: "drop 521 5.5.1 $j Not here".
 *
 * A word, and behind it perhaps the reply: CODE, an enhanced code (RFC 3463) of its class, and a text. Works on the option's own text; allocates nothing, never blocks.
 */
#ifndef TARRY_CORE_CONFREACTION_H
#define TARRY_CORE_CONFREACTION_H

#include <stdbool.h>

#include "core/buf.h"

enum conf_reaction_kind {
	CONF_REACTION_REFUSE,   /* the null server answers, line by line */
	CONF_REACTION_DROP,     /* one reply, and the end */
	CONF_REACTION_TEMPFAIL, /* the same, and it may come again */
	CONF_REACTION_CLOSE,    /* the end without a word */
	CONF_REACTIONS
};

struct conf_reaction {
	enum conf_reaction_kind kind;
	int code;         /* of the reply, also where none is given */
	struct slice dsn; /* empty: none */
	struct slice text; /* empty: none is given */
};

/* False: *why says what is wrong with it, and what was expected. */
bool conf_reaction_parse(const char *text, struct conf_reaction *out, const char **why);
const char *conf_reaction_name(enum conf_reaction_kind kind);

#endif
