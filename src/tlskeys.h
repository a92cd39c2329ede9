/* tlskeys.h: what the parent has for the processes tarry-tls: the certificate, those that vouch for backends, the keys for tickets, and the socket by which fronts reach them.
 *
 * For serve.c and roles.c only. Files are read here, as whoever started the door; the processes get them as descriptors. What is wrong is told to the person at the keyboard at start, and to
 * the log later, and then the old certificate stays.
 */
#ifndef TARRY_TLSKEYS_H
#define TARRY_TLSKEYS_H

#include "core/conf.h"
#include "core/loop.h"
#include "core/proc.h"
#include "look.h"
#include "takeover.h"
#include "tool/complain_tls.h"

#define TLSKEYS_FILES 3

struct tlskeys {
	struct loop *loop;
	const struct conf *conf;
	bool wanted;      /* there is a certificate, or a backend with TLS */
	struct complain_tls_files have; /* with tickets: see core/tlswire.h */
	int tickets;
	int orders[2];    /* the fronts' end, and that of the processes */
	int64_t kept;     /* since then, in seconds of the wall clock, the files are no good, and what was there before is in force; 0: it is the files' */
	int64_t rotate;   /* when the keys for tickets are to change */
	const char *files[TLSKEYS_FILES];
	struct look seen[TLSKEYS_FILES], taken[TLSKEYS_FILES];
};

/* EX_OK, or the exit code after a complaint. Where nobody speaks TLS there is nothing to do. takeover: what the program before this one has left: its keys for tickets; NULL: there was none. */
int tlskeys_start(struct tlskeys *keys, struct loop *loop, const struct conf *conf, const struct takeover *takeover);
/* Reads the files anew and tells the processes. What became of it is appended to *report (NULL: nobody asks); false: the old one stays. */
bool tlskeys_reload(struct tlskeys *keys, struct proc_set *procs, struct buf *report);
/* The same if the files have changed, and again for processes that missed something; and new keys for tickets when it is time. */
void tlskeys_look(struct tlskeys *keys, struct proc_set *procs);
/* As tables_put_kept(). */
void tlskeys_put_kept(const struct tlskeys *keys, struct buf *out);
/* In a child: closes all but the fronts' end of the socket (front) or that too. */
void tlskeys_close(struct tlskeys *keys, bool front);
/* In a child: becomes tarry-tls. Returns an exit code if that fails. */
int tlskeys_run(struct tlskeys *keys, unsigned index, int parent);

#endif
