/* The tour, gate: asking maps that may block. Questions under way stand in a list by age. All are given equally long, so the list is also in the order of their
 * deadlines, and one deadline of the loop, that of the oldest, serves them all; those the socket has not taken yet are the end of it. */
#include "gate/lookup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/health.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/siphash.h"
#include "gate/lookup_cache.h"

#define BATCH 8      /* questions that end in one turn, by an answer or without: when an outage is found out, all who wait for that map go on, and others are due meanwhile */
#define SLOT_BITS 16 /* of an id; the rest is a serial number */
#define NONE UINT32_MAX

_Static_assert(LOOKUP_PENDING <= 1 << SLOT_BITS && (LOOKUP_PENDING & (LOOKUP_PENDING - 1)) == 0, "a slot's number is part of an id, and a mask");

struct pending {
	uint64_t id; /* 0: free */
	struct lookup_print print;
	int64_t deadline;
	struct lookup_wait *waits;
	char *message; /* NULL: the socket has it */
	uint32_t message_len;
	uint32_t older, newer; /* of the list; free slots use newer alone */
	uint32_t chain;        /* the next one in its bucket */
	uint16_t map, searches;
	uint16_t counts[WIRE_SEARCHES];
};

struct lookup {
	struct loop *loop;
	struct source questions, answers, oldest;
	int questions_fd, answers_fd; /* also while they are not watched */
	uint16_t front;
	int64_t timeout;
	struct lookup_map maps[LOOKUP_MAPS];
	unsigned maps_len;
	struct siphash_key keys[2];
	struct lookup_cache cache;
	uint64_t serial;
	uint32_t first, last, unsent, free;
	size_t queued; /* bytes of the unsent */
	bool silent;   /* answers stay out, and that has been said */
	int64_t silent_since, silent_last;
	uint64_t silent_questions;
	struct wire_answer now; /* what lookup_ask() returns */
	uint32_t buckets[LOOKUP_PENDING];
	struct pending slots[LOOKUP_PENDING];
	char message[WIRE_QUESTION_MAX];
	char reply[WIRE_ANSWER_MAX];
};

/* ---- the list, the buckets, the free ones ---- */

static uint32_t slot_of(const struct lookup *l, const struct pending *p)
{
	return (uint32_t)(p - l->slots);
}

static uint32_t *bucket_of(struct lookup *l, const struct lookup_print *print)
{
	return &l->buckets[(uint32_t)print->a & (LOOKUP_PENDING - 1)];
}

static struct pending *find(struct lookup *l, const struct lookup_print *print)
{
	for (uint32_t i = *bucket_of(l, print); i != NONE; i = l->slots[i].chain)
		if (l->slots[i].print.a == print->a && l->slots[i].print.b == print->b)
			return &l->slots[i];
	return NULL;
}

static struct pending *append(struct lookup *l, const struct lookup_print *print, const struct wire_question *q)
{
	uint32_t slot = l->free, *bucket = bucket_of(l, print);
	struct pending *p = &l->slots[slot];
	l->free = p->newer;
	*p = (struct pending){ .id = q->id, .print = *print, .deadline = q->deadline, .older = l->last, .newer = NONE, .chain = *bucket, .map = q->map, .searches = q->searches };
	memcpy(p->counts, q->counts, sizeof(p->counts));
	*bucket = slot;
	if (l->last != NONE)
		l->slots[l->last].newer = slot;
	else
		l->first = slot;
	l->last = slot;
	return p;
}

static void forget_message(struct lookup *l, struct pending *p)
{
	if (!p->message)
		return;
	l->queued -= p->message_len;
	free(p->message);
	p->message = NULL;
	if (l->unsent == slot_of(l, p))
		l->unsent = p->newer;
}

static void drop(struct lookup *l, struct pending *p)
{
	uint32_t slot = slot_of(l, p), *at = bucket_of(l, &p->print);
	forget_message(l, p);
	while (*at != slot)
		at = &l->slots[*at].chain;
	*at = p->chain;
	*(p->older != NONE ? &l->slots[p->older].newer : &l->first) = p->newer;
	*(p->newer != NONE ? &l->slots[p->newer].older : &l->last) = p->older;
	p->id = 0;
	p->newer = l->free;
	l->free = slot;
}

static bool set_deadline(struct lookup *l)
{
	return loop_set_due(l->loop, &l->oldest, l->first == NONE ? LOOP_NEVER : l->slots[l->first].deadline);
}

/* ---- who waits ---- */

static void attach(struct lookup *l, struct pending *p, struct lookup_wait *wait)
{
	wait->slot = slot_of(l, p);
	wait->next = p->waits;
	wait->back = &p->waits;
	if (wait->next)
		wait->next->back = &wait->next;
	p->waits = wait;
}

static void detach(struct lookup_wait *wait)
{
	*wait->back = wait->next;
	if (wait->next)
		wait->next->back = wait->back;
	wait->next = NULL;
	wait->back = NULL;
}

/* The question is over before the first of them hears of it: they may ask it again. */
static void finish(struct lookup *l, struct pending *p, const struct wire_answer *answer)
{
	struct lookup_wait *waits = p->waits;
	if (waits)
		waits->back = &waits;
	p->waits = NULL;
	drop(l, p);
	while (waits) {
		struct lookup_wait *wait = waits;
		detach(wait);
		wait->done(wait, answer);
	}
}

static void failed(uint16_t searches, const char *why, struct wire_answer *out)
{
	*out = (struct wire_answer){ .searches = searches < WIRE_SEARCHES ? searches : WIRE_SEARCHES };
	for (unsigned s = 0; s < out->searches; s++)
		out->found[s] = (struct wire_found){ .result = WIRE_FAILED, .text = slice_of(why) };
}

/* ---- silence: said once when it begins, and once when it has been over for as long as a question may take ---- */

static void note_silence(struct lookup *l, const char *why)
{
	int64_t now = loop_now(l->loop);
	metrics_add(METRIC_lookups_unanswered, 1);
	l->silent_questions = l->silent ? l->silent_questions + 1 : 1;
	l->silent_last = now;
	if (l->silent)
		return;
	l->silent = true;
	l->silent_since = now;
	struct log_line line;
	log_begin(&line, LOG_LEVEL_ERROR);
	log_text(&line, "event", "lookup_silent");
	log_text(&line, "why", why);
	log_ms(&line, "timeout_ms", l->timeout);
	log_end(&line);
}

static void note_answer(struct lookup *l)
{
	int64_t now = loop_now(l->loop);
	if (!l->silent || now - l->silent_last < l->timeout)
		return;
	l->silent = false;
	struct log_line line;
	log_begin(&line, LOG_LEVEL_NOTICE);
	log_text(&line, "event", "lookup_back");
	log_ms(&line, "silent_ms", now - l->silent_since);
	log_int(&line, "questions_failed", (int64_t)l->silent_questions);
	log_end(&line);
}

/* ---- what those who watch the door are told of a map ---- */

static void note_failed(const struct lookup *l, uint16_t map, const char *why)
{
	if (map < l->maps_len)
		health_down(l->front, l->maps[map].thing, why);
}

static void note_answered(const struct lookup *l, const struct pending *p, const struct wire_answer *a)
{
	char memory[HEALTH_ERROR];
	struct buf why;
	if (p->map >= l->maps_len)
		return;
	metrics_observe(l->maps[p->map].times, loop_now(l->loop) - (p->deadline - l->timeout));
	buf_init_fixed(&why, memory, sizeof(memory) - 1);
	for (unsigned s = 0; s < a->searches; s++) {
		if (a->found[s].result != WIRE_FAILED)
			continue;
		for (size_t i = 0; i < a->found[s].text.len && buf_put_escaped(&why, a->found[s].text.at + i, 1, 1); i++)
			;
		health_down(l->front, l->maps[p->map].thing, buf_text(&why));
		return;
	}
	health_up(l->front, l->maps[p->map].thing);
}

/* ---- out ---- */

/* 0, -EAGAIN, or why nothing will ever be taken. */
static int send_message(const struct lookup *l, const char *at, size_t len)
{
	ssize_t n;
	do
		n = send(l->questions_fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	return errno == ENOBUFS ? -EAGAIN : -errno;
}

/* In line behind the others. */
static bool enqueue(struct lookup *l, struct pending *p, const char *at, size_t len)
{
	if (l->queued + len > LOOKUP_QUEUE_MAX)
		return false;
	if (l->questions.fd < 0 && loop_watch(l->loop, &l->questions, l->questions_fd, EPOLLOUT) < 0)
		return false;
	p->message = malloc(len);
	if (!p->message)
		return false;
	memcpy(p->message, at, len);
	p->message_len = (uint32_t)len;
	l->queued += len;
	if (l->unsent == NONE)
		l->unsent = slot_of(l, p);
	return true;
}

static void questions_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct lookup *l = (struct lookup *)((char *)source - offsetof(struct lookup, questions));
	int e = 0;
	(void)events;
	while (l->unsent != NONE && e == 0) {
		struct pending *p = &l->slots[l->unsent];
		e = send_message(l, p->message, p->message_len);
		if (e == 0)
			forget_message(l, p);
	}
	if (l->unsent == NONE || e != -EAGAIN)
		loop_unwatch(loop, source); /* after an error those in line run out of time, as those do that were sent */
}

/* ---- in ---- */

static bool fits(const struct pending *p, const struct wire_answer *a)
{
	if (p->id != a->id || p->message || p->searches != a->searches)
		return false;
	for (unsigned s = 0; s < a->searches; s++)
		if (a->found[s].result == WIRE_FOUND && a->found[s].key >= p->counts[s])
			return false;
	return true;
}

static bool any_failed(const struct wire_answer *a)
{
	for (unsigned s = 0; s < a->searches; s++)
		if (a->found[s].result == WIRE_FAILED)
			return true;
	return false;
}

static void take_answer(struct lookup *l, struct slice message)
{
	struct wire_answer answer;
	struct pending *p = NULL;
	if (wire_get_answer(message, &answer) && answer.id != 0)
		p = &l->slots[answer.id & (LOOKUP_PENDING - 1)];
	if (!p || !fits(p, &answer))
		return; /* too late, or nonsense */
	note_answer(l);
	note_answered(l, p, &answer);
	if (any_failed(&answer))
		metrics_add(METRIC_lookups_failed, 1);
	else
		lookup_cache_put(&l->cache, &p->print, loop_now(l->loop), message);
	finish(l, p, &answer);
}

static void answers_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct lookup *l = (struct lookup *)((char *)source - offsetof(struct lookup, answers));
	(void)events;
	for (unsigned i = 0; i < BATCH; i++) {
		ssize_t n = recv(source->fd, l->reply, sizeof(l->reply), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n == 0)
			loop_unwatch(loop, source); /* nobody is there who could answer; questions run out of time */
		if (n <= 0) /* what is an error now need not be one the next time */
			break;
		take_answer(l, (struct slice){ l->reply, (size_t)n });
	}
	set_deadline(l);
}

static void oldest_due(struct loop *loop, struct source *source)
{
	struct lookup *l = (struct lookup *)((char *)source - offsetof(struct lookup, oldest));
	struct wire_answer answer;
	for (unsigned i = 0; i < BATCH && l->first != NONE && l->slots[l->first].deadline <= loop_now(loop); i++) {
		struct pending *p = &l->slots[l->first];
		if (p->waits)
			note_silence(l, "no answer in time");
		note_failed(l, p->map, "no answer in time");
		failed(p->searches, "no answer in time", &answer);
		finish(l, p, &answer);
	}
	set_deadline(l);
}

static const struct source_ops questions_ops = { questions_ready, NULL };
static const struct source_ops answers_ops = { answers_ready, NULL };
static const struct source_ops oldest_ops = { NULL, oldest_due };

/* ---- asking ---- */

static const struct wire_answer *fail_now(struct lookup *l, const struct wire_question *q, const char *why)
{
	failed(q->searches, why, &l->now);
	return &l->now;
}

static const struct wire_answer *from_cache(struct lookup *l, const struct lookup_print *print)
{
	struct slice kept;
	if (!lookup_cache_get(&l->cache, print, loop_now(l->loop), &kept) || !wire_get_answer(kept, &l->now))
		return NULL;
	metrics_add(METRIC_lookups_cached, 1);
	return &l->now;
}

/* It is in l->message. */
static const struct wire_answer *send_new(struct lookup *l, const struct wire_question *q, const struct lookup_print *print, size_t len,
                                          struct lookup_wait *wait)
{
	int e = l->unsent != NONE ? -EAGAIN : send_message(l, l->message, len);
	if (e < 0 && e != -EAGAIN) {
		note_silence(l, strerror(-e));
		note_failed(l, q->map, strerror(-e));
		return fail_now(l, q, "nobody takes questions");
	}
	struct pending *p = append(l, print, q);
	if ((e == -EAGAIN && !enqueue(l, p, l->message, len)) || (l->first == slot_of(l, p) && !set_deadline(l))) {
		drop(l, p);
		note_silence(l, "too many questions wait");
		return fail_now(l, q, "too many questions wait");
	}
	attach(l, p, wait);
	metrics_add(METRIC_lookups, 1);
	return NULL;
}

const struct wire_answer *lookup_ask(struct lookup *l, struct wire_question *q, struct lookup_wait *wait)
{
	struct buf message;
	buf_init_fixed(&message, l->message, sizeof(l->message));
	q->id = l->serial << SLOT_BITS | (l->free != NONE ? l->free : 0);
	q->front = l->front;
	q->deadline = loop_now(l->loop) + l->timeout;
	if (!wire_put_question(&message, q))
		return fail_now(l, q, "too many keys, or too long ones");
	struct lookup_print print = { siphash_bytes(&l->keys[0], message.at + WIRE_BODY_AT, message.len - WIRE_BODY_AT),
		siphash_bytes(&l->keys[1], message.at + WIRE_BODY_AT, message.len - WIRE_BODY_AT) };
	const struct wire_answer *known = from_cache(l, &print);
	if (known)
		return known;
	struct pending *same = find(l, &print);
	if (same) {
		attach(l, same, wait);
		return NULL;
	}
	if (l->free == NONE) {
		note_silence(l, "too many questions under way");
		return fail_now(l, q, "too many questions under way");
	}
	l->serial++;
	return send_new(l, q, &print, message.len, wait);
}

void lookup_cancel(struct lookup *l, struct lookup_wait *wait)
{
	struct pending *p = &l->slots[wait->slot];
	struct lookup_wait **back = wait->back;
	if (!back)
		return;
	detach(wait);
	if (back == &p->waits && !p->waits && p->message) {
		drop(l, p);
		set_deadline(l);
	}
}

/* ---- its life ---- */

static int start(struct lookup *l, const struct lookup_setup *setup)
{
	int e = siphash_key_init(&l->keys[0]);
	if (e == 0)
		e = siphash_key_init(&l->keys[1]);
	if (e == 0)
		e = lookup_cache_init(&l->cache, setup->cache_max, setup->cache_ttl);
	if (e == 0)
		e = loop_watch(l->loop, &l->answers, l->answers_fd, EPOLLIN);
	/* Ids of one life are not those of another: a process that has crashed may have left answers on their way. */
	l->serial = (siphash_u64(&l->keys[0], 0) >> SLOT_BITS >> 1) + 1;
	return e;
}

int lookup_new(struct lookup **out, const struct lookup_setup *setup)
{
	struct lookup *l = calloc(1, sizeof(*l));
	if (!l) {
		close(setup->questions);
		close(setup->answers);
		return -ENOMEM;
	}
	l->loop = setup->loop;
	l->front = setup->front;
	l->timeout = setup->timeout > 0 ? setup->timeout : LOOKUP_TIMEOUT;
	l->maps_len = setup->maps_len < LOOKUP_MAPS ? setup->maps_len : LOOKUP_MAPS;
	if (l->maps_len > 0)
		memcpy(l->maps, setup->maps, l->maps_len * sizeof(*l->maps));
	l->questions_fd = setup->questions;
	l->answers_fd = setup->answers;
	source_init(&l->questions, &questions_ops);
	source_init(&l->answers, &answers_ops);
	source_init(&l->oldest, &oldest_ops);
	l->first = l->last = l->unsent = NONE;
	for (uint32_t i = 0; i < LOOKUP_PENDING; i++) {
		l->buckets[i] = NONE;
		l->slots[i].newer = i + 1 < LOOKUP_PENDING ? i + 1 : NONE;
	}
	int e = start(l, setup);
	if (e < 0)
		lookup_free(l);
	else
		*out = l;
	return e;
}

void lookup_free(struct lookup *l)
{
	if (!l)
		return;
	while (l->first != NONE) {
		struct pending *p = &l->slots[l->first];
		while (p->waits)
			detach(p->waits);
		drop(l, p);
	}
	loop_set_due(l->loop, &l->oldest, LOOP_NEVER);
	loop_unwatch(l->loop, &l->questions);
	loop_unwatch(l->loop, &l->answers);
	close(l->questions_fd);
	close(l->answers_fd);
	lookup_cache_fini(&l->cache);
	free(l);
}
