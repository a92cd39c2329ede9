/* The table: against a model, and read by one process while another one writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "known/known_table.h"

#define MAX 300
#define KEYS 1000

static struct known_key key_of(unsigned i)
{
	struct addr a = { .ip = { [10] = 0xff, [11] = 0xff, 10, 0, (uint8_t)(i >> 8), (uint8_t)i } };
	struct known_key key;
	known_key_address(&key, &a, 32);
	return key;
}

static struct known_id id_of(const struct known_table *t, unsigned i)
{
	struct known_key key = key_of(i);
	return known_table_id(t, &key);
}

static int open_new(struct known_table *t, uint32_t max)
{
	int fd = known_table_create(max);
	assert_true(fd >= 0);
	assert_int_equal(known_table_open(t, fd, max, true), 0);
	assert_int_equal(known_table_reset(t, fd), 0);
	return fd;
}

static void against_a_model(void **context)
{
	struct known_table t, reader;
	uint32_t model[KEYS] = { 0 }, order[KEYS] = { 0 }, clock = 1, rows = 0;
	(void)context;
	int fd = open_new(&t, MAX);
	assert_int_equal(known_table_open(&reader, fd, MAX, false), 0);
	srand(1);
	for (int step = 0; step < 50000; step++) {
		unsigned i = (unsigned)rand() % KEYS;
		struct known_id id = id_of(&t, i);
		uint32_t row = known_table_row(&t, &id);
		assert_true((row != 0) == (model[i] != 0));
		if (row && rand() % 4 == 0) {
			known_table_drop(&t, row);
			model[i] = 0;
			rows--;
		} else if (row) {
			known_table_renew(&t, row, (struct known_times){ 1, ++clock, 0 });
			model[i] = order[i] = clock;
		} else {
			if (known_table_full(&t)) { /* the one that has not passed for the longest time */
				unsigned oldest = KEYS;
				for (unsigned k = 0; k < KEYS; k++)
					if (model[k] && (oldest == KEYS || order[k] < order[oldest]))
						oldest = k;
				assert_int_equal(rows, MAX);
				assert_int_equal(known_table_times(&t, t.head->oldest).passed, model[oldest]);
				known_table_drop(&t, t.head->oldest);
				model[oldest] = 0;
				rows--;
			}
			known_table_add(&t, &id, (struct known_times){ 1, ++clock, 0 });
			model[i] = order[i] = clock;
			rows++;
		}
		assert_int_equal(known_table_count(&reader, KNOWN_COUNT_ROWS), rows);
		if (step % 500 == 0)
			for (unsigned k = 0; k < KEYS; k++) {
				struct known_times times = { 0, 0, 0 };
				struct known_id other = id_of(&reader, k);
				assert_true(known_table_find(&reader, &other, &times) == (model[k] != 0));
				assert_int_equal(times.passed, model[k]);
			}
	}
	assert_int_equal(known_table_reset(&t, fd), 0);
	for (unsigned k = 0; k < KEYS; k++) {
		struct known_times times;
		struct known_id id = id_of(&reader, k);
		assert_false(known_table_find(&reader, &id, &times));
	}
	known_table_close(&reader);
	known_table_close(&t);
	close(fd);
}

static void in_order_again(void **context)
{
	struct known_table t;
	uint32_t last = 0, seen = 0;
	(void)context;
	int fd = open_new(&t, KEYS);
	assert_int_equal(known_table_sort(&t), 0);
	srand(2);
	for (unsigned i = 0; i < KEYS; i++) {
		struct known_id id = id_of(&t, i);
		known_table_add(&t, &id, (struct known_times){ 1, (uint32_t)rand() * 2u, 0 });
	}
	assert_int_equal(known_table_sort(&t), 0);
	for (uint32_t i = t.head->oldest; i; i = t.rows[i].newer, seen++) {
		assert_true(known_table_times(&t, i).passed >= last);
		last = known_table_times(&t, i).passed;
	}
	assert_int_equal(seen, KEYS);
	known_table_close(&t);
	close(fd);
}

static void domains_have_a_secret(void **context)
{
	struct known_table t;
	struct known_key key;
	(void)context;
	int fd = open_new(&t, MAX);
	assert_true(known_key_domain(&key, slice_of("example.com")));
	struct known_id before = known_table_id(&t, &key);
	assert_int_equal(known_table_reset(&t, fd), 0);
	struct known_id after = known_table_id(&t, &key);
	assert_memory_not_equal(&before, &after, sizeof(after));
	known_table_close(&t);
	close(fd);
}

/* since and passed always belong together; nobody is found who was never there; who never goes is always found, or not known for a moment. */
static void read_while_written(void **context)
{
	struct known_table t, reader;
	(void)context;
	int fd = open_new(&t, MAX);
	struct known_id stays = id_of(&t, 0), never = id_of(&t, KEYS);
	known_table_add(&t, &stays, (struct known_times){ 7, 7 ^ 0x5555, 0 });
	pid_t pid = fork();
	if (pid == 0) {
		srand(3);
		for (unsigned n = 0;; n++) {
			unsigned i = 1 + (unsigned)rand() % 200;
			struct known_id id = id_of(&t, i);
			uint32_t row = known_table_row(&t, &id);
			struct known_times times = { n, n ^ 0x5555, 0 };
			if (!row)
				known_table_add(&t, &id, times);
			else if (n % 3)
				known_table_renew(&t, row, times);
			else
				known_table_drop(&t, row);
		}
	}
	assert_int_equal(known_table_open(&reader, fd, MAX, false), 0);
	unsigned found = 0, missed = 0, some = 0;
	for (unsigned n = 0; n < 300000 || some < 1000; n++) {
		struct known_id id = id_of(&reader, 1 + n % 200);
		struct known_times times;
		bool there = known_table_find(&reader, &stays, &times);
		found += there;
		missed += !there;
		assert_true(!there || (times.since == 7 && times.passed == (7 ^ 0x5555)));
		assert_false(known_table_find(&reader, &never, &times));
		if (known_table_find(&reader, &id, &times)) {
			some++;
			assert_int_equal(times.passed, times.since ^ 0x5555);
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(found > missed);
	/* However it ended: odd means that nobody is known, and the next keeper makes it whole. */
	atomic_store(&t.head->sequence, atomic_load(&t.head->sequence) | 1);
	struct known_times times;
	assert_false(known_table_find(&reader, &stays, &times));
	assert_int_equal(known_table_reset(&t, fd), 0);
	known_table_add(&t, &stays, (struct known_times){ 1, 2, 0 });
	assert_true(known_table_find(&reader, &stays, &times) && times.passed == 2);
	known_table_close(&reader);
	known_table_close(&t);
	close(fd);
}

static void the_memory(void **context)
{
	struct known_table t;
	(void)context;
	int fd = open_new(&t, MAX);
	assert_int_equal(ftruncate(fd, 0), -1); /* nobody can pull it away from under a front */
	known_table_close(&t);
	assert_int_equal(known_table_open(&t, fd, MAX + 1, false), -EINVAL);
	known_table_close(&t);
	close(fd);
	assert_in_range(known_table_size(1000000), 40u << 20, 48u << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_a_model), cmocka_unit_test(in_order_again), cmocka_unit_test(domains_have_a_secret), cmocka_unit_test(read_while_written),
		cmocka_unit_test(the_memory) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
