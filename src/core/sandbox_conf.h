/* sandbox_conf.h: what the roles need that a configuration describes: their addresses and folders. The same for the roles themselves and for `tarry check --sandbox`. */
#ifndef TARRY_CORE_SANDBOX_CONF_H
#define TARRY_CORE_SANDBOX_CONF_H

#include "core/conf.h"
#include "core/sandbox.h"

/* Its backends, and the log. mail_path: the Unix socket of the mail server inside, NULL: there is none. Its resolver is known to the front alone. */
void sandbox_conf_front(struct sandbox_needs *needs, const struct conf *conf, const char *mail_path);
/* Up from a path to the first folder that is there: what is not there yet will be made. */
void sandbox_nearest_folder(char *path);
/* The folder of maildir: the nearest that is there. */
void sandbox_conf_mail(struct sandbox_needs *needs, const struct conf *conf);
/* The log, for a role that has it as its only address. log: enum log_target. */
void sandbox_conf_log(struct sandbox_needs *needs, int log);

/* ---- programs of their own (tarry-tls and others) are told by arguments ---- */

#define SANDBOX_ALLOWED 16
#define SANDBOX_ARGS (2 * SANDBOX_ALLOWED + 2)
/* For getopt_long(), and sandbox_take(). */
#define SANDBOX_LONGS { "sandbox", required_argument, NULL, SANDBOX_OPTION_MODE }, { "allow", required_argument, NULL, SANDBOX_OPTION_ALLOW }, { "try", no_argument, NULL, SANDBOX_OPTION_TRY }
enum { SANDBOX_OPTION_MODE = 1100, SANDBOX_OPTION_ALLOW, SANDBOX_OPTION_TRY };
#define SANDBOX_USAGE "[--sandbox MODE] [--allow FOLDER]..."

struct sandbox_arguments {
	int mode;                           /* enum sandbox_mode */
	const char *allow[SANDBOX_ALLOWED]; /* folders it may write below besides */
	unsigned allow_len;
	bool try;                           /* enter, see whether the walls hold, say so, and end */
};

/* The arguments for such a program; how many. */
size_t sandbox_conf_args(const struct conf *conf, const char *args[SANDBOX_ARGS]);
/* False: it is not understood. */
bool sandbox_take(struct sandbox_arguments *a, int option, const char *text);
/* Enters the role, or ends the process, as sandbox_confine() does; true: go on. With --try it comes back with false and an exit status. loud: as there. */
bool sandbox_take_role(const struct sandbox_arguments *a, const char *role, struct sandbox_needs *needs, bool loud, int *status);

#endif
