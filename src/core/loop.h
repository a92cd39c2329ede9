/* loop.h: one epoll instance, one heap of deadlines, one clock. The only place that waits.
 *
 * A source is a node that its owner embeds: one descriptor and one deadline, answered by two functions. The loop
 * never owns it and never frees it. Callbacks may add, change and remove any source, also their own, but memory that
 * holds a source may be freed only in the turn_end function (or outside a turn): events of the same turn may still point to it.
 *
 * Time is int64_t nanoseconds of CLOCK_MONOTONIC, or of a clock that a test moves by hand.
 */
#ifndef TARRY_CORE_LOOP_H
#define TARRY_CORE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_MS INT64_C(1000000)
#define LOOP_SECOND INT64_C(1000000000)
#define LOOP_NEVER INT64_MAX

struct loop;
struct source;

struct source_ops {
	void (*ready)(struct loop *loop, struct source *source, uint32_t events); /* events: EPOLLIN … */
	void (*due)(struct loop *loop, struct source *source);                    /* the deadline has passed; it is cleared */
};

struct source {
	const struct source_ops *ops;
	int64_t due;    /* when the deadline falls; valid while place != 0 */
	int fd;         /* -1: none */
	uint32_t place; /* 1 + index in the heap; 0: no deadline */
};

struct loop {
	int epoll;
	bool stop;
	bool manual;           /* the clock is moved by loop_advance() */
	int64_t manual_now;
	uint64_t turns;        /* so far */
	int64_t answering;     /* while deadlines are answered: the time they are compared with; else 0 */
	int64_t window;        /* of time, in which deadlines are counted: */
	uint32_t answered;     /* so many so far */
	bool crowded;          /* in the one before there were many */
	struct source **heap;
	uint32_t heap_len, heap_cap;
	void (*turn_end)(struct loop *loop, void *context); /* may be NULL; runs at the end of each turn: the time to free */
	void *turn_end_context;
};

/* max_deadlines: ceiling of the heap; its memory is reserved here and touched only as it is used. 0 or -errno. */
int loop_init(struct loop *loop, size_t max_deadlines);
/* The same with a clock that stands still until loop_advance(). */
int loop_init_manual(struct loop *loop, size_t max_deadlines);
void loop_fini(struct loop *loop);

/* The time now, asked freshly (never cached: a greeting must not go out early). */
int64_t loop_now(const struct loop *loop);

void source_init(struct source *source, const struct source_ops *ops);

/* Watch fd for events (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET …). 0 or -errno. Once per source until loop_unwatch(). */
int loop_watch(struct loop *loop, struct source *source, int fd, uint32_t events);
int loop_rewatch(struct loop *loop, struct source *source, uint32_t events);
/* Stop watching; the descriptor stays open and is the caller's. source->fd becomes -1. */
void loop_unwatch(struct loop *loop, struct source *source);
/* Close the descriptor, if any, which also ends the watching; clears the deadline too. Not for a descriptor that another process has as well: that one's keeps the watching alive, and its
 * events would come to a source that is gone. */
void loop_close(struct loop *loop, struct source *source);

/* Set, move or clear (LOOP_NEVER) the deadline. One that is set by the answer to another, and has passed already, waits for the next turn: others come first. False: the heap is at its ceiling; the deadline is not set. */
bool loop_set_due(struct loop *loop, struct source *source, int64_t at);

/* One turn: wait for at most max_wait nanoseconds (LOOP_NEVER: until something happens), answer what is ready, then what is
 * due, then turn_end. 0 or -errno. With a manual clock it never waits. */
int loop_turn(struct loop *loop, int64_t max_wait);
/* Turns until loop_stop(), with a turn_end before the first one too. 0 or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Manual clock only: move it forward by ns, stopping at each deadline on the way, with a turn at each stop. */
void loop_advance(struct loop *loop, int64_t ns);

#endif
