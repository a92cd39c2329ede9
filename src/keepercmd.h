/* keepercmd.h: what `tarry known` and `tarry ban` have in common: lines said to a keeper, and heard from it (keeper/dialogue.h).
 *
 * A running door's keeper is asked over a socket that is named after the configuration file; where no door runs, the program tarry-known is started for a moment, and reads and writes the
 * keeper's file, as the account that it would run as. May block; complains to stderr, and returns exit codes.
 */
#ifndef TARRY_KEEPERCMD_H
#define TARRY_KEEPERCMD_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "control.h"
#include "core/conf.h"

#define KEEPERCMD_ARGS 24

/* Its arguments for tarry-known, where no door runs. */
struct keepercmd_args {
	const char *at[KEEPERCMD_ARGS];
	char numbers[KEEPERCMD_ARGS][24];
	size_t len;
	int fd; /* that it inherits; -1: none */
};

struct keepercmd {
	const char *name; /* of the sub-command */
	enum control_question question;
	/* What the keeper is given. EX_OK, or the exit code after a complaint. */
	int (*arguments)(const struct conf *conf, struct keepercmd_args *args);
};

struct keepercmd_options {
	const char *path;
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len;
	bool json;
};

struct keepercmd_peer {
	const struct keepercmd *cmd;
	FILE *in;
	int out;
	pid_t pid; /* of tarry-known, where no door runs; 0: one does */
};

/* Options, up to the first word that is none (optind). json: whether --json is one. EX_OK; -1: help was asked for; or the exit code after a complaint. */
int keepercmd_options(const struct keepercmd *cmd, int argc, char **argv, bool json, struct keepercmd_options *out);
int keepercmd_wrong(const struct keepercmd *cmd, const char *what, const char *why);
void keepercmd_give(struct keepercmd_args *args, const char *option, const char *value);
void keepercmd_give_number(struct keepercmd_args *args, const char *option, long long value);

int keepercmd_reach(const struct keepercmd *cmd, const struct keepercmd_options *options, const char *word, struct keepercmd_peer *peer);
/* All of it; false: the other end takes no more, and has said why. */
bool keepercmd_say(const struct keepercmd_peer *peer, const char *at, size_t len);
/* Lines go to `to` (NULL: nowhere) up to the last one; *n: what that counts. The peer is closed. */
int keepercmd_hear(struct keepercmd_peer *peer, FILE *to, const char *from, long long *n);

/* `export [FILE]` and `import [FILE]`. */
int keepercmd_export(const struct keepercmd *cmd, const struct keepercmd_options *options, char **words, int len);
int keepercmd_import(const struct keepercmd *cmd, const struct keepercmd_options *options, char **words, int len);

#endif
