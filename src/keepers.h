/* keepers.h: what the parent has for the keeper of those who are known: the memory that fronts read, the sockets between them, and the one that `tarry known` comes to.
 *
 * For serve.c and roles.c only. All of it outlives a keeper that dies: the next one finds what fronts have said meanwhile. Where nobody is remembered (known_ttl = 0) there is nothing.
 */
#ifndef TARRY_KEEPERS_H
#define TARRY_KEEPERS_H

#include "core/conf.h"
#include "gate/known.h"
#include "known/known_table.h"
#include "takeover.h"

#define KEEPERS_FRONTS 64

struct keepers {
	const struct conf *conf;
	unsigned fronts;
	bool wanted;
	int memory;                     /* the table */
	struct known_table table;       /* the parent's own view of it, for the counters */
	int messages[2];                /* the fronts' end, the keeper's */
	int answers[KEEPERS_FRONTS][2]; /* [front]: its end, the keeper's; with known_share */
	int control;                    /* -1: none */
	int64_t counted[KNOWN_COUNTS];  /* what the metrics have */
	uint64_t key;                   /* of the settings */
	bool kept;                      /* the keeper of the program before this one goes on: it has the same */
};

/* path: the configuration file. takeover: what the program before this one has left; NULL: there was none. rehearses: no socket is bound. EX_OK, or the exit code after a complaint. */
int keepers_start(struct keepers *keepers, const struct conf *conf, unsigned fronts, const char *path, const struct takeover *takeover, bool rehearses);
/* Describes it for the program after this one. */
void keepers_put(const struct keepers *keepers, struct takeover *takeover);
/* In a child that is no keeper: closes what it has no use for; front: the index of a front, or UINT_MAX. */
void keepers_close(struct keepers *keepers, unsigned front);
/* In a front: what it is to have. */
struct known_setup keepers_setup(const struct keepers *keepers, unsigned front);
/* In a child: becomes tarry-known. Returns an exit code if that fails. */
int keepers_run(struct keepers *keepers, int parent);
/* The counters of the keeper become those of the door. */
void keepers_count(struct keepers *keepers);

#endif
