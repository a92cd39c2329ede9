/* The tour, core: the loop. A turn is: wait, answer the descriptors, answer the deadlines, free. The deadlines are a
 * binary heap of pointers; each source knows its place in it, so moving or clearing one costs log n and no search. */
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LOOP_BATCH 64 /* events taken from the kernel in one turn: so long a deadline may have to wait */

static int init(struct loop *loop, size_t max_deadlines, bool manual)
{
	*loop = (struct loop){ .epoll = -1, .manual = manual, .manual_now = LOOP_SECOND };
	/* calloc leaves large memory untouched, so the ceiling costs address space only. */
	loop->heap = calloc(max_deadlines, sizeof(*loop->heap));
	if (!loop->heap)
		return -ENOMEM;
	loop->heap_cap = (uint32_t)max_deadlines;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0) {
		int e = -errno;
		free(loop->heap);
		loop->heap = NULL;
		return e;
	}
	return 0;
}

int loop_init(struct loop *loop, size_t max_deadlines)
{
	return init(loop, max_deadlines, false);
}

int loop_init_manual(struct loop *loop, size_t max_deadlines)
{
	return init(loop, max_deadlines, true);
}

void loop_fini(struct loop *loop)
{
	if (loop->epoll >= 0)
		close(loop->epoll);
	free(loop->heap);
	*loop = (struct loop){ .epoll = -1 };
}

int64_t loop_now(const struct loop *loop)
{
	if (loop->manual)
		return loop->manual_now;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * LOOP_SECOND + t.tv_nsec;
}

void source_init(struct source *source, const struct source_ops *ops)
{
	*source = (struct source){ .ops = ops, .fd = -1 };
}

int loop_watch(struct loop *loop, struct source *source, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = source };
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	source->fd = fd;
	return 0;
}

int loop_rewatch(struct loop *loop, struct source *source, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = source };
	return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, source->fd, &ev) < 0 ? -errno : 0;
}

void loop_unwatch(struct loop *loop, struct source *source)
{
	if (source->fd >= 0)
		epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}

void loop_close(struct loop *loop, struct source *source)
{
	loop_set_due(loop, source, LOOP_NEVER);
	if (source->fd >= 0)
		close(source->fd); /* the last reference: epoll forgets it by itself */
	source->fd = -1;
}

/* The heap: heap[0] is due first; the children of i are 2i+1 and 2i+2. */

static void heap_put(struct loop *loop, uint32_t i, struct source *source)
{
	loop->heap[i] = source;
	source->place = i + 1;
}

static void heap_up(struct loop *loop, uint32_t i, struct source *source)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 2;
		if (loop->heap[parent]->due <= source->due)
			break;
		heap_put(loop, i, loop->heap[parent]);
		i = parent;
	}
	heap_put(loop, i, source);
}

static void heap_down(struct loop *loop, uint32_t i, struct source *source)
{
	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= loop->heap_len)
			break;
		if (child + 1 < loop->heap_len && loop->heap[child + 1]->due < loop->heap[child]->due)
			child++;
		if (source->due <= loop->heap[child]->due)
			break;
		heap_put(loop, i, loop->heap[child]);
		i = child;
	}
	heap_put(loop, i, source);
}

static void heap_remove(struct loop *loop, struct source *source)
{
	uint32_t i = source->place - 1;
	struct source *last = loop->heap[--loop->heap_len];
	source->place = 0;
	if (last == source)
		return;
	if (i > 0 && loop->heap[(i - 1) / 2]->due > last->due)
		heap_up(loop, i, last);
	else
		heap_down(loop, i, last);
}

bool loop_set_due(struct loop *loop, struct source *source, int64_t at)
{
	if (at <= loop->answering)
		at = loop->answering + 1;
	if (source->place != 0) {
		if (at == LOOP_NEVER) {
			heap_remove(loop, source);
			return true;
		}
		int64_t before = source->due;
		source->due = at;
		if (at < before)
			heap_up(loop, source->place - 1, source);
		else
			heap_down(loop, source->place - 1, source);
		return true;
	}
	if (at == LOOP_NEVER)
		return true;
	if (loop->heap_len == loop->heap_cap)
		return false;
	source->due = at;
	heap_up(loop, loop->heap_len++, source);
	return true;
}

/* The kernel takes the liberty of ending a wait late by a thousandth of it (20 ms for a pause of 20 s), up to 100 ms. A wait that is shorter by
 * this part of itself ends in time all the same, and leaves a last one too short to matter. */
#define LOOP_WAIT_EARLY 256

/* How finely deadlines are told apart: those of one grain are answered in one turn, the first of them so much late at most. Where more than one in two milliseconds comes,
 * waking for each of them would cost more than answering it. */
#define LOOP_GRAIN (50 * INT64_C(1000))
#define LOOP_GRAIN_CROWDED LOOP_MS
#define LOOP_WINDOW (16 * LOOP_MS) /* in which deadlines are counted, */
#define LOOP_CROWD 8               /* and how many of them are many */

/* How long to wait, LOOP_NEVER for ever, rounded up: waking too early would only mean waiting once more. */
static int64_t wait_ns(const struct loop *loop, int64_t max_wait)
{
	int64_t wait = max_wait;
	if (loop->manual)
		return 0;
	if (loop->heap_len > 0) {
		int64_t left = loop->heap[0]->due - loop_now(loop);
		if (left < wait)
			wait = left;
	}
	if (wait == LOOP_NEVER)
		return LOOP_NEVER;
	if (wait <= 0)
		return 0;
	int64_t grain = loop->crowded ? LOOP_GRAIN_CROWDED : LOOP_GRAIN;
	wait = (wait + grain - 1) / grain * grain;
	return wait - wait / LOOP_WAIT_EARLY;
}

/* epoll_pwait2() came with Linux 5.11; before it, and where a sandbox does not know it, a grain is a millisecond. */
static int wait_for_events(struct loop *loop, struct epoll_event *ready, int64_t wait)
{
	static bool missing;
	struct timespec t = { wait / LOOP_SECOND, wait % LOOP_SECOND };
	int n = missing ? -1 : epoll_pwait2(loop->epoll, ready, LOOP_BATCH, wait == LOOP_NEVER ? NULL : &t, NULL);
	if (n >= 0 || (!missing && errno != ENOSYS && errno != EPERM))
		return n;
	missing = true;
	int64_t ms = wait == LOOP_NEVER ? -1 : (wait + LOOP_MS - 1) / LOOP_MS;
	return epoll_wait(loop->epoll, ready, LOOP_BATCH, (int)(ms > 60000 ? 60000 : ms));
}

static void count_deadlines(struct loop *loop, int64_t now)
{
	int64_t window = now / LOOP_WINDOW;
	if (window == loop->window)
		return;
	loop->crowded = window == loop->window + 1 && loop->answered > LOOP_CROWD;
	loop->window = window;
	loop->answered = 0;
}

/* The time is asked once: a deadline that an answer sets waits for the next turn. */
static void answer_due(struct loop *loop)
{
	int64_t now = loop->answering = loop_now(loop);
	count_deadlines(loop, now);
	while (loop->heap_len > 0 && loop->heap[0]->due <= now) {
		struct source *source = loop->heap[0];
		heap_remove(loop, source);
		loop->answered++;
		source->ops->due(loop, source);
	}
	loop->answering = 0;
}

int loop_turn(struct loop *loop, int64_t max_wait)
{
	struct epoll_event ready[LOOP_BATCH];
	int n = wait_for_events(loop, ready, wait_ns(loop, max_wait));
	if (n < 0 && errno != EINTR)
		return -errno;
	loop->turns++;
	for (int i = 0; i < n; i++) {
		struct source *source = ready[i].data.ptr;
		if (source->fd >= 0) /* closed earlier in this turn */
			source->ops->ready(loop, source, ready[i].events);
	}
	answer_due(loop);
	if (loop->turn_end)
		loop->turn_end(loop, loop->turn_end_context);
	return 0;
}

int loop_run(struct loop *loop)
{
	loop->stop = false;
	if (loop->turn_end) /* what was prepared before the first turn may have left something for its end, such as lines of the log */
		loop->turn_end(loop, loop->turn_end_context);
	while (!loop->stop) {
		int e = loop_turn(loop, LOOP_NEVER);
		if (e < 0)
			return e;
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

void loop_advance(struct loop *loop, int64_t ns)
{
	int64_t end = loop->manual_now + ns;
	loop_turn(loop, 0);
	while (loop->heap_len > 0 && loop->heap[0]->due <= end) {
		if (loop->heap[0]->due > loop->manual_now)
			loop->manual_now = loop->heap[0]->due;
		loop_turn(loop, 0);
	}
	loop->manual_now = end;
	loop_turn(loop, 0);
}
