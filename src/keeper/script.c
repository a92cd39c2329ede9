/* The tour, keeper: what is said to the server of other doors. All that is asked or told is one script; the commands that name it, in the protocol of Redis, and how its answers are read. */
#include "keeper/script.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/addr.h"

#define FEED_LEN "100"   /* forfeits that are read at once */
#define FORFEITS "10000" /* that are kept: the last ones */

/* KEYS: the list of forfeits, then those that it is about. Scores are the server's time in microseconds: they go on after it has lost all. */
static const char program[] =
	"local op = ARGV[1]\n"
	"if op == 'ask' then\n"
	"  local found = {}\n"
	"  for i = 2, #KEYS do found[i - 1] = redis.call('MGET', KEYS[i])[1] end\n"
	"  return found\n"
	"elseif op == 'pass' then\n"
	"  local had, since = redis.call('MGET', KEYS[2])[1], ARGV[3]\n"
	"  local first = had and string.match(had, '^(%d+) ')\n"
	"  if first and tonumber(first) < tonumber(since) then since = first end\n"
	"  redis.call('SET', KEYS[2], since .. ' ' .. ARGV[4], 'EX', ARGV[2])\n"
	"  redis.call('ZREM', KEYS[1], ARGV[5])\n"
	"  return 1\n"
	"elseif op == 'drop' then\n"
	"  local t = redis.call('TIME')\n"
	"  if redis.call('DEL', KEYS[2]) == 0 and ARGV[3] == '0' then return 0 end\n"
	"  redis.call('ZADD', KEYS[1], string.format('%.0f', t[1] * 1000000 + t[2]), ARGV[4])\n"
	"  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - " FORFEITS ")\n"
	"  redis.call('EXPIRE', KEYS[1], ARGV[2])\n"
	"  return 1\n"
	"elseif op == 'line' then\n"
	"  local t = redis.call('TIME')\n"
	"  redis.call('ZADD', KEYS[1], string.format('%.0f', t[1] * 1000000 + t[2]), ARGV[3])\n"
	"  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - " FORFEITS ")\n"
	"  redis.call('EXPIRE', KEYS[1], ARGV[2])\n"
	"  return 1\n"
	"end\n"
	"return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, " FEED_LEN ")\n";

/* ---- commands ---- */

static void put_array(struct buf *out, size_t elements)
{
	buf_putf(out, "*%zu\r\n", elements);
}

static void put_word(struct buf *out, struct slice prefix, struct slice word)
{
	buf_putf(out, "$%zu\r\n", prefix.len + word.len);
	buf_put_slice(out, prefix);
	buf_put_slice(out, word);
	buf_put(out, "\r\n", 2);
}

static void put_text(struct buf *out, const char *text)
{
	put_word(out, slice_of(""), slice_of(text));
}

static void put_number(struct buf *out, int64_t n)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRId64, n);
	put_text(out, text);
}

static struct slice key_text(const struct known_key *key, char memory[KNOWN_DOMAIN + ADDR_TEXT])
{
	struct buf text;
	buf_init_fixed(&text, memory, KNOWN_DOMAIN + ADDR_TEXT);
	known_key_put(&text, key);
	return buf_slice(&text);
}

/* EVALSHA, and as many arguments as follow the keys. */
static void put_script(struct buf *out, const struct script *s, const struct known_key *keys, unsigned len, unsigned arguments)
{
	char memory[KNOWN_DOMAIN + ADDR_TEXT];
	struct slice prefix = slice_of(s->prefix);
	put_array(out, 3 + 1 + len + arguments);
	put_text(out, "EVALSHA");
	put_text(out, s->sha);
	put_number(out, 1 + (int64_t)len);
	put_word(out, prefix, slice_of(s->list));
	for (unsigned i = 0; i < len; i++)
		put_word(out, prefix, key_text(&keys[i], memory));
}

unsigned script_put_login(struct buf *out, const struct map_redis_url *url, const char *password)
{
	unsigned replies = 0;
	if (password[0]) {
		put_array(out, url->user[0] ? 3 : 2);
		put_text(out, "AUTH");
		if (url->user[0])
			put_text(out, url->user);
		put_text(out, password);
		replies++;
	}
	if (url->db) {
		put_array(out, 2);
		put_text(out, "SELECT");
		put_number(out, url->db);
		replies++;
	}
	return replies;
}

void script_put_load(struct buf *out)
{
	put_array(out, 3);
	put_text(out, "SCRIPT");
	put_text(out, "LOAD");
	put_text(out, program);
}

void script_put_ask(struct buf *out, const struct script *s, const struct known_key *keys, unsigned len)
{
	put_script(out, s, keys, len, 1);
	put_text(out, "ask");
}

void script_put_news(struct buf *out, const struct script *s, const struct known_key *key, struct known_times times)
{
	char memory[KNOWN_DOMAIN + ADDR_TEXT];
	bool pass = times.passed > 0;
	put_script(out, s, key, 1, pass ? 5 : 4);
	put_text(out, pass ? "pass" : "drop");
	put_number(out, s->ttl);
	put_number(out, times.since);
	if (pass)
		put_number(out, times.passed);
	put_word(out, slice_of(""), key_text(key, memory));
}

void script_put_line(struct buf *out, const struct script *s, struct slice line)
{
	put_script(out, s, NULL, 0, 3);
	put_text(out, "line");
	put_number(out, s->ttl);
	put_word(out, slice_of(""), line);
}

void script_put_feed(struct buf *out, const struct script *s)
{
	put_script(out, s, NULL, 0, 2);
	put_text(out, "feed");
	put_text(out, s->seen);
}

/* ---- replies ---- */

bool script_take_load(struct script *s, const redisReply *r)
{
	if (r->type != REDIS_REPLY_STRING || r->len != SCRIPT_SHA)
		return false;
	memcpy(s->sha, r->str, SCRIPT_SHA + 1);
	return true;
}

bool script_take_ask(const redisReply *r, size_t n, struct known_times *out)
{
	unsigned long since, passed;
	char end;
	if (r->type != REDIS_REPLY_ARRAY || n >= r->elements)
		return false;
	r = r->element[n];
	if (r->type != REDIS_REPLY_STRING || sscanf(r->str, "%10lu %10lu%c", &since, &passed, &end) != 2 || since > UINT32_MAX || passed > UINT32_MAX)
		return false;
	*out = (struct known_times){ (uint32_t)since, (uint32_t)passed, 0 };
	return true;
}

size_t script_forfeits(const redisReply *r)
{
	return r->type == REDIS_REPLY_ARRAY ? r->elements / 2 : 0;
}

enum script_forfeit script_take_line(struct script *s, const redisReply *r, size_t n, struct slice *out)
{
	const redisReply *member = r->element[2 * n], *score = r->element[2 * n + 1];
	if (member->type != REDIS_REPLY_STRING || score->type != REDIS_REPLY_STRING || score->len >= sizeof(s->seen) || strspn(score->str, "0123456789.e+") != score->len)
		return SCRIPT_NONSENSE;
	memcpy(s->seen, score->str, score->len + 1);
	*out = (struct slice){ member->str, member->len };
	return SCRIPT_KEY;
}

bool script_is_lost(const redisReply *r)
{
	return r->type == REDIS_REPLY_ERROR && strncmp(r->str, "NOSCRIPT", 8) == 0;
}

bool script_is_foreign(const redisReply *r)
{
	return r->type == REDIS_REPLY_ERROR && strncmp(r->str, "WRONGTYPE", 9) == 0;
}
