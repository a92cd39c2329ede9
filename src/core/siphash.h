/* siphash.h: a keyed hash for tables whose keys a stranger chooses (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
 *
 * SipHash-1-3, as the tables of most languages use it. The key is random per table; without it nobody can aim at one bucket.
 */
#ifndef TARRY_CORE_SIPHASH_H
#define TARRY_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t a, b;
};

/* From the kernel's random source. 0 or -errno. */
int siphash_key_init(struct siphash_key *key);
uint64_t siphash_u64(const struct siphash_key *key, uint64_t value);
uint64_t siphash_bytes(const struct siphash_key *key, const void *bytes, size_t len);

#endif
