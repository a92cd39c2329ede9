/* access_value.h: what a value of the access database means: words, replies, numbers.
 *
 * Read as Sendmail reads it (measured), whatever one would think: a number as a value of Connect: is a refusal with that number as its text, a word
 * nobody knows is one too. Who builds a table says where that is odd. Plain values, no memory, no blocking.
 */
#ifndef TARRY_GATE_ACCESS_VALUE_H
#define TARRY_GATE_ACCESS_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

/* What follows from a value of Connect:, From: or To:, or of a key without a tag. */
enum access_action {
	ACCESS_OK,         /* let it pass; later rules are not asked */
	ACCESS_RELAY,      /* OK, and in Sendmail leave to relay */
	ACCESS_SKIP,       /* as if the key were not there, and no other of this search (if the configuration knows the word) */
	ACCESS_OBSERVE,    /* of a client: OK, and nothing at all is refused to it, only logged */
	ACCESS_REFUSE,     /* with a reply */
	ACCESS_TEMPFAIL,   /* 451 4.3.0: the map could not be asked */
	ACCESS_DISCARD,    /* take the message and throw it away */
	ACCESS_QUARANTINE, /* take it, and say so in the log */
};

/* The reply to ACCESS_REFUSE. Slices point into the value, or to literals. */
struct access_reply {
	unsigned code;
	char dsn[12];       /* RFC 3463: "5.7.1" */
	bool nonsense;      /* the value is no reply, and has become the text of one */
	struct slice text;
	bool macros;        /* that of the option reject_msg: macros in it are to be replaced (macros.h) */
};

struct access_decision {
	enum access_action action;
	struct access_reply reply; /* ACCESS_REFUSE, ACCESS_TEMPFAIL; ACCESS_QUARANTINE: text is the reason */
};

/* reject: the reply to REJECT, as the option reject_msg has it: "550 5.7.1 Access denied". skip: SKIP is a word. */
struct access_decision access_value_decide(struct slice value, struct slice reject, bool skip);
/* 451 4.3.0 Temporary system failure. Please try again later. */
struct access_decision access_value_tempfail(void);

enum access_spam { ACCESS_SPAM_NONE, ACCESS_SPAM_FRIEND, ACCESS_SPAM_HATER, ACCESS_SPAM_OLD_FRIEND /* SPAMFRIEND: of To:, before 8.10's Spam: */ };
/* Of Spam:, and of To: in its older form. The word alone counts, in any case. */
enum access_spam access_value_spam(struct slice value);

#endif
