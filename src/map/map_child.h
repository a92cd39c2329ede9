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

#define MAP_CHILD_PARTS 4    /* at most */

/* Runs in a child: one part of the check, numbered from 0. False: *why says what is wrong. *count is handed back. */
typedef bool map_child_check(void *context, unsigned part, uint64_t *count, struct buf *why);

/* So many parts at the same time, each in a child of its own; *count is the sum of theirs. seconds: for each of them, MAP_CHILD_SECONDS; tests have less time. */
bool map_child_run(map_child_check *check, void *context, unsigned parts, unsigned seconds, uint64_t *count, struct buf *why);

#endif
