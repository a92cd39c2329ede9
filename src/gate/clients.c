/* The tour, gate: the table behind max_per_client. Open addressing with linear probing; a slot that empties is closed up by moving
 * its followers back, so there are no tombstones and a flood of passing clients leaves nothing behind. */
#include "gate/clients.h"

#include <errno.h>
#include <stdlib.h>

int clients_init(struct clients *clients, size_t max_connections)
{
	size_t slots = 16;
	/* At most three quarters full. A larger table would be spread over more memory than it has use for. */
	while (slots < max_connections + max_connections / 3)
		slots *= 2;
	*clients = (struct clients){ .mask = (uint32_t)(slots - 1) };
	int e = siphash_key_init(&clients->key);
	if (e < 0)
		return e;
	clients->slots = calloc(slots, sizeof(*clients->slots));
	return clients->slots ? 0 : -ENOMEM;
}

void clients_fini(struct clients *clients)
{
	free(clients->slots);
	clients->slots = NULL;
}

static uint32_t home_of(const struct clients *clients, uint64_t client)
{
	return (uint32_t)siphash_u64(&clients->key, client) & clients->mask;
}

/* The client's slot, or the empty one where it would stand. */
static struct clients_slot *find(const struct clients *clients, uint64_t client)
{
	uint32_t i = home_of(clients, client);
	while (clients->slots[i].count > 0 && clients->slots[i].client != client)
		i = (i + 1) & clients->mask;
	return &clients->slots[i];
}

uint32_t clients_add(struct clients *clients, uint64_t client)
{
	struct clients_slot *slot = find(clients, client);
	slot->client = client;
	return ++slot->count;
}

/* Moves back each follower that would no longer be found across the empty slot `hole`. */
static void close_up(struct clients *clients, uint32_t hole)
{
	for (uint32_t i = (hole + 1) & clients->mask; clients->slots[i].count > 0; i = (i + 1) & clients->mask) {
		uint32_t home = home_of(clients, clients->slots[i].client);
		if (((i - home) & clients->mask) >= ((i - hole) & clients->mask)) {
			clients->slots[hole] = clients->slots[i];
			clients->slots[i].count = 0;
			hole = i;
		}
	}
}

void clients_drop(struct clients *clients, uint64_t client)
{
	struct clients_slot *slot = find(clients, client);
	if (slot->count > 0 && --slot->count == 0)
		close_up(clients, (uint32_t)(slot - clients->slots));
}

uint32_t clients_count(const struct clients *clients, uint64_t client)
{
	return find(clients, client)->count;
}
