/* often.h: who comes over and over and is turned away each time, by a ban or by a limit, told to those who watch the door (recent.h): a client when it comes, and what it does after that as a number, every
 * OFTEN_EVERY at most.
 *
 * Such a client may come as often as it likes, and it costs it nothing: with an entry for each time one of them would leave no room for anybody else in the ring, and in the page's list. So there are two bounds: an
 * entry for a client in OFTEN_EVERY, in which the page is told of networks anyhow, and OFTEN_TOLD entries in a second, whoever comes, a sixteenth of a ring that is read once a second. What has
 * no entry is added to the next one of the same client, by the clock if it does not come again, so that networks are counted right although few entries are written. They are not when more come within
 * OFTEN_EVERY than are remembered: then whoever finds no place is in the counters and in the log alone.
 *
 * On the way of every connection that a ban or a limit meets: no lock, no system call, no memory but that of the beginning. Private to the files of a connection.
 */
#ifndef TARRY_GATE_OFTEN_H
#define TARRY_GATE_OFTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/loop.h"
#include "core/siphash.h"

#define OFTEN_EVERY (10 * LOOP_SECOND)
#define OFTEN_TOLD 64     /* entries in a second at most */
#define OFTEN_CLIENTS 512 /* that a front remembers */

struct front;
struct often_client;

/* Of one client each is counted for itself. */
enum often_what {
	OFTEN_BANNED,
	OFTEN_LIMITED,  /* max_connections, max_per_client, or the system's */
	OFTEN_REFUSED,  /* ratecontrol, conncontrol: limits of the access database, that refuse */
	OFTEN_OBSERVED, /* one of those, if the client were not observed only */
};

struct often_case {
	enum often_what what;
	uint32_t ends; /* of a ban, the second of the loop's clock; else 0 */
	uint32_t note; /* of its row (known/ban_table.h) */
};

struct often {
	struct source source; /* due when somebody may be waiting to be told */
	struct often_client *clients; /* NULL: nobody is told of */
	struct siphash_key key;
	int64_t second;       /* began then, */
	unsigned told;        /* and has had so many entries */
};

/* 0 or -errno. */
int often_init(struct front *front);
/* Who still waits is told first. */
void often_fini(struct front *front);
/* A client that has just been turned away so. True: the caller is to tell of it now, and of *more that came before; false: it will be told of. */
bool often_tells(struct front *front, const struct addr *client, const struct often_case *is, uint32_t *more);

#endif
