/* complain.h: what is wrong with a configuration, said to the person at the keyboard: lines on stderr that begin with "tarry: ". */
#ifndef TARRY_TOOL_COMPLAIN_H
#define TARRY_TOOL_COMPLAIN_H

#include "core/account.h"
#include "core/buf.h"
#include "core/conf.h"

/* Each line of what was said; kind: "" or "warning: ". */
void complain_lines(struct buf *said, const char *kind);
/* conf_load(), for a sendmail.mc too: what tarry mc makes of it. */
bool complain_load(struct conf *out, const char *path, const struct conf_override *overrides, size_t overrides_len, struct buf *errors, struct buf *warnings);
/* A file (or what can be read like one) that can be read. */
bool complain_is_readable(const char *path);
/* The errors of an access table, and the exit code they earn. Lines about the table name its file and line (65); when the file cannot be read (66), or the
 * configuration names no table at all (78), they begin with where it says so. */
int complain_access(const struct conf *conf, const char *spec, struct buf *errors);
/* access_build() as a door with this configuration would at start: with access_missing = ignore a file need not be there. */
int complain_build(const struct conf *conf, const char *spec, struct buf *errors, struct buf *warnings, size_t *entries);
/* The account that the roles run as, when root starts them: EX_OK and *account, else a line and the exit code. Forks. */
int complain_account(const struct conf *conf, struct account *account);
/* Whether this process may do what transparent = yes asks for: EX_OK, or a line (kind as above) and the exit code. */
int complain_transparent(const struct conf *conf, const char *kind);
/* Whether the program that puts bans into the kernel is there, if it is needed (ban_kernel): EX_OK, or the exit code after a complaint. */
int complain_kernel(const struct conf *conf);
/* What keeps the programs of exec from being started, a line each. EX_OK, or the exit code: 67 no such account or group, 69 a program is not there or cannot be executed by it. May
 * fork and wait for it. */
int complain_exec(const struct conf *conf);
/* A warning if the mail server inside could not make a recipient's folders, as `account` (NULL: as whoever asks). May fork and wait for it. */
void complain_maildir(const struct conf *conf, const struct account *account);
/* The same for the files of those who are known or banned. For check alone: a door says so itself when it cannot. */
void complain_kept(const struct conf *conf, const struct account *account);

#endif
