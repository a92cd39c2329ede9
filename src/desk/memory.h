/* memory.h: what the desk remembers: time series, networks, those turned away lately.
 *
 * Plain memory that the parent made and keeps, so that a desk that is started anew goes on where the one before was; without it, the desk's own. Bounded whoever comes. Nothing blocks or logs.
 */
#ifndef TARRY_DESK_MEMORY_H
#define TARRY_DESK_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "core/recent.h"
#include "desk/networks.h"
#include "desk/series.h"

#define MEMORY_LATEST 100 /* of those turned away */

struct memory {
	uint64_t layout;
	struct series series;
	struct networks networks;
	uint64_t turned; /* clients turned away that were seen, so far */
	struct recent latest[MEMORY_LATEST]; /* the n-th at index n % MEMORY_LATEST */
	struct recent_reader reader;
};

/* fd: of memory of DESKWIRE_MEMORY bytes (deskwire.h), taken in any case; -1, or of something else: it remembers for itself. */
struct memory *memory_open(int fd);
/* Looks at everything that others write, now (seconds of the wall clock); each second, say. */
void memory_look(struct memory *memory, int64_t now);
/* Those who were turned away from the n-th on, oldest first; NULL: there is none any more, or not yet. */
const struct recent *memory_turned(const struct memory *memory, uint64_t n);
/* The number of the oldest that is still there. */
uint64_t memory_oldest(const struct memory *memory);

#endif
