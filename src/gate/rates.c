/* The tour, gate: the table behind ClientRate:. Sets of a few places each, found by a keyed hash: a client is in its set or nowhere, so neither a look-up nor
 * a newcomer ever costs more than the set, and who knows the addresses of others cannot choose to meet them. */
#include "gate/rates.h"

#include <errno.h>
#include <stdlib.h>

int rates_init(struct rates *rates, size_t clients, int64_t window)
{
	size_t sets = 1;
	while (sets * RATES_WAYS < clients)
		sets *= 2;
	*rates = (struct rates){ .mask = (uint32_t)(sets - 1), .slot_ns = window / RATES_SLOTS > 0 ? window / RATES_SLOTS : 1 };
	int e = siphash_key_init(&rates->key);
	if (e < 0)
		return e;
	rates->entries = calloc(sets * RATES_WAYS, sizeof(*rates->entries)); /* pages that nobody's place is on are never touched */
	return rates->entries ? 0 : -ENOMEM;
}

void rates_fini(struct rates *rates)
{
	free(rates->entries);
	rates->entries = NULL;
}

/* Moves the counts on to the slot that is now; what is older than the window falls out. */
static void age(struct rates_entry *e, uint32_t slot)
{
	uint32_t steps = slot - e->slot;
	for (unsigned i = RATES_SLOTS; i-- > 0;)
		e->counts[i] = steps <= i ? e->counts[i - steps] : 0;
	e->slot = slot;
}

static uint32_t total(const struct rates_entry *e)
{
	uint32_t sum = 0;
	for (unsigned i = 0; i < RATES_SLOTS; i++)
		sum += e->counts[i];
	return sum;
}

static struct rates_entry *set_of(const struct rates *rates, uint64_t client)
{
	return &rates->entries[(size_t)((uint32_t)siphash_u64(&rates->key, client) & rates->mask) * RATES_WAYS];
}

/* The client's entry, or the one of its set that is worth least, emptied for it. Of those that came equally often it is the last one: strangers replace each other. */
static struct rates_entry *find(struct rates *rates, uint64_t client, uint32_t slot)
{
	struct rates_entry *set = set_of(rates, client), *least = NULL;
	uint32_t fewest = UINT32_MAX;
	for (unsigned i = 0; i < RATES_WAYS; i++) {
		struct rates_entry *e = &set[i];
		if (e->slot != 0)
			age(e, slot);
		if (e->slot != 0 && e->client == client)
			return e;
		uint32_t sum = total(e);
		if (sum < fewest || (sum == fewest && sum > 0)) {
			fewest = sum;
			least = e;
		}
	}
	*least = (struct rates_entry){ .client = client, .slot = slot };
	return least;
}

uint32_t rates_add(struct rates *rates, uint64_t client, int64_t now)
{
	struct rates_entry *e = find(rates, client, (uint32_t)(now / rates->slot_ns) + 1);
	if (e->counts[0] < UINT16_MAX)
		e->counts[0]++;
	return total(e);
}

uint32_t rates_made(const struct rates *rates, uint64_t client, int64_t now)
{
	const struct rates_entry *set = set_of(rates, client);
	for (unsigned i = 0; i < RATES_WAYS; i++) {
		struct rates_entry e = set[i];
		if (e.slot == 0 || e.client != client)
			continue;
		age(&e, (uint32_t)(now / rates->slot_ns) + 1);
		return total(&e);
	}
	return 0;
}

void rates_forget(struct rates *rates, uint64_t client)
{
	struct rates_entry *set = set_of(rates, client);
	for (unsigned i = 0; i < RATES_WAYS; i++)
		if (set[i].slot != 0 && set[i].client == client)
			set[i] = (struct rates_entry){ .slot = 0 };
}
