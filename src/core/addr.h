/* addr.h: addresses and prefixes of clients and listeners.
 *
 * One form for both families: 16 bytes, an IPv4 address as ::ffff:a.b.c.d. So a v4 client on a dual-stack
 * listener is the same client as on a v4 one. Plain values, no memory, no blocking
 * except addr_resolve().
 */
#ifndef TARRY_CORE_ADDR_H
#define TARRY_CORE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/buf.h"

struct addr {
	uint8_t ip[16];
	uint16_t port; /* host byte order; 0: none */
};

/* Bits count within the family: 0..32 for IPv4, 0..128 for IPv6. */
struct prefix {
	struct addr base;
	uint8_t bits;
};

#define ADDR_TEXT 64 /* room for any text that addr_format*() writes, its NUL included */

bool addr_is4(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
/* Not one of the Internet's: loopback, link-local, RFC 1918, a carrier's NAT (RFC 6598), unique local (RFC 4193). */
bool addr_is_private(const struct addr *a);
bool addr_same_ip(const struct addr *a, const struct addr *b);

/* False for families other than IPv4 and IPv6; *out is then all zero. */
bool addr_from_sockaddr(struct addr *out, const struct sockaddr *sa);
/* IPv4 addresses become AF_INET, others AF_INET6. Returns the length. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);

/* "192.0.2.1", "2001:db8::1" (RFC 5952); without the port. Returns out. */
const char *addr_format(const struct addr *a, char out[ADDR_TEXT]);
/* "192.0.2.1:25", "[2001:db8::1]:25". */
const char *addr_format_port(const struct addr *a, char out[ADDR_TEXT]);
/* As SMTP writes an address literal: "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
const char *addr_format_literal(const struct addr *a, char out[ADDR_TEXT]);

/* An address without port, either family, no brackets. Strict: no leading zeros in IPv4 octets. */
bool addr_parse(struct slice text, struct addr *out);
/* "ADDRESS:PORT", "[ADDRESS]:PORT" or "*:PORT" (both families: [::]). */
bool addr_parse_port(struct slice text, struct addr *out);
/* "10.0.0.0/8", "2001:db8::/32", or an address alone (all its bits). Host bits are cleared. */
bool addr_parse_prefix(struct slice text, struct prefix *out);

struct addr addr_mask(const struct addr *a, unsigned bits);
bool addr_in_prefix(const struct addr *a, const struct prefix *p);

/* What counts as one client: an IPv4 address, or an IPv6 /64, in 8 bytes. */
uint64_t addr_client_key(const struct addr *a);

/* "HOST:PORT" or "[ADDRESS]:PORT" through the system's resolver. May block; false with the reason in *why. */
bool addr_resolve(struct slice text, struct addr *out, struct buf *why);

#endif
