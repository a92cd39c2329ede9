/* proc.h: the processes of a door, as their parent sees them: start, restart with back-off, end.
 *
 * A role is a name, a count and a function that runs in a process of its own. Each child has a channel to the parent (SOCK_SEQPACKET, non-blocking on both
 * sides): the parent may send it words and descriptors, the child may send words of one byte, and the end of the channel, for whatever reason, tells the child to finish. Children ignore the signals that
 * a terminal or a service manager sends to all at once: the parent alone ends them, in order. The parent's side does not log; what happened is reported to
 * proc_set.event. A child that cannot become the unprivileged user says so itself: nobody else could.
 *
 * A parent that is replaced by another program (execve, the same process) leaves children behind; proc_adopt() takes them into the set of that program. They belong to an older generation: they
 * are not started again, and proc_tell() does not mean them.
 */
#ifndef TARRY_CORE_PROC_H
#define TARRY_CORE_PROC_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/loop.h"
#include "core/metrics.h"
#include "core/sandbox.h"

#define PROC_MAX (METRICS_ROWS - 1)           /* children of one door at most, of all generations: each has a row of the metrics, and the last row is the parent's */
#define PROC_RESTART_FIRST (100 * LOOP_MS)    /* a child that dies is started again after this, */
#define PROC_SOON 3                           /* and so it is when it dies again soon, so many times; then */
#define PROC_RESTART_MOST (30 * LOOP_SECOND)  /* twice as late each time, up to this, */
#define PROC_SETTLED (2 * LOOP_SECOND)        /* until it has lived this long */
#define PROC_REST LOOP_SECOND                 /* those that wait for the others are started then, whatever has become of the others */
#define PROC_CHANNEL 1                        /* bytes that wait in a channel: as few as the system allows, which is a handful of words */
#define PROC_END_WAIT (5 * LOOP_SECOND)       /* children that are told to end may take this long (real time), then they are killed */

struct proc_role {
	const char *name; /* and its row in sandbox_roles.c; without one it keeps nothing */
	/* In the child: index counts from 0 within the role; parent is the channel. Returns the exit status. */
	int (*run)(unsigned index, int parent, void *context);
	void *context;
	bool keeps_root; /* it does not drop to the unprivileged account: it starts programs as others */
};

/* PROC_ENDED: it was told to, or its generation is over; PROC_DIED: it was not. */
enum proc_event { PROC_STARTED, PROC_DIED, PROC_ENDED, PROC_FORK_FAILED };

struct proc {
	struct source restart; /* first: the deadline after which it is started again */
	struct source words;   /* the channel, for what the child says */
	const struct proc_role *role;
	unsigned index;
	unsigned row;    /* of the metrics */
	pid_t pid;       /* 0: not running */
	uint64_t caps;   /* that it keeps */
	int channel;     /* the parent's end, -1: none */
	bool missed;     /* it could not take a word it was told */
	bool ready;      /* it has said a word */
	bool retired;    /* not of the newest generation, or of a door that ends: it is not started again */
	bool told;       /* to end */
	bool later;      /* proc_start_all() does not start it, but proc_start_one() */
	bool waits;      /* nor this one, but proc_start_rest() */
	uint64_t generation;
	int64_t retired_at; /* loop time; 0: it is not */
	int64_t started; /* loop time */
	unsigned young;  /* deaths, one soon after the other */
	int64_t delay;   /* before the next restart */
	int status;      /* of wait(2), when it has died */
	struct proc_set *set;
};

struct proc_set {
	struct loop *loop;
	struct proc all[PROC_MAX];
	unsigned len;
	uint64_t generation; /* of those that are added */
	bool ending;
	int64_t end_wait; /* PROC_END_WAIT; tests have less time */
	/* What every child drops to when the parent is root. */
	bool drop;
	uid_t uid;
	gid_t gid;
	const char *user;
	const struct account *account; /* NULL, or the same with its groups */
	enum sandbox_mode sandbox;
	void (*event)(struct proc_set *set, struct proc *proc, enum proc_event event, void *context);
	void (*word)(struct proc_set *set, struct proc *proc, char word, void *context); /* a child has said something; may be NULL */
	void (*other)(struct proc_set *set, pid_t pid, int status, void *context); /* somebody else's child has ended; may be NULL */
	void *event_context;
};

/* The path of a file that belongs to this program: beside it, as where it was built, or else, whether it is there or not, in the folder that it was built to be installed in.
 * False: it does not fit, or this program's own is not known. */
bool proc_file(const char *name, const char *installed, char out[PATH_MAX]);
/* The same for a program of ours. */
bool proc_program(const char *name, char out[PATH_MAX]);

void proc_set_init(struct proc_set *set, struct loop *loop);
/* Add `count` children of a role; they are started by proc_start_all(). False: more than PROC_MAX. role must outlive the set. */
bool proc_add(struct proc_set *set, const struct proc_role *role, unsigned count);
/* A child that runs, started by the program before this one. what: its role, index, row, pid, channel, generation, retired_at, ready. NULL: too many, or its row is somebody else's. */
struct proc *proc_adopt(struct proc_set *set, const struct proc *what);
/* One that was adopted goes on as one of this generation, started again with that role if it dies. */
void proc_promote(struct proc *adopted, const struct proc_role *role);
/* The children of a role keep these capabilities (caps.h) when root is given up, and if the door was started as somebody else who has them; without this they keep none. */
void proc_keep(struct proc_set *set, const char *role, uint64_t caps);
/* Those of a role with this index or a higher one wait for proc_start_rest(), but PROC_REST at most: nobody needs them for the first clients, who need the processors. */
void proc_wait(struct proc_set *set, const char *role, unsigned from);
void proc_start_all(struct proc_set *set);
void proc_start_rest(struct proc_set *set);
void proc_start_one(struct proc *proc);
/* After SIGCHLD: collect who has died and plan the restarts. */
void proc_reap(struct proc_set *set);
/* A word, and a descriptor (-1: none), to all running children of a role, but not to retired ones. A child that takes nothing at present misses it. */
void proc_tell(struct proc_set *set, const char *role, char word, int fd);
/* The same to one child; false: it has not got it. */
bool proc_tell_one(struct proc *proc, char word, int fd);
/* Whether any of them has missed one since this was last asked. */
bool proc_missed(struct proc_set *set, const char *role);
bool proc_is(const struct proc *proc, const char *role);
/* It is to end, and is not started again. Does not wait. */
void proc_end_one(struct proc *proc);
/* Nobody is started again from now on. */
void proc_no_restarts(struct proc_set *set);
/* Tell all children to end, wait, kill who does not. Blocks for at most end_wait and a bit. */
void proc_end_all(struct proc_set *set);
/* The same, one role (NULL: all) after what has ended before. keep_waiting: asked between the steps whether to go on waiting; NULL: yes. */
void proc_end_role(struct proc_set *set, const char *role, bool (*keep_waiting)(void *context), void *context);

#endif
