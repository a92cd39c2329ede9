/* takeover.h: what a parent leaves to the program that takes its place.
 *
 * `tarry reload` with a changed configuration and `tarry upgrade` are one thing: the parent calls execve(), so that a fresh program reads the configuration from the start, in the same process: the
 * service manager notices nothing, and the children remain children. Descriptors stay open over it: the listening sockets above all, so that there is no moment without them; the memory of the
 * metrics; the channels of the children. What they are stands in a description, text in a sealed memfd, whose number is in the environment (TAKEOVER_VARIABLE). First the same description is given to a
 * rehearsal, `tarry rehearse`: a child that does all that a start does up to the first process, and says what is wrong.
 *
 * The description is read by another version than the one that wrote it. Lines of an unknown kind, and words behind those that are known, are skipped; what cannot be skipped counts TAKEOVER_VERSION up,
 * and then there is no way but a restart.
 */
#ifndef TARRY_TAKEOVER_H
#define TARRY_TAKEOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/addr.h"
#include "core/buf.h"
#include "core/metrics.h"

#define TAKEOVER_VERSION 1 /* also of what a parent and its fronts say to each other (gate/front.h) */
#define TAKEOVER_VARIABLE "TARRY_TAKEOVER"
#define TAKEOVER_TEXT (1024 * 1024) /* bytes of a description at most */
#define TAKEOVER_SOCKETS 4096       /* listening sockets at most */
#define TAKEOVER_CHILDREN 1024
#define TAKEOVER_COUNTS 1024
#define TAKEOVER_TIMES 32
#define TAKEOVER_CONTROLS 8
#define TAKEOVER_KEEPER_FDS 256
#define TAKEOVER_BAN_FDS 16
#define TAKEOVER_ROLE 16

struct takeover_socket {
	struct addr wanted; /* as in the configuration: the port may be 0, */
	struct addr at;     /* and as it is */
	unsigned index;     /* in its SO_REUSEPORT group */
	bool shared;        /* there is no such group: all fronts accept from it */
	int fd;
};

struct takeover_child {
	char role[TAKEOVER_ROLE];
	unsigned index, row;
	pid_t pid;
	int fd; /* its channel */
	uint64_t generation;
	int64_t retired_at; /* loop time; 0: it is of the generation that was in force */
	bool ready;
};

struct takeover_count {
	char name[32];
	int64_t value;
};

struct takeover_times {
	char name[32];
	struct metrics_times of;
};

/* Descriptors are -1 where there are none. */
struct takeover {
	uint64_t generation; /* that was in force */
	int64_t started;     /* seconds of the wall clock */
	uint64_t nofile[2];  /* soft and hard limit, as the door was started */
	unsigned handoff;    /* HANDOFF_VERSION of the fronts */
	int metrics, pulse, recent, tickets, backends;
	uint64_t backends_key; /* of the backends that it counts connections to */
	int desk, desk_memory; /* its listening socket, and what it remembers */
	int64_t tickets_rotate; /* loop time */
	uint64_t draw[2];    /* the secret by which clients are drawn (gate/study.h); 0 and 0: none is told */
	int asker;           /* who waits for what becomes of it */
	int said;            /* text for it, from the rehearsal */
	bool upgrade;        /* it is another program, and not only another configuration */
	int controls[TAKEOVER_CONTROLS]; /* by enum control_question */
	uint64_t keeper_key;  /* of the settings that the keeper runs with; 0: there is none */
	int keeper[TAKEOVER_KEEPER_FDS];
	unsigned keeper_len;
	uint64_t bans_key;    /* the same of the keeper of bans */
	int bans[TAKEOVER_BAN_FDS];
	unsigned bans_len;
	struct takeover_socket sockets[TAKEOVER_SOCKETS];
	unsigned sockets_len;
	struct takeover_child children[TAKEOVER_CHILDREN];
	unsigned children_len;
	struct takeover_count counts[TAKEOVER_COUNTS]; /* of the metrics, for a version that cannot use their memory; and those of the keepers that are counted already (keeper.N, bans.N, kernel.N) */
	unsigned counts_len;
	struct takeover_times times[TAKEOVER_TIMES]; /* the histograms, for the same version */
	unsigned times_len;
};

/* An empty one, from the heap; NULL: no memory. */
struct takeover *takeover_new(void);
void takeover_free(struct takeover *t);

/* False: it has no room in *out. */
bool takeover_put(const struct takeover *t, struct buf *out);
/* False, and *why: it is of a version that is not understood, or damaged. Descriptors are numbers here; nobody looks whether they are open. */
bool takeover_parse(struct slice text, struct takeover *out, struct buf *why);

/* The text as a sealed memfd; it stays open over execve(). -errno: there is none. */
int takeover_seal(struct slice text);
/* What the program before this one has left: NULL and an empty *why: nothing, it is a first start; NULL and *why: it cannot be read. All descriptors in it are open, and close-on-exec. */
struct takeover *takeover_receive(struct buf *why);
/* Forgets what is not open any more. */
void takeover_prune(struct takeover *t);
/* Becomes the program, with the arguments that this one has had (argv[-1] is its name, argv[0] the command, which `command` replaces). Returns -errno if that fails; all is as before then. */
int takeover_exec(const struct takeover *t, const char *program, const char *command, int argc, char **argv);
/* Whether the descriptors in it, all of them, stay open over execve(). 0, or -errno: of one of them, at least, that cannot be had. */
int takeover_keep(const struct takeover *t, bool keep);

#endif
