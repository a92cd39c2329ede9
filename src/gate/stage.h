/* stage.h: the points of a dialogue at which a client owes silence until it has its reply, and what becomes of one that talks there.
 *
 * Words and numbers only; which of them count for a client is stages.h's to say, whether it has talked watch_stage.c's.
 */
#ifndef TARRY_GATE_STAGE_H
#define TARRY_GATE_STAGE_H

#include <stdbool.h>
#include <stdint.h>

enum stage {
	STAGE_NONE,     /* the client may speak */
	STAGE_GREET,    /* the rest of a greeting of several lines */
	STAGE_HELO,     /* HELO and EHLO; always */
	STAGE_MAIL,     /* this, and what has no "always", only where the client was not offered PIPELINING */
	STAGE_RCPT,
	STAGE_DATA,     /* always; and BDAT that is not the last */
	STAGE_EOM,      /* the final dot, or the last BDAT */
	STAGE_STARTTLS, /* always */
	STAGE_COMMAND,  /* any other command */
	STAGES
};
#define STAGE_PAUSES (STAGE_EOM + 1) /* none behind this one has a pause */

/* In the order of the words of the options early_helo and so on, behind the first. */
enum stage_reaction {
	STAGE_LET,      /* talk there is not looked for */
	STAGE_REFUSE,   /* 554 5.5.0, then the null server */
	STAGE_TEMPFAIL, /* 450 4.5.0, and the same to everything else */
	STAGE_OBSERVE,  /* it is written down, and all goes on */
};

/* What counts for one client. */
struct stages {
	uint8_t reactions[STAGES]; /* enum stage_reaction */
	bool observes;             /* all talk is only written down: what was said too soon goes on its way as if it had not been */
	bool strikes;              /* PIPELINING is not offered to it: a pause within a group would count for each of its commands */
	uint32_t pauses[STAGE_PAUSES]; /* ms for which the reply is withheld at least; at EOM the message's end is, from the backend */
	uint32_t budget;           /* ms that the pauses of one transaction add up to at most; HELO belongs to the first */
};

/* "helo"; "none". */
const char *stage_name(enum stage stage);
/* As a client that talked is told it: "554 5.5.0 …", with its line end; "" for those two reactions that tell nothing. */
const char *stage_reply(enum stage stage, enum stage_reaction reaction);

#endif
