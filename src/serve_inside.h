/* serve_inside.h: what the files of the parent (serve.c, roles.c, errands.c, change.c, generation.c) share, and nobody else needs.
 *
 * One struct, which every role inherits as it was when the role was started.
 */
#ifndef TARRY_SERVE_INSIDE_H
#define TARRY_SERVE_INSIDE_H

#include <limits.h>
#include <sys/resource.h>

#include "core/conf.h"
#include "core/loop.h"
#include "core/proc.h"
#include "gate/backends.h"
#include "spawn/spawn.h"
#include "bans.h"
#include "control.h"
#include "desks.h"
#include "keepers.h"
#include "listeners.h"
#include "look.h"
#include "notify.h"
#include "tables.h"
#include "takeover.h"
#include "tlskeys.h"

#define SERVE_FRONTS LISTENERS_FRONTS /* fronts at most, as options.def has it; mail processes too */

/* What `tarry reload` or `tarry upgrade` has begun: see change.c. */
struct change {
	enum { CHANGE_NONE, CHANGE_REHEARSED, CHANGE_STARTING } state;
	bool upgrade;
	bool again, again_upgrade; /* a signal has asked for another one meanwhile */
	int asker;            /* who waits for the answer; -1: nobody, it was a signal */
	struct look seen;     /* the configuration file, when the rehearsal began */
	unsigned rehearsals;
	pid_t pid;            /* the rehearsal; 0: it has ended, with this: */
	int status;
	struct source output; /* what it says; its deadline is the rehearsal's */
	struct buf said;
};

struct parent {
	struct loop loop; /* first: callbacks find the parent by it */
	struct conf conf;
	struct proc_set procs;
	struct source signals;
	struct source access_watch, tick, watchdog;
	struct source controls[CONTROL_QUESTIONS];
	int control_fds[CONTROL_QUESTIONS]; /* also while nobody listens to them; -1: none */
	int64_t started; /* seconds of the wall clock */
	int64_t begun;   /* loop time: this program, in this process */
	const char *path; /* of the configuration file; NULL: there is none */
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len;
	int argc;         /* as serve() was called */
	char **argv;
	char program[PATH_MAX]; /* that runs here; empty: that cannot be known */
	bool rehearses;   /* it goes as far as to the first process, and touches nothing that others have */
	struct takeover *takeover; /* what the program before this one has left; NULL: it is a first start */
	struct proc_role *old_roles; /* of the children among that */
	struct notify notify;
	struct change change;
	bool ready;       /* all fronts of this generation have been */
	bool stuck;       /* they have not accepted for so long that another change may begin */
	bool draining;
	int64_t drain_until;
	struct tables tables;
	struct tlskeys tlskeys;
	struct keepers keepers;
	struct desks desks;
	struct banning bans;
	struct listeners listeners;
	int queues[SERVE_FRONTS], to_queues[SERVE_FRONTS]; /* of clients that another front has accepted; both ends stay open here, for a front that is started again */
	bool queued; /* there are such queues */
	unsigned fronts, mails, tlses;
	unsigned rows[SERVE_FRONTS]; /* of the metrics, by front */
	backends_count *connections; /* of the fronts to each backend */
	int connections_fd;
	uint64_t connections_key; /* of those backends */
	int mail_listener;
	char mail_path[64];
	struct rlimit descriptors; /* as the door was started */
	struct spawn_setup spawn;
	struct proc_role front_role, mail_role, lookup_role, spawn_role, tls_role, known_role, desk_role, bans_role, ban_role;
};

/* roles.c. The roles, as many processes of each as the configuration asks for; nothing is started yet. False: too many. */
bool roles_add(struct parent *p);

/* errands.c: what wakes the parent. */
int errands_watch(struct parent *p);
/* Whether those who want a change are heard: not while there is one; they wait. */
void errands_hear(struct parent *p, bool hear);
/* In a child: closes what belongs to that. */
void errands_close(struct parent *p);
/* A signal has said that it is to end, once more: while it ends already. */
bool errands_hurry(struct parent *p);
void errands_log_counters(struct parent *p);

/* change.c: another configuration, or another program. asker: a descriptor of somebody who waits for the answer; -1: nobody does. */
void change_begin(struct parent *p, bool upgrade, int asker);
/* All fronts of this generation are ready: whoever waits hears of it. */
void change_done(struct parent *p);
/* Whoever waits for fronts that do not get ready hears of that. */
void change_look(struct parent *p);
/* A process that is no role's has ended. */
void change_ended(struct parent *p, pid_t pid, int status);
void change_close(struct parent *p);

/* caretaker.c: this program does not start, with what another one has left: that is kept, and tried again. Returns the exit code when a signal says that it is to end. */
int caretaker_run(struct parent *p, int status);

/* generation.c: the processes of earlier configurations. */
bool generation_adopt(struct parent *p);
/* The keeper that an earlier generation has left goes on as this one's, or makes room for it. After roles_add(). */
void generation_keepers(struct parent *p);
/* A front is ready; one of an earlier generation has ended; time has passed. */
void generation_look(struct parent *p);
/* Nobody is accepted any more; what is open may finish. */
void generation_drain(struct parent *p);
/* Processes of earlier generations that still finish something. */
unsigned generation_old(const struct parent *p);

#endif
