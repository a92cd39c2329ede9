/* command.h: a line from a client → verb and argument; MAIL and RCPT → address and parameters.
 *
 * Knows SMTP's grammar and no connection. Works on slices of the caller's line, allocates nothing, never blocks or logs.
 */
#ifndef TARRY_SMTP_COMMAND_H
#define TARRY_SMTP_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define COMMAND_LINE 2048 /* bytes of a command line at most, its line end included (Sendmail: 2047 and a NUL) */

enum command_verb {
	COMMAND_UNKNOWN, /* whatever else; also the empty line */
	COMMAND_HELO, COMMAND_EHLO, COMMAND_MAIL, COMMAND_RCPT, COMMAND_DATA, COMMAND_RSET, COMMAND_NOOP, COMMAND_QUIT,
	COMMAND_VRFY, COMMAND_EXPN, COMMAND_HELP, COMMAND_ETRN, COMMAND_VERB, COMMAND_SEND, COMMAND_SAML, COMMAND_SOML,
	COMMAND_TURN, COMMAND_DEBUG, COMMAND_SHOWQ, COMMAND_WIZ, COMMAND_STARTTLS, COMMAND_AUTH, COMMAND_BDAT,
};

struct command {
	enum command_verb verb;
	struct slice word; /* the verb as it was written */
	struct slice rest; /* what follows it, without white space at either end */
};

/* line is without its line end. As Sendmail matches: leading white space is skipped, case does not matter, the verb ends at white
 * space, and a bare CR counts as white space (SENDMAIL.md section 5). */
struct command command_parse(struct slice line);

struct command_path {
	struct slice local;  /* as written, quotes included */
	struct slice domain; /* empty for <> and <postmaster> */
	bool null;           /* <> */
};

struct command_mail {
	struct command_path from;
	int64_t size;   /* SIZE=, -1: not given */
	bool body8;     /* BODY=8BITMIME */
	bool smtputf8;
};

/* The rest of MAIL ("FROM:<a@b> SIZE=1") and RCPT ("TO:<a@b>"). White space after the colon is let pass, as every server does; so is an address without <>,
 * which Sendmail takes. False: *reply_code, *enhanced and *why say what to answer (501 5.5.4 "Syntax error…", 555 5.5.4, 553 5.1.3…). RFC 5321 4.1.1.2, 4.1.1.3. */
struct command_error {
	int code;
	const char *enhanced; /* "5.5.4" */
	const char *text;
};
bool command_parse_mail(struct slice rest, struct command_mail *out, struct command_error *error);
bool command_parse_rcpt(struct slice rest, struct command_path *out, struct command_error *error);

#endif
