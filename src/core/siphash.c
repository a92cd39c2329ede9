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

static inline void begin(const struct siphash_key *key, uint64_t v[4])
{
	v[0] = key->a ^ UINT64_C(0x736f6d6570736575);
	v[1] = key->b ^ UINT64_C(0x646f72616e646f6d);
	v[2] = key->a ^ UINT64_C(0x6c7967656e657261);
	v[3] = key->b ^ UINT64_C(0x7465646279746573);
}

static inline void take_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	round_once(v);
	v[0] ^= word;
}

static inline uint64_t end(uint64_t v[4])
{
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		round_once(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The message, then its length in the last byte. */
uint64_t siphash_u64(const struct siphash_key *key, uint64_t value)
{
	uint64_t v[4];
	begin(key, v);
	take_word(v, value);
	take_word(v, UINT64_C(8) << 56);
	return end(v);
}

/* Up to eight bytes, the first one lowest. */
static uint64_t word_at(const unsigned char *at, size_t len)
{
	uint64_t word = 0;
	for (size_t i = 0; i < len; i++)
		word |= (uint64_t)at[i] << (8 * i);
	return word;
}

uint64_t siphash_bytes(const struct siphash_key *key, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;
	size_t left = len;
	uint64_t v[4];
	begin(key, v);
	for (; left >= 8; at += 8, left -= 8)
		take_word(v, word_at(at, 8));
	take_word(v, word_at(at, left) | (uint64_t)len << 56);
	return end(v);
}
