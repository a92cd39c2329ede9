/* The tour, desk: the process. Each second it looks at what the fronts have written, and tells the pages that are open. */
#include "desk/desk.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "core/health.h"
#include "core/helper.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/sock.h"

/* ---- the setup ---- */

static bool take_line(struct desk *d, const struct line *l)
{
	struct server *s = &d->server;
	const char *word = l->words[0];
	if (strcmp(word, "door") == 0 && l->len >= 5) {
		s->version = l->words[1];
		s->started = lines_number(l->words[3]);
		s->fronts = lines_number(l->words[4]);
	} else if (strcmp(word, "pause") == 0 && l->len >= 5) {
		s->pause_ms = lines_number(l->words[1]);
		s->counsel = (struct counsel){ (double)s->pause_ms, (double)lines_number(l->words[2]), (double)lines_number(l->words[4]) / 1e6, s->started, 0, { 0 } };
	} else if (strcmp(word, "desk") == 0 && l->len == 2) {
		return addr_parse_port(slice_of(l->words[1]), &s->guard.listen);
	} else if (strcmp(word, "host") == 0 && l->len == 2) {
		return guard_add_host(&s->guard, l->words[1]);
	} else if (strcmp(word, "token") == 0 && l->len == 2) {
		if (!guard_is_token(l->words[1]))
			return false;
		strcpy(s->guard.token, l->words[1]);
	}
	return true;
}

/* What comes of a line that is not as it should be is no desk at all: half a guard would be worse. */
static bool read_setup(struct desk *d, int fd)
{
	struct lines lines = { 0 };
	ssize_t n = pread(fd, d->setup, DESKWIRE_SETUP, 0);
	bool ok = n > 0 && n < DESKWIRE_SETUP;
	close(fd);
	if (!ok)
		return false;
	d->setup[n] = '\0';
	for (const char *line = d->setup; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n')) {
		size_t len = strcspn(line, "\n") + 1;
		if (strncmp(line, "door\t", 5) == 0 || strncmp(line, "listen\t", 7) == 0)
			strncat(d->head, line, len);
	}
	ok = lines_parse(d->setup, &lines) && lines_find(&lines, "door", 5, 0);
	for (size_t i = 0; ok && i < lines.len; i++)
		ok = lines.lines[i].len > 0 && take_line(d, &lines.lines[i]);
	lines_free(&lines);
	return ok;
}

/* ---- the loop ---- */

static void run_server(struct desk *d)
{
	if (d->server.daemon)
		loop_set_due(&d->loop, &d->http, server_run(&d->server));
}

static void http_ready(struct loop *loop, struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
	run_server((struct desk *)loop);
}

static void http_due(struct loop *loop, struct source *source)
{
	(void)source;
	run_server((struct desk *)loop);
}

static void clock_due(struct loop *loop, struct source *source)
{
	struct desk *d = (struct desk *)loop;
	memory_look(d->server.memory, time(NULL));
	counsel_look(&d->server.counsel, time(NULL));
	if (d->server.daemon) {
		server_tick(&d->server);
		run_server(d);
	}
	loop_set_due(loop, source, loop_now(loop) + LOOP_SECOND);
}

static bool listen_on(struct desk *d, int fd)
{
	char at[ADDR_TEXT];
	if (!server_listen(&d->server, fd))
		return false;
	log_event(LOG_LEVEL_NOTICE, "desk_listening", "http://%s/", addr_format_port(&d->server.guard.listen, at));
	return loop_watch(&d->loop, &d->http, server_fd(&d->server), EPOLLIN) == 0;
}

static void parent_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct desk *d = (struct desk *)loop;
	char word;
	int fd;
	(void)events;
	ssize_t n = sock_recv_fd(source->fd, &word, 1, &fd);
	if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR)) {
		loop_stop(loop);
		return;
	}
	if (n > 0 && fd >= 0 && word == DESKWIRE_WORD_LISTEN && !d->server.daemon) {
		if (!listen_on(d, fd))
			log_event(LOG_LEVEL_ERROR, "desk_failed", "the server cannot be started");
	} else if (n > 0 && fd >= 0) {
		close(fd);
	}
}

/* Only there to have a turn, at the end of which the log is flushed. */
static void wake(struct loop *loop, struct source *source)
{
	(void)loop;
	(void)source;
}

static const struct source_ops parent_ops = { parent_ready, wake }, clock_ops = { NULL, clock_due }, http_ops = { http_ready, http_due };

static void turn_end(struct loop *loop, void *context)
{
	struct desk *d = context;
	helper_turn_end(loop, &d->parent);
}

/* ---- its life ---- */

static bool failed(struct buf *why, const char *what, int e)
{
	buf_putf(why, "%s: %s", what, e == -EPROTO ? "it is of another version; tarry and tarry-desk belong together" : strerror(-e));
	return false;
}

bool desk_open(struct desk *d, const struct desk_fds *fds, struct buf *why)
{
	memset(d, 0, sizeof(*d));
	source_init(&d->parent, &parent_ops);
	source_init(&d->clock, &clock_ops);
	source_init(&d->http, &http_ops);
	d->server.loop = &d->loop;
	d->server.head = d->head;
	d->server.request_time = SERVER_REQUEST_TIME;
	int e = metrics_attach(fds->metrics), recent = recent_attach(fds->recent), health = health_attach(fds->health);
	bool ok = read_setup(d, fds->setup);
	d->server.memory = memory_open(fds->memory);
	if (e < 0 || recent < 0 || health < 0)
		return failed(why, "the door's memory", e < 0 ? e : recent < 0 ? recent : health);
	if (!ok)
		return failed(why, "the setup", -EINVAL);
	e = loop_init(&d->loop, 8);
	if (e < 0)
		return failed(why, "epoll", e);
	d->loop.turn_end = turn_end;
	d->loop.turn_end_context = d;
	e = loop_watch(&d->loop, &d->parent, fds->parent, EPOLLIN);
	if (e < 0)
		return failed(why, "the parent's channel", e);
	loop_set_due(&d->loop, &d->clock, loop_now(&d->loop));
	if (fds->listener >= 0 && !listen_on(d, fds->listener))
		return failed(why, "the server", -ENOMEM);
	return true;
}

int desk_run(struct desk *d)
{
	return loop_run(&d->loop);
}

void desk_close(struct desk *d)
{
	if (d->http.fd >= 0)
		loop_unwatch(&d->loop, &d->http);
	server_fini(&d->server);
	loop_fini(&d->loop);
}
