/* advice.h: what `tarry advise` goes by, from a log or from a running door, and how it is shown.
 *
 * The estimate itself is src/advise. Nothing in a log is trusted: it may come from another machine, and parts of it from anybody. Memory has a ceiling.
 */
#ifndef TARRY_TOOL_ADVICE_H
#define TARRY_TOOL_ADVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "advise/advise.h"
#include "core/buf.h"
#include "core/siphash.h"
#include "tool/report.h"

#define ADVICE_CLIENTS (1u << 18) /* early talkers that are told apart at most */
#define ADVICE_LONGEST 300000.0   /* ms: a pause is no longer (tarry.conf(5)) */
#define ADVICE_EXPLORE 10000.0    /* and explore_pause is this if nothing says otherwise */

struct advice {
	struct advise_bin bins[ADVISE_BINS];
	size_t len;
	double pause, explore;    /* ms: greet_pause, explore_pause; 0: nothing says how long it is */
	double explore_part;      /* of clients, the part that is explored by the configuration; below 0: not known */
	double share;
	double days;              /* that all of this took; 0: not known */
	double waited, waited_ms; /* clients that waited to the end of their pause, and how long, together */
	double explored;
	/* of a log */
	struct siphash_key key;
	struct advice_client {
		uint64_t hash;
		uint32_t talked;
	} *clients;               /* open addressing; talked 0: free */
	uint32_t clients_len;
	double talked, talked_squares; /* sums over the clients, of how often each talked, and of its square */
	uint64_t lines, studied, untimed;
	int64_t first, last;
};

/* False: no memory. */
bool advice_init(struct advice *advice, double share);
void advice_fini(struct advice *advice);

/* A line of a log, and its time, or REPORT_NO_TIME. */
void advice_take_line(struct advice *advice, const struct report_line *line, int64_t at);
/* What a door answers to CONTROL_STATUS; the text is taken apart in place. now: seconds since 1970. False: it is not an answer with what is needed. */
bool advice_take_status(struct advice *advice, char *text, int64_t now);
/* A part of that answer: the lines "times", of what the fronts have counted. For status.c. */
void advice_put_times(struct buf *out);

/* How many connections tell as much as one client each. */
double advice_clustering(const struct advice *advice);
void advice_judge(const struct advice *advice, struct advise_work *work, struct advise_result *result);

void advice_print(FILE *to, const struct advice *advice, const struct advise_result *result);
void advice_json(FILE *to, const struct advice *advice, const struct advise_result *result);

#endif
