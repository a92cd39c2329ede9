/* The choice of a backend: by load and weight, around the dead and the full ones, and who tries a dead one when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/metrics.h"
#include "gate/backends.h"

#define MOST 4

static struct conf_backend list[MOST];
static struct conf conf = { .backends = list };
static struct backends pool;
static const char a_client, b_client;

static void begin(size_t n)
{
	for (size_t i = 0; i < MOST; i++)
		list[i] = (struct conf_backend){ .weight = 1 };
	conf.backends_len = n;
	assert_int_equal(backends_init(&pool, &conf, NULL, 0, 1), 0);
}

/* The index of the next one; -1: full, -2: down. */
static int next(uint64_t skip, const void *who, int64_t now)
{
	struct backend *found = NULL;
	enum backends_choice choice = backends_choose(&pool, skip, who, now, &found);
	return choice == BACKENDS_FULL ? -1 : choice == BACKENDS_DOWN ? -2 : (int)backends_index(&pool, found);
}

static int take(uint64_t skip)
{
	int i = next(skip, &a_client, 0);
	if (i >= 0)
		backends_opened(&pool, &pool.all[i]);
	return i;
}

static void fewest_connections(void **context)
{
	(void)context;
	begin(3);
	unsigned got[3] = { 0 };
	for (int i = 0; i < 30; i++)
		got[take(0)]++;
	for (int i = 0; i < 3; i++)
		assert_int_equal(got[i], 10);
	backends_closed(&pool, &pool.all[1]);
	backends_closed(&pool, &pool.all[1]);
	assert_int_equal(take(0), 1);
	assert_int_equal(take(0), 1);
	assert_int_equal(backends_open(&pool, &pool.all[1]), 10);
	backends_fini(&pool);
}

/* Also where no connection lasts, so that all are always equally free. */
static void by_weight(void **context)
{
	(void)context;
	for (int lasting = 0; lasting < 2; lasting++) {
		begin(2);
		list[0].weight = 3;
		unsigned got[2] = { 0 };
		for (int i = 0; i < 40; i++)
			got[lasting ? take(0) : next(0, &a_client, 0)]++;
		assert_int_equal(got[0], 30);
		assert_int_equal(got[1], 10);
		backends_fini(&pool);
	}
}

/* A weight does not come in a burst. */
static void evenly(void **context)
{
	(void)context;
	begin(2);
	list[0].weight = 2;
	int order[6];
	for (int i = 0; i < 6; i++)
		order[i] = next(0, &a_client, 0);
	for (int i = 0; i < 6; i++)
		assert_int_equal(order[i], i % 3 == 1);
	backends_fini(&pool);
}

static void a_limit(void **context)
{
	(void)context;
	begin(2);
	list[0].max = 2;
	list[1].max = 1;
	for (int i = 0; i < 3; i++)
		assert_true(take(0) >= 0);
	assert_int_equal(take(0), -1);
	assert_int_equal(take(3), -2); /* out of the question is not full */
	backends_closed(&pool, &pool.all[0]);
	assert_int_equal(take(2), 0);
	assert_int_equal(take(0), -1);
	backends_fini(&pool);
}

/* All fronts count, and one that is started again begins at 0. */
static void shared_by_fronts(void **context)
{
	struct backends other;
	(void)context;
	int fd = -1;
	backends_count *counts = backends_share(&fd);
	assert_non_null(counts);
	begin(2);
	backends_fini(&pool);
	list[0].max = 1;
	assert_int_equal(backends_init(&pool, &conf, counts, 0, 2), 0);
	assert_int_equal(backends_init(&other, &conf, counts, 1, 2), 0);
	backends_opened(&other, &other.all[0]);
	assert_int_equal(backends_open(&pool, &pool.all[0]), 1);
	assert_int_equal(next(2, &a_client, 0), -1);
	assert_int_equal(next(0, &a_client, 0), 1);
	backends_fini(&other);
	assert_int_equal(backends_init(&other, &conf, counts, 1, 2), 0);
	assert_int_equal(backends_open(&pool, &pool.all[0]), 0);
	/* Of the last place only one gets hold, whatever they saw before. */
	assert_int_equal(next(2, &a_client, 0), 0);
	assert_true(backends_reserve(&other, &other.all[0]));
	assert_false(backends_reserve(&pool, &pool.all[0]));
	assert_int_equal(backends_open(&pool, &pool.all[0]), 1);
	backends_closed(&other, &other.all[0]);
	assert_true(backends_reserve(&pool, &pool.all[0]));
	assert_true(backends_reserve(&pool, &pool.all[1])); /* no limit */
	backends_fini(&other);
	backends_fini(&pool);
	/* The program after this one goes on with the same memory; one of another size is none of ours. */
	int same = fd;
	backends_count *again = backends_share(&same);
	assert_true(again && same == fd && again != counts);
	counts[5] = 7;
	assert_int_equal(again[5], 7);
	backends_clear(again, 0);
	assert_int_equal(counts[5], 0);
	munmap(again, METRICS_ROWS * CONF_BACKENDS * sizeof(*counts));
	munmap(counts, METRICS_ROWS * CONF_BACKENDS * sizeof(*counts));
	close(fd);
	fd = memfd_create("another size", MFD_CLOEXEC);
	assert_true(fd >= 0 && ftruncate(fd, 4096) == 0);
	counts = backends_share(&fd);
	assert_non_null(counts);
	munmap(counts, METRICS_ROWS * CONF_BACKENDS * sizeof(*counts));
	close(fd);
}

static void a_dead_one(void **context)
{
	(void)context;
	begin(2);
	backends_failed(&pool, &pool.all[0], &a_client, 1000, "gone");
	assert_ptr_equal(pool.failed, &pool.all[0]);
	int64_t due = 1000 + BACKENDS_DELAY_FIRST;
	for (int i = 0; i < 5; i++)
		assert_int_equal(next(0, &a_client, due - 1), 1);
	assert_int_equal(backends_left(&pool, 0, due - 1), 1);
	assert_int_equal(backends_left(&pool, 0, due), 2);
	assert_int_equal(next(0, &a_client, due), 0); /* one client tries it, */
	assert_int_equal(next(0, &b_client, due), 1); /* the others need not */
	assert_int_equal(next(2, &b_client, due), -2);
	backends_left_alone(&pool, &b_client); /* not the one who tries */
	assert_int_equal(next(2, &b_client, due), -2);
	backends_left_alone(&pool, &a_client);
	assert_int_equal(next(0, &b_client, due), 0);
	backends_greeted(&pool, &pool.all[0]);
	assert_int_equal(backends_left(&pool, 0, due), 2);
	assert_int_equal(next(2, &a_client, due), 0);
	assert_int_equal(next(2, &b_client, due), 0);
	backends_fini(&pool);
}

static void back_off(void **context)
{
	int64_t now = 5, delay = BACKENDS_DELAY_FIRST;
	(void)context;
	begin(1);
	backends_failed(&pool, &pool.all[0], &a_client, now, "gone");
	for (int i = 0; i < 12; i++) {
		assert_int_equal(next(0, &a_client, now + delay - 1), -2);
		now += delay;
		assert_int_equal(next(0, &a_client, now), 0);
		/* Those who had begun before it went down fail too, and tell nothing new. */
		for (int j = 0; j < 100; j++)
			backends_failed(&pool, &pool.all[0], &b_client, now, "gone");
		backends_failed(&pool, &pool.all[0], &a_client, now, "gone");
		delay = delay * 2 > BACKENDS_DELAY_MOST ? BACKENDS_DELAY_MOST : delay * 2;
	}
	assert_int_equal(delay, BACKENDS_DELAY_MOST);
	backends_greeted(&pool, &pool.all[0]); /* and it begins anew */
	backends_failed(&pool, &pool.all[0], &a_client, now, "gone");
	assert_int_equal(next(0, &a_client, now + BACKENDS_DELAY_FIRST), 0);
	backends_fini(&pool);
}

/* A dead one that is full of those who still hang in it is not tried. */
static void dead_and_full(void **context)
{
	(void)context;
	begin(1);
	list[0].max = 1;
	backends_opened(&pool, &pool.all[0]);
	backends_failed(&pool, &pool.all[0], &a_client, 0, "gone");
	assert_int_equal(next(0, &a_client, BACKENDS_DELAY_FIRST), -1);
	backends_fini(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fewest_connections), cmocka_unit_test(by_weight), cmocka_unit_test(evenly), cmocka_unit_test(a_limit),
		cmocka_unit_test(shared_by_fronts), cmocka_unit_test(a_dead_one), cmocka_unit_test(back_off), cmocka_unit_test(dead_and_full) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
