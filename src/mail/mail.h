/* mail.h: the role that is the mail server inside: accepts from a Unix socket that it shares with its like, and serves until its parent is gone. */
#ifndef TARRY_MAIL_MAIL_H
#define TARRY_MAIL_MAIL_H

#include "core/conf.h"

/* Serve on the listening Unix socket until parent, the end of a pipe or a socket, reads as ended. Sessions are then ended as they are;
 * what was not acknowledged is not stored. Only peers of our own user, or root, are served.
 * Neither descriptor is closed. 0, or -errno if it could not begin or go on. */
int mail_run(const struct conf *conf, unsigned index, int listener, int parent);

#endif
