/* The tour, core: which servers that the door depends on answer, as far as anybody has tried: the fronts write, `tarry status` and tarry-desk read. */
#include "core/health.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/shared.h"

#define READS 8 /* of a row that is being written meanwhile */
#define MOST 4096 /* things and fronts at most that a memory of somebody else's may say it has */

struct row {
	_Atomic uint32_t writes; /* odd: it is being written */
	_Atomic uint32_t state;
	_Atomic int64_t since, seen;
	_Atomic uint64_t good, bad;
	char error[HEALTH_ERROR];
} __attribute__((aligned(64))); /* no two processes write to the same cache line */

struct memory {
	uint32_t fronts, backends, maps, row_size;
	struct about {
		char name[HEALTH_NAME], at[HEALTH_AT];
	} about[];
};

static struct memory *memory; /* NULL: there is none */
static struct row *rows;      /* behind what the things are */
static unsigned rows_fronts, rows_backends, rows_maps;
static bool reads_only;
static struct shared shared = { .fd = -1, .readonly = -1 };

static unsigned things(void)
{
	return rows_backends + rows_maps;
}

/* Where the rows begin: at a cache line's beginning. */
static size_t rows_at(unsigned all)
{
	return (sizeof(struct memory) + all * sizeof(struct about) + 63) / 64 * 64;
}

static size_t memory_len(unsigned fronts, unsigned all)
{
	return rows_at(all) + (size_t)fronts * all * sizeof(struct row);
}

static void use(unsigned fronts, unsigned backends, unsigned maps)
{
	memory = shared.at;
	rows = (struct row *)(void *)((char *)shared.at + rows_at(backends + maps));
	rows_fronts = fronts;
	rows_backends = backends;
	rows_maps = maps;
}

int health_init(unsigned fronts, unsigned backends, unsigned maps)
{
	shared_detach(&shared);
	int e = shared_create(&shared, "tarry-health", memory_len(fronts, backends + maps));
	if (e < 0)
		return e;
	use(fronts, backends, maps);
	*memory = (struct memory){ fronts, backends, maps, sizeof(struct row) };
	return 0;
}

void health_name(unsigned thing, const char *name, const char *at)
{
	if (!memory || reads_only || thing >= things())
		return;
	snprintf(memory->about[thing].name, HEALTH_NAME, "%s", name);
	snprintf(memory->about[thing].at, HEALTH_AT, "%s", at);
}

int health_fd_readonly(void)
{
	return shared.readonly;
}

/* How long it is says its beginning, which is looked at before the rest is believed. */
int health_attach(int fd)
{
	struct stat st;
	struct shared other;
	bool long_enough = fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(struct memory);
	int e = shared_attach(&other, fd, long_enough ? (size_t)st.st_size : SIZE_MAX);
	if (e < 0)
		return e;
	/* A copy: whoever writes there may change it behind our look. */
	struct memory m;
	memcpy(&m, other.at, sizeof(m));
	bool good = m.row_size == sizeof(struct row) && m.fronts <= MOST && m.backends <= MOST && m.maps <= MOST && other.len == memory_len(m.fronts, m.backends + m.maps);
	if (!good) {
		shared_detach(&other);
		return -EPROTO;
	}
	shared_detach(&shared); /* of a door that is gone */
	shared = other;
	reads_only = true;
	use(m.fronts, m.backends, m.maps);
	return 0;
}

unsigned health_backends(void)
{
	return rows_backends;
}

unsigned health_maps(void)
{
	return rows_maps;
}

unsigned health_map(unsigned map)
{
	return rows_backends + map;
}

void health_names(unsigned thing, char name[HEALTH_NAME], char at[HEALTH_AT])
{
	bool there = memory && thing < things();
	snprintf(name, HEALTH_NAME, "%.*s", HEALTH_NAME - 1, there ? memory->about[thing].name : "");
	snprintf(at, HEALTH_AT, "%.*s", HEALTH_AT - 1, there ? memory->about[thing].at : "");
}

const char *health_state_name(enum health_state state)
{
	static const char *const names[] = { [HEALTH_UNKNOWN] = "unknown", [HEALTH_UP] = "up", [HEALTH_DOWN] = "down" };
	return names[state];
}

static struct row *row_of(unsigned front, unsigned thing)
{
	return memory && front < rows_fronts && thing < things() ? &rows[(size_t)front * things() + thing] : NULL;
}

/* Each row has one writer. */
static void count(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* When a front last saw it in another state. */
static int64_t seen_otherwise(unsigned thing, enum health_state state)
{
	int64_t last = 0;
	for (unsigned f = 0; f < rows_fronts; f++) {
		const struct row *row = row_of(f, thing);
		if (row->state != HEALTH_UNKNOWN && row->state != state && row->seen > last)
			last = row->seen;
	}
	return last;
}

/* Also where this front was not there when it changed, twice, it has been so from now on: it would be from a later time on with each client else. */
static void set(struct row *row, unsigned thing, enum health_state state, const char *error)
{
	int64_t now = time(NULL);
	bool changed = row->state != state || seen_otherwise(thing, state) >= row->seen;
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

void health_up(unsigned front, unsigned thing)
{
	struct row *row = reads_only ? NULL : row_of(front, thing);
	if (!row)
		return;
	count(&row->good);
	if (row->state != HEALTH_UP || row->seen != time(NULL)) /* of most clients in a second there is nothing to say */
		set(row, thing, HEALTH_UP, "");
}

void health_down(unsigned front, unsigned thing, const char *error)
{
	struct row *row = reads_only ? NULL : row_of(front, thing);
	if (!row)
		return;
	count(&row->bad);
	set(row, thing, HEALTH_DOWN, error);
}

/* A front that dies while it writes leaves a row that never gets ready: it is taken as it is, and its text ends anyhow. */
static struct health read_row(struct row *row)
{
	struct health h;
	for (int i = 0; i < READS; i++) {
		uint32_t before = row->writes;
		uint32_t state = row->state;
		h = (struct health){ .state = state <= HEALTH_DOWN ? (enum health_state)state : HEALTH_UNKNOWN, .since = row->since, .seen = row->seen, .good = row->good, .bad = row->bad };
		memcpy(h.error, row->error, sizeof(h.error));
		if (before % 2 == 0 && row->writes == before)
			break;
	}
	h.error[sizeof(h.error) - 1] = '\0';
	return h;
}

/* As the one says that has tried last. It has been so since the first of those who agree saw it, unless somebody saw it otherwise in between. */
struct health health_of(unsigned thing)
{
	struct health newest = { .state = HEALTH_UNKNOWN };
	uint64_t good = 0, bad = 0;
	for (unsigned f = 0; f < rows_fronts && thing < things(); f++) {
		struct health h = read_row(row_of(f, thing));
		good += h.good;
		bad += h.bad;
		if (h.state != HEALTH_UNKNOWN && (newest.state == HEALTH_UNKNOWN || h.seen >= newest.seen))
			newest = h;
	}
	int64_t otherwise = thing < things() ? seen_otherwise(thing, newest.state) : 0;
	for (unsigned f = 0; f < rows_fronts && thing < things(); f++) {
		struct health h = read_row(row_of(f, thing));
		if (h.state == newest.state && h.since < newest.since && h.since >= otherwise)
			newest.since = h.since;
	}
	newest.good = good;
	newest.bad = bad;
	return newest;
}
