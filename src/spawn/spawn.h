/* spawn.h: the spawner, a role of its own: it starts a backend's program on a client's socket, counts the sessions and tells the front when one ends.
 *
 * The parent makes everything that must outlive a spawner: the channels, the pipes of the programs' standard error, and the table of sessions, which is shared memory that only
 * spawners touch. One that dies is started again and finds the sessions there; they have gone on. A spawner never reads a client's byte, but peeks once whether there is one.
 * It is root only if a program is to run as another account than the door's.
 */
#ifndef TARRY_SPAWN_SPAWN_H
#define TARRY_SPAWN_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

#include "core/conf.h"
#include "spawn/program.h"

#define SPAWN_FRONTS 64   /* fronts at most, as options.def has it */
#define SPAWN_PROGRAMS 64 /* backends with exec at most */

struct spawn_slot;

struct spawn_setup {
	const struct conf *conf;
	struct program *programs; /* one for each section backend, NULL where there are none with exec */
	size_t programs_len;
	bool needs_root;
	unsigned fronts;
	int channels[SPAWN_FRONTS][2]; /* [front]: its end, the spawner's */
	struct spawn_slot *slots;      /* shared memory */
	uint64_t *serials;             /* the last one of each front's reports; shared memory, behind the slots */
	size_t slots_len;              /* sessions of all programs at the same time at most; 0: there is no program */
	struct rlimit descriptors;     /* what the door was started with, which is what programs get */
};

/* In the parent. drop: the door's roles run as `user`, so that a program without a user of its own does too; false: as whoever runs this. 0 or -errno, or -EINVAL and *why (an
 * account that is not there). Does nothing without a backend that has exec. descriptors: RLIMIT_NOFILE before anybody raised it. */
int spawn_prepare(struct spawn_setup *setup, const struct conf *conf, unsigned fronts, bool drop, const struct rlimit *descriptors, struct buf *why);
void spawn_fini(struct spawn_setup *setup);
/* In a child that is no spawner: closes what it has no use for; front: the index of a front, whose end of its channel stays open, or UINT_MAX. */
void spawn_close(struct spawn_setup *setup, unsigned front);

/* In the child: until the parent says stop or goes away; sessions go on. 0 or -errno. */
int spawn_run(struct spawn_setup *setup, int parent);

#endif
