/* forbid.h: a client that has been greeted says something of another protocol (the option forbidden_commands): it is written down, and ended.
 *
 * Private to the files of a connection.
 */
#ifndef TARRY_GATE_FORBID_H
#define TARRY_GATE_FORBID_H

#include <stdbool.h>

#include "core/buf.h"

struct command;
struct front;
struct session;

/* Counts it and writes it to the log, once. foreign: what it is, of smtp/foreign.h. False: the client is observed, and goes on. */
bool forbid(struct session *session, const char *foreign, struct slice said);
/* The client's first bytes (command NULL), or a command. True: it is forbidden, and *reply has what is answered. */
bool forbid_said(const struct front *front, struct session *session, struct slice said, const struct command *command, struct buf *reply);

#endif
