/* The tour, core: what the door has done, as numbers. A row per process, a column per line of metrics.def. */
#include "core/metrics.h"

#include <errno.h>
#include <stddef.h>
#include <stdatomic.h>
#include <string.h>

#include "core/shared.h"

enum kind { COUNTER, GAUGE };

static const struct {
	const char *name;
	enum kind kind;
	const char *sentence;
} rows_def[METRIC_COUNT] = {
#define METRIC(name, kind, sentence) { #name, kind, sentence },
#include "metrics.def"
};

static const struct {
	const char *name, *sentence;
} times_def[HISTOGRAM_COUNT] = {
#define HISTOGRAM(name, sentence) { #name, sentence },
#include "metrics.def"
};

struct metrics_line {
	_Atomic int64_t value[METRIC_COUNT];
} __attribute__((aligned(64))); /* no two processes write to the same cache line */

struct histogram_line {
	struct {
		_Atomic uint64_t count;
		_Atomic int64_t sum;
		_Atomic uint64_t buckets[METRICS_BUCKETS];
	} of[HISTOGRAM_COUNT];
} __attribute__((aligned(64)));

struct memory {
	uint64_t layout;        /* of which version it is */
	_Atomic uint32_t used;  /* rows from the first on that have been some process's, the last of all not counted: that is the parent's */
	struct metrics_line lines[METRICS_ROWS]; /* close together: the accept path adds some up */
	struct histogram_line times[METRICS_ROWS];
};

static struct metrics_line private_row;
static struct histogram_line private_times;
static struct metrics_line *rows = &private_row, *mine = &private_row;
static struct histogram_line *times = &private_times, *my_times = &private_times;
static unsigned rows_len = 1, my_row;
static struct memory *memory; /* NULL: the private row is all there is */
static bool reads_only;
static struct shared shared = { .fd = -1, .readonly = -1 };

/* ---- the memory ---- */

/* FNV-1a over the names: another version has others, or another order of them. */
static uint64_t layout(void)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ METRICS_BUCKETS;
	for (unsigned i = 0; i < METRIC_COUNT + HISTOGRAM_COUNT; i++) {
		const char *name = i < METRIC_COUNT ? rows_def[i].name : times_def[i - METRIC_COUNT].name;
		do
			hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
		while (*name++);
	}
	return hash;
}

static void use(struct memory *at)
{
	memory = at;
	rows = at->lines;
	times = at->times;
	rows_len = METRICS_ROWS;
}

int metrics_init(void)
{
	int e = shared_create(&shared, "tarry-metrics", sizeof(struct memory));
	if (e < 0)
		return e;
	use(shared.at);
	memory->layout = layout();
	metrics_row(0);
	return 0;
}

int metrics_fd(void)
{
	return shared.fd;
}

int metrics_fd_readonly(void)
{
	return shared.readonly;
}

int metrics_adopt(int fd)
{
	struct shared other;
	int e = shared_adopt(&other, fd, sizeof(struct memory));
	if (e < 0)
		return e;
	if (((const struct memory *)other.at)->layout != layout()) {
		shared_detach(&other);
		return -EPROTO;
	}
	shared = other;
	use(shared.at);
	return 0;
}

int metrics_attach(int fd)
{
	struct shared other;
	int e = shared_attach(&other, fd, sizeof(struct memory));
	if (e < 0)
		return e;
	if (((const struct memory *)other.at)->layout != layout()) {
		shared_detach(&other);
		return -EPROTO;
	}
	shared_detach(&shared); /* of a door that is gone */
	shared = other;
	reads_only = true;
	use(shared.at);
	mine = &private_row;
	my_times = &private_times;
	return 0;
}

/* ---- counters and gauges ---- */

void metrics_clear_gauges(unsigned row)
{
	if (row >= rows_len || reads_only)
		return;
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		if (rows_def[m].kind == GAUGE)
			atomic_store_explicit(&rows[row].value[m], 0, memory_order_relaxed);
}

void metrics_row(unsigned row)
{
	if (row >= rows_len || reads_only)
		return;
	mine = &rows[row];
	my_times = &times[row];
	my_row = row;
	uint32_t used = memory ? memory->used : UINT32_MAX;
	while (row >= used && row < METRICS_ROWS - 1 && !atomic_compare_exchange_weak(&memory->used, &used, row + 1))
		; /* another process has taken one meanwhile */
	metrics_clear_gauges(row);
}

unsigned metrics_my_row(void)
{
	return my_row;
}

void metrics_add(enum metric m, int64_t n)
{
	/* One writer per row: a plain load and store, no locked instruction. */
	int64_t v = atomic_load_explicit(&mine->value[m], memory_order_relaxed);
	atomic_store_explicit(&mine->value[m], v + n, memory_order_relaxed);
}

int64_t metrics_sum_rows(enum metric m, unsigned n)
{
	int64_t sum = 0;
	for (unsigned i = 0; i < n && i < rows_len; i++)
		sum += atomic_load_explicit(&rows[i].value[m], memory_order_relaxed);
	return sum;
}

/* Rows nobody has used are not looked at: that would cost a page each. */
static unsigned used(void)
{
	uint32_t n = memory ? memory->used : rows_len;
	return n < rows_len ? n : rows_len;
}

int64_t metrics_sum(enum metric m)
{
	return metrics_sum_rows(m, used()) + (memory ? metrics_row_value(m, METRICS_ROWS - 1) : 0);
}

int64_t metrics_row_value(enum metric m, unsigned row)
{
	return row < rows_len ? atomic_load_explicit(&rows[row].value[m], memory_order_relaxed) : 0;
}

const char *metrics_name(enum metric m)
{
	return rows_def[m].name;
}

const char *metrics_sentence(enum metric m)
{
	return rows_def[m].sentence;
}

bool metrics_is_gauge(enum metric m)
{
	return rows_def[m].kind == GAUGE;
}

/* ---- histograms ---- */

#define FIRST INT64_C(100000)                  /* where the first decade begins; below it buckets are all of one width */
#define FINEST (FIRST / FIRST_BUCKETS)
#define FIRST_BUCKETS 40
#define LAST (FIRST * 1000000)                 /* where the last decade begins, of which only a part is there */

/* A decade: from 1 to 2, to 5, to 10 times its beginning. */
static const struct {
	int from, parts; /* a bucket is one of so many parts of the decade's beginning */
	unsigned first;
} thirds[] = { { 1, 40, 0 }, { 2, 20, 40 }, { 5, 10, 100 } };
#define DECADE 150

unsigned metrics_bucket(int64_t ns)
{
	int64_t decade = FIRST;
	unsigned first = FIRST_BUCKETS;
	if (ns < FIRST)
		return ns < 0 ? 0 : (unsigned)(ns / FINEST);
	for (; decade < LAST && ns >= 10 * decade; decade *= 10)
		first += DECADE;
	if (ns >= 5 * LAST)
		return METRICS_BUCKETS - 1;
	unsigned t = ns >= 5 * decade ? 2 : ns >= 2 * decade ? 1 : 0;
	return first + thirds[t].first + (unsigned)((ns - thirds[t].from * decade) / (decade / thirds[t].parts));
}

int64_t metrics_bucket_from(unsigned bucket)
{
	int64_t decade = FIRST;
	if (bucket < FIRST_BUCKETS)
		return bucket * FINEST;
	bucket = (bucket < METRICS_BUCKETS ? bucket : METRICS_BUCKETS) - FIRST_BUCKETS;
	for (; bucket >= DECADE; bucket -= DECADE)
		decade *= 10;
	unsigned t = bucket >= thirds[2].first ? 2 : bucket >= thirds[1].first ? 1 : 0;
	return thirds[t].from * decade + (int64_t)(bucket - thirds[t].first) * (decade / thirds[t].parts);
}

void metrics_observe(enum histogram h, int64_t ns)
{
	unsigned b = metrics_bucket(ns);
	uint64_t count = atomic_load_explicit(&my_times->of[h].count, memory_order_relaxed), n = atomic_load_explicit(&my_times->of[h].buckets[b], memory_order_relaxed);
	int64_t sum = atomic_load_explicit(&my_times->of[h].sum, memory_order_relaxed);
	atomic_store_explicit(&my_times->of[h].sum, sum + (ns < 0 ? 0 : ns), memory_order_relaxed);
	atomic_store_explicit(&my_times->of[h].buckets[b], n + 1, memory_order_relaxed);
	atomic_store_explicit(&my_times->of[h].count, count + 1, memory_order_relaxed);
}

void metrics_times_add(enum histogram h, const struct metrics_times *more)
{
	atomic_fetch_add_explicit(&my_times->of[h].sum, more->sum, memory_order_relaxed);
	for (unsigned b = 0; b < METRICS_BUCKETS; b++)
		if (more->buckets[b] > 0) /* the others need no pages */
			atomic_fetch_add_explicit(&my_times->of[h].buckets[b], more->buckets[b], memory_order_relaxed);
	atomic_fetch_add_explicit(&my_times->of[h].count, more->count, memory_order_relaxed);
}

static void add_row(enum histogram h, const struct histogram_line *row, struct metrics_times *out)
{
	if (atomic_load_explicit(&row->of[h].count, memory_order_relaxed) == 0)
		return; /* its buckets need no pages */
	out->sum += atomic_load_explicit(&row->of[h].sum, memory_order_relaxed);
	for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
		uint64_t n = atomic_load_explicit(&row->of[h].buckets[b], memory_order_relaxed);
		out->buckets[b] += n;
		out->count += n;
	}
}

void metrics_times(enum histogram h, struct metrics_times *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < used(); i++)
		add_row(h, &times[i], out);
	if (memory)
		add_row(h, &times[METRICS_ROWS - 1], out);
}

const char *metrics_times_name(enum histogram h)
{
	return times_def[h].name;
}

const char *metrics_times_sentence(enum histogram h)
{
	return times_def[h].sentence;
}
