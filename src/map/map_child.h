/* map_child.h: a check of bytes that nobody can vouch for, in a process of its own.
 *
 * Whatever it does there (crash, run for ever) is a reason to refuse a file, and nothing that the process which asked has to fear. Blocks
 * until the check is done or its time is over.
 */
#ifndef TARRY_MAP_MAP_CHILD_H
#define TARRY_MAP_MAP_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define MAP_CHILD_SECONDS 30 /* of processor time; */
#define MAP_CHILD_WAIT 10    /* times as long by the clock: a busy machine is no reason to refuse a file */

/* Runs in the child. False: *why says what is wrong. *count is handed back. */
typedef bool map_child_check(void *context, uint64_t *count, struct buf *why);

/* seconds: MAP_CHILD_SECONDS; tests have less time. */
bool map_child_run(map_child_check *check, void *context, unsigned seconds, uint64_t *count, struct buf *why);

#endif
