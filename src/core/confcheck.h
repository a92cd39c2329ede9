/* confcheck.h: whether a text can be the value of an option. Pure: no file, no log, no allocation that stays.
 */
#ifndef TARRY_CORE_CONFCHECK_H
#define TARRY_CORE_CONFCHECK_H

#include <stdbool.h>

/* NULL: it can, as far as that is to be seen from the text alone; else what is wrong with it, and what was expected, a literal. */
const char *confcheck(const char *name, const char *text);
/* Labels of letters, digits and hyphens; with utf8, any byte above 0x7f too (RFC 6531), and '_', which is out there. */
bool confcheck_is_host(const char *text, bool utf8);

#endif
