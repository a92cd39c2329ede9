/* worker.h: what one lookup process does: takes a question, asks its map, answers the front that asked, takes the next.
 *
 * All lookup processes read from one socket, so whoever is kept by a hung server takes no more, and the others go on. Each question is answered once
 * or, when nobody can wait for the answer any more, not at all. A map that fails is left alone for a while (outage.h), and said to have failed once, and
 * to be back once.
 */
#ifndef TARRY_LOOKUP_WORKER_H
#define TARRY_LOOKUP_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/loop.h"
#include "lookup/driver.h"
#include "lookup/outage.h"
#include "map/wire.h"

#define WORKER_MAPS 16
#define WORKER_FRONTS 64               /* as options.def has it */
#define WORKER_LEAST (100 * LOOP_MS)   /* a question that has less time left is not begun */
#define WORKER_PATIENCE_MS 100         /* for a front that takes no answer at the moment */
#define WORKER_HUNG 10                 /* seconds beyond its deadline after which a driver that is still not back costs us our life */

struct worker_map {
	const struct driver *driver;
	const char *spec;
	void *map;
	struct outage own, *outage; /* its own, or one that all lookup processes share */
	char why[WIRE_REASON_MAX + 1]; /* it failed */
	int64_t tend_at;
};

/* What lookup processes share of their maps: the memory of a file. */
struct worker_shared {
	struct outage outages[WORKER_MAPS];
};

struct worker {
	struct loop loop; /* first: callbacks find the worker by it */
	struct source questions, parent, tender;
	struct worker_map maps[WORKER_MAPS];
	unsigned maps_len;
	bool ignore_missing; /* set before maps are added: see driver.h */
	int replies[WORKER_FRONTS];
	unsigned replies_len;
	bool stuck[WORKER_FRONTS]; /* it took no answer the last time */
	struct worker_shared *shared; /* NULL: nothing */
	/* Too large for a stack that others' libraries share. */
	char message[WIRE_QUESTION_MAX];
	char reply[WIRE_ANSWER_MAX];
	struct wire_question question;
	struct driver_hits hits;
	struct worker_map *trying; /* it may be back: to be asked again when the question has been answered; NULL: none */
};

/* 0 or -errno. The specs must outlive the worker. */
int worker_init(struct worker *worker);
/* fd: a memory file that all lookup processes of a door are given, empty at first; what is in it is made here. Before the first map is added. 0 or -errno. */
int worker_share(struct worker *worker, int fd);
/* False with a line in *why. */
bool worker_add(struct worker *worker, const char *spec, struct buf *why);
void worker_fini(struct worker *worker);
/* The answer to one message; false: there is none to give (it is no question, or too late for it). For worker_run() and tests. */
bool worker_answer(struct worker *worker, struct slice message, uint16_t *front, struct buf *out);
/* After an answer has been sent: whether a map that has failed is back, found out with the same question. Nobody waits for that. For worker_run() and tests. */
void worker_try(struct worker *worker);
/* Serve until the parent's descriptor ends. replies: one for each front, by its number. None of the descriptors is closed. 0 or -errno. */
int worker_run(struct worker *worker, int questions, int parent, const int *replies, unsigned replies_len);

#endif
