/* watch_words.h: the commands and EHLO keywords that never pass the door, and why.
 *
 * Pure look-ups; nothing here allocates, blocks or logs.
 */
#ifndef TARRY_GATE_WATCH_WORDS_H
#define TARRY_GATE_WATCH_WORDS_H

#include <stdbool.h>

#include "core/buf.h"
#include "smtp/command.h"

/* The door answers this command itself: *reply. For one of another verb than those the watch follows. */
bool watch_words_keeps(const struct command *command, struct command_error *reply);
/* No command, but begins as one does that is judged (RCPT, MAIL, DATA, BDAT): a server that looks at four letters would take it. */
bool watch_words_resembles(const struct command *command);
/* This keyword is struck from the backend's EHLO reply. */
bool watch_words_strikes(struct slice keyword);

#endif
