/* mirror.h: the kernel's sets as a mirror of the table of bans: what has to be put in and taken out, so that they say the same.
 *
 * Once a second the table is looked at, if anything in it has changed, and what differs is told to the kernel. Where somebody else has changed the rules, or nothing is known of the sets yet, they are read first: they
 * may have been emptied, and a ban that an earlier helper has put in is not put in twice. What has no comment of ours is somebody else's and stays. A set that is not there, or is another kind of
 * set, is tried again; meanwhile the door turns away whom it bans, as it does in any case.
 */
#ifndef TARRY_BAN_MIRROR_H
#define TARRY_BAN_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include "ban/nft.h"
#include "known/ban_table.h"

/* What is known of a row. */
enum mirror_state {
	MIRROR_OUT,
	MIRROR_IN,
	MIRROR_TAKEN, /* the kernel has somebody else's element there */
};

struct mirror_row {
	struct known_id id;
	uint32_t until; /* of the monotonic clock */
	uint8_t state;
};

struct mirror_set {
	struct nft_set set;
	bool known; /* its elements are */
	bool said;  /* that it is of no use was said */
};

struct mirror {
	struct nft nft;
	struct ban_table *table;
	struct mirror_set sets[2];
	unsigned sets_len;
	struct mirror_row *rows; /* by row of the table */
	struct known_row *copy;  /* of the table's rows */
	uint32_t used, most;     /* of these; of the others */
	bool seen;               /* there is a copy, */
	uint32_t sequence;       /* and it was made then */
	uint32_t generation;     /* of the kernel's rules, after our own last transaction */
	bool disturbed;          /* somebody else has changed the rules */
	bool reopens;            /* something has failed: the next turn has a netlink socket of its own, on which no late answer comes */
	struct nft_change *changes;
	size_t changes_len;
	uint64_t in;
	uint32_t wait, tries;    /* seconds until a set that failed is tried again; how often it has been */
};

/* 0 or -errno. table must outlive it. */
int mirror_init(struct mirror *mirror, struct ban_table *table, const char *sets);
void mirror_fini(struct mirror *mirror);
/* Once a second; now: of the monotonic clock. Logs what fails, and when it is well again. */
void mirror_turn(struct mirror *mirror, uint32_t now);

#endif
