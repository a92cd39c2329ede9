/* The tour, gate: the choice of a backend. One that fails is left alone for a while, longer each time; then a single client tries it, and the others learn what came of that. */
#include "gate/backends.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/pulse.h"
#include "core/shared.h"

backends_count *backends_share(int *fd)
{
	const size_t size = (size_t)METRICS_ROWS * CONF_BACKENDS * sizeof(backends_count);
	struct shared memory;
	int e = *fd >= 0 ? shared_adopt(&memory, *fd, size) : -ENOENT;
	if (e < 0)
		e = shared_create(&memory, "tarry-backends", size);
	*fd = e < 0 ? -1 : memory.fd;
	if (e == 0 && memory.readonly >= 0)
		close(memory.readonly);
	return e < 0 ? NULL : memory.at;
}

void backends_clear(backends_count *counts, unsigned row)
{
	for (unsigned i = 0; i < CONF_BACKENDS && row < METRICS_ROWS; i++)
		atomic_store_explicit(&counts[row * CONF_BACKENDS + i], 0, memory_order_relaxed);
}

static unsigned rows(const struct backends *b)
{
	return b->shared && pulse_fronts() > 0 ? pulse_fronts() : b->fronts;
}

int backends_init(struct backends *b, const struct conf *conf, backends_count *counts, unsigned front, unsigned fronts)
{
	*b = (struct backends){ .len = (unsigned)conf->backends_len, .counts = counts, .front = front, .fronts = fronts, .shared = counts };
	if (!counts) {
		b->front = 0;
		b->fronts = 1;
		b->counts = calloc(CONF_BACKENDS, sizeof(*b->counts));
	}
	b->all = calloc(b->len, sizeof(*b->all));
	if (!b->all || !b->counts) {
		backends_fini(b);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < b->len; i++) {
		b->all[i].conf = &conf->backends[i];
		atomic_store_explicit(&b->counts[b->front * CONF_BACKENDS + i], 0, memory_order_relaxed);
	}
	return 0;
}

void backends_fini(struct backends *b)
{
	free(b->all);
	if (!b->shared)
		free(b->counts);
	*b = (struct backends){ .all = NULL };
}

unsigned backends_index(const struct backends *b, const struct backend *backend)
{
	return (unsigned)(backend - b->all);
}

/* One writer per row: a plain load and store. */
static void count(struct backends *b, const struct backend *backend, uint32_t n)
{
	backends_count *mine = &b->counts[b->front * CONF_BACKENDS + backends_index(b, backend)];
	atomic_store_explicit(mine, atomic_load_explicit(mine, memory_order_relaxed) + n, memory_order_relaxed);
}

void backends_opened(struct backends *b, const struct backend *backend)
{
	count(b, backend, 1);
}

void backends_closed(struct backends *b, const struct backend *backend)
{
	count(b, backend, UINT32_MAX);
}

uint32_t backends_open(const struct backends *b, const struct backend *backend)
{
	uint32_t sum = 0;
	for (unsigned f = 0, most = rows(b); f < most; f++)
		sum += atomic_load_explicit(&b->counts[f * CONF_BACKENDS + backends_index(b, backend)], memory_order_relaxed);
	return sum;
}

static bool has_room(const struct backend *backend, uint32_t open)
{
	return backend->conf->max == 0 || open < (uint64_t)backend->conf->max;
}

/* Written first, then read, in an order that all fronts agree on: of two at once, one at least sees the other. */
bool backends_reserve(struct backends *b, const struct backend *backend)
{
	backends_count *mine = &b->counts[b->front * CONF_BACKENDS + backends_index(b, backend)];
	uint32_t sum = 0;
	atomic_fetch_add(mine, 1);
	for (unsigned f = 0, most = rows(b); f < most; f++)
		sum += atomic_load(&b->counts[f * CONF_BACKENDS + backends_index(b, backend)]);
	if (has_room(backend, sum - 1))
		return true;
	backends_closed(b, backend);
	return false;
}

static bool is_up(const struct backend *backend)
{
	return backend->delay == 0;
}

static bool is_due(const struct backend *backend, int64_t now)
{
	return !is_up(backend) && !backend->trier && now >= backend->retry_at;
}

static bool is_skipped(const struct backends *b, const struct backend *backend, uint64_t skip)
{
	return skip >> backends_index(b, backend) & 1;
}

unsigned backends_left(const struct backends *b, uint64_t skip, int64_t now)
{
	unsigned n = 0;
	for (unsigned i = 0; i < b->len; i++)
		n += !is_skipped(b, &b->all[i], skip) && (is_up(&b->all[i]) || is_due(&b->all[i], now));
	return n;
}

/* Less loaded: -1; alike: 0; more: 1. Multiplied crosswise, nothing is lost to a division. */
static int compare(const struct backend *x, uint32_t open_x, const struct backend *y, uint32_t open_y)
{
	uint64_t left = (uint64_t)open_x * (uint64_t)y->conf->weight, right = (uint64_t)open_y * (uint64_t)x->conf->weight;
	return left < right ? -1 : left > right;
}

/* Those that are marked are loaded alike: each gets its turns by its weight, spread evenly (nginx's smooth round robin). */
static struct backend *take_turn(struct backends *b, uint64_t alike)
{
	struct backend *best = NULL;
	int64_t total = 0;
	for (unsigned i = 0; i < b->len; i++) {
		struct backend *x = &b->all[i];
		if (!(alike >> i & 1))
			continue;
		x->current += x->conf->weight;
		total += x->conf->weight;
		if (!best || x->current > best->current)
			best = x;
	}
	if (best)
		best->current -= total;
	return best;
}

enum backends_choice backends_choose(struct backends *b, uint64_t skip, const void *who, int64_t now, struct backend **out)
{
	const struct backend *least = NULL;
	uint32_t least_open = 0;
	uint64_t alike = 0;
	bool full = false;
	for (unsigned i = 0; i < b->len; i++) {
		struct backend *x = &b->all[i];
		bool due = is_due(x, now);
		if (is_skipped(b, x, skip) || (!due && !is_up(x)))
			continue;
		uint32_t open = backends_open(b, x);
		if (!has_room(x, open)) {
			full = true;
		} else if (due) {
			x->trier = who;
			*out = x;
			return BACKENDS_FOUND;
		} else {
			int order = least ? compare(x, open, least, least_open) : -1;
			if (order < 0) {
				least = x;
				least_open = open;
				alike = 0;
			}
			alike |= order <= 0 ? UINT64_C(1) << i : 0;
		}
	}
	struct backend *found = take_turn(b, alike);
	if (!found)
		return full ? BACKENDS_FULL : BACKENDS_DOWN;
	*out = found;
	return BACKENDS_FOUND;
}

void backends_failed(struct backends *b, struct backend *x, const void *who, int64_t now, const char *why)
{
	b->failed = x;
	x->why = why;
	if (!is_up(x) && x->trier != who)
		return;
	int64_t delay = x->delay == 0 ? BACKENDS_DELAY_FIRST : x->delay * 2;
	x->delay = delay < BACKENDS_DELAY_MOST ? delay : BACKENDS_DELAY_MOST;
	x->retry_at = now + x->delay;
	x->trier = NULL;
}

void backends_greeted(struct backends *b, struct backend *x)
{
	(void)b;
	x->delay = 0;
	x->trier = NULL;
}

void backends_left_alone(struct backends *b, const void *who)
{
	for (unsigned i = 0; i < b->len; i++)
		if (b->all[i].trier == who)
			b->all[i].trier = NULL;
}
