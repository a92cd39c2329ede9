/* bans.h: what the keeper of bans does otherwise than that of those who are known: who is banned, for how long, and when that is over.
 *
 * Fronts say that a client has offended as often as it may; `tarry ban`, and the bans of other doors, come by the same way. Who is banned again is banned for twice as long, until that was
 * forgotten. Networks that are never banned are refused here, whoever asks for it. A ban and its end are each a line of the log.
 */
#ifndef TARRY_KEEPER_BANS_H
#define TARRY_KEEPER_BANS_H

#include "keeper/keeper.h"

extern const struct keeper_kind bans_kind;

/* keeper_open() and keeper_close(), the part of bans. 0 or -errno. */
int bans_open(struct keeper *keeper, const struct keeper_setup *setup);
void bans_close(struct keeper *keeper);

#endif
