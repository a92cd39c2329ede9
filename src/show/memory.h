/* memory.h: what tarry-desk and `tarry top` remember: time series, networks, those turned away lately.
 *
 * Of a desk it is plain memory that the parent made and keeps, so that one that is started anew goes on where the one before was; without it, the desk's own. Bounded whoever comes. Nothing blocks or logs.
 */
#ifndef TARRY_SHOW_MEMORY_H
#define TARRY_SHOW_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/recent.h"
#include "show/networks.h"
#include "show/series.h"

#define MEMORY_LATEST 100 /* of those turned away, and beside them */
#define MEMORY_OFTEN 20   /* of those that a ban or a limit turned away, each once: such a client may come all day, and is to leave room for others */

struct memory {
	uint64_t layout;
	struct series series;
	struct networks networks;
	uint64_t turned; /* clients turned away that were seen, so far */
	struct recent latest[MEMORY_LATEST]; /* the n-th at index n % MEMORY_LATEST */
	uint64_t often_seen; /* entries of those that a ban or a limit turned away, so far */
	struct memory_often {
		uint64_t number;    /* of its last entry, from 1; 0: there is none here */
		uint64_t count;     /* how often it has come, */
		int64_t since_ms;   /* since then */
		struct recent last;
	} often[MEMORY_OFTEN];
	struct recent_reader reader;
};

/* fd: of memory of DESKWIRE_MEMORY bytes (deskwire.h), taken in any case; -1, or of something else: it remembers for itself. */
struct memory *memory_open(int fd);
/* Before anything else, for who keeps it himself. */
void memory_init(struct memory *memory);
/* The same with what a desk remembers, which may be writing meanwhile. fd: as above, to be read, taken in any case. False: it is none that is known here, and *memory stays as it is. */
bool memory_copy(struct memory *memory, int fd);
/* Looks at everything that others write, now (seconds of the wall clock); each second, say. */
void memory_look(struct memory *memory, int64_t now);
/* Those who were turned away from the n-th on, oldest first; NULL: there is none any more, or not yet. */
const struct recent *memory_turned(const struct memory *memory, uint64_t n);
/* The number of the oldest that is still there. */
uint64_t memory_oldest(const struct memory *memory);
/* Who was turned away by a ban or a limit, in no order: at a place below MEMORY_OFTEN, if there is one of whom there has been an entry after the n-th; else NULL. */
const struct memory_often *memory_often(const struct memory *memory, unsigned place, uint64_t n);

#endif
