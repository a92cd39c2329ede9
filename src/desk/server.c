/* The tour, desk: the HTTP server. What is asked for comes to answer(); an open page is a listener, whose next message is chosen in next_message(). */
#include "desk/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/health.h"
#include "core/log.h"
#include "desk/exposition.h"
#include "desk/page.h"

#define EVENTS_BLOCK (16 * 1024)
#define COOKIE_SECONDS "2592000" /* thirty days */
#define DENIED_EVERY (10 * LOOP_SECOND) /* a line of the log */
#define TEXT_MAX 1024

/* Read by all who have not read it yet. */
struct message {
	unsigned readers;
	size_t len;
	char bytes[];
};

/* A connection. */
struct visitor {
	struct server *server;
	struct MHD_Connection *connection;
	struct visitor *next, **at;
	int64_t deadline;        /* LOOP_NEVER: a listener */
	bool listens, suspended;
	struct message *message; /* that it reads */
	size_t read;
	uint64_t tick;           /* of the last one that it was given; 0: none */
};

/* ---- messages ---- */

static struct feed feed_of(const struct server *s)
{
	return (struct feed){ s->memory, s->head, s->pause_ms, time(NULL), &s->counsel };
}

static struct message *message_of(struct buf *text)
{
	struct message *m = text->full ? NULL : malloc(sizeof(*m) + text->len);
	if (m) {
		*m = (struct message){ .readers = 1, .len = text->len };
		memcpy(m->bytes, text->at, text->len);
	}
	buf_fini(text);
	return m;
}

static void drop(struct message **m)
{
	if (*m && --(*m)->readers == 0)
		free(*m);
	*m = NULL;
}

static struct message *all_of(struct server *s)
{
	struct buf text;
	struct feed f = feed_of(s);
	if (!s->all_message) {
		buf_init(&text, FEED_MAX);
		feed_put_all(&text, &f);
		s->all_message = message_of(&text);
	}
	return s->all_message;
}

/* Changes when a server comes up, or goes down. */
static uint64_t health_mark(void)
{
	uint64_t mark = 0;
	for (unsigned i = 0; i < health_backends() + health_maps(); i++)
		mark = mark * 3 + (uint64_t)health_of(i).state;
	return mark;
}

static void make_tick(struct server *s)
{
	struct buf text;
	struct feed f = feed_of(s);
	uint64_t mark = health_mark();
	bool more = f.now >= s->told.points + FEED_STEP || f.now < s->told.points || mark != s->told_health;
	s->told_health = mark;
	drop(&s->tick_message);
	drop(&s->all_message);
	s->tick++;
	if (s->listeners > 0) {
		buf_init(&text, FEED_MAX);
		feed_put_tick(&text, &f, &s->told, more);
		s->tick_message = message_of(&text);
	}
	s->told.turned = s->memory->turned;
	s->told.often = s->memory->often_seen;
	if (more)
		s->told.points = f.now;
}

/* Who has missed one gets all of it again. False: there is nothing new, or no memory. */
static bool next_message(struct visitor *v)
{
	struct server *s = v->server;
	drop(&v->message);
	v->read = 0;
	if (v->tick == s->tick)
		return false;
	struct message *m = v->tick != 0 && v->tick + 1 == s->tick && s->tick_message ? s->tick_message : all_of(s);
	if (!m)
		return false;
	m->readers++;
	v->message = m;
	v->tick = s->tick;
	return true;
}

static ssize_t read_events(void *context, uint64_t at, char *out, size_t most)
{
	struct visitor *v = context;
	(void)at;
	if (v->server->ending)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if ((!v->message || v->read == v->message->len) && !next_message(v)) {
		v->suspended = true;
		MHD_suspend_connection(v->connection);
		return 0;
	}
	size_t n = v->message->len - v->read < most ? v->message->len - v->read : most;
	memcpy(out, v->message->bytes + v->read, n);
	v->read += n;
	return (ssize_t)n;
}

static void stop_listening(void *context)
{
	struct visitor *v = context;
	drop(&v->message);
	v->server->listeners -= v->listens;
	v->listens = false;
}

/* ---- answers ---- */

/* What all of them have: nobody may keep them, put them into a frame, or take them for something else. */
static const struct {
	const char *name, *value;
} headers[] = {
	{ "Cache-Control", "no-store" }, { "X-Content-Type-Options", "nosniff" }, { "X-Frame-Options", "DENY" }, { "Referrer-Policy", "no-referrer" },
	{ "Cross-Origin-Resource-Policy", "same-origin" }, { "Cross-Origin-Opener-Policy", "same-origin" },
};

static enum MHD_Result send_response(struct MHD_Connection *c, unsigned code, const char *type, const char *policy, struct MHD_Response *r)
{
	if (!r)
		return MHD_NO;
	bool all = MHD_add_response_header(r, "Content-Security-Policy", policy) == MHD_YES && MHD_add_response_header(r, "Content-Type", type) == MHD_YES;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
		all = all && MHD_add_response_header(r, headers[i].name, headers[i].value) == MHD_YES;
	enum MHD_Result result = all ? MHD_queue_response(c, code, r) : MHD_NO; /* no page without its walls */
	MHD_destroy_response(r);
	return result;
}

#define NOTHING_ELSE "default-src 'none'; frame-ancestors 'none'"

/* The text becomes the library's. */
static enum MHD_Result send_buf(struct MHD_Connection *c, unsigned code, const char *type, struct buf *text)
{
	struct MHD_Response *r = text->full || !text->at ? NULL : MHD_create_response_from_buffer(text->len, text->at, MHD_RESPMEM_MUST_FREE);
	if (r)
		buf_init(text, 0);
	enum MHD_Result result = send_response(c, code, type, NOTHING_ELSE, r);
	buf_fini(text);
	return result;
}

/* Whoever is told what is not for him has been here: his place is for others. */
static enum MHD_Result send_text(struct MHD_Connection *c, unsigned code, const char *header, const char *value, const char *text)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
	if (r)
		MHD_add_response_header(r, "Connection", "close");
	if (r && header)
		MHD_add_response_header(r, header, value);
	return send_response(c, code, "text/plain; charset=utf-8", NOTHING_ELSE, r);
}

static enum MHD_Result send_page(struct visitor *v)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(page_len, (void *)(uintptr_t)page_bytes, MHD_RESPMEM_PERSISTENT);
	return send_response(v->connection, MHD_HTTP_OK, "text/html; charset=utf-8", page_policy, r);
}

static enum MHD_Result send_metrics(struct visitor *v)
{
	struct server *s = v->server;
	bool openmetrics = exposition_wants_openmetrics(MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Accept"));
	struct exposition about = { .version = s->version, .started = s->started, .fronts = s->fronts, .pause_ms = s->pause_ms, .listeners = s->listeners, .requests = s->requests,
		.denied = s->denied, .missed = s->memory->reader.missed };
	struct buf text;
	buf_init(&text, EXPOSITION_MAX);
	exposition_put(&text, openmetrics, &about);
	return send_buf(v->connection, MHD_HTTP_OK, openmetrics ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT, &text);
}

static enum MHD_Result send_status(struct visitor *v)
{
	struct buf text;
	struct feed f = feed_of(v->server);
	buf_init(&text, FEED_MAX);
	feed_put_status(&text, &f);
	buf_put_char(&text, '\n');
	return send_buf(v->connection, MHD_HTTP_OK, "application/json", &text);
}

static enum MHD_Result send_events(struct visitor *v)
{
	struct server *s = v->server;
	if (s->listeners >= SERVER_LISTENERS)
		return send_text(v->connection, MHD_HTTP_SERVICE_UNAVAILABLE, "Retry-After", "10", "too many pages are open; try again later\n");
	struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENTS_BLOCK, read_events, v, stop_listening);
	if (!r)
		return MHD_NO;
	v->listens = true;
	v->deadline = LOOP_NEVER;
	s->listeners++;
	MHD_add_response_header(r, "X-Accel-Buffering", "no"); /* a proxy in between is not to gather them */
	return send_response(v->connection, MHD_HTTP_OK, "text/event-stream", NOTHING_ELSE, r);
}

/* The head alone: there would be no end to wait for. */
static enum MHD_Result send_events_head(struct visitor *v)
{
	return send_response(v->connection, MHD_HTTP_OK, "text/event-stream", NOTHING_ELSE, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

static const struct {
	const char *path;
	enum MHD_Result (*get)(struct visitor *v), (*head)(struct visitor *v);
} resources[] = {
	{ "/", send_page, send_page },
	{ "/metrics", send_metrics, send_metrics },
	{ "/status.json", send_status, send_status },
	{ "/events", send_events, send_events_head },
};
#define RESOURCES (sizeof(resources) / sizeof(resources[0]))

/* ---- who may not ---- */

static void say_denied(struct server *s, struct MHD_Connection *c, const char *why)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct log_line l;
	struct addr from;
	s->denied++;
	if (s->denied_at > 0 && loop_now(s->loop) - s->denied_at < DENIED_EVERY)
		return;
	s->denied_at = loop_now(s->loop);
	if (log_begin(&l, LOG_LEVEL_WARNING)) {
		log_text(&l, "event", "desk_denied");
		if (info && info->client_addr && addr_from_sockaddr(&from, info->client_addr))
			log_addr(&l, "client", &from);
		log_int(&l, "requests", s->denied - s->denied_said);
		log_text(&l, "msg", why);
		log_end(&l);
	}
	s->denied_said = s->denied;
}

/* The same place without the token, which the browser's history is not to keep. */
static enum MHD_Result send_enter(struct visitor *v, const char *path)
{
	char cookie[GUARD_TOKEN_MOST + 120];
	snprintf(cookie, sizeof(cookie), GUARD_COOKIE "=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=" COOKIE_SECONDS, v->server->guard.token);
	struct MHD_Response *r = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	if (r) {
		MHD_add_response_header(r, "Set-Cookie", cookie);
		MHD_add_response_header(r, "Location", path);
	}
	return send_response(v->connection, MHD_HTTP_SEE_OTHER, "text/plain; charset=utf-8", NOTHING_ELSE, r);
}

static enum MHD_Result answer_allowed(struct visitor *v, size_t which, bool head)
{
	struct MHD_Connection *c = v->connection;
	switch (guard_check(&v->server->guard, MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host"), MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
	                    MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Cookie"), MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "token"))) {
	case GUARD_WELCOME:
		break;
	case GUARD_ENTER:
		return which < RESOURCES ? send_enter(v, resources[which].path) : send_text(c, MHD_HTTP_NOT_FOUND, NULL, NULL, "there is no such page\n");
	case GUARD_NO_TOKEN:
		say_denied(v->server, c, "a request without the token, or with a wrong one");
		return send_text(c, MHD_HTTP_UNAUTHORIZED, "WWW-Authenticate", "Bearer realm=\"tarry\"", "a token is needed, as Authorization: Bearer or once as /?token=\n");
	case GUARD_FOREIGN:
		say_denied(v->server, c, "a request by a name that is not this machine's; if it is, see desk_hosts");
		return send_text(c, MHD_HTTP_FORBIDDEN, NULL, NULL, "this is not known to be a name of this machine; see the option desk_hosts of tarry.conf(5)\n");
	}
	if (which == RESOURCES)
		return send_text(c, MHD_HTTP_NOT_FOUND, NULL, NULL, "there is no such page; see /, /metrics, /status.json, /events\n");
	return (head ? resources[which].head : resources[which].get)(v);
}

static bool has_body(struct MHD_Connection *c)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length") || MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding");
}

static enum MHD_Result answer(void *context, struct MHD_Connection *c, const char *url, const char *method, const char *version, const char *upload, size_t *upload_len, void **request)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct server *s = context;
	size_t which = 0;
	(void)version;
	(void)upload;
	(void)upload_len;
	if (!info || !info->socket_context)
		return MHD_NO;
	bool head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0, reads = head || strcmp(method, MHD_HTTP_METHOD_GET) == 0;
	/* An answer at the first call, before the body, ends the connection: right for who sends one, but not for who only reads. */
	if (!*request && reads && !has_body(c)) {
		*request = s;
		return MHD_YES;
	}
	s->requests++;
	while (which < RESOURCES && strcmp(url, resources[which].path) != 0)
		which++;
	if (!reads)
		return send_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "Allow", "GET, HEAD", "nothing can be changed here: GET and HEAD only\n");
	return answer_allowed(info->socket_context, which, head);
}

/* ---- connections ---- */

static void connection_changes(void *context, struct MHD_Connection *c, void **place, enum MHD_ConnectionNotificationCode what)
{
	struct server *s = context;
	struct visitor *v = *place;
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		v = calloc(1, sizeof(*v));
		*place = v;
		if (!v)
			return;
		*v = (struct visitor){ .server = s, .connection = c, .next = s->visitors, .at = &s->visitors, .deadline = loop_now(s->loop) + s->request_time };
		if (v->next)
			v->next->at = &v->next;
		s->visitors = v;
	} else if (v) {
		*v->at = v->next;
		if (v->next)
			v->next->at = v->at;
		free(v);
		*place = NULL;
	}
}

/* The next request of the same connection has its own time. */
static void request_completed(void *context, struct MHD_Connection *c, void **request, enum MHD_RequestTerminationCode code)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct server *s = context;
	struct visitor *v = info ? info->socket_context : NULL;
	(void)request; /* only whether it has been called for is kept there */
	(void)code;
	if (v)
		v->deadline = loop_now(s->loop) + s->request_time;
}

bool server_listen(struct server *s, int listener)
{
	s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, answer, s, MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, SERVER_CONNECTIONS,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, SERVER_OF_ONE_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT, SERVER_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_REQUEST,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, connection_changes, s, MHD_OPTION_NOTIFY_COMPLETED, request_completed, s, MHD_OPTION_END);
	if (!s->daemon)
		close(listener);
	s->tick = s->tick ? s->tick : 1;
	s->told.turned = s->memory->turned;
	s->told.often = s->memory->often_seen;
	return s->daemon != NULL;
}

int server_fd(const struct server *s)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	return info ? info->epoll_fd : -1;
}

int64_t server_run(struct server *s)
{
	MHD_UNSIGNED_LONG_LONG ms;
	MHD_run(s->daemon);
	return MHD_get_timeout(s->daemon, &ms) == MHD_YES && ms == 0 ? loop_now(s->loop) : LOOP_NEVER;
}

static void resume(struct server *s)
{
	for (struct visitor *v = s->visitors; v; v = v->next) {
		if (!v->suspended)
			continue;
		v->suspended = false;
		MHD_resume_connection(v->connection);
	}
}

void server_tick(struct server *s)
{
	make_tick(s);
	resume(s);
	for (struct visitor *v = s->visitors; v; v = v->next) {
		const union MHD_ConnectionInfo *info = loop_now(s->loop) >= v->deadline ? MHD_get_connection_info(v->connection, MHD_CONNECTION_INFO_CONNECTION_FD) : NULL;
		if (info)
			shutdown(info->connect_fd, SHUT_RDWR); /* the library closes what has come to its end */
	}
}

void server_fini(struct server *s)
{
	if (s->daemon) {
		s->ending = true;
		resume(s);
		MHD_run(s->daemon);
		MHD_stop_daemon(s->daemon);
	}
	s->daemon = NULL;
	drop(&s->tick_message);
	drop(&s->all_message);
}
