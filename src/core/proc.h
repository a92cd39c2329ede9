/* proc.h: the processes of a door, as their parent sees them: start, restart with back-off, end.
 *
 * A role is a name, a count and a function that runs in a process of its own. Each child has a channel to the parent (SOCK_SEQPACKET, non-blocking on both
 * sides): the parent may send it words and descriptors, and its end, for whatever reason, tells the child to finish. Children ignore the signals that a terminal or
 * a service manager sends to all at once: the parent alone ends them, in order. The parent's side does not log; what happened is reported to
 * proc_set.event. A child that cannot become the unprivileged user says so itself: nobody else could.
 */
#ifndef TARRY_CORE_PROC_H
#define TARRY_CORE_PROC_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/loop.h"

#define PROC_MAX 160                          /* children of one door at most */
#define PROC_RESTART_FIRST (100 * LOOP_MS)    /* a child that dies is started again after this, */
#define PROC_RESTART_MOST (30 * LOOP_SECOND)  /* twice as late each time it dies again, up to this, */
#define PROC_SETTLED (10 * LOOP_SECOND)       /* until it has lived this long */
#define PROC_CHANNEL 1                        /* bytes that wait in a channel: as few as the system allows, which is a handful of words */
#define PROC_END_WAIT (5 * LOOP_SECOND)       /* children that are told to end may take this long (real time), then they are killed */

struct proc_role {
	const char *name;
	/* In the child: index counts from 0 within the role; parent is the channel. Returns the exit status. */
	int (*run)(unsigned index, int parent, void *context);
	void *context;
	bool keeps_root; /* it does not drop to the unprivileged account: it starts programs as others */
	bool may_gain;   /* what it starts may gain privileges by execve(), as set-user-id programs do */
};

enum proc_event { PROC_STARTED, PROC_DIED, PROC_FORK_FAILED };

struct proc {
	struct source restart; /* first: the deadline after which it is started again */
	const struct proc_role *role;
	unsigned index;
	unsigned row;    /* number among all children: its row of the metrics */
	pid_t pid;       /* 0: not running */
	uint64_t caps;   /* that it keeps */
	int channel;     /* the parent's end, -1: none */
	bool missed;     /* it could not take a word it was told */
	int64_t started; /* loop time */
	int64_t delay;   /* before the next restart */
	int status;      /* of wait(2), when it has died */
	struct proc_set *set;
};

struct proc_set {
	struct loop *loop;
	struct proc all[PROC_MAX];
	unsigned len;
	bool ending;
	int64_t end_wait; /* PROC_END_WAIT; tests have less time */
	/* What every child drops to when the parent is root. */
	bool drop;
	uid_t uid;
	gid_t gid;
	const char *user;
	void (*event)(struct proc_set *set, struct proc *proc, enum proc_event event, void *context);
	void *event_context;
};

/* The path of a program that stands beside this one. False: it does not fit, or this one's is not known. */
bool proc_program(const char *name, char out[PATH_MAX]);

void proc_set_init(struct proc_set *set, struct loop *loop);
/* Add `count` children of a role; they are started by proc_start_all(). False: more than PROC_MAX. role must outlive the set. */
bool proc_add(struct proc_set *set, const struct proc_role *role, unsigned count);
/* The children of a role keep these capabilities (caps.h) when root is given up, and if the door was started as somebody else who has them; without this they keep none. */
void proc_keep(struct proc_set *set, const char *role, uint64_t caps);
void proc_start_all(struct proc_set *set);
/* After SIGCHLD: collect who has died and plan the restarts. */
void proc_reap(struct proc_set *set);
/* A word, and a descriptor (-1: none), to all running children of a role. A child that takes nothing at present misses it. */
void proc_tell(struct proc_set *set, const char *role, char word, int fd);
/* Whether any of them has missed one since this was last asked. */
bool proc_missed(struct proc_set *set, const char *role);
/* Tell all children to end, wait, kill who does not. Blocks for at most end_wait and a bit. */
void proc_end_all(struct proc_set *set);

#endif
