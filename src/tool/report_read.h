/* report_read.h: the files of a log, plain or compressed, for `tarry report` and `tarry advise`. May block; complaints go to stderr. */
#ifndef TARRY_TOOL_REPORT_READ_H
#define TARRY_TOOL_REPORT_READ_H

#include "core/buf.h"

struct report_reader {
	const char *name; /* of the sub-command, for complaints */
	void (*take)(void *context, struct slice line); /* without its end; one that is longer than 256 KB is left out */
	void *context;
};

/* All lines of these files, "-" being the standard input, as it is if there are none. EX_OK, or the exit code that the first failure earns. */
int report_read(const struct report_reader *reader, int argc, char **argv);

#endif
