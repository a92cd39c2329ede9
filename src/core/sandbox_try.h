/* sandbox_try.h: whether walls hold: processes enter a role's sandbox and try what an intruder would.
 *
 * For `tarry check --sandbox`, which believes nothing but what it has seen on this kernel, and for tests. Each act is tried in a process of its own; nothing is left behind. Blocks.
 */
#ifndef TARRY_CORE_SANDBOX_TRY_H
#define TARRY_CORE_SANDBOX_TRY_H

#include "core/buf.h"
#include "core/sandbox.h"

struct sandbox_trial {
	const struct sandbox_role *role; /* NULL: no walls at all, for tests: what can be done without them */
	enum sandbox_mode mode;
	const struct sandbox_needs *needs;
	const struct sandbox_account *account; /* NULL: the first half (sandbox_begin()) is behind us */
	uint64_t caps;                         /* that the role is to keep */
};

/* The acts that succeed, 1 << SANDBOX_READ and so on. */
unsigned sandbox_try(const struct sandbox_trial *trial);
/* What is in force, as the kernel shows it from outside, in one line without its end, and behind it on a line of its own for each act that succeeds and that the role has no use for. False: there are such,
 * or something is not in force. */
bool sandbox_try_all(const struct sandbox_trial *trial, struct buf *facts, struct buf *faults);
/* The same to stdout and stderr, as `tarry check` does: an exit code. */
int sandbox_try_print(const struct sandbox_trial *trial);
/* "read files that it has no use for" */
const char *sandbox_act_text(enum sandbox_act act);

#endif
