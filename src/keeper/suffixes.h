/* suffixes.h: the public suffix list (https://publicsuffix.org), where the system has it: domains below which everybody may have a name. None of them is ever remembered.
 *
 * A file of lines, as Debian's package publicsuffix installs it. Without it the rule of known_domain() is all there is.
 */
#ifndef TARRY_KEEPER_SUFFIXES_H
#define TARRY_KEEPER_SUFFIXES_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

#define SUFFIXES_FILE "/usr/share/publicsuffix/public_suffix_list.dat"
#define SUFFIXES_BYTES (4u << 20) /* of a list at most */

struct suffixes {
	char *text;         /* the file, cut into words */
	const char **rules; /* in order; "*.ck" and "!www.ck" among them */
	size_t len;
};

/* A list that is not there, or is no list, is empty. path "": none. */
void suffixes_read(struct suffixes *suffixes, const char *path);
/* The same from a text. False: no memory. */
bool suffixes_take(struct suffixes *suffixes, struct slice text);
void suffixes_free(struct suffixes *suffixes);
/* domain: in lower case. */
bool suffixes_has(const struct suffixes *suffixes, struct slice domain);

#endif
