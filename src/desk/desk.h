/* desk.h: the process of tarry-desk: a clock that ticks each second, the server, and the parent's channel.
 *
 * It has descriptors only: memory of the door to read, memory of its own, a listening socket. It opens no file and connects to nobody.
 */
#ifndef TARRY_DESK_DESK_H
#define TARRY_DESK_DESK_H

#include "core/deskwire.h"
#include "core/loop.h"
#include "desk/server.h"

struct desk {
	struct loop loop; /* first: callbacks find the desk by it */
	struct source parent, clock, http;
	struct server server;
	char setup[DESKWIRE_SETUP + 1]; /* as it was given, in words */
	char head[DESKWIRE_SETUP + 1];  /* its lines door and listen */
};

struct desk_fds {
	int metrics, recent, health, setup, memory, listener, parent; /* memory, listener -1: none */
};

/* The setup is lines of words with tabs between them (show/lines.h): door, listen, pause, and
 *
 *   desk   ADDRESS:PORT    where the desk listens
 *   host   NAME            one of desk_hosts
 *   token  TEXT
 *
 * Takes all descriptors, also on failure. False: with a text in *why. */
bool desk_open(struct desk *desk, const struct desk_fds *fds, struct buf *why);
/* Until the parent ends it. 0 or -errno. */
int desk_run(struct desk *desk);
void desk_close(struct desk *desk);

#endif
