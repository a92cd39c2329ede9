/* keeper.h: the keeper: the one process that writes who is known: into the table that the fronts read, into a file, and to other doors.
 *
 * What is in memory is what counts; the file follows it within a second (a forfeit at once), and is not waited for. Fronts tell it who has passed and who has forfeited; who asks
 * over its control socket (dialogue.c) is told who is known, and may change it. It runs in a process of its own that a crash or a hang may cost: then nobody new is remembered, until the parent has started it again.
 */
#ifndef TARRY_KEEPER_KEEPER_H
#define TARRY_KEEPER_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "keeper/share.h"
#include "keeper/store.h"
#include "keeper/suffixes.h"
#include "keeper/waited.h"
#include "known/known_table.h"
#include "known/known_wire.h"

#define KEEPER_FRONTS 64
#define KEEPER_DIALOGUES 8 /* that are under way at the same time */

struct dialogue;

struct keeper {
	struct loop loop; /* first: callbacks find it by that */
	struct known_table table;
	char **domains;   /* of rows that are a domain: its text; [row], NULL for others */
	int64_t ttl;      /* seconds */
	unsigned bits;    /* of an IPv4 client */
	const char *path; /* "": no file */
	struct store store;
	bool saves;       /* it is to be had */
	bool failing;     /* and could not be written last; that was said */
	uint32_t filling; /* the next row that goes into the new file; 0: it is whole */
	bool unsorted;    /* rows stand in the order of the file, not of time */
	bool hurry;       /* a forfeit is to be written at once */
	struct suffixes suffixes;
	struct waited waited;
	struct share share;
	int replies[KEEPER_FRONTS];
	unsigned replies_len;
	struct source messages, control, parent, tick;
	struct dialogue *dialogues[KEEPER_DIALOGUES];
	bool offline;     /* for one dialogue, without a door */
};

struct keeper_setup {
	int table;          /* -1: one of its own */
	uint32_t max;
	int64_t ttl, apart; /* seconds */
	unsigned bits;
	const char *path, *suffixes;
	const char *share;  /* "": alone */
	int64_t share_timeout;
	int messages, control, parent; /* -1: none */
	const int *replies;
	unsigned replies_len;
};

/* Reads the file; false: *why says why there can be no keeper. Logs what became of the file. */
bool keeper_open(struct keeper *keeper, const struct keeper_setup *setup, struct buf *why);
/* Until the parent says stop. 0 or -errno. */
int keeper_run(struct keeper *keeper);
/* One dialogue on that socket, and its end. 0 or -errno. */
int keeper_answer(struct keeper *keeper, int fd);
/* All that is not in the file yet goes there. */
void keeper_close(struct keeper *keeper);

/* For dialogue.c and share.c: what follows from what they learn. */
enum keeper_from { KEEPER_FRONT, KEEPER_ELSEWHERE }; /* from here it is told to other doors, too */
/* False: a domain that belongs to nobody. */
bool keeper_pass(struct keeper *keeper, const struct known_key *key, struct known_times times, enum keeper_from from);
/* True: it was known. */
bool keeper_forfeit(struct keeper *keeper, const struct known_key *key, enum keeper_from from);
/* False: that row is not in use. */
bool keeper_row(const struct keeper *keeper, uint32_t row, struct known_key *key, struct known_times *times);
bool keeper_find(const struct keeper *keeper, const struct known_key *key, struct known_times *times);

#endif
