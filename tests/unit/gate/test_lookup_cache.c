/* Answers kept: found again until they expire, the oldest out when there are too many or too large ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "gate/lookup_cache.h"

#define TTL 100

static struct lookup_print print_of(uint64_t n)
{
	return (struct lookup_print){ n % 7, n }; /* crowded buckets */
}

static bool has(const struct lookup_cache *cache, uint64_t n, int64_t now, const char *text)
{
	struct lookup_print print = print_of(n);
	struct slice got;
	return lookup_cache_get(cache, &print, now, &got) && slice_is(got, text);
}

static void put(struct lookup_cache *cache, uint64_t n, int64_t now, const char *text)
{
	struct lookup_print print = print_of(n);
	lookup_cache_put(cache, &print, now, slice_of(text));
}

static void kept_and_expired(void **context)
{
	struct lookup_cache cache;
	(void)context;
	assert_int_equal(lookup_cache_init(&cache, 10, TTL), 0);
	put(&cache, 1, 1000, "one");
	put(&cache, 8, 1050, "eight"); /* in the same bucket */
	assert_true(has(&cache, 1, 1000 + TTL - 1, "one"));
	assert_false(has(&cache, 1, 1000 + TTL, "one"));
	assert_true(has(&cache, 8, 1000 + TTL, "eight"));
	assert_false(has(&cache, 15, 1000, ""));
	put(&cache, 1, 1000 + TTL, "new");
	assert_true(has(&cache, 1, 1000 + TTL, "new"));
	assert_int_equal(cache.len, 2); /* what had expired has gone */
	lookup_cache_fini(&cache);
}

static void oldest_out(void **context)
{
	struct lookup_cache cache;
	(void)context;
	assert_int_equal(lookup_cache_init(&cache, 3, TTL), 0);
	for (uint64_t i = 0; i < 1000; i++) {
		put(&cache, i, (int64_t)(i / 100), "x");
		assert_true(cache.len <= 3);
		for (uint64_t k = 0; k <= i && k < 6; k++)
			assert_int_equal(has(&cache, i - k, 10, "x"), k < 3);
	}
	assert_int_equal(cache.bytes, 3);
	lookup_cache_fini(&cache);
}

static void bytes_have_a_ceiling(void **context)
{
	struct lookup_cache cache;
	size_t size = LOOKUP_CACHE_BYTES / 4;
	char *large = malloc(LOOKUP_CACHE_BYTES + 1);
	(void)context;
	assert_non_null(large);
	memset(large, 'l', LOOKUP_CACHE_BYTES + 1);
	assert_int_equal(lookup_cache_init(&cache, 100, TTL), 0);
	for (uint64_t i = 0; i < 6; i++) {
		struct lookup_print print = print_of(i);
		lookup_cache_put(&cache, &print, 1, (struct slice){ large, size });
	}
	assert_int_equal(cache.len, 4);
	assert_int_equal(cache.bytes, 4 * size);
	struct lookup_print print = print_of(9);
	lookup_cache_put(&cache, &print, 1, (struct slice){ large, LOOKUP_CACHE_BYTES + 1 });
	assert_int_equal(cache.len, 4);
	lookup_cache_fini(&cache);
	free(large);
}

static void without_a_cache(void **context)
{
	struct lookup_cache cache;
	(void)context;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lookup_cache_init(&cache, i ? 10 : 0, i ? 0 : TTL), 0);
		put(&cache, 1, 1, "one");
		assert_false(has(&cache, 1, 1, "one"));
		lookup_cache_fini(&cache);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kept_and_expired), cmocka_unit_test(oldest_out), cmocka_unit_test(bytes_have_a_ceiling),
		cmocka_unit_test(without_a_cache) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
