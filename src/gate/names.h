/* names.h: the names of clients: what the DNS calls an address, and whether that name leads back to it.
 *
 * c-ares on the front's own loop: nothing blocks. A question is a node that its owner embeds; it is answered once, by its callback, or cancelled. What is asked of the
 * name servers at the same time has a ceiling; who comes above it waits in line, its deadline running.
 */
#ifndef TARRY_GATE_NAMES_H
#define TARRY_GATE_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/loop.h"

#define NAMES_TEXT 256        /* bytes of a name, its NUL included (RFC 1035 2.3.4) */
#define NAMES_OUTSTANDING 200 /* questions that the name servers have not answered, at most */
#define NAMES_SOCKETS 64      /* descriptors of c-ares that are watched at most */

enum names_result {
	NAMES_NONE,      /* the address has no name (NXDOMAIN, or one that is no host name) */
	NAMES_CONFIRMED, /* it has, and the name has the address */
	NAMES_FORGED,    /* it has, but the name leads elsewhere, or nowhere */
	NAMES_FAILED,    /* no name server could say */
	NAMES_TIMEOUT,   /* not in time */
	NAMES_RESULTS
};

struct names;
struct names_lookup; /* what c-ares holds of a question */

struct names_question {
	struct source due;         /* first: its deadline */
	struct names *names;
	struct addr addr;
	struct names_lookup *lookup; /* NULL: waits in line, or answered */
	struct names_question *next, *prev; /* in line */
	void (*answered)(struct names_question *question);
	enum names_result result;
	char name[NAMES_TEXT];     /* with NAMES_CONFIRMED and NAMES_FORGED, as the DNS has it; else "" */
};

struct names_setup {
	const char *resolver; /* "": the system's (/etc/resolv.conf, and /etc/hosts before it unless nsswitch.conf has it otherwise); else "ADDRESS[:PORT][,…]", and nobody else */
	int64_t timeout;      /* nanoseconds until a question is answered NAMES_TIMEOUT */
	const char *hosts;    /* the file to read in place of /etc/hosts, for tests; NULL: that one */
};

/* NULL with a reason in *why: errno is ENOMEM where this machine is short of memory or descriptors, which may be over in a moment, else EINVAL: a resolver that cannot be read. The loop must outlive it. */
struct names *names_new(struct loop *loop, const struct names_setup *setup, struct buf *why);
/* Questions that are still asked are never answered. NULL is fine. */
void names_free(struct names *names);

/* Asks; question->addr and ->answered are set. The callback comes in a later turn of the loop, and may free the question at the end of that turn. */
void names_ask(struct names *names, struct names_question *question);
/* From now on the callback does not come. Fine also for one that was answered or never asked (zeroed). */
void names_cancel(struct names_question *question);

/* The name servers that may be asked, `most` at most; how many, or -ENOMEM. */
int names_servers(const struct names *names, struct addr *out, size_t most);

const char *names_result_name(enum names_result result);
/* Letters, digits, hyphens, underscores and dots, labels of 1 to 63, 255 in all, and not an address: fit to be shown, logged and looked up. */
bool names_is_valid(struct slice name);

#endif
