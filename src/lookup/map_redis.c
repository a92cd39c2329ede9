/* The tour, lookup: Redis and Valkey. All keys of a question go out as one MGET (or HMGET) and come back as one array. The protocol is read by hiredis; the
 * connection is our own, because nothing here may wait beyond its deadline, not even for a server that sends a byte now and then. */
#include "lookup/map_redis.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/sock.h"

#define SHOWN 100 /* bytes of a server's complaint */
#define READ_STEP (16 * 1024)

struct map_redis {
	struct map_redis_url url;
	char password[DRIVER_SECRET_MAX];
	int fd; /* -1: not connected */
};

/* ---- the commands ---- */

static void put_array(struct buf *out, size_t elements)
{
	buf_putf(out, "*%zu\r\n", elements);
}

/* Bytes with their length in front: no byte in them can end or begin anything. */
static void put_bulk(struct buf *out, const char *prefix, struct slice bytes)
{
	size_t before = strlen(prefix);
	buf_putf(out, "$%zu\r\n", before + bytes.len);
	buf_put(out, prefix, before);
	buf_put_slice(out, bytes);
	buf_put(out, "\r\n", 2);
}

static unsigned put_greeting(const struct map_redis_url *url, const char *password, struct buf *out)
{
	unsigned replies = 0;
	if (password[0]) {
		put_array(out, url->user[0] ? 3 : 2);
		put_bulk(out, "", slice_of("AUTH"));
		if (url->user[0])
			put_bulk(out, "", slice_of(url->user));
		put_bulk(out, "", slice_of(password));
		replies++;
	}
	if (url->db != 0) {
		char number[16];
		snprintf(number, sizeof(number), "%u", url->db);
		put_array(out, 2);
		put_bulk(out, "", slice_of("SELECT"));
		put_bulk(out, "", slice_of(number));
		replies++;
	}
	return replies;
}

unsigned map_redis_request(const struct map_redis_url *url, const char *password, bool fresh, const struct wire_question *q, struct buf *out)
{
	size_t keys = driver_keys(q);
	unsigned replies = fresh ? put_greeting(url, password, out) : 0;
	put_array(out, keys + (url->hash[0] ? 2 : 1));
	put_bulk(out, "", slice_of(url->hash[0] ? "HMGET" : "MGET"));
	if (url->hash[0])
		put_bulk(out, "", slice_of(url->hash));
	for (size_t i = 0; i < keys; i++)
		put_bulk(out, url->prefix, q->keys[i]);
	return out->full ? 0 : replies + 1;
}

/* ---- the connection ---- */

static bool wait_for(int fd, short events, int64_t deadline, struct buf *why)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;
	do
		n = poll(&p, 1, driver_left_ms(deadline));
	while (n < 0 && errno == EINTR);
	if (n > 0)
		return true;
	buf_put_text(why, n == 0 ? "no answer in time" : strerror(errno));
	return false;
}

static bool connect_to(struct map_redis *m, int64_t deadline, struct buf *why)
{
	const struct map_redis_url *url = &m->url;
	struct addr to;
	char text[URL_HOST_MAX + 16];
	if (!driver_secret(url->password_file, m->password, why))
		return false;
	snprintf(text, sizeof(text), strchr(url->host, ':') ? "[%s]:%u" : "%s:%u", url->host, url->port);
	if (url->host[0] && !addr_resolve(slice_of(text), &to, why))
		return false;
	m->fd = url->host[0] ? sock_connect(&to) : sock_connect_unix(url->path);
	int e = m->fd < 0 ? m->fd : sock_connect_result(m->fd);
	if (e == -EINPROGRESS) {
		if (!wait_for(m->fd, POLLOUT, deadline, why))
			return false;
		e = sock_connect_result(m->fd);
	}
	if (e < 0)
		buf_putf(why, "connect: %s", strerror(-e));
	return e == 0;
}

static bool send_all(int fd, struct buf *out, int64_t deadline, struct buf *why)
{
	enum sock_result r;
	while ((r = sock_write(fd, out)) == SOCK_AGAIN)
		if (!wait_for(fd, POLLOUT, deadline, why))
			return false;
	if (r != SOCK_OK)
		buf_putf(why, "write: %s", strerror(errno));
	return r == SOCK_OK;
}

/* One reply; *left counts down the bytes that may still come. */
static redisReply *read_reply(int fd, redisReader *reader, size_t *left, int64_t deadline, struct buf *why)
{
	char bytes[READ_STEP];
	for (;;) {
		void *reply = NULL;
		if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
			buf_put_text(why, "its answer is no Redis protocol");
			return NULL;
		}
		if (reply)
			return reply;
		struct buf in;
		buf_init_fixed(&in, bytes, sizeof(bytes));
		enum sock_result r = sock_read(fd, &in, 0);
		if (r == SOCK_AGAIN && !wait_for(fd, POLLIN, deadline, why))
			return NULL;
		if (r == SOCK_EOF || r == SOCK_ERROR) {
			buf_put_text(why, r == SOCK_EOF ? "it has closed the connection" : strerror(errno));
			return NULL;
		}
		if (in.len > *left || (in.len > 0 && redisReaderFeed(reader, in.at, in.len) != REDIS_OK)) {
			buf_put_text(why, "its answer is too long");
			return NULL;
		}
		*left -= in.len;
	}
}

static bool is_fault(const redisReply *reply, struct buf *why)
{
	if (reply->type != REDIS_REPLY_ERROR)
		return false;
	buf_put_text(why, "it says: ");
	buf_put_escaped(why, reply->str, reply->len, SHOWN);
	return true;
}

static bool take_values(const redisReply *reply, struct driver_hits *hits, struct buf *why)
{
	if (is_fault(reply, why))
		return false;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != driver_keys(hits->question)) {
		buf_put_text(why, "its answer is not what was asked for");
		return false;
	}
	for (size_t i = 0; i < reply->elements; i++)
		if (reply->element[i]->type == REDIS_REPLY_STRING)
			driver_hit(hits, i, (struct slice){ reply->element[i]->str, reply->element[i]->len });
	return true;
}

/* All replies but the last only say whether we are welcome. */
static bool take_replies(struct map_redis *m, redisReader *reader, unsigned replies, struct driver_hits *hits, int64_t deadline, struct buf *why)
{
	size_t left = MAP_REDIS_REPLY_MAX;
	bool ok = true;
	while (ok && replies > 0) {
		redisReply *reply = read_reply(m->fd, reader, &left, deadline, why);
		if (!reply)
			return false;
		ok = --replies == 0 ? take_values(reply, hits, why) : !is_fault(reply, why);
		freeReplyObject(reply);
	}
	return ok;
}

static bool exchange(struct map_redis *m, bool fresh, struct driver_hits *hits, int64_t deadline, struct buf *why)
{
	struct buf request;
	buf_init(&request, MAP_REDIS_REQUEST_MAX);
	unsigned replies = map_redis_request(&m->url, m->password, fresh, hits->question, &request);
	redisReader *reader = map_redis_reader();
	bool ok = replies > 0 && reader;
	if (!ok)
		buf_put_text(why, "no memory");
	ok = ok && send_all(m->fd, &request, deadline, why) && take_replies(m, reader, replies, hits, deadline, why);
	if (reader)
		redisReaderFree(reader);
	buf_fini(&request);
	return ok;
}

/* ---- the driver ---- */

static void *redis_open(const char *spec, struct buf *why)
{
	struct map_redis *m = calloc(1, sizeof(*m));
	if (!m) {
		buf_put_text(why, "no memory");
		return NULL;
	}
	m->fd = -1;
	if (map_redis_parse(spec, &m->url, why))
		return m;
	free(m);
	return NULL;
}

static void redis_needs(const void *map, struct sandbox_needs *needs)
{
	const struct map_redis *m = map;
	map_redis_needs(&m->url, needs);
}

static void hang_up(struct map_redis *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

static void redis_close(void *map)
{
	hang_up(map);
	free(map);
}

/* A connection that has been idle may have been closed by the server, or the server started again: that alone is no failure. */
static bool redis_ask(void *map, struct driver_hits *hits, int64_t deadline, struct buf *why)
{
	struct map_redis *m = map;
	bool fresh;
	do {
		buf_clear(why);
		fresh = m->fd < 0;
		if ((!fresh || connect_to(m, deadline, why)) && exchange(m, fresh, hits, deadline, why))
			return true;
		hang_up(m); /* what still comes on it would be taken for the next answer */
	} while (!fresh && driver_left_ms(deadline) > 0);
	return false;
}

const struct driver map_redis = { .scheme = "redis:", .remote = true,
	.open = redis_open, .close = redis_close, .ask = redis_ask, .needs = redis_needs };
