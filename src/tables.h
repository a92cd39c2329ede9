/* tables.h: the access database as the parent has it: the tables that it builds and the fronts share, and the way to the maps that are asked elsewhere.
 *
 * For serve.c and roles.c only. Building reads files and may block; what is wrong is told to the person at the keyboard at start, and to the log later. The parent keeps all
 * descriptors, for the roles that it starts again.
 */
#ifndef TARRY_TABLES_H
#define TARRY_TABLES_H

#include "access/access.h"
#include "core/conf.h"
#include "core/loop.h"
#include "core/proc.h"
#include "look.h"

#define TABLES_FRONTS 64          /* fronts at most, as options.def has it */
#define TABLES_LOOK LOOP_SECOND   /* how often the files are to be looked at; one is taken when it has been quiet for as long */

/* A map of access_db. */
struct table {
	const char *spec;
	int fd;            /* the table in force; -1: it is elsewhere */
	size_t entries;
	struct look seen;  /* the file at the last look */
	struct look taken; /* the one the table was built from, or refused from */
	int64_t kept;      /* since then, in seconds of the wall clock, the file is no good, and the table from before is in force; 0: it is the file's */
};

struct tables {
	struct loop *loop;
	const struct conf *conf;
	unsigned fronts;
	struct table maps[ACCESS_MAPS]; /* of access_db, in its order */
	unsigned elsewhere;             /* those of them that tarry-lookup asks */
	int questions[2], answers[TABLES_FRONTS][2], outages; /* to and from it; valid with elsewhere > 0 */
};

/* Builds all tables, checks the names of maps elsewhere and makes the channels to the program that asks them. EX_OK, or the exit code after a complaint. */
int tables_start(struct tables *tables, struct loop *loop, const struct conf *conf, unsigned fronts);
/* Builds all tables anew, and tells the fronts of those that could be. What became of each is appended to *report (NULL: nobody asks), a line or more; false: not all could be. */
bool tables_reload(struct tables *tables, struct proc_set *procs, struct buf *report);
/* The same for those whose files have changed, and again for fronts that missed something. */
void tables_look(struct tables *tables, struct proc_set *procs);
/* The ones that are not their files', for `tarry status` (show/lines.h: kept). */
void tables_put_kept(const struct tables *tables, struct buf *out);
/* In a child: closes the ends of the channels that are not the front's with that index; UINT_MAX: all. */
void tables_close_channels(struct tables *tables, unsigned index);
/* In a child: becomes tarry-lookup. Returns an exit code if that fails. */
int tables_run_lookup(struct tables *tables, unsigned index, int parent);

#endif
