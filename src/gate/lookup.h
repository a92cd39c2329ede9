/* lookup.h: how a front asks maps that may block: through the processes tarry-lookup, without ever waiting for them.
 *
 * One struct lookup per front. A question is known from the cache, or goes out and is answered later by a callback: found, none, or failed, which also means
 * "not in time". What is under way already is not asked twice. A question that the socket does not take at once stands in line, up to LOOKUP_QUEUE_MAX bytes
 * of questions, until its time is over; beyond that it fails at once. A late answer means nothing. Logs when answers stay out, once, and when they come again.
 *
 * The descriptors, made by the parent with socketpair(AF_UNIX, SOCK_SEQPACKET): `questions` is one end that all fronts share; all lookup processes read from the
 * other, each taking one when it has nothing else to do. `answers` is this front's end of a pair of its own; all lookup processes write to the other end.
 * The parent keeps both ends of all pairs, for those it starts again. A server that hangs keeps the processes that ask it for a few seconds at a time: where
 * there are several such maps, a struct lookup and processes for each keep the others out of it.
 */
#ifndef TARRY_GATE_LOOKUP_H
#define TARRY_GATE_LOOKUP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "core/metrics.h"
#include "map/wire.h"

#define LOOKUP_SEARCHES WIRE_SEARCHES
#define LOOKUP_PENDING 4096          /* questions under way at most */
#define LOOKUP_QUEUE_MAX (1u << 20)  /* bytes of questions that stand in line at most */
#define LOOKUP_TIMEOUT (5 * LOOP_SECOND) /* for an answer, unless the setup says otherwise */

#define LOOKUP_MAPS 8 /* that can be asked, at most */

struct lookup;

/* A map that can be asked, for those who watch the door. */
struct lookup_map {
	enum histogram times; /* how long its answers take is counted there, */
	unsigned thing;       /* and this is its number in health.h */
};

struct lookup_setup {
	struct loop *loop;
	int questions, answers; /* owned by the lookup from now on, also on failure */
	uint16_t front;         /* our number: the index of our pair among those that the lookup processes are given */
	int64_t timeout;        /* 0: LOOKUP_TIMEOUT */
	int64_t cache_ttl;      /* how long an answer is good; 0: not at all */
	uint32_t cache_max;     /* answers kept at most */
	const struct lookup_map *maps; /* by the number that questions have; copied */
	unsigned maps_len;      /* others are not watched */
};

/* Whoever waits embeds one. */
struct lookup_wait {
	/* answer, and what its slices point to, live until the callback returns. It may ask, cancel, and free the memory of the wait. */
	void (*done)(struct lookup_wait *wait, const struct wire_answer *answer);
	struct lookup_wait *next, **back; /* back NULL: not waiting */
	uint32_t slot;
};

/* 0 or -errno. Needs one deadline of the loop. */
int lookup_new(struct lookup **out, const struct lookup_setup *setup);
/* Those who still wait hear nothing any more. */
void lookup_free(struct lookup *lookup);

/* The caller fills in map, searches, counts and keys; the rest is ours. Returns the answer if it is known now (also that the question failed, because
 * it is beyond a bound of wire.h or there is no room for it), good until the next call of any function here. NULL: wait->done will be called once,
 * never before this function has returned. */
const struct wire_answer *lookup_ask(struct lookup *lookup, struct wire_question *question, struct lookup_wait *wait);
/* done will not be called. Does nothing if nobody waits. A question that is out already stays out: its answer may serve somebody else. */
void lookup_cancel(struct lookup *lookup, struct lookup_wait *wait);
static inline bool lookup_waits(const struct lookup_wait *wait)
{
	return wait->back != NULL;
}

#endif
