/* The table of clients against a plain array, through a long random life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "core/addr.h"
#include "gate/clients.h"

#define MOST 500

static void against_a_model(void **context)
{
	struct clients clients;
	uint32_t model[200] = { 0 };
	unsigned open = 0;
	(void)context;
	assert_int_equal(clients_init(&clients, MOST), 0);
	srand(1);
	for (int i = 0; i < 200000; i++) {
		unsigned who = (unsigned)rand() % 200;
		if (rand() % 2 && open < MOST) {
			assert_int_equal(clients_add(&clients, who * UINT64_C(0x100000001)), ++model[who]);
			open++;
		} else if (model[who] > 0) {
			clients_drop(&clients, who * UINT64_C(0x100000001));
			model[who]--;
			open--;
		}
		if (i % 1000 == 0)
			for (unsigned k = 0; k < 200; k++)
				assert_int_equal(clients_count(&clients, k * UINT64_C(0x100000001)), model[k]);
	}
	clients_fini(&clients);
}

static void full_and_empty_again(void **context)
{
	struct clients clients;
	(void)context;
	assert_int_equal(clients_init(&clients, MOST), 0);
	for (uint64_t i = 0; i < MOST; i++)
		assert_int_equal(clients_add(&clients, i), 1);
	for (uint64_t i = 0; i < MOST; i++)
		clients_drop(&clients, i);
	for (uint32_t i = 0; i <= clients.mask; i++)
		assert_int_equal(clients.slots[i].count, 0);
	clients_drop(&clients, 7); /* one too many does no harm */
	assert_int_equal(clients_count(&clients, 7), 0);
	clients_fini(&clients);
}

static void one_client_is_a_64(void **context)
{
	struct addr a, b, c, d;
	(void)context;
	assert_true(addr_parse(slice_of("2001:db8:1:2::1"), &a) && addr_parse(slice_of("2001:db8:1:2:ffff:ffff::"), &b));
	assert_true(addr_parse(slice_of("2001:db8:1:3::1"), &c) && addr_parse(slice_of("192.0.2.1"), &d));
	assert_true(addr_client_key(&a) == addr_client_key(&b));
	assert_true(addr_client_key(&a) != addr_client_key(&c));
	assert_true(addr_client_key(&a) != addr_client_key(&d));
	assert_true(addr_parse(slice_of("192.0.2.2"), &c));
	assert_true(addr_client_key(&c) != addr_client_key(&d));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_a_model), cmocka_unit_test(full_and_empty_again), cmocka_unit_test(one_client_is_a_64) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
