/* advise.h: how long the pause should be, by what the clients of this door did.
 *
 * A client that is made to wait talks, hangs up, or waits until it is greeted. Of those who are greeted after a short pause nothing is known beyond it; a few are made to wait longer
 * (explore), and tell. Here all of them are put together: lives that are cut off at different times, with two ways to end (a life table with competing risks), and from that the pause
 * by which a given share of those who would talk at all have talked, and how sure that is.
 * No input or output, no allocation: the caller brings the memory. Times are milliseconds, counts may have fractions.
 */
#ifndef TARRY_ADVISE_ADVISE_H
#define TARRY_ADVISE_ADVISE_H

#include <stdbool.h>
#include <stddef.h>

#define ADVISE_BINS 1100    /* at most */
#define ADVISE_LADDER 32    /* rows at most */
#define ADVISE_LEAST 50     /* early talkers: with fewer nothing is recommended, */
#define ADVISE_LEAST_CLIENTS 10 /* or where they come from no more than so many clients, as it were, */
#define ADVISE_LEAST_TAIL 20 /* nor with fewer than so many clients that were watched to the end */

/* What happened in [lo, hi). */
struct advise_bin {
	double lo, hi;
	double talk;      /* clients that talked, */
	double gone;      /* hung up, */
	double waited;    /* or were greeted, or not watched any longer for another reason that has nothing to do with them, */
	double waited_at; /* on average at this time; 0: in the middle */
};

struct advise_data {
	const struct advise_bin *bins; /* from 0 on, without gaps */
	size_t len;
	double pause;      /* that is in force now, */
	double explore;    /* and the longest that anybody is made to wait for knowledge: the pause is judged up to this */
	double share;      /* of those who would talk within it, which the pause is to catch: 0.99 */
	double clustering; /* how many connections of one client tell as much as one client each: 1 if all are different (Kish's design effect); 0 is 1 */
};

enum advise_state {
	ADVISE_GOOD,     /* there is a recommendation */
	ADVISE_FEW,      /* too few early talkers so far */
	ADVISE_UNSEEN,   /* nobody, or nearly nobody, was watched up to explore: what is beyond the pause is not known */
	ADVISE_MALFORMED /* the data is none: bins that overlap, counts that are negative */
};

enum advise_judgement { ADVISE_KEEP, ADVISE_LONGER, ADVISE_SHORTER };

/* The share of those who would talk within `explore` that a pause catches; bounds of 95 %. */
struct advise_share {
	double at;
	double share, low, high;
};

struct advise_result {
	enum advise_state state;
	double talked, gone, waited; /* up to explore */
	double talked_beyond;        /* after the pause that is in force, */
	double watched_beyond;       /* of so many that were watched beyond it, */
	double watched_to_end;       /* and up to explore */
	double rate;                 /* of all clients that are watched, the part that talks within explore */
	/* with ADVISE_GOOD: the pause, with bounds of 95 %. high is `explore` where no bound was found below it. */
	double pause, low, high;
	enum advise_judgement judgement; /* of the pause that is in force */
	struct advise_share now;         /* what that one catches */
	struct advise_share ladder[ADVISE_LADDER];
	size_t ladder_len;
	const char *method; /* how the pause was estimated: "lognormal", "counted" (no curve fitted) … */
	double from;        /* the curve describes times from here on; below, they were counted */
	char reason[320];   /* a sentence or two */
};

/* Memory for the work. */
struct advise_work {
	size_t len;
	double d[ADVISE_BINS], g[ADVISE_BINS], c[ADVISE_BINS]; /* talked, gone, waited */
	double part[ADVISE_BINS];  /* of the bin that those who waited saw */
	double risk[ADVISE_BINS];  /* clients that could have talked in it */
	double left[ADVISE_BINS];  /* of all, the part that has neither talked nor gone when it begins */
	double stay[ADVISE_BINS];  /* the part that had not gone by then if nobody talked */
	double mass[ADVISE_BINS];  /* of all, the part that talks in it: counted, */
	double model[ADVISE_BINS]; /* or by the curve under trial */
	double survive[ADVISE_BINS + 1]; /* of that curve, at the edges */
	double lo[ADVISE_BINS + 1];      /* edges, seconds */
};

void advise(const struct advise_data *data, struct advise_work *work, struct advise_result *result);

/* ---- bins for times that are known exactly ---- */

/* Bins up to `end`, half a millisecond or 2 % wide, whichever is more; their number, ADVISE_BINS at most. */
size_t advise_bins_init(struct advise_bin bins[ADVISE_BINS], double end);
enum advise_end { ADVISE_TALKED, ADVISE_GONE, ADVISE_WAITED };
/* A client; what lies beyond the last bin counts as having waited to its end. */
void advise_bins_add(struct advise_bin *bins, size_t len, enum advise_end end, double at);

#endif
