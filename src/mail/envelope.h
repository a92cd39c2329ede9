/* envelope.h: who a message is from and for, and where that puts it.
 *
 * Here it is decided which recipients are ours. Mail is only ever stored in a Maildir, never passed on, so no address can turn us into a relay; what looks
 * like an attempt (another domain, user%other@ours, other!user@ours, "user@other"@ours) is refused as one all the same.
 * Does not log. May ask the disk whether a Maildir exists.
 */
#ifndef TARRY_MAIL_ENVELOPE_H
#define TARRY_MAIL_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/conf.h"
#include "smtp/command.h"

struct envelope {
	char *from;     /* "user@domain", "" for the null sender; NULL: no MAIL yet */
	bool smtputf8;
	char *first;    /* the first recipient, "user@domain" */
	char **paths;   /* their Maildirs, each once */
	uint64_t *hashes;
	size_t paths_len, paths_cap;
	size_t recipients;
};

enum envelope_answer {
	ENVELOPE_OK,
	ENVELOPE_RELAY,    /* not for us */
	ENVELOPE_BAD,      /* no mailbox can have that name */
	ENVELOPE_UNKNOWN,  /* no such Maildir, and none is made */
	ENVELOPE_FULL,     /* too many recipients */
	ENVELOPE_TEMPFAIL, /* the disk, or no memory; errno says why */
};

/* True, or false without memory. */
bool envelope_set_from(struct envelope *e, const struct command_mail *mail);
enum envelope_answer envelope_add(struct envelope *e, const struct conf *conf, const struct command_path *to);
/* Back to no MAIL; frees what it holds. Zeroes are a valid empty envelope. */
void envelope_clear(struct envelope *e);

#endif
