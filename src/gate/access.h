/* access.h: what the access database says of a client: which keys to try, in which order, and what an answer means.
 *
 * The parent builds a table (access_build: may block, reads files, says what is wrong) as a sealed memory file; each front maps it (access_open) and asks it
 * (access_greet_pause: no system call, no allocation). Swapping a table is opening the new one and closing the old.
 */
#ifndef TARRY_GATE_ACCESS_H
#define TARRY_GATE_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

#define ACCESS_PAUSE_MAX_MS 300000 /* Sendmail's ceiling of a pause */

struct access; /* a mapped table */

/* spec as in the option access_db: "text:/etc/tarry/access". Returns a sealed memfd, or -1 with one line or more in *errors ("FILE:LINE: …"). Warnings (values that Sendmail
 * reads oddly, keys that never match) go to *warnings on success too; *entries counts the keys taken. */
int access_build(const char *spec, struct buf *errors, struct buf *warnings, size_t *entries);
/* Which file the table came from, to watch for changes; NULL if spec has none. */
const char *access_file(const char *spec);

/* Takes the descriptor (and closes it, also on failure). NULL: not a table, or no memory. access_close(NULL) is fine. */
struct access *access_open(int fd);
void access_close(struct access *access);

struct access_answer {
	int64_t pause_ms;  /* 0..ACCESS_PAUSE_MAX_MS */
	bool found;        /* false: no key matched, pause_ms is the default given */
	uint32_t line;     /* of the file, when found */
};
/* GreetPause: for this client, else default_ms. Without names a client is a nameless one to Sendmail: [addr] keys first, then address and prefixes. */
struct access_answer access_greet_pause(const struct access *access, const struct addr *client, int64_t default_ms);

#endif
