/* The tour, lookup: one question at a time. The loop is only there to wait for three things at once: a question, the end of the parent, and the next look
 * at a file. */
#include "lookup/worker.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/helper.h"
#include "core/log.h"
#include "core/sandbox.h"

static struct worker *of(struct loop *loop)
{
	return (struct worker *)loop;
}

static void log_failed(const struct worker_map *m)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_ERROR))
		return;
	log_text(&l, "event", "map_failed");
	log_text(&l, "map", m->spec);
	log_text(&l, "why", m->why);
	log_end(&l);
}

static void log_back(const struct worker_map *m, int64_t now)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_NOTICE))
		return;
	log_text(&l, "event", "map_back");
	log_text(&l, "map", m->spec);
	log_ms(&l, "failed_ms", now - m->outage->since);
	log_int(&l, "questions_failed", (int64_t)m->outage->failed);
	log_end(&l);
}

/* ---- one question ---- */

/* Part of the time is kept for the answer's way back: a front that hears why is better off than one that waits in vain. */
static int64_t deadline_of(int64_t now, int64_t deadline)
{
	int64_t left = deadline - now;
	left -= left / 5;
	return now + left;
}

/* The alarm is not for servers that hang, which the driver's own deadline deals with, but for libraries that do. It is not caught: it ends the process. */
static bool ask(struct worker *w, struct worker_map *m, int64_t deadline, struct buf *why)
{
	alarm((unsigned)(driver_left_ms(deadline) / 1000 + WORKER_HUNG));
	bool ok = m->driver->ask(m->map, &w->hits, deadline, why);
	alarm(0);
	return ok;
}

/* Asks, and says what has changed. */
static bool ask_until(struct worker *w, struct worker_map *m, int64_t deadline)
{
	struct buf why;
	char memory[LOG_LINE]; /* a path may be in it */
	buf_init_fixed(&why, memory, sizeof(memory));
	bool ok = ask(w, m, deadline, &why);
	int64_t now = loop_now(&w->loop);
	if (!ok)
		snprintf(m->why, sizeof(m->why), "%s", buf_text(&why));
	switch (outage_report(m->outage, ok, now)) {
	case OUTAGE_BEGUN:
		log_failed(m);
		break;
	case OUTAGE_OVER:
		log_back(m, now);
		break;
	case OUTAGE_SAME:
		break;
	}
	return ok;
}

/* Asks, if the map is not being left alone. When it is time to find out whether it is back, the client that brought the question does not wait for that. */
static bool ask_map(struct worker *w, struct worker_map *m, int64_t now)
{
	if (!m->driver->remote || !m->outage->failing)
		return ask_until(w, m, deadline_of(now, w->question.deadline));
	if (outage_may_ask(m->outage, now))
		w->trying = m;
	return false;
}

void worker_try(struct worker *w)
{
	struct worker_map *m = w->trying;
	if (!m)
		return;
	w->trying = NULL;
	driver_hits_init(&w->hits, &w->question);
	ask_until(w, m, loop_now(&w->loop) + OUTAGE_TRY);
}

static void answer_failed(const struct wire_question *q, const char *why, struct wire_answer *out)
{
	*out = (struct wire_answer){ .id = q->id, .searches = q->searches };
	for (unsigned s = 0; s < q->searches; s++)
		out->found[s] = (struct wire_found){ .result = WIRE_FAILED, .text = slice_of(why) };
}

bool worker_answer(struct worker *w, struct slice message, uint16_t *front, struct buf *out)
{
	struct wire_question *q = &w->question;
	struct wire_answer answer;
	int64_t now = loop_now(&w->loop);
	if (!wire_get_question(message, q) || q->deadline - now < WORKER_LEAST)
		return false;
	struct worker_map *m = q->map < w->maps_len ? &w->maps[q->map] : NULL;
	driver_hits_init(&w->hits, q);
	if (!m)
		answer_failed(q, "there is no such map here", &answer);
	else if (ask_map(w, m, now))
		driver_answer(&w->hits, &answer);
	else
		answer_failed(q, m->why[0] ? m->why : "it has failed, and is left alone for a while", &answer);
	*front = q->front;
	return wire_put_answer(out, &answer);
}

/* ---- the loop ---- */

/* When a map is found out to fail, all that stood in line is answered at once, more than a front's socket holds: it is waited for a moment. One that takes nothing even so,
 * because it is gone or hangs, is not waited for again until it does, and gives up by its own clock. */
static void send_answer(struct worker *w, uint16_t front, const struct buf *out)
{
	struct pollfd room = { .fd = w->replies[front], .events = POLLOUT };
	ssize_t n = send(w->replies[front], out->at, out->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EAGAIN && !w->stuck[front]) {
		if (poll(&room, 1, WORKER_PATIENCE_MS) <= 0)
			w->stuck[front] = true;
		else
			n = send(w->replies[front], out->at, out->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (n >= 0)
		w->stuck[front] = false;
	else if (errno != EAGAIN && errno != EPIPE)
		log_event(LOG_LEVEL_WARNING, "answer_lost", "to front %u: %s", (unsigned)front, strerror(errno));
}

static void questions_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct worker *w = of(loop);
	struct buf out;
	uint16_t front;
	(void)events;
	ssize_t n = recv(source->fd, w->message, sizeof(w->message), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return; /* one of our like was quicker */
	if (n == 0) {
		loop_unwatch(loop, source); /* nobody asks any more; the parent says when to end */
		return;
	}
	if (n < 0) { /* rather than be deaf: the next one may hear */
		log_event(LOG_LEVEL_ERROR, "questions_failed", "%s", strerror(errno));
		loop_stop(loop);
		return;
	}
	buf_init_fixed(&out, w->reply, sizeof(w->reply));
	if (worker_answer(w, (struct slice){ w->message, (size_t)n }, &front, &out) && front < w->replies_len)
		send_answer(w, front, &out);
	worker_try(w);
}

static void tend_due(struct loop *loop, struct source *source)
{
	struct worker *w = of(loop);
	int64_t next = LOOP_NEVER;
	for (unsigned i = 0; i < w->maps_len; i++) {
		struct worker_map *m = &w->maps[i];
		if (!m->driver->tend)
			continue;
		if (m->tend_at <= loop_now(loop))
			m->tend_at = m->driver->tend(m->map);
		if (m->tend_at < next)
			next = m->tend_at;
	}
	loop_set_due(loop, source, next);
}

static const struct source_ops questions_ops = { questions_ready, NULL };
static const struct source_ops tender_ops = { NULL, tend_due };

static void turn_end(struct loop *loop, void *context)
{
	struct worker *w = context;
	helper_turn_end(loop, &w->parent);
}

int worker_init(struct worker *w)
{
	memset(w, 0, sizeof(*w));
	source_init(&w->questions, &questions_ops);
	source_init(&w->tender, &tender_ops);
	return loop_init(&w->loop, 3);
}

int worker_share(struct worker *w, int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || (st.st_size == 0 && ftruncate(fd, sizeof(*w->shared)) < 0))
		return -errno;
	if (st.st_size != 0 && st.st_size != (off_t)sizeof(*w->shared))
		return -EINVAL;
	void *at = mmap(NULL, sizeof(*w->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	w->shared = at;
	return 0;
}

bool worker_add(struct worker *w, const char *spec, struct buf *why)
{
	if (w->maps_len == WORKER_MAPS) {
		buf_putf(why, "more than %d maps", WORKER_MAPS);
		return false;
	}
	const struct driver *driver = driver_find(spec, why);
	if (driver && driver->ignore_missing && w->ignore_missing)
		driver->ignore_missing();
	void *map = driver ? driver->open(spec, why) : NULL;
	if (!map)
		return false;
	struct worker_map *m = &w->maps[w->maps_len++];
	m->driver = driver;
	m->spec = spec;
	m->map = map;
	m->outage = driver->remote && w->shared ? &w->shared->outages[m - w->maps] : &m->own;
	return true;
}

void worker_fini(struct worker *w)
{
	for (unsigned i = 0; i < w->maps_len; i++)
		w->maps[i].driver->close(w->maps[i].map);
	if (w->shared)
		munmap(w->shared, sizeof(*w->shared));
	loop_fini(&w->loop);
}

/* All of us are woken by each question (no EPOLLEXCLUSIVE): we are few, and so nothing depends on which one the kernel would choose. */
int worker_run(struct worker *w, int questions, int parent, const int *replies, unsigned replies_len)
{
	if (replies_len > WORKER_FRONTS)
		return -EINVAL;
	memcpy(w->replies, replies, replies_len * sizeof(*replies));
	w->replies_len = replies_len;
	w->loop.turn_end = turn_end;
	w->loop.turn_end_context = w;
	int e = helper_watch(&w->loop, &w->parent, parent);
	if (e == 0)
		e = loop_watch(&w->loop, &w->questions, questions, EPOLLIN);
	tend_due(&w->loop, &w->tender);
	if (e == 0)
		e = loop_run(&w->loop);
	loop_unwatch(&w->loop, &w->questions);
	loop_unwatch(&w->loop, &w->parent);
	log_flush();
	return e;
}
