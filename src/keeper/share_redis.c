/* The tour, keeper: other doors. One connection, on which commands go out one behind the other and replies come in the same order; what is under way stands in a ring, what waits to be told in a
 * queue. Where the server fails, all of it waits for the next attempt. What is said, and what the answers mean, is in script.c. */
#include "keeper/share_kind.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/addr.h"
#include "core/log.h"
#include "core/sock.h"
#include "keeper/script.h"
#include "lookup/map_redis.h"

#define PENDING 1024                /* replies that are awaited */
#define OUT (512 * 1024)            /* bytes of commands that wait to be sent */
#define REPLY (1u << 20)            /* bytes of one reply */
#define READ_STEP (16 * 1024)
#define HANG (1000 * LOOP_MS)       /* a reply that has not come after this will not come */
#define HELLO_TIME (3 * LOOP_SECOND) /* connecting and the first words may take this long */
#define RETRY_FIRST LOOP_SECOND
#define RETRY_MOST (30 * LOOP_SECOND)
#define FEED_EVERY LOOP_SECOND
#define SHOWN 100
#define TELL_ROOM 64                /* places that are left to questions when much is to be told */

enum what { HELLO, LOAD, ASK, TELL, FEED };

/* What others are to be told. */
struct news {
	bool is_line; /* of share_tell() */
	union {
		struct {
			struct known_key key;
			struct known_times times; /* passed 0: it has forfeited; since 1: and was known here */
		};
		struct {
			uint8_t len;
			char at[SHARE_LINE];
		} line;
	};
};

struct pending {
	enum what what;
	int64_t sent;
	unsigned len; /* ASK: of keys */
	struct known_key keys[2];
	struct known_message question; /* ASK */
	struct news news;              /* TELL */
};

struct server {
	struct source source; /* first: the connection, and its deadline */
	struct source clock;
	struct loop *loop;
	const struct share_ops *ops;
	void *context;
	struct map_redis_url url;
	char password[DRIVER_SECRET_MAX];
	struct addr at;
	bool has_address;
	int64_t timeout;
	bool up;          /* it has answered the first words */
	bool writes;      /* watched for writing */
	bool failing;     /* that was said */
	int64_t retry_at, delay, feed_at, since; /* since: when it began to fail */
	struct script script;
	bool feeding;
	struct buf out;
	redisReader *reader;
	size_t fed;       /* bytes of the reply that is coming in */
	struct pending *ring;
	unsigned first, len;
	struct news *queue;
	unsigned queue_first, queue_len;
};

/* ---- what is to be told ---- */

static void enqueue(struct server *s, const struct news *news)
{
	if (s->queue_len == SHARE_QUEUE) { /* the oldest makes room */
		s->queue_first = (s->queue_first + 1) % SHARE_QUEUE;
		s->queue_len--;
		s->ops->counted(s->context, SHARE_LOST, 1);
	}
	s->queue[(s->queue_first + s->queue_len++) % SHARE_QUEUE] = *news;
}

/* What was under way when the connection broke comes first again: to be told twice does no harm. */
static void put_back(struct server *s, const struct news *news)
{
	if (s->queue_len == SHARE_QUEUE) {
		s->ops->counted(s->context, SHARE_LOST, 1);
		return;
	}
	s->queue_first = (s->queue_first + SHARE_QUEUE - 1) % SHARE_QUEUE;
	s->queue_len++;
	s->queue[s->queue_first] = *news;
}

/* ---- commands ---- */

static struct pending *expect(struct server *s, enum what what)
{
	struct pending *p = &s->ring[(s->first + s->len++) % PENDING];
	memset(p, 0, sizeof(*p));
	p->what = what;
	p->sent = loop_now(s->loop);
	return p;
}

static bool has_room(const struct server *s, unsigned places)
{
	return s->len + places < PENDING && s->out.len < OUT / 2;
}

static void put_hello(struct server *s)
{
	for (unsigned replies = script_put_login(&s->out, &s->url, s->password); replies > 0; replies--)
		expect(s, HELLO);
}

static void put_load(struct server *s)
{
	script_put_load(&s->out);
	expect(s, LOAD);
}

static void put_ask(struct server *s, const struct known_message *question, const struct known_key *keys, unsigned len)
{
	script_put_ask(&s->out, &s->script, keys, len);
	struct pending *p = expect(s, ASK);
	p->question = *question;
	p->len = len;
	memcpy(p->keys, keys, len * sizeof(*keys));
}

static void put_news(struct server *s, const struct news *news)
{
	if (news->is_line)
		script_put_line(&s->out, &s->script, (struct slice){ news->line.at, news->line.len });
	else
		script_put_news(&s->out, &s->script, &news->key, news->times);
	expect(s, TELL)->news = *news;
}

static void put_feed(struct server *s)
{
	script_put_feed(&s->out, &s->script);
	expect(s, FEED);
	s->feeding = true;
	s->feed_at = loop_now(s->loop) + FEED_EVERY;
}

/* ---- the connection ---- */

static void set_clock(struct server *s)
{
	int64_t at = s->retry_at;
	if (s->source.fd >= 0) {
		at = s->up && !s->feeding ? s->feed_at : LOOP_NEVER;
		int64_t late = s->len > 0 ? s->ring[s->first].sent + (s->up ? HANG : HELLO_TIME) : LOOP_NEVER;
		at = late < at ? late : at;
	}
	loop_set_due(s->loop, &s->clock, at);
}

static void fail(struct server *s, const char *why)
{
	if (s->source.fd >= 0)
		loop_close(s->loop, &s->source);
	if (s->reader)
		redisReaderFree(s->reader);
	s->reader = NULL;
	buf_fini(&s->out);
	for (; s->len > 0; s->len--) { /* the last first */
		const struct pending *p = &s->ring[(s->first + s->len - 1) % PENDING];
		if (p->what == TELL)
			put_back(s, &p->news);
		else if (p->what == ASK)
			s->ops->counted(s->context, SHARE_FAILED, 1);
	}
	s->first = 0;
	s->up = s->feeding = s->writes = false;
	s->delay = s->delay == 0 ? RETRY_FIRST : 2 * s->delay < RETRY_MOST ? 2 * s->delay : RETRY_MOST;
	s->retry_at = loop_now(s->loop) + s->delay;
	if (!s->failing) {
		s->since = loop_now(s->loop);
		log_event(LOG_LEVEL_ERROR, s->ops->failed, "%s; this door goes on with what it knows itself", why);
	}
	s->failing = true;
	set_clock(s);
}

static void server_ready(struct loop *, struct source *, uint32_t);
static void clock_due(struct loop *, struct source *);

static void no_due(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops server_ops = { server_ready, no_due };
static const struct source_ops clock_ops = { NULL, clock_due };

static bool find_address(struct server *s, struct buf *why)
{
	char text[URL_HOST_MAX + 16];
	if (s->has_address || !s->url.host[0])
		return true;
	snprintf(text, sizeof(text), strchr(s->url.host, ':') ? "[%s]:%u" : "%s:%u", s->url.host, s->url.port);
	s->has_address = addr_resolve(slice_of(text), &s->at, why);
	return s->has_address;
}

static void connect_to(struct server *s)
{
	char memory[400];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!driver_secret(s->url.password_file, s->password, &why) || !find_address(s, &why)) {
		fail(s, buf_text(&why));
		return;
	}
	int fd = s->url.host[0] ? sock_connect(&s->at) : sock_connect_unix(s->url.path);
	s->reader = map_redis_reader();
	if (fd < 0 || !s->reader || loop_watch(s->loop, &s->source, fd, EPOLLIN | EPOLLOUT) < 0) {
		if (fd >= 0)
			close(fd);
		fail(s, fd < 0 ? strerror(-fd) : strerror(ENOMEM));
		return;
	}
	s->writes = true;
	s->fed = 0;
	put_hello(s);
	put_load(s);
	set_clock(s);
}

static void flush(struct server *s)
{
	if (s->source.fd < 0 || s->out.len == 0)
		return;
	enum sock_result sent = s->out.full ? SOCK_ERROR : sock_write(s->source.fd, &s->out);
	if (sent == SOCK_ERROR && errno != ENOTCONN) {
		fail(s, s->out.full ? "it takes nothing" : strerror(errno));
		return;
	}
	bool waits = s->out.len > 0;
	if (waits != s->writes && loop_rewatch(s->loop, &s->source, waits ? EPOLLIN | EPOLLOUT : EPOLLIN) == 0)
		s->writes = waits;
}

static void tell_all(struct server *s)
{
	while (s->up && s->queue_len > 0 && has_room(s, TELL_ROOM)) {
		struct news news = s->queue[s->queue_first];
		s->queue_first = (s->queue_first + 1) % SHARE_QUEUE;
		s->queue_len--;
		put_news(s, &news);
	}
}

/* ---- replies ---- */

static void take_found(struct server *s, const struct pending *p, const redisReply *r)
{
	bool any = false;
	for (unsigned i = 0; i < p->len; i++) {
		struct known_times times;
		if (!script_take_ask(r, i, &times))
			continue;
		s->ops->passed(s->context, &p->keys[i], times);
		any = true;
	}
	if (!any)
		return;
	s->ops->counted(s->context, SHARE_KNOWN, 1);
	s->ops->answered(s->context, &p->question);
}

static void take_feed(struct server *s, const redisReply *r)
{
	for (size_t i = 0; i < script_forfeits(r); i++) {
		struct known_key key;
		struct slice line;
		enum script_forfeit what = script_take_line(&s->script, r, i, &line);
		if (what == SCRIPT_KEY && s->ops->heard)
			s->ops->heard(s->context, line);
		else if (what == SCRIPT_KEY && known_key_parse(line, &key))
			s->ops->forfeited(s->context, &key);
		if (what != SCRIPT_NONSENSE)
			s->feed_at = loop_now(s->loop); /* there may be more */
	}
}

/* It has lost the script: that is loaded once more, and what was to be done with it is done then. A question whose client has forfeited (len 0) is no more. */
static void again(struct server *s, const struct pending *p, bool loading)
{
	if (!loading)
		put_load(s);
	if (p->what == TELL)
		enqueue(s, &p->news);
	else if (p->what == ASK && p->len > 0 && loop_now(s->loop) - p->sent < s->timeout)
		put_ask(s, &p->question, p->keys, p->len);
	s->feed_at = loop_now(s->loop) + FEED_EVERY;
}

static bool is_loading(const struct server *s)
{
	for (unsigned i = 0; i < s->len; i++)
		if (s->ring[(s->first + i) % PENDING].what == LOAD)
			return true;
	return false;
}

static void came_up(struct server *s)
{
	if (s->failing)
		log_event(LOG_LEVEL_NOTICE, s->ops->back, "after %lld s; %u things that other doors have not been told are told now", (long long)((loop_now(s->loop) - s->since) / LOOP_SECOND), s->queue_len);
	s->failing = false;
	s->delay = 0;
	if (!s->up)
		s->feed_at = loop_now(s->loop);
	s->up = true;
}

/* False: the connection is of no use any more. */
static bool take_reply(struct server *s, const struct pending *p, const redisReply *r, struct buf *why)
{
	bool error = r->type == REDIS_REPLY_ERROR;
	if (p->what == FEED)
		s->feeding = false;
	if (p->what > LOAD && script_is_lost(r)) {
		again(s, p, is_loading(s));
		return true;
	}
	if (p->what == LOAD && !error && !script_take_load(&s->script, r)) {
		buf_put_text(why, "its answer to SCRIPT LOAD is none");
		return false;
	}
	if (error) {
		if (p->what == ASK)
			s->ops->counted(s->context, SHARE_FAILED, 1);
		buf_put_text(why, "it says: ");
		buf_put_escaped(why, r->str, r->len, SHOWN);
		if (p->what == TELL && script_is_foreign(r))
			return true; /* that one key only */
		return false;
	}
	if (p->what == LOAD)
		came_up(s);
	else if (p->what == ASK)
		take_found(s, p, r);
	else if (p->what == FEED)
		take_feed(s, r);
	return true;
}

/* Whole replies, as far as they have come. False: it has failed. */
static bool take_replies(struct server *s)
{
	void *reply;
	while (s->source.fd >= 0) {
		char memory[300];
		struct buf why;
		buf_init_fixed(&why, memory, sizeof(memory));
		if (redisReaderGetReply(s->reader, &reply) != REDIS_OK || (reply && s->len == 0)) {
			if (reply)
				freeReplyObject(reply);
			fail(s, "its answer is no Redis protocol");
			return false;
		}
		if (!reply)
			return true;
		struct pending p = s->ring[s->first];
		s->first = (s->first + 1) % PENDING;
		s->len--;
		s->fed = 0;
		bool ok = take_reply(s, &p, reply, &why);
		freeReplyObject(reply);
		if (!ok) {
			fail(s, buf_text(&why));
			if (p.what == TELL) /* before what went out behind it */
				put_back(s, &p.news);
			return false;
		}
	}
	return false;
}

static void server_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct server *s = (struct server *)source;
	char bytes[READ_STEP];
	if (source->fd < 0)
		return;
	int e = events & (EPOLLERR | EPOLLHUP) ? sock_connect_result(source->fd) : 0;
	if (e < 0 && e != -EINPROGRESS) {
		fail(s, strerror(-e));
		return;
	}
	struct buf in;
	buf_init_fixed(&in, bytes, sizeof(bytes));
	enum sock_result got = events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP) ? sock_read(source->fd, &in, 0) : SOCK_AGAIN;
	if (got == SOCK_EOF || got == SOCK_ERROR) {
		fail(s, got == SOCK_EOF ? "it has closed the connection" : strerror(errno));
		return;
	}
	s->fed += in.len;
	if (s->fed > REPLY || (in.len > 0 && redisReaderFeed(s->reader, in.at, in.len) != REDIS_OK)) {
		fail(s, "its answer is too long");
		return;
	}
	if (in.len > 0 && !take_replies(s))
		return;
	(void)loop;
	tell_all(s);
	flush(s);
	if (s->source.fd >= 0)
		set_clock(s);
}

static void clock_due(struct loop *loop, struct source *source)
{
	struct server *s = (struct server *)((char *)source - offsetof(struct server, clock));
	int64_t now = loop_now(loop);
	if (s->source.fd < 0) {
		connect_to(s);
		return;
	}
	if (s->len > 0 && now >= s->ring[s->first].sent + (s->up ? HANG : HELLO_TIME)) {
		fail(s, "no answer in time");
		return;
	}
	if (s->up && !s->feeding && now >= s->feed_at && has_room(s, 1))
		put_feed(s);
	flush(s);
	if (s->source.fd >= 0)
		set_clock(s);
}

/* ---- from the keeper ---- */

static void server_ask(struct server *s, const struct known_message *question, const struct known_key *keys, unsigned len)
{
	s->ops->counted(s->context, SHARE_ASKED, 1);
	bool slow = s->len > 0 && loop_now(s->loop) - s->ring[s->first].sent > s->timeout;
	if (!s->up || slow || !has_room(s, 1)) {
		s->ops->counted(s->context, SHARE_FAILED, 1);
		return;
	}
	put_ask(s, question, keys, len);
	flush(s);
	if (s->source.fd >= 0)
		set_clock(s);
}

static void server_tell(struct server *s, const struct news *news)
{
	enqueue(s, news);
	tell_all(s);
	flush(s);
	if (s->source.fd >= 0)
		set_clock(s);
}

static void server_pass(struct server *s, const struct known_key *key, struct known_times times)
{
	server_tell(s, &(struct news){ .key = *key, .times = times });
}

static void server_line(struct server *s, struct slice line)
{
	struct news news = { .is_line = true, .line.len = (uint8_t)(line.len < SHARE_LINE ? line.len : SHARE_LINE) };
	memcpy(news.line.at, line.at, news.line.len);
	server_tell(s, &news);
}

/* What was asked about it before it forfeited is not to make it known after that. */
static void disregard(struct server *s, const struct known_key *key)
{
	for (unsigned i = 0; i < s->len; i++) {
		struct pending *p = &s->ring[(s->first + i) % PENDING];
		for (unsigned k = 0; p->what == ASK && k < p->len; k++)
			if (p->keys[k].len == key->len && memcmp(p->keys[k].at, key->at, key->len) == 0)
				p->len = 0;
	}
}

/* Strangers talk early in floods; of them nobody is told before, or in the place of, those of whom somebody need be. */
static void server_forfeit(struct server *s, const struct known_key *key, bool was_known)
{
	disregard(s, key);
	if (!was_known && (!s->up || s->queue_len > 0 || !has_room(s, TELL_ROOM)))
		return;
	server_tell(s, &(struct news){ .key = *key, .times = { .since = was_known } });
}

static bool parse(const char *url, const char *prefix, struct map_redis_url *out, struct buf *why)
{
	if (!map_redis_parse(url, out, why))
		return false;
	if (out->hash[0]) {
		buf_put_text(why, "hash= is for maps: what doors share are keys of their own, which expire");
		return false;
	}
	if (!out->prefix[0])
		strcpy(out->prefix, prefix);
	return true;
}

static bool server_check(const char *url, struct buf *why)
{
	struct map_redis_url parsed;
	return parse(url, "", &parsed, why);
}

static void server_needs(const char *url, struct sandbox_needs *needs)
{
	char memory[256];
	struct buf why;
	struct map_redis_url parsed;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (parse(url, "", &parsed, &why))
		map_redis_needs(&parsed, needs);
}

static void server_close(struct server *s)
{
	loop_set_due(s->loop, &s->clock, LOOP_NEVER);
	if (s->source.fd >= 0)
		loop_close(s->loop, &s->source);
	if (s->reader)
		redisReaderFree(s->reader);
	buf_fini(&s->out);
	free(s->ring);
	free(s->queue);
	free(s);
}

static struct server *server_open(struct loop *loop, const char *url, int64_t timeout, int64_t ttl, const struct share_ops *ops, void *context, struct buf *why)
{
	struct server *s = calloc(1, sizeof(*s));
	if (!s) {
		buf_put_text(why, strerror(ENOMEM));
		return NULL;
	}
	source_init(&s->source, &server_ops);
	source_init(&s->clock, &clock_ops);
	s->loop = loop;
	s->ops = ops;
	s->context = context;
	s->timeout = timeout;
	s->script = (struct script){ .prefix = s->url.prefix, .list = ops->heard ? "/bans" : "/forfeits", .ttl = ttl, .seen = "0" };
	buf_init(&s->out, OUT);
	s->ring = calloc(PENDING, sizeof(*s->ring));
	s->queue = calloc(SHARE_QUEUE, sizeof(*s->queue));
	if (!s->ring || !s->queue)
		buf_put_text(why, strerror(ENOMEM));
	else if (parse(url, ops->heard ? "ban:" : "known:", &s->url, why))
		return s;
	server_close(s);
	return NULL;
}

static void server_start(struct server *s)
{
	loop_set_due(s->loop, &s->clock, loop_now(s->loop));
}

const struct share_kind known_share = { .check = server_check, .needs = server_needs, .open = server_open, .start = server_start, .close = server_close, .ask = server_ask, .pass = server_pass,
	.forfeit = server_forfeit, .tell = server_line };
