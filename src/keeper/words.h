/* words.h: the words of a line: of `tarry known` and `tarry ban`, and of what doors tell each other of bans. Pure. */
#ifndef TARRY_KEEPER_WORDS_H
#define TARRY_KEEPER_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

/* The next one, up to a blank or a tab; *line goes on behind it. Empty: there is none. */
struct slice words_next(struct slice *line);
/* The next one, a number in decimal. False: it is none. */
bool words_number(struct slice *line, uint32_t *out);
/* In UTC, "2026-11-30T14:00:00Z". */
void words_put_time(struct buf *out, uint32_t seconds);
bool words_take_time(struct slice word, uint32_t *out);
/* Whether it may stand as the reason of a ban: printable ASCII, less than BAN_REASON bytes, at least one. */
bool words_is_reason(struct slice text);

#endif
