/* macros.h: the macros that a text of the configuration may have, replaced for a client that is refused with it (the option reject_msg, Sendmail's confREJECT_MSG).
 *
 * $&{client_addr}, $&{client_name}, $&{client_ptr} and $&{client_resolve} as Sendmail has them, $j, and $$ for a $. All others, conditions ($?x … $.) among them, become
 * nothing. What is put in comes from strangers, from their name servers too: no byte of it but printable ASCII goes out. Plain values, no memory, no blocking.
 */
#ifndef TARRY_ACCESS_MACROS_H
#define TARRY_ACCESS_MACROS_H

#include <stdbool.h>

#include "core/addr.h"
#include "core/buf.h"

enum macros_resolve { MACROS_OK, MACROS_FAIL, MACROS_FORGED, MACROS_TEMP };

/* Who is refused, and by whom. */
struct macros {
	const char *hostname;        /* $j */
	const struct addr *addr;
	struct slice ptr;            /* the name that the DNS gives the address; empty: none */
	enum macros_resolve resolve; /* whether it leads back */
};

/* The text with its macros replaced and its control characters as blanks. False: it does not fit, and some of it stands in out. */
bool macros_put(struct buf *out, struct slice text, const struct macros *who);
/* The next macro in *text that becomes nothing, as it is written; *text goes on behind it. False: there is none. */
bool macros_unknown(struct slice *text, struct slice *macro);
/* Whether a client's name has to be asked for, so that the text is what it says. */
bool macros_want_name(struct slice text);

#endif
