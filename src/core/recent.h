/* recent.h: who was turned away lately, in memory that all roles of one door share: for tarry-desk, and whoever else wants to see it as it happens.
 *
 * A ring for each process that writes; the process is that of metrics_row(). The writer waits for nobody: when the ring is full the oldest entry is overwritten, and a reader that has not
 * seen it counts one that it has missed. What clients have said stands here as they said it: whoever shows it has to make it harmless. Nothing here blocks or logs.
 */
#ifndef TARRY_CORE_RECENT_H
#define TARRY_CORE_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/metrics.h"

#define RECENT_ENTRIES 1024 /* of one ring */
#define RECENT_BYTES 100    /* of what a client has said first; what is more is left out */
#define RECENT_NAME 52      /* of its name, the NUL included; a longer one loses its beginning, for its end says more */
#define RECENT_WORD 12      /* of a word, the NUL included */
#define RECENT_ID 14

struct recent {
	int64_t at_ms;     /* the wall clock, milliseconds since 1970 */
	uint32_t after_ms; /* since the client came */
	uint32_t pause_ms; /* that it was to wait */
	uint32_t more;     /* so many others of the same client, in the same way, have no entry of their own: this one stands for 1 + more (`often`) */
	uint32_t until;    /* the wall clock's second in which the ban ends that turned it away; 0: it was no ban */
	struct addr client;
	uint8_t observed;  /* it was not turned away, only enforcing had done so */
	uint8_t often;     /* it may come over and over, and has an entry now and then: those of one client with one verdict belong together */
	uint8_t times;     /* how often it has been banned, this ban included; 0: it is not */
	uint8_t bytes_len;
	char verdict[RECENT_WORD]; /* words as the log has them; "" where there is nothing to be said */
	char kind[RECENT_WORD];    /* of early talk; of a ban what the client has done, a word of ban_offences */
	char stage[RECENT_WORD];
	char id[RECENT_ID];        /* its id in the log */
	char name[RECENT_NAME];
	char bytes[RECENT_BYTES];
};

/* Memory for the rings of METRICS_ROWS processes, of which those that are used cost something. 0 or -errno. Before it, writing does nothing. */
int recent_init(void);
/* As metrics_fd(), metrics_adopt(), metrics_fd_readonly() and metrics_attach(). */
int recent_fd(void);
int recent_adopt(int fd);
int recent_fd_readonly(void);
int recent_attach(int fd);

void recent_put(const struct recent *entry);
/* A text into one of those places, cut to its size. */
void recent_word(char *to, size_t size, const char *text);

/* Of memory that others have written: its texts end, and its lengths are true. */
void recent_tidy(struct recent *entry);

struct recent_reader {
	uint64_t next[METRICS_ROWS]; /* number of the entry, by ring */
	uint64_t missed;             /* entries that were overwritten before they were read, or while */
	unsigned row;
};

/* From the oldest entries that are there. */
void recent_begin(struct recent_reader *reader);
/* The next one that has not been read, ring by ring: within a ring they are in the order of time, among rings they are not. False: there is none at present. */
bool recent_next(struct recent_reader *reader, struct recent *out);

#endif
