/* smtpd.h: the sessions of one mail process: sockets, buffers, deadlines. What is said on them is dialogue.c's.
 *
 * Each session begins with a PROXY version 2 header, by which the door says who the client is. A session owns its descriptor, and at most
 * SMTPD_IN + SMTPD_OUT bytes of buffers, given back when they are empty; within a message also MESSAGE_BLOCK bytes of it and the paths of its recipients (max_recipients). Sessions are freed by smtpd_sweep(), which the owner of the
 * loop calls at the end of a turn. A message being stored blocks the process: there are several for that reason.
 */
#ifndef TARRY_MAIL_SMTPD_H
#define TARRY_MAIL_SMTPD_H

#include <stdbool.h>

#include "core/conf.h"
#include "core/loop.h"
#include "mail/dialogue.h"

#define SMTPD_SESSIONS 4000  /* sessions of a process at the same time; with as many, smtpd_is_full() */
#define SMTPD_IN (64 * 1024)
#define SMTPD_OUT (16 * 1024)

struct session; /* one */

struct smtpd {
	struct loop *loop;
	struct dialogue_shared shared;
	struct session *all;  /* open */
	struct session *gone; /* closed, to be freed at the end of the turn */
	unsigned sessions;
};

/* Both must outlive it. */
void smtpd_init(struct smtpd *smtpd, struct loop *loop, const struct conf *conf);
/* Ends all sessions as they are: nothing is finished, no file is left behind. */
void smtpd_fini(struct smtpd *smtpd);

/* Tells every client 421 that is not in the middle of a message, and lets go of it; until they have it, or for as long as the caller waits, there are sessions left. Call it again for those whose
 * message has come. all: whoever is in the middle of one, too; it is forgotten: it was not acknowledged. */
void smtpd_stop(struct smtpd *smtpd, bool all);
/* Whether any is in the middle of one. */
bool smtpd_is_busy(const struct smtpd *smtpd);

/* Serve what has connected; takes fd. False: no memory, or the loop takes no more; fd is closed. */
bool smtpd_add(struct smtpd *smtpd, int fd);
/* Do not accept any more for now: another process may have room, and when none has, the door gives up waiting and answers 421. */
bool smtpd_is_full(const struct smtpd *smtpd);
void smtpd_sweep(struct smtpd *smtpd);

#endif
