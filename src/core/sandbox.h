/* sandbox.h: what a role may do, and the walls around it.
 *
 * One row of sandbox_roles.c says it for each role. A role is shut in twice. First, when the process begins (sandbox_begin()): it becomes the unprivileged user, keeps the capabilities of its row and no
 * others, gains none by execve(), and leaves no core file. Then it opens what it needs, and when that is done, before the first byte of a stranger (sandbox_enter()): Landlock takes
 * files, ports, foreign sockets and signals away, and a seccomp filter all system calls but those of its row. Programs of their own (tarry-tls and others) call it after execve().
 *
 * A call that the filter does not let pass is never carried out. If only somebody who has broken in would make it (execve, ptrace, mount, a connection to elsewhere, …), the process says so in the log
 * (event=sandbox_killed) and ends, and the parent starts another; if it may as well be a call that we have forgotten, or that a new C library makes, it fails with EPERM, and that is said once for
 * each call (event=sandbox_denied): a door that is not perfect beats one that is closed.
 *
 * What the kernel has not got is done without, and said. What it has got and could not give at this moment, for want of memory or descriptors, is not: the process ends (event=sandbox_failed), and is started again.
 *
 * sandbox_begin() and sandbox_confine() log, for their caller cannot know what happened here.
 */
#ifndef TARRY_CORE_SANDBOX_H
#define TARRY_CORE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/addr.h"
#include "core/landlock.h"

#define SANDBOX_PATHS 64
#define SANDBOX_PORTS 64
#define SANDBOX_PATH_BYTES 16384 /* of all paths */

/* Groups of system calls (sandbox_calls.c); those of every process are not named. */
enum sandbox_calls {
	SANDBOX_STREAMS = 1 << 0,  /* sockets that are there: accept, receive, send, options */
	SANDBOX_PIPES = 1 << 1,    /* pipe2, splice */
	SANDBOX_DIAL = 1 << 2,     /* socket and connect, to the addresses of reach.h alone */
	SANDBOX_FILES = 1 << 3,    /* open, stat, read folders */
	SANDBOX_CHANGES = 1 << 4,  /* mkdir, rename, link, unlink, fsync */
	SANDBOX_RESOLVE = 1 << 5,  /* what getaddrinfo() and client libraries do: any socket, any address, plug-ins; for who needs names (sandbox_need_names()) */
	SANDBOX_CHILDREN = 1 << 6, /* fork, wait, kill, a limit, memfd */
	SANDBOX_ALARM = 1 << 7,
	SANDBOX_TABLES = 1 << 8,   /* open a descriptor once more, by the name of reach.h */
	SANDBOX_WEB = 1 << 9,      /* what a server of HTTP does besides; it sends by headers of its own, so it should have no datagram sockets */
	SANDBOX_NETLINK = 1 << 10, /* sockets to the kernel, for its rules (nf_tables) */
};

/* Things to try (sandbox_try.h). Those of a row belong to the role's work. */
enum sandbox_act {
	SANDBOX_READ, SANDBOX_CHANGE, SANDBOX_EXEC, SANDBOX_FORK, SANDBOX_CONNECT, SANDBOX_DATAGRAM, SANDBOX_ABSTRACT, SANDBOX_RAW, SANDBOX_PTRACE, SANDBOX_KILL, SANDBOX_MOUNT,
	SANDBOX_NAMESPACE, SANDBOX_SETUID, SANDBOX_CODE, SANDBOX_CORE, SANDBOX_ACTS,
};

struct sandbox_role {
	const char *name;
	uint64_t caps;    /* the capabilities that it may keep, if it is given them */
	unsigned calls;   /* enum sandbox_calls; 0: it has no filter, and no Landlock */
	bool may_gain;    /* what it starts may gain privileges, as set-user-id programs do */
	bool own_limits;  /* what it starts gets the limits of the door as it was started, that of core files among them */
	unsigned may;     /* acts, 1 << SANDBOX_READ and so on */
	const char *why;  /* of what it may, for people */
};

/* NULL: there is none of that name. */
const struct sandbox_role *sandbox_role(const char *name);
/* By number; NULL: there are no more. */
const struct sandbox_role *sandbox_role_at(unsigned n);

/* In the order of the words of the option sandbox. */
enum sandbox_mode { SANDBOX_ENFORCE, SANDBOX_LOG, SANDBOX_OFF };

struct sandbox_account {
	bool drop; /* become it; else the process stays who it is */
	uid_t uid;
	gid_t gid;
	const char *user;
	const struct account *whole; /* with its groups; NULL: they are asked for by its name */
};

/* The first half, in a child that was just forked, or (role parent) at the start. caps: which it is to keep, of those in its row. False: it is not what it should be, the log says why, and the caller
 * ends. mode off still gives up root. role NULL: one that may keep nothing. */
bool sandbox_begin(const struct sandbox_role *role, enum sandbox_mode mode, const struct sandbox_account *account, uint64_t caps);
/* No core file, and no other process of the same user looks into its memory or takes its descriptors. After execve() it has to be said again: sandbox_enter() does. */
void sandbox_hide(void);

/* What one process has a use for, within its row. */
struct sandbox_needs {
	struct landlock_path paths[SANDBOX_PATHS];
	unsigned paths_len;
	uint16_t ports[SANDBOX_PORTS];
	unsigned ports_len;
	bool ports_all; /* there were too many, or which ones cannot be known */
	bool names;     /* see SANDBOX_RESOLVE */
	bool datagrams; /* UDP, to addresses of reach.h */
	bool binds;     /* to the addresses of clients (transparent) */
	bool abstract;  /* sockets with abstract names */
	struct sandbox_identity {
		dev_t dev;
		ino_t ino; /* 0: it was not there */
	} identities[SANDBOX_PATHS]; /* of the paths, when it entered */
	char text[SANDBOX_PATH_BYTES];
	unsigned text_len;
};

void sandbox_needs_init(struct sandbox_needs *needs);
/* Copied. One that does not fit any more is left out, and so out of reach. */
void sandbox_need_path(struct sandbox_needs *needs, const char *path, enum landlock_right right);
/* The folder that the file is in: one that takes its place is in reach, too. */
void sandbox_need_folder_of(struct sandbox_needs *needs, const char *file, enum landlock_right right);
void sandbox_need_port(struct sandbox_needs *needs, uint16_t port);
/* What libraries read and do that find out addresses by names, or check certificates. Who never asks for it has no use for SANDBOX_RESOLVE, and does not get it. */
void sandbox_need_names(struct sandbox_needs *needs);
/* An address that may be connected to, and its port. */
void sandbox_need_addr(struct sandbox_needs *needs, const struct addr *addr);
void sandbox_need_unix(struct sandbox_needs *needs, const char *path);

/* The groups of system calls that are left of the role's row. */
unsigned sandbox_calls_of(const struct sandbox_role *role, const struct sandbox_needs *needs);

struct sandbox_result {
	struct landlock_result landlock;
	int landlock_error, reach_error, seccomp_error; /* 0, or -errno */
	unsigned calls;     /* system calls that pass, with some arguments at least */
	unsigned addresses; /* that can be connected to */
};

/* The second half, for good. False: part of it is not in force; *out says which. */
bool sandbox_enter(const struct sandbox_role *role, enum sandbox_mode mode, const struct sandbox_needs *needs, struct sandbox_result *out);
/* Whether a part that is not in force, by this error (-errno), can be the next time: there was no memory (ENOMEM), no descriptor (EMFILE, ENFILE), or EAGAIN, which stands for no room for one process more, and for a
 * process that was to make the filter and was ended by a signal: it had not the memory, or was killed for want of it. Every other error is the kernel's answer, and will be tomorrow. */
bool sandbox_may_pass(int error);
/* The same, and says in the log what is missing. With mode enforce the process goes on without what this kernel has not got, and not without what it could have had, see sandbox_may_pass(): then it ends here, with
 * SANDBOX_AGAIN, and whoever started it starts it again. It must not have promised anything to anybody yet. loud: what is missing at level warning, else debug (the second and third process of a role have nothing
 * new to say). */
void sandbox_confine(const char *role, enum sandbox_mode mode, struct sandbox_needs *needs, bool loud);
/* True: one of the paths that the process entered with is another file or folder now, as when a file system is mounted there, or was not there then. What stands there now is out of reach; the log says so, and
 * the process is to end, for the next one to have it. Looks at most once a second, by now (nanoseconds). The needs that it entered with must still be there. */
bool sandbox_moved(int64_t now);
/* "" or what this build has of its own, and for what reason it is let do more than others. */
const char *sandbox_relaxed(void);

/* sandbox_calls.c: loads the filter. 0 or -errno. */
int sandbox_filter(const struct sandbox_role *role, enum sandbox_mode mode, const struct sandbox_needs *needs, unsigned *calls);
/* Refused calls are not told: for whoever tries them on purpose. They end the process with SANDBOX_REFUSED, whichever they are. */
void sandbox_quiet(void);
#define SANDBOX_KILLED 77  /* the exit status of a process that has made a call which only an intruder makes (EX_NOPERM) */
#define SANDBOX_AGAIN 75   /* of one that ended because it could not be shut in at this moment (EX_TEMPFAIL) */
#define SANDBOX_REFUSED 99 /* see sandbox_quiet() */

#endif
