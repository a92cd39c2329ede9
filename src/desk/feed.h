/* feed.h: what the page is told: JSON, as server-sent events (WHATWG HTML, 9.2).
 *
 * "all" comes first, "tick" each second after it, with more in it every ten seconds, and when a server has come or gone. Nothing blocks or logs.
 */
#ifndef TARRY_DESK_FEED_H
#define TARRY_DESK_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "desk/counsel.h"
#include "show/memory.h"
#include "show/lines.h"

#define FEED_MAX (1024 * 1024)
#define FEED_NETWORKS 20
#define FEED_STEP 10 /* seconds between the ticks that have more in them */

struct feed {
	const struct memory *memory;
	const char *head;   /* the lines of the door (lines_put_door()) */
	int64_t pause_ms;
	int64_t now;        /* seconds of the wall clock */
	const struct counsel *counsel; /* NULL: there is none */
};

/* What the page has been told. */
struct feed_told {
	uint64_t turned; /* number of the first that it has not heard of */
	uint64_t often;  /* of the last entry that it has */
	int64_t points;  /* those that were finished until then */
};

/* The event that begins: everything. */
void feed_put_all(struct buf *out, const struct feed *feed);
/* What is new. more: state, histograms, networks and points, too. */
void feed_put_tick(struct buf *out, const struct feed *feed, const struct feed_told *told, bool more);
/* The object of /status.json: that of `tarry status --json`, and who was turned away. */
void feed_put_status(struct buf *out, const struct feed *feed);

#endif
