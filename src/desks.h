/* desks.h: what the parent has for tarry-desk: its listening socket, and memory in which it remembers.
 *
 * For serve.c and roles.c only. Both outlive a desk that dies. No door fails to start for its desk: where the program is not installed, or the address is taken, the log says so once, and an address that
 * is taken is tried again. Only a configuration by which the wrong people could look ends it.
 */
#ifndef TARRY_DESKS_H
#define TARRY_DESKS_H

#include "core/conf.h"
#include "core/loop.h"
#include "core/proc.h"
#include "core/shared.h"
#include "show/lines.h"
#include "tool/complain_desk.h"
#include "takeover.h"

struct desks {
	struct source again; /* first: the deadline at which the address is tried again */
	struct loop *loop;
	struct proc_set *procs;
	const struct conf *conf;
	bool wanted;
	struct addr at;
	char token[COMPLAIN_DESK_TOKEN];
	int listener; /* -1: not yet */
	struct shared memory;
};

/* With what the program before this one has left (NULL: nothing). A rehearsal touches nothing. EX_OK, or the exit code after a complaint. */
int desks_start(struct desks *desks, struct loop *loop, struct proc_set *procs, const struct conf *conf, struct takeover *takeover, bool rehearses);
/* In a child that is no desk: closes what it has no use for, and forgets the token. */
void desks_close(struct desks *desks);
/* In a child: becomes tarry-desk. Returns an exit code if that fails. */
int desks_run(struct desks *desks, const struct lines_door *door, int parent);

#endif
