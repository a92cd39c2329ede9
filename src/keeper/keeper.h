/* keeper.h: the keeper: the one process that writes who is known: into the table that the fronts read, into a file, and to other doors. Another one keeps in the same way who is banned (bans.c).
 *
 * What is in memory is what counts; the file follows it within a second (a forfeit at once), and is not waited for. Fronts tell it who has passed and who has forfeited; who asks
 * over its control socket (dialogue.c) is told who is known, and may change it. It runs in a process of its own that a crash or a hang may cost: then nobody new is remembered, until the parent has started it again.
 */
#ifndef TARRY_KEEPER_KEEPER_H
#define TARRY_KEEPER_KEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/loop.h"
#include "keeper/share.h"
#include "keeper/store.h"
#include "keeper/suffixes.h"
#include "keeper/waited.h"
#include "known/ban_table.h"
#include "known/known_table.h"
#include "known/known_wire.h"

#define KEEPER_WHY 600 /* bytes of what is said to be wrong with a file */
#define KEEPER_FRONTS 64
#define KEEPER_DIALOGUES 8 /* that are under way at the same time */

struct dialogue;
struct keeper;

enum keeper_verb { KEEPER_ADD, KEEPER_IMPORT, KEEPER_DROP };

/* What differs between the two. What may be NULL stands at the end. */
struct keeper_kind {
	const char *word, *option;                      /* "known", and the option that names its file */
	const char *loaded, *rebuilt, *unsaved, *saved; /* events of the log */
	const char *damaged;                            /* what it means that the file is */
	struct share_ops share;
	void (*message)(struct keeper *keeper, const void *bytes, size_t len); /* of a front */
	void (*expire)(struct keeper *keeper);
	store_is_key *is_key; /* for the file */
	void (*added)(struct keeper *keeper, uint32_t row, const struct known_key *key);   /* a row, and so on */
	void (*dropped)(struct keeper *keeper, uint32_t row, const struct known_key *key); /* just before it is */
	/* In the file there are times of the wall clock. False: it is not wanted here. */
	bool (*from_file)(struct keeper *keeper, const struct known_key *key, struct known_times *times);
	void (*to_file)(const struct keeper *keeper, struct known_times *times);
	/* A line of a dialogue: NULL, or what is wrong with it. */
	const char *(*line)(struct keeper *keeper, enum keeper_verb verb, struct slice line, uint64_t *done);
	bool (*put_row)(const struct keeper *keeper, uint32_t row, struct buf *out);
};

extern const struct keeper_kind keeper_known;

/* Of bans. */
struct ban_rules {
	int64_t time, time_max; /* seconds */
	int counts;             /* memory that fronts write, see ban_table.h; -1: none */
	int never;              /* a file of addresses and networks that are never banned, one a line; -1: none */
};

struct ban_list {
	struct ban_rules rules;
	struct ban_table table; /* the keeper's own, with the counts */
	struct prefix *never;
	size_t never_len;
	uint32_t uses[2][64];   /* of networks, by family and length */
	uint32_t next;          /* row that is looked at next, whether its ban is over */
};

struct keeper {
	struct loop loop; /* first: callbacks find it by that */
	struct known_table table;
	const struct keeper_kind *kind;
	struct ban_list ban; /* with that kind */
	char **texts;     /* of rows that are a domain, that; of bans the reason; [row], NULL: there is none */
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
	const struct ban_rules *ban; /* NULL: it keeps who is known */
	bool manual_clock;  /* for tests */
};

/* Reads the file; false: *why says why there can be no keeper. Logs what became of the file. */
bool keeper_open(struct keeper *keeper, const struct keeper_setup *setup, struct buf *why);
/* Until the parent says stop. 0 or -errno. */
int keeper_run(struct keeper *keeper);
/* One dialogue on that socket, and its end. 0 or -errno. */
int keeper_answer(struct keeper *keeper, int fd);
/* All that is not in the file yet goes there. */
void keeper_close(struct keeper *keeper);

/* For bans.c, dialogue.c and share.c: what follows from what they learn. */
enum keeper_from { KEEPER_FRONT, KEEPER_ELSEWHERE }; /* from here it is told to other doors, too */
/* NULL, or why it is not known: the domain belongs to nobody, or there is no memory. */
const char *keeper_pass(struct keeper *keeper, const struct known_key *key, struct known_times times, enum keeper_from from);
/* True: it was known. */
bool keeper_forfeit(struct keeper *keeper, const struct known_key *key, enum keeper_from from);
/* False: that row is not in use. */
bool keeper_row(const struct keeper *keeper, uint32_t row, struct known_key *key, struct known_times *times);
bool keeper_find(const struct keeper *keeper, const struct known_key *key, struct known_times *times);
/* What stands in the row beside that; "": nothing. */
struct slice keeper_text(const struct keeper *keeper, uint32_t row);
/* A new row, which makes room for itself; it must not be there. 0: no memory. */
uint32_t keeper_add(struct keeper *keeper, const struct known_id *id, const struct known_key *key, struct known_times times, struct slice text);
void keeper_drop(struct keeper *keeper, uint32_t row, enum known_count why);
/* The row as it is goes into the file. */
void keeper_save(struct keeper *keeper, uint32_t row);
void keeper_counted(void *context, enum share_count which, int64_t n);
uint32_t keeper_wall(void);

/* load.c: 0, or -errno: there was no memory, or no descriptor. A file that is good is not to be replaced by what there was room for. */
int keeper_load(struct keeper *k, int table);
void keeper_forget_texts(struct keeper *k);
/* Whether who passed then (seconds of the wall clock) is not known any more. */
bool keeper_is_old(const struct keeper *k, uint32_t passed, uint32_t now);

#endif
