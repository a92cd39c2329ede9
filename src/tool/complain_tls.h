/* complain_tls.h: whether the certificates of the configuration are good, said by the program that will use it. */
#ifndef TARRY_TOOL_COMPLAIN_TLS_H
#define TARRY_TOOL_COMPLAIN_TLS_H

#include "core/buf.h"
#include "core/conf.h"

#define COMPLAIN_TLS_ARGS 12 /* what complain_tls_names() writes at most */

/* Options of tarry-tls that name the files; returns how many. */
size_t complain_tls_names(const struct conf *conf, const char *args[COMPLAIN_TLS_ARGS]);
/* What the processes get of them (core/tlswire.h); -1: there is none. */
struct complain_tls_files {
	int bundle, backends;
};

/* Reads the files of tls_certificate and the like, and those of backends, and runs tarry-tls --check; blocks for as long as that takes, a few milliseconds. EX_OK and *files, the caller's, or
 * an exit code. *about: what certificate it is; *said: what is wrong, or will be soon, in lines. */
int complain_tls(const struct conf *conf, struct complain_tls_files *files, struct buf *about, struct buf *said);
void complain_tls_close(struct complain_tls_files *files);
/* Whether TLS is spoken with anybody. */
bool complain_tls_is_needed(const struct conf *conf);

#endif
