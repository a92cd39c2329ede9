/* listeners.h: the listening sockets of a door: bound, inherited, shared out among the fronts.
 *
 * For each address there is a group of sockets (SO_REUSEPORT), one for each front, and the kernel sends a client always to the same one (sock_steer_by_client). The parent keeps all of them, for fronts that it starts
 * again and over a change of the configuration: a socket that is closed would reset the clients that wait in it. So a group never gets smaller: where fronts are fewer than before, each accepts from
 * several sockets, to the last of which nobody is sent any more. Where they are more, the group grows.
 *
 * A socket that systemd has bound (socket activation) is the first of such a group if it has SO_REUSEPORT (ReusePort=yes); otherwise there can be no others, all fronts accept from it, and pass each
 * client on to the front that it belongs to (gate/owner.h).
 */
#ifndef TARRY_LISTENERS_H
#define TARRY_LISTENERS_H

#include <stdbool.h>

#include "core/conf.h"
#include "gate/front.h"
#include "takeover.h"

#define LISTENERS_FRONTS 64 /* fronts at most, as options.def has it */

struct listeners_group {
	struct addr wanted, at;
	int fds[LISTENERS_FRONTS];
	unsigned len;
	bool shared;
	bool used; /* by a section of the configuration */
	const char *origin; /* of one that was not bound here, for the log; NULL: by a door */
};

struct listeners {
	struct listeners_group all[2 * CONF_LISTENS];
	unsigned len;
	struct listeners_group *of[CONF_LISTENS]; /* each section's */
	unsigned sections;
};

/* What the program before this one has left, and what systemd has. Before listeners_bind(). */
void listeners_inherit(struct listeners *listeners, const struct takeover *takeover);
void listeners_from_systemd(struct listeners *listeners);
/* One for each section listen, of which nothing else changes but that a port that was 0 gets its number. fronts: how many there are to be. rehearses: only
 * tries whether it can be done: a socket more, if only for a moment, would be one to which clients are sent. EX_OK, or the exit code after a complaint. */
int listeners_bind(struct listeners *listeners, struct conf *conf, unsigned fronts, bool rehearses);
/* Sends clients to as many fronts. 0 or -errno. Until it is called it is as it was. */
int listeners_steer(const struct listeners *listeners, unsigned fronts);
/* Whether some are shared by all fronts. */
bool listeners_are_shared(const struct listeners *listeners);
/* Those of a front; fds and what have room for FRONT_LISTENERS. The number of them. */
unsigned listeners_of_front(const struct listeners *listeners, unsigned front, unsigned fronts, int *fds, struct front_listener *what);
/* In a child: closes all but those of the front with that index; UINT_MAX: all. */
void listeners_close_others(const struct listeners *listeners, unsigned front, unsigned fronts);
/* Closes those that no section has any more, and says so. */
void listeners_drop_unused(struct listeners *listeners);
void listeners_close(struct listeners *listeners);
/* Describes them for the program after this one. */
void listeners_put(const struct listeners *listeners, struct takeover *takeover);

#endif
