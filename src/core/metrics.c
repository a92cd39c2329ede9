/* The tour, core: what the door has done, as numbers. A row per process, a column per line of metrics.def. */
#include "core/metrics.h"

#include <errno.h>
#include <stddef.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum kind { COUNTER, GAUGE };

static const struct {
	const char *name;
	enum kind kind;
	const char *sentence;
} rows_def[METRIC_COUNT] = {
#define METRIC(name, kind, sentence) { #name, kind, sentence },
#include "metrics.def"
#undef METRIC
};

struct metrics_line {
	_Atomic int64_t value[METRIC_COUNT];
} __attribute__((aligned(64))); /* no two processes write to the same cache line */

static struct metrics_line private_row;
static struct metrics_line *rows = &private_row;
static struct metrics_line *mine = &private_row;
static unsigned rows_len = 1;

int metrics_init(void)
{
	void *at = mmap(NULL, METRICS_ROWS * sizeof(*rows), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	rows = at;
	mine = rows;
	rows_len = METRICS_ROWS;
	return 0;
}

void metrics_clear_gauges(unsigned row)
{
	if (row >= rows_len)
		return;
	for (unsigned m = 0; m < METRIC_COUNT; m++)
		if (rows_def[m].kind == GAUGE)
			atomic_store_explicit(&rows[row].value[m], 0, memory_order_relaxed);
}

void metrics_row(unsigned row)
{
	if (row >= rows_len)
		return;
	mine = &rows[row];
	metrics_clear_gauges(row);
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

int64_t metrics_sum(enum metric m)
{
	return metrics_sum_rows(m, rows_len);
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
