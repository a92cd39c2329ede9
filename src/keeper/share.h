/* share.h: who is known at other doors: a Redis or Valkey server that they all write to.
 *
 * One key for each that is known, which expires with it; and a list of those who have forfeited, which each door reads on once a second, so that none goes on knowing them. A question is one
 * script, asked while the client waits; its answer comes in time or is no use. Nothing here blocks, and nobody waits for it: where the server is down, hangs, has lost all or
 * answers nonsense, a door goes on with what it knows itself, keeps what others are to be told (the last SHARE_QUEUE of it), and tells them when the server is back.
 */
#ifndef TARRY_KEEPER_SHARE_H
#define TARRY_KEEPER_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/loop.h"
#include "core/sandbox.h"
#include "known/known_table.h"
#include "known/known_wire.h"

#define SHARE_QUEUE 16384 /* passes and forfeits that wait to be told */
#define SHARE_LINE 200

enum share_count { SHARE_ASKED, SHARE_KNOWN, SHARE_FAILED, SHARE_LOST };

struct share_ops {
	void (*answered)(void *context, const struct known_message *question); /* it is known elsewhere */
	void (*passed)(void *context, const struct known_key *key, struct known_times times);
	void (*forfeited)(void *context, const struct known_key *key);
	void (*counted)(void *context, enum share_count which, int64_t n);
	void (*heard)(void *context, struct slice line); /* one of share_tell(), ours included, in the order of the server; NULL: doors tell each other of passes and forfeits */
	const char *failed, *back;                        /* events of the log */
};

struct server;
struct share_kind;

struct share {
	const struct share_kind *kind;
	struct server *server; /* NULL: there are no other doors */
};

/* url as in the option known_share, "": alone; timeout in nanoseconds, ttl in seconds. False: *why. */
bool share_init(struct share *share, struct loop *loop, const char *url, int64_t timeout, int64_t ttl, const struct share_ops *ops, void *context, struct buf *why);
/* Whether the url can be understood. */
bool share_check(const char *url, struct buf *why);
void share_start(struct share *share);
void share_fini(struct share *share);

void share_ask(struct share *share, const struct known_message *question, const struct known_key *keys, unsigned len);
void share_pass(struct share *share, const struct known_key *key, struct known_times times);
/* was_known: here. If it is not known there, and was not here, nobody needs hear of it. */
void share_forfeit(struct share *share, const struct known_key *key, bool was_known);
/* A line for all doors that listen, also those that come later: of bans. At most SHARE_LINE bytes. */
void share_tell(struct share *share, struct slice line);

/* The port and the files of the server of that name ("": none). */
void share_needs(const char *url, struct sandbox_needs *needs);

#endif
