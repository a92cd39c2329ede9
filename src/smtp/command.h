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
 * space, and a bare CR counts as white space. */
struct command command_parse(struct slice line);

/* What to answer to an argument that is not taken. */
struct command_error {
	int code;
	const char *enhanced; /* "5.5.4" */
	const char *text;     /* a literal */
};

#define COMMAND_DOMAIN 255 /* bytes of a domain at most (RFC 5321 4.5.3.1.2) */
#define COMMAND_PATH 400   /* bytes of a path at most, its <> included: the reply that repeats it stays below 512 */

/* The argument of HELO and EHLO: one word of letters, digits and "[].-_#:", as Sendmail takes it. False: *error. */
bool command_parse_helo(const struct command *command, struct command_error *error);

struct command_path {
	struct slice text;   /* as written, with its <> if it had them: for replies */
	struct slice local;  /* as written, quotes included */
	struct slice domain; /* empty for <> and for an address without one, such as <postmaster> */
	bool null;           /* <> */
	bool utf8;           /* has bytes beyond ASCII: wants SMTPUTF8 (RFC 6531) */
};

struct command_mail {
	struct command_path from;
	int64_t size;   /* SIZE=, -1: not given */
	bool body8;     /* BODY=8BITMIME */
	bool smtputf8;
};

/* The rest of MAIL ("FROM:<a@b> SIZE=1") and RCPT ("TO:<a@b>"). White space around the colon is let pass, as every server does; so is an
 * address without <>, which Sendmail takes. A source route (<@a,@b:c@d>) is checked and left out of local and domain (RFC 5321 appendix C).
 * What is accepted holds no control characters, and beyond ASCII only valid UTF-8. The length of local is not limited to 64 here: senders'
 * are longer in practice. False: *error. RFC 5321 4.1.1.2, 4.1.1.3. */
bool command_parse_mail(struct slice rest, struct command_mail *out, struct command_error *error);
bool command_parse_rcpt(struct slice rest, struct command_path *out, struct command_error *error);

/* MAIL and RCPT as one who stands in front of the server reads them: the path as above, whatever parameters follow it. They are left to the server, but
 * each has to look like one (KEY or KEY=VALUE): a second path in their place, which a server might take, does not pass. */
bool command_parse_path(const struct command *command, struct command_path *out, struct slice *parameters, struct command_error *error);

/* The local part without quotes and backslashes: "joe", joe and "j\oe" are one mailbox (RFC 5321 4.1.2). False: it did not fit. */
bool command_unquote(struct slice local, struct buf *out);

#endif
