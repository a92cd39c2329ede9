/* serve_inside.h: what the files of the parent (serve.c, roles.c) share, and nobody else needs.
 *
 * One struct, which every role inherits as it was when the role was started.
 */
#ifndef TARRY_SERVE_INSIDE_H
#define TARRY_SERVE_INSIDE_H

#include <sys/resource.h>

#include "core/conf.h"
#include "core/loop.h"
#include "core/proc.h"
#include "gate/backends.h"
#include "spawn/spawn.h"
#include "keepers.h"
#include "tables.h"
#include "tlskeys.h"

#define SERVE_FRONTS 64 /* fronts at most, as options.def has it; mail processes too */

struct parent {
	struct loop loop; /* first: callbacks find the parent by it */
	struct conf conf;
	struct proc_set procs;
	struct source signals;
	struct source access_watch, control, status;
	int64_t started; /* seconds of the wall clock */
	const char *path; /* of the configuration file; NULL: there is none */
	struct tables tables;
	struct tlskeys tlskeys;
	struct keepers keepers;
	int listeners[CONF_LISTENS][SERVE_FRONTS]; /* [address][front] */
	int queues[SERVE_FRONTS], to_queues[SERVE_FRONTS]; /* of clients that another front has accepted; both ends stay open here, for a front that is started again */
	bool queued; /* there are such queues */
	unsigned fronts, mails, tlses;
	backends_count *connections; /* of the fronts to each backend */
	int mail_listener;
	char mail_path[64];
	struct rlimit descriptors; /* as the door was started */
	struct spawn_setup spawn;
	struct proc_role front_role, mail_role, lookup_role, spawn_role, tls_role, known_role;
};

/* roles.c. The roles, as many processes of each as the configuration asks for; nothing is started yet. False: too many. */
bool roles_add(struct parent *p);

#endif
