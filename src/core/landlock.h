/* landlock.h: landlock(7), by its system calls, for there is no library of it in Debian.
 *
 * The kernel is asked what it can (its ABI: 1, files, Linux 5.13; 2, renaming from one folder to another, 5.19; 3, truncating, 6.2; 4, TCP ports, 6.7; 5, devices, 6.10; 6, abstract Unix sockets
 * and signals, 6.12), and what it cannot is left out. Nothing here logs.
 */
#ifndef TARRY_CORE_LANDLOCK_H
#define TARRY_CORE_LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum landlock_right {
	LANDLOCK_LIST,  /* open folders, for fsync() and readdir() */
	LANDLOCK_READ,  /* and files, for reading; programs and libraries too */
	LANDLOCK_WRITE, /* and make, write, rename and remove them */
};

struct landlock_path {
	const char *path; /* and all below it; what is not there is left out */
	enum landlock_right right;
};

struct landlock_rules {
	const struct landlock_path *paths;
	unsigned paths_len;
	bool moves;      /* it renames from one folder to another, which ABI 1 forbids whatever the rules: then files are as they were */
	bool ports_all;  /* the network is as it was; else TCP to these ports alone */
	const uint16_t *ports;
	unsigned ports_len;
	bool binds;      /* it may bind TCP sockets, to port 0: one that the kernel chooses */
	bool scoped;     /* no abstract Unix socket, and no process, that is not its own */
};

/* What rules came to. */
struct landlock_result {
	int abi; /* 0: the kernel has none, or it is switched off */
	bool files, network, scoped;
};

int landlock_abi(void);
/* For good, and for all that this process starts. no_new_privs must have been set. 0 or -errno; *out says what is in force now. */
int landlock_restrict(const struct landlock_rules *rules, struct landlock_result *out);

#endif
