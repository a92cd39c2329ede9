/* foreign.h: what a client of another protocol says to an SMTP server that has greeted it: HTTP by way of a proxy, TLS, SSH, a PROXY header.
 *
 * Pure functions over what was read. What was found is named by a literal, for the log: "http", "tls", "proxy", "ssh", "command", "nonletter".
 */
#ifndef TARRY_SMTP_FOREIGN_H
#define TARRY_SMTP_FOREIGN_H

#include <stdbool.h>

#include "core/buf.h"
#include "smtp/command.h"
#include "smtp/reply.h"

#define FOREIGN_OPENING 16 /* first bytes of a client that tell its protocol */

/* The first bytes that a client has sent, or some of them. NULL: they may be SMTP. */
const char *foreign_opening(struct slice bytes);
/* A line, without its end. words: with blanks between them, commands that are forbidden, and nonletter, a line that begins with neither a letter nor a blank; none: nothing is.
 * first: the client's first line. NULL: it is not forbidden. */
const char *foreign_command(const char *words, struct slice line, const struct command *command, bool first);
/* 421 4.7.0 HOST and a text, as Sendmail has it for a command: "Rejecting open proxy CLIENT". */
bool foreign_put_reply(struct buf *out, const char *host, const char *foreign, const struct reply_client *client);

#endif
