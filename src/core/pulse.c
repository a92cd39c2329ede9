/* The tour, core: whether the others still turn. */
#include "core/pulse.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/shared.h"

struct pulse {
	_Atomic uint32_t fronts;
	_Atomic int64_t last[METRICS_ROWS];
};

static struct pulse alone;
static struct pulse *shared = &alone;
static int own = -1;

/* What another version has made may be of another size. */
int pulse_init(int fd)
{
	struct shared memory;
	int e = fd >= 0 ? shared_adopt(&memory, fd, sizeof(struct pulse)) : -ENOENT;
	if (e < 0)
		e = shared_create(&memory, "tarry-pulse", sizeof(struct pulse));
	if (e < 0)
		return e;
	shared = memory.at;
	own = memory.fd;
	if (memory.readonly >= 0)
		close(memory.readonly);
	return 0;
}

int pulse_fd(void)
{
	return own;
}

void pulse_beat(unsigned row, int64_t now)
{
	if (row < METRICS_ROWS)
		atomic_store_explicit(&shared->last[row], now, memory_order_relaxed);
}

int64_t pulse_last(unsigned row)
{
	return row < METRICS_ROWS ? atomic_load_explicit(&shared->last[row], memory_order_relaxed) : 0;
}

void pulse_set_fronts(unsigned rows)
{
	atomic_store_explicit(&shared->fronts, rows, memory_order_relaxed);
}

/* Any front may have written it, also one that somebody has broken into: no other one reads behind its memory by that. */
unsigned pulse_fronts(void)
{
	uint32_t rows = atomic_load_explicit(&shared->fronts, memory_order_relaxed);
	return rows < METRICS_ROWS ? rows : METRICS_ROWS;
}
