/* confapart.h: a file read in a process of its own.
 *
 * libconfuse ends its process when memory is used up: its lexer asserts what malloc() returns, or writes to it. A door that is told to read its configuration again must not end with it, so a child
 * does the reading and what it has found comes back through a pipe. Blocks as long as that takes; logs nothing.
 */
#ifndef TARRY_CORE_CONFAPART_H
#define TARRY_CORE_CONFAPART_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/conffile.h"

/* What parse(bytes) does to the items of *f and to *errors, done by a child; file: whose items they are (kept by the caller). False: parse() has said so, or something else went wrong; then *errors
 * has a line or more. */
bool confapart_run(bool (*parse)(struct buf *bytes), struct buf *bytes, struct conffile *f, const char *file, struct buf *errors);

#endif
