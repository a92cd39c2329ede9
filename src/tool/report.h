/* report.h: `tarry report`: what enforcing had refused, or has refused, by the log of a door, and who of those clients also has mail accepted.
 *
 * Four parts, each a file: a line of the log taken apart (report_line.c), times (report_time.c), sums in memory that has a ceiling (report_sums.c), and
 * what is printed (report_print.c, report_json.c). Nothing in the log is trusted: it may come from another machine, and parts of it from anybody.
 */
#ifndef TARRY_TOOL_REPORT_H
#define TARRY_TOOL_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/addr.h"
#include "core/buf.h"
#include "core/siphash.h"

/* ---- a line ---- */

#define REPORT_NO_TIME INT64_MIN
#define REPORT_UNKNOWN (-1) /* of a count that the line has not */

enum report_deed { REPORT_NOTHING, REPORT_EARLY, REPORT_REFUSED, REPORT_LIMITED, REPORT_TEMPFAIL };

/* A connection's line. Slices point into what was parsed; of a quoted value they are what stands between the quotes. */
struct report_line {
	struct slice before; /* what others have put before the door's own part: with times in it */
	struct slice text;   /* the door's part, from verdict= on */
	struct addr client;
	enum report_deed did;   /* verdict= */
	enum report_deed would; /* would= */
	bool relayed;           /* handed to a backend, or to a program */
	bool own;               /* what was done is a matter of this client: not of a door that is full */
	bool cut;               /* the line has no end of its own: cut by whoever passed it on */
	struct slice name;      /* confirmed by the DNS; empty: none */
	struct slice stage, kind, reason, reply;
	int64_t messages, rejected, would_reject, access_line; /* REPORT_UNKNOWN: it does not say */
	/* for `tarry advise`: */
	struct slice verdict, after_ms, talked_ms, would_after_ms, explored, pause_by; /* as they stand there; empty: they do not */
	int64_t pause_ms;
};

/* False: it is no connection's line. */
bool report_line_parse(struct slice line, struct report_line *out);
/* What is refused, in a few words: "early, session", "refused, at connect". Printable, whatever the line holds. did: what was done, else what had been. */
void report_line_label(const struct report_line *line, bool did, struct buf *out);

/* ---- times: seconds since 1970 ---- */

/* The last time in what stands before a line: RFC 3339 and its relatives; "Nov 22 21:00:00" in local time, the year being that which brings it nearest before now; or seconds
 * since 1970. REPORT_NO_TIME: there is none. */
int64_t report_time_of(struct slice before, int64_t now);
/* What somebody writes behind --since or --until. False: it is none. */
bool report_time_parse(const char *text, int64_t now, int64_t *out);

/* The times that are asked for. */
struct report_window {
	int64_t now, since, until; /* REPORT_NO_TIME: from the first, to the last */
};

/* Its beginning, or its end, as somebody wrote it. NULL: it is taken; else what is wrong with it. */
const char *report_window_set(struct report_window *window, bool end, const char *text);
/* Its end is not before or at its beginning. */
bool report_window_is_sound(const struct report_window *window);
bool report_window_asks(const struct report_window *window);
/* Whether the line behind that belongs to them, and its time. One without a time does only if no times are asked for; else it is counted. */
bool report_window_takes(const struct report_window *window, struct slice before, int64_t *at, uint64_t *untimed);

/* ---- sums ---- */

#define REPORT_CLIENTS (1u << 20)       /* of which there are sums of their own at most; an IPv6 /64 is one */
#define REPORT_DOMAINS (1u << 16)
#define REPORT_TEXT (48u * 1024 * 1024) /* bytes of examples and domains at most */
#define REPORT_EXAMPLE 480              /* bytes of one at most */
#define REPORT_LABELS 64                /* different ones; the mask of a client has so many bits */
#define REPORT_LABEL 48                 /* bytes of one, with its NUL */

struct report_client {
	uint8_t key[16];     /* the address, or the first half of one */
	uint64_t labels;     /* bits */
	uint32_t connections, would, did;
	uint32_t messages;   /* that a backend accepted, */
	uint32_t waited;     /* and those of them in connections of which nothing was, or had been, refused */
	uint32_t unseen;     /* connections whose dialogue was not seen */
	uint32_t domain;     /* place in the table, plus 1; 0: no name */
	uint32_t example;    /* in the texts, plus 1; 0: none kept */
};

struct report_label {
	char text[REPORT_LABEL];
	uint64_t would, did;
	uint64_t clients, clients_mail; /* by report_sums_end() */
};

/* Of several clients together: a network, or a domain. */
struct report_group {
	uint8_t key[16];     /* of a network */
	uint32_t domain;     /* place, plus 1; 0: it is a network */
	uint32_t clients, clients_mail;
	uint64_t connections, would, did, messages;
};

struct report_sums {
	uint64_t lines, connections, would, did; /* connections of which something was, or had been, refused */
	uint64_t relayed, messages, unseen, untimed, cut, beyond; /* beyond: of clients that have no sums of their own */
	uint64_t examples_lost;
	int64_t first, last; /* times; REPORT_NO_TIME: none */
	struct report_client *clients;
	uint32_t clients_len, clients_cap;
	uint32_t clients_max; /* REPORT_CLIENTS, but for tests */
	uint32_t *index;     /* of clients, open addressing: place plus 1 */
	uint32_t index_len;  /* a power of two */
	struct report_label labels[REPORT_LABELS];
	uint32_t labels_len;
	uint32_t *domains;   /* open addressing: place in the texts, plus 1 */
	uint32_t domains_used;
	struct buf texts;    /* each with a NUL behind it */
	struct siphash_key key;
	/* by report_sums_end(), those with the most first */
	struct report_client **mail; /* refused, and accepted otherwise; behind these, those who may be: */
	uint32_t mail_len, blind;    /* blind: none seen to be accepted, but not all was seen */
	struct report_group *networks, *names;
	uint32_t networks_len, names_len;
};

/* False: no memory. */
bool report_sums_init(struct report_sums *sums);
void report_sums_fini(struct report_sums *sums);
/* at: its time, or REPORT_NO_TIME. */
void report_sums_add(struct report_sums *sums, const struct report_line *line, int64_t at);
/* No more lines. False: no memory. */
bool report_sums_end(struct report_sums *sums);

/* The part of a name that somebody has registered, by rule of thumb: its last two labels, or three where they are as in co.uk. */
struct slice report_domain(struct slice name);
/* "192.0.2.7", "2001:db8::/64"; a network's: "192.0.2.0/24". */
void report_put_client(struct buf *out, const uint8_t key[16]);
void report_put_network(struct buf *out, const uint8_t key[16]);
/* What to write into the access file so that this client is not refused any more; nothing, if that would not help. example: a line of it. */
void report_put_advice(struct buf *out, const struct report_client *client, const char *example);
/* A client's example, a domain; "": there is none. */
const char *report_text(const struct report_sums *sums, uint32_t place);

/* ---- print ---- */

struct report_shape {
	unsigned top;  /* rows of a table at most */
};

void report_print(FILE *to, const struct report_sums *sums, const struct report_shape *shape);
void report_json(FILE *to, const struct report_sums *sums, const struct report_shape *shape);

#endif
