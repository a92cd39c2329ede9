/* slowdown.h: when the reply to a command that comes again and again is held back, and for how long: Sendmail's slow-downs, for the null server and for relayed clients alike.
 *
 * From a command's limit on each one more doubles the wait, from one second to SLOWDOWN_MOST. Counts over the whole connection. Pure: no clock, no log.
 */
#ifndef TARRY_SMTP_SLOWDOWN_H
#define TARRY_SMTP_SLOWDOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "smtp/command.h"

#define SLOWDOWN_MOST 240 /* seconds (Sendmail: MAXTIMEOUT) */

/* Commands that share a counter. */
enum slowdown_kind { SLOWDOWN_HELO, SLOWDOWN_NOOP, SLOWDOWN_VRFY, SLOWDOWN_ETRN, SLOWDOWN_KINDS };

struct slowdown {
	uint16_t counts[SLOWDOWN_KINDS]; /* up to 65535 */
};

struct slowdown_step {
	unsigned seconds;    /* 0: no wait */
	const char *command; /* at the limit exactly, once: what an administrator is told is repeated; else NULL */
	unsigned count;
};

/* SLOWDOWN_KINDS: nothing is ever held back for it. */
enum slowdown_kind slowdown_kind(enum command_verb verb);
/* Counts one more. */
struct slowdown_step slowdown_count(struct slowdown *s, enum slowdown_kind kind);
/* The dialogue begins anew, under TLS: HELO and EHLO have to be said again. */
void slowdown_restart(struct slowdown *s);

#endif
