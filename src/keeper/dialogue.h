/* dialogue.h: with `tarry known`: over a stream socket a line says what is wanted, lines are what there is, and a last one what became of it.
 *
 *   list\n                         KEY\tSINCE\tPASSED\n …                    + N\n
 *   import\n KEY[ SINCE PASSED]\n … and their end                            + N\n, or - what is wrong\n
 *   drop\n KEY\n … and their end                                             + N\n: so many of them were known
 *
 * Times are in UTC, "2026-11-30T14:00:00Z"; without any it is now. Any number of lines: neither side is ever waited for. Only root and the account that the keeper runs as are answered.
 */
#ifndef TARRY_KEEPER_DIALOGUE_H
#define TARRY_KEEPER_DIALOGUE_H

#include <stdbool.h>

#define DIALOGUE_LINE 512          /* bytes of a line at most */
#define DIALOGUE_OUT (64 * 1024)   /* bytes that wait for a slow reader at most */

struct keeper;

/* Takes those who wait at the listener. */
void dialogue_accept(struct keeper *keeper, int listener);
/* With who is at the other end of a descriptor, which is the dialogue's from now on. False: there is no room for one more. */
bool dialogue_start(struct keeper *keeper, int fd);
/* At the end of a turn: frees those that are over. */
void dialogue_reap(struct keeper *keeper);
void dialogue_end_all(struct keeper *keeper);

#endif
