/* helper.h: what is the same in the programs that a door's parent starts, each for one task (tarry-lookup, tarry-known, tarry-desk, tarry-ban, tarry-tls): some of their arguments, how they begin, and how they hear that they
 * are to end. The last goes for any process with a channel to the parent (proc.h).
 */
#ifndef TARRY_CORE_HELPER_H
#define TARRY_CORE_HELPER_H

#include "core/loop.h"
#include "core/sandbox_conf.h"

/* For getopt_long(), and helper_take(). SANDBOX_LONGS is among them. */
#define HELPER_LONGS { "parent", required_argument, NULL, HELPER_OPTION_PARENT }, { "log", required_argument, NULL, HELPER_OPTION_LOG }, { "log-level", required_argument, NULL, HELPER_OPTION_LEVEL }, SANDBOX_LONGS
#define HELPER_USAGE "[--log TARGET] [--log-level LEVEL] " SANDBOX_USAGE
enum { HELPER_OPTION = 1000, HELPER_OPTION_PARENT = HELPER_OPTION, HELPER_OPTION_LOG, HELPER_OPTION_LEVEL, HELPER_OPTION_END };

struct helper_arguments {
	int parent;        /* the channel; -1: there is none */
	int target, level; /* enum log_target, enum log_level */
	struct sandbox_arguments sandbox;
};
#define HELPER_ARGUMENTS { .parent = -1, .target = LOG_TO_STDERR, .level = LOG_LEVEL_INFO }

/* Of an option of HELPER_LONGS, which is HELPER_OPTION or more. False: it is not understood. */
bool helper_take(struct helper_arguments *a, int option, const char *text);
/* The log, as that role; and who has gone is an error of send(), not our end. 0 or -errno: nobody takes the log, and stderr says so. */
int helper_begin(const struct helper_arguments *a, const char *program, const char *role, unsigned index);

/* The channel's end stops the loop; what comes by it is of no interest. fd -1: there is none. 0 or -errno. */
int helper_watch(struct loop *loop, struct source *parent, int fd);
/* At the end of a turn: the log is written, if need be with another turn soon; and the loop stops if a folder has moved (sandbox_moved()). */
void helper_turn_end(struct loop *loop, struct source *parent);

#endif
