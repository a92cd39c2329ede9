/* slot.h: a session in the table that outlives the spawner. For src/spawn/ only. */
#ifndef TARRY_SPAWN_SLOT_H
#define TARRY_SPAWN_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/passing.h"

/* What its front is still to hear of it, in this order. */
#define SLOT_OWES_STARTED 1U
#define SLOT_OWES_FAILED 2U
#define SLOT_OWES_KEPT 4U
#define SLOT_OWES_ENDED 8U

struct spawn_slot {
	uint64_t life, token; /* of the request */
	int64_t forked;       /* slot_clock() */
	int32_t pid;          /* 0: not forked yet */
	int32_t error;        /* why it was not started */
	uint16_t front, backend;
	bool used, started, over;
	uint8_t owes, told;   /* told: the bit of owes that was sent last, or was about to be, */
	uint64_t serial;      /* with this number */
	struct addr client;
	char id[PASSING_ID];
};

/* Nanoseconds since the machine started: what the kernel counts the start of a process in. */
int64_t slot_clock(void);
/* Whether the process of its pid is the one that was forked, and not another one that has got its number since. */
bool slot_runs(const struct spawn_slot *slot);

#endif
