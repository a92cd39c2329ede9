/* clients.h: how many connections each client has open at this front.
 *
 * A client is an IPv4 address or an IPv6 /64 (addr_client_key()). As a client always meets the same front, this table is the whole truth and needs no
 * locks. Its memory is reserved at start for all connections there can be; it never grows and never fails afterwards.
 */
#ifndef TARRY_GATE_CLIENTS_H
#define TARRY_GATE_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/siphash.h"

struct clients_slot {
	uint64_t client;
	uint32_t count; /* 0: the slot is empty */
};

struct clients {
	struct clients_slot *slots;
	uint32_t mask; /* slots - 1, a power of two minus one */
	struct siphash_key key;
};

/* 0 or -errno. */
int clients_init(struct clients *clients, size_t max_connections);
void clients_fini(struct clients *clients);
/* One more connection of this client; returns how many it has now. At most max_connections in all. */
uint32_t clients_add(struct clients *clients, uint64_t client);
/* One less. Every clients_add() needs one. */
void clients_drop(struct clients *clients, uint64_t client);
uint32_t clients_count(const struct clients *clients, uint64_t client);

#endif
