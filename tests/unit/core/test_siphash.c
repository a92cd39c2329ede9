/* SipHash-1-3 against the values of two other implementations, and against the definition written out once more, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/siphash.h"

static uint64_t random64(void)
{
	uint64_t v = 0;
	for (int i = 0; i < 5; i++)
		v = v << 15 ^ (uint64_t)rand();
	return v;
}

/* The eight bytes of a message as SipHash reads them. */
static uint64_t word_of(const unsigned char at[8])
{
	uint64_t v = 0;
	for (int i = 7; i >= 0; i--)
		v = v << 8 | at[i];
	return v;
}

/* The vector for eight bytes of the Rust library's SipHash-1-3 (key 00…0f, message 00…07), and CPython 3.11's hash() of eight bytes
 * with PYTHONHASHSEED=0, which is SipHash-1-3 under a key of zeros. */
static void known_values(void **context)
{
	static const unsigned char counting[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	static const unsigned char rust[8] = { 0x8e, 0x9a, 0x29, 0x8d, 0x11, 0x95, 0x90, 0x36 };
	struct siphash_key key = { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) };
	struct siphash_key zero = { 0, 0 };
	(void)context;
	assert_true(siphash_u64(&key, word_of(counting)) == word_of(rust));
	assert_true(siphash_u64(&zero, 0) == UINT64_C(0xbd60acb658c79e45));
	assert_true(siphash_u64(&zero, word_of(counting)) == UINT64_C(0xead411e67ebe2eea));
	assert_true(siphash_u64(&zero, UINT64_MAX) == UINT64_C(0x2f205be2fec8e38d));
	assert_true(siphash_u64(&zero, word_of((const unsigned char *)"tarrydor")) == UINT64_C(0x81ca9c200a65914f));
}

/* Section 2 of the paper, for a message of any length, with c = 1 and d = 3; in its own order of steps. */
static void sip_round(uint64_t *v0, uint64_t *v1, uint64_t *v2, uint64_t *v3)
{
	*v0 += *v1;
	*v2 += *v3;
	*v1 = *v1 << 13 | *v1 >> 51;
	*v3 = *v3 << 16 | *v3 >> 48;
	*v1 ^= *v0;
	*v3 ^= *v2;
	*v0 = *v0 << 32 | *v0 >> 32;
	*v2 += *v1;
	*v0 += *v3;
	*v1 = *v1 << 17 | *v1 >> 47;
	*v3 = *v3 << 21 | *v3 >> 43;
	*v1 ^= *v2;
	*v3 ^= *v0;
	*v2 = *v2 << 32 | *v2 >> 32;
}

static uint64_t reference(const struct siphash_key *key, const unsigned char *message, size_t len)
{
	unsigned char padded[64] = { 0 };
	uint64_t v0 = key->a ^ word_of((const unsigned char *)"uespemos"), v1 = key->b ^ word_of((const unsigned char *)"modnarod");
	uint64_t v2 = key->a ^ word_of((const unsigned char *)"arenegyl"), v3 = key->b ^ word_of((const unsigned char *)"setybdet");
	memcpy(padded, message, len);
	size_t words = len / 8 + 1;
	padded[words * 8 - 1] = (unsigned char)len;
	for (size_t i = 0; i < words; i++) {
		uint64_t m = word_of(padded + 8 * i);
		v3 ^= m;
		sip_round(&v0, &v1, &v2, &v3);
		v0 ^= m;
	}
	v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&v0, &v1, &v2, &v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

static void against_the_definition(void **context)
{
	(void)context;
	srand(4);
	for (int i = 0; i < 20000; i++) {
		struct siphash_key key = { random64(), random64() };
		unsigned char message[8];
		uint64_t value = random64();
		for (int k = 0; k < 8; k++)
			message[k] = (unsigned char)(value >> 8 * k);
		assert_true(siphash_u64(&key, value) == reference(&key, message, sizeof(message)));
		assert_true(siphash_bytes(&key, message, sizeof(message)) == siphash_u64(&key, value));
	}
}

static void bytes_of_any_length(void **context)
{
	unsigned char message[48];
	(void)context;
	srand(5);
	for (int i = 0; i < 20000; i++) {
		struct siphash_key key = { random64(), random64() };
		size_t len = (size_t)rand() % (sizeof(message) + 1);
		for (size_t k = 0; k < len; k++)
			message[k] = (unsigned char)rand();
		assert_true(siphash_bytes(&key, message, len) == reference(&key, message, len));
	}
}

/* Neighbouring clients spread evenly over the buckets, whichever bits a table looks at; and one bit changed changes half of the hash. */
static void spreads(void **context)
{
	struct siphash_key key = { random64(), random64() };
	unsigned low[256] = { 0 }, high[256] = { 0 };
	uint64_t flipped = 0;
	(void)context;
	for (uint64_t i = 0; i < 256 * 100; i++) {
		uint64_t h = siphash_u64(&key, i);
		low[h & 255]++;
		high[h >> 56]++;
		flipped += (uint64_t)__builtin_popcountll(h ^ siphash_u64(&key, i ^ UINT64_C(1) << (i & 63)));
	}
	for (int i = 0; i < 256; i++) {
		assert_in_range(low[i], 40, 160); /* 100 expected, six deviations away on either side */
		assert_in_range(high[i], 40, 160);
	}
	assert_in_range(flipped, 256 * 100 * 31, 256 * 100 * 33);
}

static void keys_are_random(void **context)
{
	struct siphash_key a = { 0, 0 }, b = { 0, 0 };
	(void)context;
	assert_int_equal(siphash_key_init(&a), 0);
	assert_int_equal(siphash_key_init(&b), 0);
	assert_true(a.a != b.a && a.b != b.b && a.a != a.b);
	assert_true(siphash_u64(&a, 1) != siphash_u64(&b, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(known_values), cmocka_unit_test(against_the_definition), cmocka_unit_test(bytes_of_any_length), cmocka_unit_test(spreads),
		cmocka_unit_test(keys_are_random) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
