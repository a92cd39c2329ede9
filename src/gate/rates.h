/* rates.h: how often each client has connected lately, for ClientRate: (Sendmail's FEATURE(ratecontrol)).
 *
 * A window of some seconds in RATES_SLOTS slots: what is older than the window falls out slot by slot. As a client always meets the same front, this table is the whole
 * truth and needs no locks. Its memory is reserved at start and never grows: a flood of a million addresses costs a constant time for each, and pushes out those that came
 * least often, never a busy client for the sake of one that came once.
 */
#ifndef TARRY_GATE_RATES_H
#define TARRY_GATE_RATES_H

#include <stddef.h>
#include <stdint.h>

#include "core/siphash.h"

#define RATES_SLOTS 6        /* as in Sendmail */
#define RATES_WAYS 8         /* places that a client may have; one of them is given up when all are taken */
#define RATES_CLIENTS 65536  /* clients that a front remembers, about */

struct rates_entry {
	uint64_t client;
	uint32_t slot;                /* number of the newest slot, since the beginning of time; 0: the entry is empty */
	uint16_t counts[RATES_SLOTS]; /* of the newest slot and those before it, up to 65535 */
};

struct rates {
	struct rates_entry *entries;
	uint32_t mask;      /* sets - 1, a power of two minus one */
	int64_t slot_ns;
	struct siphash_key key;
};

/* window: nanoseconds, more than 0. 0 or -errno. */
int rates_init(struct rates *rates, size_t clients, int64_t window);
void rates_fini(struct rates *rates);
/* Counts one more connection of this client at `now` (nanoseconds of the loop's clock); returns how many it has made within the window, this one included. */
uint32_t rates_add(struct rates *rates, uint64_t client, int64_t now);
/* How many it has made, without counting one; 0 if it is not remembered. */
uint32_t rates_made(const struct rates *rates, uint64_t client, int64_t now);
/* It is as if it had never come. */
void rates_forget(struct rates *rates, uint64_t client);

#endif
