/* backends.h: which backend is next: how many connections each has, which are down and when they are tried again.
 *
 * A front's view: it has found out itself who is down. Only the numbers of open connections are shared by all fronts, in memory that the parent makes, a row each, so that `max` and
 * the choice hold for the door as a whole. No sockets, no clock, no log; nothing here blocks. Who is served is only ever compared, never looked into.
 */
#ifndef TARRY_GATE_BACKENDS_H
#define TARRY_GATE_BACKENDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/conf.h"
#include "core/loop.h"

#define BACKENDS_DELAY_FIRST (250 * LOOP_MS)   /* a backend that failed is tried again after this, */
#define BACKENDS_DELAY_MOST (16 * LOOP_SECOND) /* twice as late each time it fails again, up to this */

struct backend {
	const struct conf_backend *conf;
	int64_t delay;         /* down: the last wait before it is tried again; 0: it is up */
	int64_t retry_at;      /* down: when that ends */
	const void *trier;     /* down: the one client who tries it now; NULL: nobody */
	int64_t current;       /* its turn among those that are loaded alike */
	const char *why;       /* it failed last */
	char said[96];         /* what came of TLS with it last, where that is the reason */
	/* For the log. */
	bool told_down;        /* it says that it is down */
	int64_t told;          /* when it last said that, or that its greeting is no 220; 0: never */
	uint64_t turned_away;  /* clients since then that found no backend */
};

/* Open connections: [row * CONF_BACKENDS + backend], each front writing its own row alone, which has the number of its row of the metrics: so fronts of earlier generations count, too. */
typedef _Atomic uint32_t backends_count;

struct backends {
	struct backend *all;
	unsigned len;
	struct backend *failed;  /* the last one that did; NULL: none */
	backends_count *counts;
	unsigned front, fronts;  /* its row, and how many there are where pulse.h does not say so */
	bool shared;             /* the counts are the parent's */
};

/* Counts for all fronts there can be, in memory shared by all children forked later. *fd: the descriptor of what the program before this one had, of the same backends, which is taken; -1: there
 * is none. It becomes that of the memory. NULL: there is none. */
backends_count *backends_share(int *fd);
/* In the parent: the front with that row has died, whatever it had open. */
void backends_clear(backends_count *counts, unsigned row);

/* counts NULL: this front is alone. front: its row. It begins at 0. 0 or -ENOMEM; conf and counts must outlive it. */
int backends_init(struct backends *backends, const struct conf *conf, backends_count *counts, unsigned front, unsigned fronts);
void backends_fini(struct backends *backends);

enum backends_choice {
	BACKENDS_FOUND,
	BACKENDS_FULL, /* none that is up has room: ask again later */
	BACKENDS_DOWN, /* all are down, or in skip */
};

/* The one for the next connection: a dead one whose time has come, else the least loaded of those that are up (open connections by weight; among equals each in turn,
 * by weight). skip: bits of those that are out of the question. who: told apart by its address; the one client that tries a dead one. */
enum backends_choice backends_choose(struct backends *backends, uint64_t skip, const void *who, int64_t now, struct backend **out);
/* How many there are that could still be chosen, room or not. */
unsigned backends_left(const struct backends *backends, uint64_t skip, int64_t now);

unsigned backends_index(const struct backends *backends, const struct backend *backend);
/* Counts a connection that is about to be opened, if there is room for it in the whole door; false: another front was quicker, ask for another one. Exact where all fronts that count
 * towards max do so: two that come at once may both be turned away, but never both be let in. */
bool backends_reserve(struct backends *backends, const struct backend *backend);
/* A connection to it is opened, or one that was opened or reserved is closed. */
void backends_opened(struct backends *backends, const struct backend *backend);
void backends_closed(struct backends *backends, const struct backend *backend);
/* Of the whole door. */
uint32_t backends_open(const struct backends *backends, const struct backend *backend);

/* What came of it. Failures of those who began while it was up do not count again once it is down. why must live on (a literal). */
void backends_failed(struct backends *backends, struct backend *backend, const void *who, int64_t now, const char *why);
void backends_greeted(struct backends *backends, struct backend *backend);
/* Nothing: who tried it has gone. Does nothing for anybody else. */
void backends_left_alone(struct backends *backends, const void *who);

#endif
