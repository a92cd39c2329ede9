/* early.h: who has talked before the greeting: what kind of talk it was, and what that kind is answered with (the options early_smtp, early_tls and their like).
 *
 * A kind is judged by what is there when talk is noticed, in one look, and stays. Works on the session's first bytes; nothing here blocks or logs.
 * Private to the files of a connection.
 */
#ifndef TARRY_GATE_EARLY_H
#define TARRY_GATE_EARLY_H

#include <stdbool.h>

#include "core/buf.h"
#include "core/confreaction.h"
#include "core/metrics.h"
#include "gate/conn.h"
#include "smtp/talk.h"

struct session;

/* What this kind gets. */
struct conf_reaction early_reaction(const struct conf *conf, enum talk_kind kind);
enum metric early_counter(enum talk_kind kind);
/* The session's first bytes, in its null server, are judged: CONN_TALK, or CONN_CUT for a kind that the null server has no answers for. */
enum conn_event early_judge(const struct front *front, struct session *session);
/* The reply to it, a line with its end, which is nothing for a kind that gets none. With owed, the client has heard the first line of a greeting and gets the last line of that:
 * all lines of a reply have one code (RFC 5321 4.2.1), so the refusal's own can only come behind it. */
void early_put_reply(const struct front *front, const struct session *session, bool owed, struct buf *out);
/* The last line of a greeting that the client has heard the first line of, where nothing else is to be said in it. */
void early_put_end(struct buf *out, const char *host);
/* Whether a reply has a macro of the client's name. */
bool early_wants_name(const struct conf *conf);

#endif
