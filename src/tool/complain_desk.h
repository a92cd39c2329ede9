/* complain_desk.h: where tarry-desk may listen and who may look, as configured: for `tarry serve` and `tarry check`. */
#ifndef TARRY_TOOL_COMPLAIN_DESK_H
#define TARRY_TOOL_COMPLAIN_DESK_H

#include "core/conf.h"

#define COMPLAIN_DESK_TOKEN 129 /* bytes of a token, its NUL included */

/* Fills in where it listens and the token ("": none is asked for). EX_OK; or a line on stderr and the exit code: 78 the address is none, or anybody could look; 66 the file cannot be read; 77 others can
 * read it. With desk = "" nothing is looked at, and *at is all zero. */
int complain_desk(const struct conf *conf, struct addr *at, char token[COMPLAIN_DESK_TOKEN]);

#endif
