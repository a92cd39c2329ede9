/* judge.h: what the access database makes of each MAIL and RCPT of a relayed client, as the watch asks for it.
 *
 * Without delay_checks From: answers at MAIL and To: at RCPT; with it all is decided at RCPT, per recipient, in Sendmail's order (SENDMAIL.md 12). Asks maps
 * that are elsewhere meanwhile, and logs what is refused. Private to the files of a connection.
 */
#ifndef TARRY_GATE_JUDGE_H
#define TARRY_GATE_JUDGE_H

#include <stdbool.h>

#include "access/rules.h"
#include "gate/watch.h"

struct front;
struct session;
struct judge_asked; /* maps elsewhere, while they are asked */

struct judge_user {
	struct buf text; /* the path as written, its local part without quotes, its domain; one behind the other */
	size_t path_len, local_len;
};

struct judge {
	struct watch_rules rules;
	struct front *front;
	struct session *session;
	struct watch *watch;
	struct rules_answer client; /* what is to be told to each recipient */
	struct judge_user sender, recipient;
	struct judge_asked *asked;  /* NULL: nothing is under way */
	bool discard;               /* this message is taken and thrown away */
};

/* What is to be told about the client, where that is told after its greeting: refused, over a limit, or taken with a remark. */
struct rules_answer judge_about_client(const struct front *front, const struct session *session);
/* Whether this client, or anybody, has senders and recipients that are judged. */
bool judge_is_needed(const struct front *front, const struct session *session);
/* watch must outlive it; it is initialised here, with the rules that lead here. */
void judge_init(struct judge *judge, struct front *front, struct session *session, struct watch *watch);
/* What was asked about the client is answered, after judge_init(). */
void judge_answered(struct judge *judge, struct front *front);
/* The dialogue goes on unseen, which it does for an observed client where enforcing had hidden STARTTLS from it. */
void judge_blinded(struct judge *judge);
void judge_fini(struct judge *judge);

#endif
