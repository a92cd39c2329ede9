/* nft.h: sets of nftables in the kernel, asked and changed over netlink: as much of it as bans need.
 *
 * A set is one of addresses, of one family, with flags timeout and interval: nothing else will do. Elements that are put in have a comment by which they are known again; no other is ever taken out. A batch
 * is one transaction of the kernel: all of it, or nothing. Blocks until the kernel has answered, which it does at once. Never logs.
 */
#ifndef TARRY_BAN_NFT_H
#define TARRY_BAN_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

#define NFT_NAME 32         /* bytes of a name with its NUL: of a table or set */
#define NFT_BATCH 128       /* changes of one batch */
#define NFT_COMMENT "tarry"

struct mnl_socket;

struct nft {
	struct mnl_socket *socket;
	uint32_t seq;
};

struct nft_set {
	uint8_t family; /* NFPROTO_…: of the table */
	bool six;       /* of IPv6 addresses */
	char table[NFT_NAME], name[NFT_NAME];
};

/* "nftables FAMILY TABLE NAME": the sets NAME4 and NAME6, or the one that a table of that family can have. Returns how many; 0: it is none. */
unsigned nft_parse(const char *text, struct nft_set out[2]);

/* False: *why. */
bool nft_open(struct nft *nft, struct buf *why);
void nft_close(struct nft *nft);

/* Changes with each transaction of anybody. 0 or -errno. */
int nft_generation(struct nft *nft, uint32_t *out);
/* Whether the set is there and as it has to be. False: *why, with what to do. */
bool nft_check(struct nft *nft, const struct nft_set *set, struct buf *why);

struct nft_element {
	struct prefix net;
	int64_t left_ms; /* until it goes by itself */
};

/* All elements that are ours, in the order of their addresses. False: *why. */
bool nft_each(struct nft *nft, const struct nft_set *set, void (*take)(void *context, const struct nft_element *element), void *context, struct buf *why);

struct nft_change {
	const struct nft_set *set;
	struct nft_element element;
	bool drop;
	uint32_t row; /* the caller's */
	int error;    /* of nft_commit(): 0 or an errno */
};

/* All of them (NFT_BATCH at most). 0: done; -errno: nothing is, and each change that is at fault has its error; if none has, it is the kernel, or the set. */
int nft_commit(struct nft *nft, struct nft_change changes[], size_t len);

#endif
