/* refuse.h: the null server that answers an early talker, or a client that the access database refuses: every line gets its reply, no line gets anything done.
 *
 * Replies, command table, echo and limits are Sendmail's (measured; what is done better is listed in doc/deviations.md). It works on bytes alone: the
 * connection reads into `in`, which is memory of its own, calls refuse_run(), and writes `out`. No socket, no clock, no allocation beyond the buf; logs one line if a client
 * repeats HELO or NOOP as attackers do.
 */
#ifndef TARRY_GATE_REFUSE_H
#define TARRY_GATE_REFUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"
#include "smtp/command.h"
#include "smtp/reply.h"
#include "smtp/slowdown.h"

#define REFUSE_LINE (COMMAND_LINE - 1) /* bytes taken as one line at most; the rest is the next line, as in Sendmail */
#define REFUSE_OUT (32 * 1024)         /* replies that wait for a slow reader at most; before that, nothing more is read */

struct refuse_rules {
	const char *hostname;
	struct reply_client client;
	const char *greeting; /* smtp_login_msg */
	unsigned max_bad_commands;
	struct slice denied; /* the reply to every command, "550 5.7.1 Access denied"; empty: the client talked early. After a 421 no more is said */
	const char *forbidden; /* commands of other protocols, with denied: a 421, and no more; NULL or "": none */
	struct slice first;    /* what it begins with, a line with its end; empty: see refuse_init() */
};

struct refuse {
	struct buf out;
	char *in;           /* REFUSE_LINE bytes of the caller's; while in_len is 0 it may be NULL, but not in refuse_run() */
	size_t in_len;
	uint16_t bad;
	uint16_t answered;  /* lines answered so far, up to 65535 */
	struct slowdown slowdown;
	unsigned slow_s;    /* with REFUSE_SLOW: hold the reply back for so many seconds */
	const char *foreign; /* what was said of those, a literal; NULL: nothing */
	bool slowed;        /* the first line in `in` has done its waiting */
	bool one;           /* set after refuse_init(): answer one line in a run, and leave it at that */
};

enum refuse_result {
	REFUSE_MORE, /* wants more input */
	REFUSE_SLOW, /* call again in slow_s seconds; nothing is read until then */
	REFUSE_END,  /* the last reply is in out: send it and close */
};

/* Begins with the 554 that stands in place of the greeting, or with a 220 where the access database refuses. What is in `in` stays there. */
void refuse_init(struct refuse *refuse, const struct refuse_rules *rules);
/* For a client that has been greeted and talks with a backend: begins with the replies that it is still owed, and with this one, its line end included. */
void refuse_init_after(struct refuse *refuse, struct slice owed, struct slice reply);
void refuse_fini(struct refuse *refuse);
/* Answers the lines in `in`; last: no more will come, so that an unterminated rest counts as a line (also what Sendmail does at a time-out). */
enum refuse_result refuse_run(struct refuse *refuse, const struct refuse_rules *rules, bool last);
/* A client repeats a command as attackers do: the line in the log, also for one that is relayed. */
void refuse_log_attack(const struct addr *client, const struct slowdown_step *step);

#endif
