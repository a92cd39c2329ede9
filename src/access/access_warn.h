/* access_warn.h: where a line of an access file means something else than one would think.
 *
 * For access_build.c only. The file must mean the same here as in Sendmail, so what is odd is a warning and not an error: what it is, what it means, what to write
 * instead. One line each into the map's notes.
 */
#ifndef TARRY_GATE_ACCESS_WARN_H
#define TARRY_GATE_ACCESS_WARN_H

#include "access/access_key.h"
#include "map/map.h"

/* A value of GreetPause: and the other pauses, ClientRate: or ClientConn:. */
void access_warn_number(const struct map_line *line, enum access_tag tag, struct map_notes *notes);
/* A value of Connect:, From:, To: or of a key without a tag. */
void access_warn_action(const struct map_line *line, enum access_tag tag, struct map_notes *notes);
/* The value SKIP of one of these, where the configuration does not know the word. */
void access_warn_skip(const struct map_line *line, struct map_notes *notes);
/* A value of Spam:. */
void access_warn_spam(const struct map_line *line, struct map_notes *notes);
/* A key that is an address or a network. */
void access_warn_address(const struct map_line *line, const struct access_parsed *parsed, struct map_notes *notes);
/* A tag alone whose value is no number, so that it cannot be the default. */
void access_warn_bare(const struct map_line *line, struct map_notes *notes);
/* A key that is nobody's; why: "; …", how it should be written, or "". */
void access_warn_never(const struct map_line *line, const char *why, struct map_notes *notes);

#endif
