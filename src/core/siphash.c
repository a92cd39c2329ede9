/* The tour, core: the hash under the table of clients. */
#include "core/siphash.h"

#include <errno.h>
#include <sys/random.h>

int siphash_key_init(struct siphash_key *key)
{
	return getrandom(key, sizeof(*key), 0) == (ssize_t)sizeof(*key) ? 0 : -errno;
}

static inline uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void round_once(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t siphash_u64(const struct siphash_key *key, uint64_t value)
{
	uint64_t v[4] = {
		key->a ^ UINT64_C(0x736f6d6570736575), key->b ^ UINT64_C(0x646f72616e646f6d),
		key->a ^ UINT64_C(0x6c7967656e657261), key->b ^ UINT64_C(0x7465646279746573),
	};
	uint64_t words[2] = { value, UINT64_C(8) << 56 }; /* the message, then its length in the last byte */
	for (int i = 0; i < 2; i++) {
		v[3] ^= words[i];
		round_once(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		round_once(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
