/* known_key.h: what a remembered client is remembered by: its address, cut to a network, and the domain of its name, so that a pool passes as one.
 *
 * A key is a few bytes with a kind in front, the same in the file of the keeper, in its messages and as text: "192.0.2.1", "192.0.2.0/24", "2001:db8:1:2::/64", "example.com".
 * Who is banned is a network of any length (KNOWN_NET6 for IPv6), never a name.
 * Pure: no memory, nothing here blocks or logs.
 */
#ifndef TARRY_KNOWN_KNOWN_KEY_H
#define TARRY_KNOWN_KNOWN_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

#define KNOWN_DOMAIN 254 /* bytes of a domain, its NUL included */
#define KNOWN_KEY_MAX (KNOWN_DOMAIN) /* its kind, and the domain without its NUL */
#define KNOWN_IPV6_BITS 64 /* a client is its /64 */

enum known_kind { KNOWN_IPV4 = '4', KNOWN_IPV6 = '6', KNOWN_NET6 = 'n', KNOWN_NAME = 'd' };

struct known_key {
	uint8_t len;
	uint8_t at[KNOWN_KEY_MAX]; /* kind; IPv4: bits, four bytes; IPv6: eight bytes; its networks: bits, eight bytes; else the domain in lower case */
};

/* bits: of an IPv4 address, 1 to 32. */
void known_key_address(struct known_key *out, const struct addr *client, unsigned bits);
/* False: it is no domain that a client could have. */
bool known_key_domain(struct known_key *out, struct slice domain);
/* As known_key_put() writes it; an address alone is its /32 or /64, whatever bits an IPv6 one has below. False: it is none. */
bool known_key_parse(struct slice text, struct known_key *out);
bool known_key_put(struct buf *out, const struct known_key *key);
/* A network: bits of the address, 1 to 32 or 64. */
void known_key_network(struct known_key *out, const struct addr *client, unsigned bits);
/* An address or a network of 8 to 32 bits, or of 16 to 64; an IPv6 address alone is its /64. False: it is none, or too large to be meant. */
bool known_key_parse_network(struct slice text, struct known_key *out);
/* The network that a key of either of them is, with its bits. False: it is a name. */
bool known_key_prefix(const struct known_key *key, struct prefix *out);
/* Bytes that came from elsewhere: whether they are what known_key_parse() makes, */
bool known_key_ok(const uint8_t *at, size_t len);
/* or known_key_parse_network(). */
bool known_key_ok_network(const uint8_t *at, size_t len);

/* The domain that a client with this confirmed name is remembered by, in lower case, into out; "" and false where it has none: a name says nothing about others
 * - whose parent domain has less than two labels, or is one that a country's registry gives out below (co.uk);
 * - that carries the client's address, or says that addresses are given out to anybody (dyn, dsl, pool): the next host of that domain is somebody else. */
bool known_domain(struct slice name, const struct addr *client, char out[KNOWN_DOMAIN]);

#endif
