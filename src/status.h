/* status.h: `tarry status`: what a running door says of itself, and how it is shown.
 *
 * The parent writes lines of words with tabs between them, from the memory that all roles share: it asks nobody and waits for nobody. Whoever asked makes a text or JSON of them.
 */
#ifndef TARRY_STATUS_H
#define TARRY_STATUS_H

#include <stdint.h>

#include "core/buf.h"
#include "core/conf.h"

/* The door's answer: fronts as configured; started: when, seconds of the wall clock; generation: 1, and one more with each change; old: processes of earlier ones that still finish something. */
void status_put(struct buf *out, const struct conf *conf, unsigned fronts, int64_t started, uint64_t generation, unsigned old);
/* `tarry status [-c FILE] [--json]`. */
int status_run(int argc, char **argv);

#endif
