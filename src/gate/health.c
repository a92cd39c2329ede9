/* The tour, gate: which backends answer, as far as anybody has tried: the fronts write, `tarry status` reads. */
#include "gate/health.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define READS 8 /* of a row that is being written meanwhile */

struct row {
	_Atomic uint32_t writes; /* odd: it is being written */
	_Atomic uint32_t state;
	_Atomic int64_t since, seen;
	char error[HEALTH_ERROR];
} __attribute__((aligned(64))); /* no two processes write to the same cache line */

static struct row *rows;
static unsigned rows_fronts, rows_backends;

int health_init(unsigned fronts, unsigned backends)
{
	void *at = mmap(NULL, (size_t)fronts * backends * sizeof(*rows), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	rows = at;
	rows_fronts = fronts;
	rows_backends = backends;
	return 0;
}

static struct row *row_of(unsigned front, unsigned backend)
{
	return rows && front < rows_fronts && backend < rows_backends ? &rows[(size_t)front * rows_backends + backend] : NULL;
}

static void set(struct row *row, enum health_state state, const char *error)
{
	int64_t now = time(NULL);
	bool changed = row->state != state;
	atomic_fetch_add(&row->writes, 1);
	if (changed) {
		row->since = now;
		row->state = state;
	}
	row->seen = now;
	if (state == HEALTH_DOWN)
		snprintf(row->error, sizeof(row->error), "%s", error);
	atomic_fetch_add(&row->writes, 1);
}

void health_up(unsigned front, unsigned backend)
{
	struct row *row = row_of(front, backend);
	if (row && row->state == HEALTH_UP)
		atomic_store_explicit(&row->seen, time(NULL), memory_order_relaxed); /* of most clients there is nothing else to say */
	else if (row)
		set(row, HEALTH_UP, "");
}

void health_down(unsigned front, unsigned backend, const char *error)
{
	struct row *row = row_of(front, backend);
	if (row)
		set(row, HEALTH_DOWN, error);
}

/* A front that dies while it writes leaves a row that never gets ready: it is taken as it is, and its text ends anyhow. */
static struct health read_row(struct row *row)
{
	struct health h;
	for (int i = 0; i < READS; i++) {
		uint32_t before = row->writes;
		h = (struct health){ .state = (enum health_state)row->state, .since = row->since, .seen = row->seen };
		memcpy(h.error, row->error, sizeof(h.error));
		if (before % 2 == 0 && row->writes == before)
			break;
	}
	h.error[sizeof(h.error) - 1] = '\0';
	return h;
}

/* As the one says that has tried last. It has been so since the first of those who agree saw it, unless somebody saw it otherwise in between. */
struct health health_of(unsigned backend)
{
	struct health newest = { .state = HEALTH_UNKNOWN };
	int64_t otherwise = 0;
	for (unsigned f = 0; f < rows_fronts && backend < rows_backends; f++) {
		struct health h = read_row(row_of(f, backend));
		if (h.state != HEALTH_UNKNOWN && (newest.state == HEALTH_UNKNOWN || h.seen >= newest.seen))
			newest = h;
	}
	for (unsigned f = 0; f < rows_fronts && backend < rows_backends; f++) {
		struct health h = read_row(row_of(f, backend));
		if (h.state != HEALTH_UNKNOWN && h.state != newest.state && h.seen > otherwise)
			otherwise = h.seen;
	}
	if (newest.since < otherwise) /* that front was not there when it changed, twice */
		newest.since = newest.seen;
	for (unsigned f = 0; f < rows_fronts && backend < rows_backends; f++) {
		struct health h = read_row(row_of(f, backend));
		if (h.state == newest.state && h.since < newest.since && h.since >= otherwise)
			newest.since = h.since;
	}
	return newest;
}
