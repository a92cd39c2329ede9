/* program.h: the program of a backend, and how a process becomes it: as inetd would start it.
 *
 * For spawn.c, and for the parent, which looks up the account at start.
 */
#ifndef TARRY_SPAWN_PROGRAM_H
#define TARRY_SPAWN_PROGRAM_H

#include <stdbool.h>
#include <sys/resource.h>

#include "core/account.h"
#include "core/conf.h"
#include "core/passing.h"

#define PROGRAM_ENVIRONMENT 4096 /* bytes of variables */
#define PROGRAM_VARIABLES 24

struct program {
	const struct conf_backend *backend;
	char **arguments;       /* of execve(), NULL at the end */
	bool becomes;           /* another account: the spawner has to be root */
	struct account account; /* valid with becomes */
	int said[2];            /* what it writes to its standard error: our end, and the one that it gets */
};

/* The variables of UCSPI (PROTO, TCPREMOTEIP …; for IPv6 those of TCP6 too) and PATH, in memory; variables ends with NULL. */
struct program_environment {
	char *variables[PROGRAM_VARIABLES];
	char memory[PROGRAM_ENVIRONMENT];
};
void program_environment(struct program_environment *out, const struct passing_request *request, const char *hostname);

/* In the child: become the program on that socket. Returns -errno only: why that cannot be. Keeps no descriptor open but 0, 1 and 2; all others close on exec. */
int program_become(const struct program *program, int socket, char *const *variables, const struct rlimit *descriptors);

#endif
