/* script.h: what doors say to the Redis or Valkey server that they share, and what its answers mean.
 *
 * Commands are written into a buffer; which reply belongs to which is the caller's (share.c). Pure: nothing here blocks, logs or knows of a connection.
 */
#ifndef TARRY_KEEPER_SCRIPT_H
#define TARRY_KEEPER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "known/known_key.h"
#include "known/known_table.h"
#include "lookup/map_redis.h"

#define SCRIPT_SHA 40

struct redisReply;

/* What is remembered of the server from one command to the next. */
struct script {
	const char *prefix;       /* before every key; the caller's */
	const char *list;         /* behind it: what doors tell each other; no key of a client has a '/' in front */
	int64_t ttl;              /* seconds */
	char sha[SCRIPT_SHA + 1]; /* its name for the script */
	char seen[32];            /* the score of the last forfeit that was read; "0": none */
};

enum script_forfeit { SCRIPT_KEY, SCRIPT_NONSENSE };

/* AUTH and SELECT, where the url asks for them. Returns how many replies they bring. */
unsigned script_put_login(struct buf *out, const struct map_redis_url *url, const char *password);

/* Each of these brings one reply. */
void script_put_load(struct buf *out);
void script_put_ask(struct buf *out, const struct script *s, const struct known_key *keys, unsigned len);
/* times.passed 0: it has forfeited; since 1: and was known here. */
void script_put_news(struct buf *out, const struct script *s, const struct known_key *key, struct known_times times);
/* A line for others. */
void script_put_line(struct buf *out, const struct script *s, struct slice line);
/* The forfeits, or lines, after s->seen. */
void script_put_feed(struct buf *out, const struct script *s);

/* The answer to script_put_load(): s->sha from now on. False: it is none. */
bool script_take_load(struct script *s, const struct redisReply *r);
/* The answer to script_put_ask(): what is known of keys[n]. False: nothing. */
bool script_take_ask(const struct redisReply *r, size_t n, struct known_times *out);
/* The answer to script_put_feed(): how many forfeits it has; and the text of the one with that index, up to which s->seen is then, unless it is nonsense. */
size_t script_forfeits(const struct redisReply *r);
enum script_forfeit script_take_line(struct script *s, const struct redisReply *r, size_t n, struct slice *out);
/* Whether it says that it has lost the script, or that a key is somebody else's. */
bool script_is_lost(const struct redisReply *r);
bool script_is_foreign(const struct redisReply *r);

#endif
