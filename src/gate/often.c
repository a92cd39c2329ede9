/* The tour, gate: those turned away by a ban, told a few at a time. Sets of a few places each, found by a keyed hash, as in rates.c: what a client costs does not depend on how many there are. */
#include "gate/banned.h"

#include <errno.h>
#include <stdlib.h>

#include "gate/front.h"
#include "gate/turned.h"

#define WAYS 8 /* places that a client may have */
#define SETS (BANNED_CLIENTS / WAYS)
#define LOOK LOOP_SECOND /* how often it is looked who waits */

_Static_assert((SETS & (SETS - 1)) == 0, "a set is chosen by bits of a hash");

struct banned_client {
	struct addr client;  /* of what counts as one client the last one */
	uint32_t ends;       /* of the ban; 0: the place is free */
	uint32_t waiting;    /* connections that have no entry yet */
	int64_t told;        /* the last entry */
};

static bool may_tell(struct banned *b, int64_t now)
{
	if (now >= b->second + LOOP_SECOND) {
		b->second = now;
		b->told = 0;
	}
	return b->told < BANNED_TOLD;
}

static void tell(struct banned *b, struct banned_client *c, int64_t now)
{
	turned_banned(&c->client, c->waiting - 1, (int64_t)c->ends - now / LOOP_SECOND);
	c->waiting = 0;
	c->told = now;
	b->told++;
}

/* Whether a's place is given up rather than b's: a free one, then who has been told whole, the longest ago first, then who waits with the fewest. */
static bool is_worth_less(const struct banned_client *a, const struct banned_client *b)
{
	if ((a->ends == 0) != (b->ends == 0))
		return a->ends == 0;
	return a->waiting != b->waiting ? a->waiting < b->waiting : a->told < b->told;
}

/* The client's place, or one that it has from now on; NULL: there is none for it. */
static struct banned_client *place(struct banned *b, const struct addr *client, int64_t now)
{
	uint64_t key = addr_client_key(client);
	struct banned_client *set = &b->clients[(siphash_u64(&b->key, key) & (SETS - 1)) * WAYS], *least = set;
	for (struct banned_client *c = set; c < set + WAYS; c++) {
		if (c->ends != 0 && addr_client_key(&c->client) == key)
			return c;
		if (is_worth_less(c, least))
			least = c;
	}
	if (least->waiting > 0 && !may_tell(b, now)) /* the newcomer's one is less than what would be lost */
		return NULL;
	if (least->waiting > 0)
		tell(b, least, now);
	*least = (struct banned_client){ .told = now - BANNED_EVERY };
	return least;
}

void banned_came(struct front *front, const struct addr *client, uint32_t ends)
{
	struct banned *b = &front->bans.banned;
	int64_t now = loop_now(&front->loop);
	struct banned_client *c = b->clients ? place(b, client, now) : NULL;
	if (!c)
		return;
	c->client = *client;
	c->ends = ends;
	if (c->waiting < UINT32_MAX)
		c->waiting++;
	if (now >= c->told + BANNED_EVERY && may_tell(b, now))
		tell(b, c, now);
	else if (b->source.place == 0)
		loop_set_due(&front->loop, &b->source, now + LOOK);
}

/* Those who have not come again. */
static void look(struct loop *loop, struct source *source)
{
	struct banned *b = (struct banned *)source;
	int64_t now = loop_now(loop);
	bool more = false;
	for (struct banned_client *c = b->clients; c < b->clients + BANNED_CLIENTS; c++) {
		if (c->waiting > 0 && now >= c->told + BANNED_EVERY && may_tell(b, now))
			tell(b, c, now);
		more = more || c->waiting > 0;
	}
	if (more)
		loop_set_due(loop, source, now + LOOK);
}

static const struct source_ops ops = { NULL, look };

int banned_init(struct front *front)
{
	struct banned *b = &front->bans.banned;
	source_init(&b->source, &ops);
	int e = siphash_key_init(&b->key);
	if (e == 0)
		b->clients = calloc(BANNED_CLIENTS, sizeof(*b->clients));
	return e < 0 ? e : b->clients ? 0 : -ENOMEM;
}

void banned_fini(struct front *front)
{
	struct banned *b = &front->bans.banned;
	int64_t now = loop_now(&front->loop);
	if (!b->clients)
		return;
	loop_set_due(&front->loop, &b->source, LOOP_NEVER);
	for (unsigned i = 0; i < BANNED_CLIENTS; i++) /* half a ring at most, and once */
		if (b->clients[i].waiting > 0)
			tell(b, &b->clients[i], now);
	free(b->clients);
	b->clients = NULL;
}
