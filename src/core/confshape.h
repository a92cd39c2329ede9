/* confshape.h: whether a configuration file has the shape of one, before libconfuse reads it.
 *
 * For conffile.c only. libconfuse notices a forgotten brace or equal sign when it meets the word after it, often lines later, and says what it missed in
 * words of its grammar; here the word that is wrong is named with its own line, and what was expected. Names and values are not judged. Nothing blocks.
 */
#ifndef TARRY_CORE_CONFSHAPE_H
#define TARRY_CORE_CONFSHAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

/* bytes: a file without comments (they are blanks) and with all strings closed. False: *line is set and *why says what is wrong there; what was expected. */
bool confshape_check(struct slice bytes, unsigned *line, struct buf *why);

#endif
