/* complain.h: what is wrong with a configuration, said to the person at the keyboard: lines on stderr that begin with "tarry: ". */
#ifndef TARRY_TOOL_COMPLAIN_H
#define TARRY_TOOL_COMPLAIN_H

#include "core/buf.h"
#include "core/conf.h"

/* Each line of what was said; kind: "" or "warning: ". */
void complain_lines(struct buf *said, const char *kind);
/* The errors of an access table, and the exit code they earn. Lines about the table name its file and line (65); when the file cannot be read (66), or the
 * configuration names no table at all (78), they begin with where it says so. */
int complain_access(const struct conf *conf, const char *spec, struct buf *errors);

#endif
