/* lines.h: what a running door says of itself, as lines of words with tabs between them, and those lines taken apart again.
 *
 * The parent writes them for `tarry status`, and the head of them for tarry-desk, which adds what is in the memory that all roles share. It asks nobody and waits for nobody. Whoever reads them makes a
 * text of them, or JSON (json.h). Words are printable ASCII: what is not is escaped.
 *
 *   door     VERSION  PID  STARTED  FRONTS  GENERATION  OLD  PAUSE
 *   listen   ADDRESS  direct|proxy
 *   pause    GREET_PAUSE  EXPLORE_PAUSE  EXPLORE  ADVISE_SHARE      milliseconds, and millionths
 *   backend  NAME  ADDRESS  unknown|up|down  SINCE  TRIED  ERROR  GOOD  BAD
 *   map      KIND  WHICH  unknown|up|down  SINCE  TRIED  ERROR  GOOD  BAD
 *   kept     OPTION  FILE  SINCE                                    what was there before is in force, since its file is no good
 *   metric   NAME  VALUE
 *   quantiles  NAME  COUNT  MEAN  P50  P90  P99
 *
 * PAUSE is greet_pause in milliseconds; mean and quantiles of a histogram are in microseconds.
 */
#ifndef TARRY_SHOW_LINES_H
#define TARRY_SHOW_LINES_H

#include <stdint.h>
#include <sys/types.h>

#include "core/buf.h"
#include "core/conf.h"

#define LINES_WORDS 10 /* of a line at most; more are passed over */

struct lines_door {
	pid_t pid;           /* of the parent */
	unsigned fronts;     /* as configured */
	int64_t started;     /* when, seconds of the wall clock */
	uint64_t generation; /* 1, and one more with each change */
	unsigned old;        /* processes of earlier ones that still finish something; the metric `earlier` is newer, where there is one */
};

/* door, listen and pause. */
void lines_put_door(struct buf *out, const struct conf *conf, const struct lines_door *door);
/* A tab, and the word; for lines of other kinds. */
void lines_put_word(struct buf *out, const char *word);
/* backend, map (those that others answer), metric and quantiles: of the shared memory (health.h, metrics.h). */
void lines_put_state(struct buf *out);

/* kept. */
void lines_put_kept(struct buf *out, const char *option, const char *file, int64_t since);

/* Whether a map of that kind is a file that the door reads itself; nobody is asked who might not answer. */
bool lines_is_own_file(const char *scheme);

struct line {
	unsigned len;
	const char *words[LINES_WORDS];
};

struct lines {
	struct line *lines;
	size_t len;
};

/* Takes the text apart, in place; it must live as long. lines_free() frees. False: no memory. */
bool lines_parse(char *text, struct lines *lines);
void lines_free(struct lines *lines);

/* The n-th line of that kind with at least so many words; NULL: there is none. */
const struct line *lines_find(const struct lines *lines, const char *kind, unsigned words, size_t n);
long long lines_number(const char *word);
/* 0: there is none. */
long long lines_metric(const struct lines *lines, const char *name);

#endif
