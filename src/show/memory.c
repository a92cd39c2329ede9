/* The tour, show: what it remembers. */
#include "show/memory.h"

#include <string.h>
#include <unistd.h>

#include "core/deskwire.h"
#include "core/shared.h"

#define LAYOUT (UINT64_C(0x7461727279646b00) ^ sizeof(struct memory) ^ (uint64_t)SERIES_COUNT << 32)
#define LOOK_MOST 8192 /* entries in one look: the rest in the next */

static struct memory own;

_Static_assert(sizeof(struct memory) <= DESKWIRE_MEMORY, "the parent keeps enough");

/* Whoever had it before may have ended at any moment. */
static void tidy(struct memory *m)
{
	series_tidy(&m->series);
	networks_tidy(&m->networks);
	m->reader.row %= METRICS_ROWS;
	for (unsigned i = 0; i < MEMORY_LATEST; i++)
		recent_tidy(&m->latest[i]);
	for (unsigned i = 0; i < MEMORY_OFTEN; i++)
		recent_tidy(&m->often[i].last);
}

struct memory *memory_open(int fd)
{
	struct shared shared;
	struct memory *m = &own;
	if (fd >= 0 && shared_adopt(&shared, fd, DESKWIRE_MEMORY) == 0) {
		m = shared.at;
		close(shared.fd); /* it is mapped, and nobody is to have it from here */
		if (shared.readonly >= 0)
			close(shared.readonly);
	}
	if (m->layout == LAYOUT) {
		tidy(m);
		return m;
	}
	memory_init(m);
	return m;
}

void memory_init(struct memory *m)
{
	memset(m, 0, sizeof(*m));
	m->layout = LAYOUT;
}

bool memory_copy(struct memory *m, int fd)
{
	struct shared shared;
	if (shared_attach(&shared, fd, DESKWIRE_MEMORY) < 0)
		return false;
	bool known = ((const struct memory *)shared.at)->layout == LAYOUT;
	if (known) {
		memcpy(m, shared.at, sizeof(*m));
		m->layout = LAYOUT;
		tidy(m);
	}
	shared_detach(&shared);
	return known;
}

static bool is_of(const struct memory_often *o, const struct recent *r)
{
	return o->number > 0 && addr_client_key(&o->last.client) == addr_client_key(&r->client) && strcmp(o->last.verdict, r->verdict) == 0 && o->last.observed == r->observed;
}

/* Where it is already, or in place of the one that has not come for the longest time. What was said of it once and not again is true still. */
static void remember_often(struct memory *m, const struct recent *r)
{
	struct memory_often *to = m->often;
	for (struct memory_often *o = m->often; o < m->often + MEMORY_OFTEN && !is_of(to, r); o++)
		if (is_of(o, r) || o->number < to->number)
			to = o;
	if (!is_of(to, r))
		*to = (struct memory_often){ .since_ms = r->at_ms };
	char name[RECENT_NAME];
	memcpy(name, r->name[0] ? r->name : to->last.name, sizeof(name));
	to->last = *r;
	memcpy(to->last.name, name, sizeof(name));
	to->count += UINT64_C(1) + r->more;
	to->number = ++m->often_seen;
}

static void remember(struct memory *m, const struct recent *r)
{
	if (r->often) {
		remember_often(m, r);
		return;
	}
	m->latest[m->turned % MEMORY_LATEST] = *r;
	m->turned++;
}

void memory_look(struct memory *m, int64_t now)
{
	struct recent r;
	for (unsigned i = 0; i < LOOK_MOST && recent_next(&m->reader, &r); i++) {
		remember(m, &r);
		if (!r.observed)
			networks_add(&m->networks, &r.client, UINT64_C(1) + r.more, now);
	}
	series_look(&m->series, now);
}

uint64_t memory_oldest(const struct memory *m)
{
	return m->turned > MEMORY_LATEST ? m->turned - MEMORY_LATEST : 0;
}

const struct recent *memory_turned(const struct memory *m, uint64_t n)
{
	return n < m->turned && n >= memory_oldest(m) ? &m->latest[n % MEMORY_LATEST] : NULL;
}

const struct memory_often *memory_often(const struct memory *m, unsigned place, uint64_t n)
{
	return m->often[place].number > n ? &m->often[place] : NULL;
}
