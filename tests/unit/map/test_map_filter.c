/* The filter: it never denies a key that is there, and knows most that are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "map/map_filter.h"

#define KEYS 100000
#define SLOTS (1u << 18) /* two fifths full */

/* "key7": short ones, and long ones with a common beginning. */
static struct slice key_of(char memory[64], bool is_long, size_t i)
{
	return (struct slice){ memory, (size_t)snprintf(memory, 64, is_long ? "a key of more than eight bytes, number %zu" : "k%zu", i) };
}

static void most_are_known(void **state)
{
	(void)state;
	for (int is_long = 0; is_long < 2; is_long++) {
		uint64_t *filter = calloc(SLOTS / MAP_FILTER_SLOTS, sizeof(*filter));
		char memory[64];
		size_t passed = 0;
		for (size_t i = 0; i < KEYS; i++) {
			uint64_t hash = map_filter_hash(77, key_of(memory, is_long, i));
			filter[map_filter_word(hash, SLOTS - 1)] |= map_filter_bits(hash);
		}
		for (size_t i = 0; i < KEYS; i++)
			assert_true(map_filter_may_have(filter, SLOTS - 1, map_filter_hash(77, key_of(memory, is_long, i))));
		for (size_t i = KEYS; i < 2 * KEYS; i++)
			passed += map_filter_may_have(filter, SLOTS - 1, map_filter_hash(77, key_of(memory, is_long, i)));
		assert_in_range(passed, KEYS / 100, KEYS * 7 / 100);
		free(filter);
	}
}

/* Every byte, the length and the seed count. */
static void hashes_differ(void **state)
{
	(void)state;
	char key[40] = { 0 };
	for (size_t len = 0; len < sizeof(key); len++) {
		uint64_t before = map_filter_hash(1, (struct slice){ key, len });
		assert_int_not_equal(before, map_filter_hash(2, (struct slice){ key, len }));
		assert_int_not_equal(before, map_filter_hash(1, (struct slice){ key, len + 1 }));
		for (size_t i = 0; i < len; i++) {
			key[i] = 1;
			assert_int_not_equal(before, map_filter_hash(1, (struct slice){ key, len }));
			key[i] = 0;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(most_are_known), cmocka_unit_test(hashes_differ) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
