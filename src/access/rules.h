/* rules.h: what the access database makes of a client, a sender and a recipient: Sendmail's check_relay, check_mail and check_rcpt.
 *
 * Pure functions over a table: no connection, no log, no memory but what the caller gives. Slices in an answer point into the table and live as long as it is open.
 */
#ifndef TARRY_GATE_RULES_H
#define TARRY_GATE_RULES_H

#include <stdbool.h>

#include "core/conf.h"
#include "access/access.h"
#include "access/access_value.h"
#include "access/macros.h"

/* In the order of the words of the option delay_checks. */
enum rules_delay { RULES_DELAY_OFF, RULES_DELAY_ON, RULES_DELAY_FRIEND, RULES_DELAY_HATER };

/* In the order of the words of the options ratecontrol and conncontrol. */
enum rules_control { RULES_CONTROL_OFF, RULES_CONTROL_ON, RULES_CONTROL_NODELAY, RULES_CONTROL_TERMINATE, RULES_CONTROL_NODELAY_TERMINATE };

struct rules {
	const struct access *access; /* NULL: no database, everything passes */
	const struct conf *conf;
	const struct access_answers *answers; /* of maps elsewhere, about the sender and the recipient; NULL: there are none */
};

struct rules_answer {
	struct access_decision decision; /* ACCESS_OK where no key is found */
	struct access_hit hit;           /* which key it was, if any */
};

/* What access_failure says of the map with that place in access_db: tempfail, closed or open. Of several that failed, the first of these three that one of them has counts. */
const char *rules_failure_word(const struct conf *conf, unsigned map);

/* Whether the message, or the connection, is not simply let in. */
bool rules_blocks(const struct rules_answer *answer);

/* Connect:, and keys without a tag. */
struct rules_answer rules_client(const struct rules *rules, const struct access_client *client);
/* Over a limit: the reply, and whether it is given at connect or, as with delay_checks, to each recipient. */
struct rules_answer rules_over_limit(enum rules_control control, const char *text);
bool rules_is_delayed(const struct rules *rules, enum rules_control control);
/* From:, and keys without a tag. A null sender has none. */
struct rules_answer rules_sender(const struct rules *rules, struct slice local, struct slice domain);
/* The two as they are looked up, for a plan. */
struct access_user rules_user(const struct rules *rules, struct slice local, struct slice domain);
/* What a recipient gets (RCPT). To: comes first. With delay_checks the sender's answer and then the client's are decided here, except for a FRIEND (mode friend) or anybody
 * who is no HATER (mode hater). An old To: … SPAMFRIEND is a FRIEND. sender and client are what the two functions above said. */
struct rules_answer rules_recipient(const struct rules *rules, struct slice local, struct slice domain, const struct rules_answer *sender,
                                    const struct rules_answer *client);
/* Whether any recipient could be treated otherwise than another, or a sender than another: the dialogue must be watched. */
bool rules_need_dialogue(const struct rules *rules);

/* As a reply line without its line end: CODE D.S.N [<ADDRESS>... ]TEXT. The address stands there with the codes 450, 550 and 553 only (SENDMAIL.md 12). False: it
 * does not fit. who: for the macros of reject_msg. Control characters of the text become blanks: nothing in a file may end the line. */
bool rules_put_reply(struct buf *out, const struct access_reply *reply, struct slice address, const struct macros *who);

#endif
