/* map_redis.h: "redis://HOST[:PORT]/[DB][?OPTION=VALUE&…]" and "redis:unix:/path[?OPTION=VALUE&…]", for Redis and Valkey. The pure parts, for tests.
 *
 * Options: prefix=TEXT before every key; hash=NAME asks one hash (HMGET) instead of keys (MGET); db=NUMBER; user=NAME and password_file=PATH for AUTH.
 * Values and names are %-encoded where they contain one of "%&?#".
 */
#ifndef TARRY_LOOKUP_MAP_REDIS_H
#define TARRY_LOOKUP_MAP_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "lookup/driver.h"
#include "lookup/url.h"

#define MAP_REDIS_PORT 6379
#define MAP_REDIS_FORM "redis://HOST[:PORT]/[DB][?prefix=…&hash=…&user=…&password_file=…] or redis:unix:/path[?db=…&…]"
#define MAP_REDIS_NAME_MAX 256
#define MAP_REDIS_REQUEST_MAX (256 * 1024) /* WIRE_KEYS prefixes and a question's keys fit */
#define MAP_REDIS_REPLY_MAX (8u << 20)     /* bytes of the answer to one question */

struct map_redis_url {
	char host[URL_HOST_MAX]; /* "": path */
	char path[108];          /* of a Unix socket */
	uint16_t port;
	uint32_t db;
	char prefix[MAP_REDIS_NAME_MAX];
	char hash[MAP_REDIS_NAME_MAX]; /* "": keys */
	char user[MAP_REDIS_NAME_MAX];
	char password_file[1024];
};

struct redisReader;
/* A reader that makes no room for an array of more than WIRE_KEYS elements, whatever a server announces. NULL: no memory. */
struct redisReader *map_redis_reader(void);
/* False with one line in *why; *out is then undefined. */
bool map_redis_parse(const char *spec, struct map_redis_url *out, struct buf *why);
/* Its files, and the port of its server. */
void map_redis_needs(const struct map_redis_url *url, struct sandbox_needs *needs);
/* The commands for a question, and how many replies they bring: on a fresh connection AUTH and SELECT, if need be, come first. 0: they do not fit. */
unsigned map_redis_request(const struct map_redis_url *url, const char *password, bool fresh, const struct wire_question *question, struct buf *out);

#endif
