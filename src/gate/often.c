/* The tour, gate: those turned away over and over, told a few at a time. Sets of a few places each, found by a keyed hash, as in rates.c: what a client costs does not depend on how many there are. */
#include "gate/often.h"

#include <errno.h>
#include <stdlib.h>

#include "gate/front.h"
#include "gate/turned.h"

#define WAYS 8 /* places that a client may have */
#define SETS (OFTEN_CLIENTS / WAYS)
#define LOOK LOOP_SECOND /* how often it is looked who waits */

_Static_assert((SETS & (SETS - 1)) == 0, "a set is chosen by bits of a hash");

struct often_client {
	struct addr client;    /* of what counts as one client the last one */
	bool used;             /* else the place is free */
	uint32_t waiting;      /* connections that have no entry yet */
	struct often_case is;
	int64_t told;          /* the last entry */
};

static bool may_tell(struct often *o, int64_t now)
{
	if (now >= o->second + LOOP_SECOND) {
		o->second = now;
		o->told = 0;
	}
	return o->told < OFTEN_TOLD;
}

static void is_told(struct often *o, struct often_client *c, int64_t now)
{
	c->waiting = 0;
	c->told = now;
	o->told++;
}

/* Of one that does not come just now no more is known than that. */
static void tell(struct often *o, struct often_client *c, int64_t now)
{
	turned_often(&c->client, &c->is, c->waiting - 1, now);
	is_told(o, c, now);
}

/* Whether a's place is given up rather than b's: a free one, then who has been told whole, the longest ago first, then who waits with the fewest. */
static bool is_worth_less(const struct often_client *a, const struct often_client *b)
{
	if (a->used != b->used)
		return !a->used;
	return a->waiting != b->waiting ? a->waiting < b->waiting : a->told < b->told;
}

/* The client's place, or one that it has from now on; NULL: there is none for it. */
static struct often_client *place(struct often *o, const struct addr *client, enum often_what what, int64_t now)
{
	uint64_t key = addr_client_key(client);
	struct often_client *set = &o->clients[(siphash_u64(&o->key, key) & (SETS - 1)) * WAYS], *least = set;
	for (struct often_client *c = set; c < set + WAYS; c++) {
		if (c->used && c->is.what == what && addr_client_key(&c->client) == key)
			return c;
		if (is_worth_less(c, least))
			least = c;
	}
	if (least->waiting > 0 && !may_tell(o, now)) /* the newcomer's one is less than what would be lost */
		return NULL;
	if (least->waiting > 0)
		tell(o, least, now);
	*least = (struct often_client){ .used = true, .told = now - OFTEN_EVERY };
	return least;
}

bool often_tells(struct front *front, const struct addr *client, const struct often_case *is, uint32_t *more)
{
	struct often *o = &front->often;
	int64_t now = loop_now(&front->loop);
	struct often_client *c = o->clients ? place(o, client, is->what, now) : NULL;
	if (!c)
		return false;
	c->client = *client;
	c->is = *is;
	if (now >= c->told + OFTEN_EVERY && may_tell(o, now)) {
		*more = c->waiting;
		is_told(o, c, now);
		return true;
	}
	if (c->waiting < UINT32_MAX)
		c->waiting++;
	if (o->source.place == 0)
		loop_set_due(&front->loop, &o->source, now + LOOK);
	return false;
}

/* Those who have not come again. */
static void look(struct loop *loop, struct source *source)
{
	struct often *o = (struct often *)source;
	int64_t now = loop_now(loop);
	bool more = false;
	for (struct often_client *c = o->clients; c < o->clients + OFTEN_CLIENTS; c++) {
		if (c->waiting > 0 && now >= c->told + OFTEN_EVERY && may_tell(o, now))
			tell(o, c, now);
		more = more || c->waiting > 0;
	}
	if (more)
		loop_set_due(loop, source, now + LOOK);
}

static const struct source_ops ops = { NULL, look };

int often_init(struct front *front)
{
	struct often *o = &front->often;
	source_init(&o->source, &ops);
	int e = siphash_key_init(&o->key);
	if (e == 0)
		o->clients = calloc(OFTEN_CLIENTS, sizeof(*o->clients));
	return e < 0 ? e : o->clients ? 0 : -ENOMEM;
}

void often_fini(struct front *front)
{
	struct often *o = &front->often;
	int64_t now = loop_now(&front->loop);
	if (!o->clients)
		return;
	loop_set_due(&front->loop, &o->source, LOOP_NEVER);
	for (unsigned i = 0; i < OFTEN_CLIENTS; i++) /* half a ring at most, and once */
		if (o->clients[i].waiting > 0)
			tell(o, &o->clients[i], now);
	free(o->clients);
	o->clients = NULL;
}
