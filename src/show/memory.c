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
	for (unsigned i = 0; i < MEMORY_BANNED; i++)
		recent_tidy(&m->banned[i].last);
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

static bool is_of(const struct memory_banned *b, const struct addr *client)
{
	return b->number > 0 && addr_client_key(&b->last.client) == addr_client_key(client);
}

/* Where it is already, or in place of the one that has not come for the longest time. */
static void remember_banned(struct memory *m, const struct recent *r)
{
	struct memory_banned *to = m->banned;
	for (struct memory_banned *b = m->banned; b < m->banned + MEMORY_BANNED && !is_of(to, &r->client); b++)
		if (is_of(b, &r->client) || b->number < to->number)
			to = b;
	if (!is_of(to, &r->client))
		*to = (struct memory_banned){ .since_ms = r->at_ms };
	to->last = *r;
	to->count += UINT64_C(1) + r->more;
	to->number = ++m->bans;
}

static void remember(struct memory *m, const struct recent *r)
{
	if (r->until > 0) {
		remember_banned(m, r);
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

const struct memory_banned *memory_banned(const struct memory *m, unsigned place, uint64_t n)
{
	return m->banned[place].number > n ? &m->banned[place] : NULL;
}
