/* banned.h: whom a ban turns away, told to those who watch the door (recent.h): a client when it comes, and what it does after that as a number, every BANNED_EVERY at most.
 *
 * Who is banned may come as often as it likes, and it costs it nothing: with an entry for each time one such client would leave no room for anybody else in the ring, and in the page's list. So there are two bounds: an
 * entry for a client in BANNED_EVERY, in which the page is told of networks anyhow, and BANNED_TOLD entries in a second, whoever comes, a sixteenth of a ring that is read once a second. What has
 * no entry is added to the next one of the same client, by the clock if it does not come again, so that networks are counted right although few entries are written. They are not when more come within
 * BANNED_EVERY than are remembered: then whoever finds no place is in the counter ban_hits alone.
 *
 * On the way of every connection that a ban meets: no lock, no system call, no memory but that of the beginning. Private to the files of a connection.
 */
#ifndef TARRY_GATE_BANNED_H
#define TARRY_GATE_BANNED_H

#include <stdint.h>

#include "core/addr.h"
#include "core/loop.h"
#include "core/siphash.h"

#define BANNED_EVERY (10 * LOOP_SECOND)
#define BANNED_TOLD 64    /* entries in a second at most */
#define BANNED_CLIENTS 512 /* that a front remembers */

struct front;
struct banned_client;

struct banned {
	struct source source; /* due when somebody may be waiting to be told */
	struct banned_client *clients; /* NULL: nobody is told of */
	struct siphash_key key;
	int64_t second;       /* began then, */
	unsigned told;        /* and has had so many entries */
};

/* 0 or -errno. */
int banned_init(struct front *front);
/* Who still waits is told first. */
void banned_fini(struct front *front);
/* A client that a ban has just turned away. ends: of the ban, the second of the loop's clock; more than 0. */
void banned_came(struct front *front, const struct addr *client, uint32_t ends);

#endif
