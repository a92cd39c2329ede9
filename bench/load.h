/* load.h: the load program's parts. load.c opens visits (one visit = one connection from an address of its own), hands what they hear to their
 * script and writes what came of them as key=value lines; load_scripts.c is what a visit says and expects; load_start.c times a server's start.
 * One process, one thread, no blocking call but the wait; everything is bounded by the count and the time of the command line. */
#ifndef TARRY_BENCH_LOAD_H
#define TARRY_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_FDS 19900  /* visits open at the same time at most: a process may have 20,000 descriptors on common systems */
#define LOAD_IN 2040    /* bytes of a visit's unread replies at most */
#define LOAD_SECOND INT64_C(1000000000)

struct visit;

/* What a visit does. Each function may end the visit (load_good, load_bad) and must then not touch it again. */
struct script {
	const char *name;
	void (*opened)(struct visit *visit); /* the connection stands */
	void (*heard)(struct visit *visit);  /* visit->in has more; what is taken is to be removed with load_forget */
	void (*ended)(struct visit *visit);  /* the server sent its end of file */
	bool stamped;                        /* visit->stamp: when the kernel received what was heard */
	bool parks;                          /* visits stay until standard input is closed; then "parked=N" has been said */
};
extern const struct script script_refuse, script_hold, script_park, script_tarpit, script_mail;

struct visit {
	const struct script *script;
	int fd;
	uint32_t slot;
	uint32_t ip;     /* the client's address, host order */
	uint32_t number; /* counted from 0 over the run */
	int step, left;  /* the script's own */
	int64_t asked;   /* just before connect(), CLOCK_REALTIME, ns */
	int64_t stood;   /* just after it */
	int64_t stamp;
	uint32_t len;
	bool connecting;
	const char *rest; /* of a long text that the socket did not take at once */
	size_t rest_len;
	char in[LOAD_IN];
};

/* From the command line; the same for all visits. */
struct load_options {
	const char *to, *host;
	uint32_t count, parallel, addresses, from, slam, per, users, size;
	double rate;       /* visits a second, 0: as many as `parallel` lets */
	int64_t pause;     /* ns that the server says it holds its greeting */
	int64_t limit;     /* ns after which the run stops by itself */
	bool lenient;      /* refuse: any refusal counts */
	const char *recipient; /* %u: the user's number */
	char **command;    /* start: the server's command line */
};
extern struct load_options options;

struct samples {
	int64_t *at;
	size_t len, cap;
};

extern struct tally {
	uint64_t opened, good, bad, resets, bytes_in, greeted, early, refused, acked, unasked, replies, left;
	char first_bad[256];
	struct samples wait;   /* refuse: from connect() to the first reply; hold: how late the greeting was; mail: connect() to the end */
	struct samples extra;  /* hold: the same as `wait`, from when connect() had returned; mail: from the final dot to its reply */
	int64_t first_open, last_good;
} tally;

int64_t load_clock(void); /* CLOCK_REALTIME: what the kernel's stamps are in */
void load_sample(struct samples *samples, int64_t ns);
bool load_say(struct visit *visit, const char *bytes, size_t len);
/* The same for bytes that stay where they are and need not fit into the socket's buffer. */
bool load_say_long(struct visit *visit, const char *bytes, size_t len);
void load_forget(struct visit *visit, size_t len);
void load_good(struct visit *visit);
void load_bad(struct visit *visit, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ms_p50, ms_p99, ms_max … of the samples, sorted in place. */
void load_report(const char *name, struct samples *samples);

int load_start(void);

#endif
