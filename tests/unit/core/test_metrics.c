/* Counters: rows of processes, their sum, gauges of the dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/metrics.h"

/* Before there is shared memory, counting works all the same. The first test, for there is no way back. */
static void private_at_first(void **context)
{
	(void)context;
	metrics_add(METRIC_early, 3);
	metrics_row(7); /* no such row yet: the private one stays */
	metrics_clear_gauges(7);
	metrics_add(METRIC_early, 4);
	assert_int_equal(metrics_sum(METRIC_early), 7);
	assert_int_equal(metrics_sum_rows(METRIC_early, 1), 7);
	assert_int_equal(metrics_sum_rows(METRIC_early, 0), 0);
}

static void rows_add_up(void **context)
{
	(void)context;
	assert_int_equal(metrics_init(), 0);
	assert_int_equal(metrics_sum(METRIC_early), 0);
	for (unsigned row = 0; row < METRICS_ROWS; row++) {
		metrics_row(row);
		metrics_add(METRIC_early, row);
		metrics_add(METRIC_open, 2);
	}
	metrics_row(METRICS_ROWS); /* out of bounds: the last row stays */
	metrics_add(METRIC_early, 1);
	assert_int_equal(metrics_sum(METRIC_early), (METRICS_ROWS - 1) * METRICS_ROWS / 2 + 1);
	assert_int_equal(metrics_sum(METRIC_open), 2 * METRICS_ROWS);
	assert_int_equal(metrics_sum_rows(METRIC_early, 4), 0 + 1 + 2 + 3);
	assert_int_equal(metrics_sum_rows(METRIC_open, METRICS_ROWS + 100), 2 * METRICS_ROWS);
	assert_int_equal(metrics_sum(METRIC_gone), 0); /* no column touches its neighbour */
	assert_int_equal(metrics_sum(METRIC_limited_total), 0);
}

/* A process that takes a row over begins with nothing open, and goes on counting. */
static void gauges_start_again(void **context)
{
	(void)context;
	int64_t open = metrics_sum(METRIC_open), early = metrics_sum(METRIC_early);
	metrics_row(5);
	assert_int_equal(metrics_sum(METRIC_open), open - 2);
	assert_int_equal(metrics_sum(METRIC_early), early);
	metrics_clear_gauges(6);
	assert_int_equal(metrics_sum(METRIC_open), open - 4);
	metrics_clear_gauges(METRICS_ROWS);
	assert_int_equal(metrics_sum(METRIC_early), early);
}

static void shared_with_children(void **context)
{
	(void)context;
	int64_t before = metrics_sum(METRIC_messages);
	pid_t pid = fork();
	if (pid == 0) {
		metrics_row(9);
		metrics_add(METRIC_messages, 41);
		metrics_add(METRIC_messages, 1);
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(metrics_sum(METRIC_messages), before + 42);
}

static void each_has_a_name(void **context)
{
	(void)context;
	for (unsigned m = 0; m < METRIC_COUNT; m++) {
		const char *name = metrics_name((enum metric)m);
		assert_true(strlen(metrics_sentence((enum metric)m)) > 10);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		for (unsigned other = 0; other < m; other++)
			assert_string_not_equal(name, metrics_name((enum metric)other));
	}
	assert_string_equal(metrics_name(METRIC_early), "early");
	assert_true(metrics_is_gauge(METRIC_open));
	assert_true(metrics_is_gauge(METRIC_held));
	assert_false(metrics_is_gauge(METRIC_early));
}

/* ---- histograms ---- */

/* Every nanosecond has one bucket, and that is not wider than it may be. */
static void buckets_are_fine(void **context)
{
	(void)context;
	assert_int_equal(metrics_bucket_from(0), 0);
	assert_int_equal(metrics_bucket_from(METRICS_BUCKETS), INT64_C(500000000000));
	for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
		int64_t from = metrics_bucket_from(b), to = metrics_bucket_from(b + 1);
		assert_true(from < to);
		assert_int_equal(metrics_bucket(from), b);
		assert_int_equal(metrics_bucket(to - 1), b);
		if (from >= 100000)
			assert_true((double)(to - from) / (double)from <= 0.0251);
	}
	assert_int_equal(metrics_bucket(-1), 0);
	assert_int_equal(metrics_bucket(INT64_MIN), 0);
	assert_int_equal(metrics_bucket(INT64_MAX), METRICS_BUCKETS - 1);
	/* Those that anybody would want to see stand at the edge of one. */
	for (int64_t decade = 100000; decade <= INT64_C(100000000000); decade *= 10)
		for (int64_t n = 1; n <= 5 && n * decade < INT64_C(500000000000); n += n == 2 ? 3 : 1)
			assert_int_equal(metrics_bucket_from(metrics_bucket(n * decade)), n * decade);
}

static struct metrics_times seen;

static void times_add_up(void **context)
{
	(void)context;
	metrics_row(2);
	metrics_observe(HISTOGRAM_talk_after, 1000000000);
	metrics_observe(HISTOGRAM_talk_after, 1000000000);
	metrics_row(METRICS_ROWS - 1);
	metrics_observe(HISTOGRAM_talk_after, 30000000000);
	metrics_observe(HISTOGRAM_talk_after, -5);
	metrics_times(HISTOGRAM_talk_after, &seen);
	assert_int_equal(seen.count, 4);
	assert_int_equal(seen.sum, INT64_C(32000000000));
	assert_int_equal(seen.buckets[metrics_bucket(1000000000)], 2);
	assert_int_equal(seen.buckets[metrics_bucket(30000000000)], 1);
	assert_int_equal(seen.buckets[0], 1);
	metrics_row(3);
	metrics_times_add(HISTOGRAM_talk_after, &seen); /* as a version with other rows leaves them */
	metrics_times(HISTOGRAM_talk_after, &seen);
	assert_int_equal(seen.count, 8);
	assert_int_equal(seen.sum, INT64_C(64000000000));
	assert_int_equal(seen.buckets[metrics_bucket(1000000000)], 4);
	metrics_times(HISTOGRAM_gone_after, &seen);
	assert_int_equal(seen.count, 0);
	for (unsigned h = 0; h < HISTOGRAM_COUNT; h++) {
		assert_true(strlen(metrics_times_sentence((enum histogram)h)) > 10);
		for (unsigned m = 0; m < METRIC_COUNT; m++)
			assert_string_not_equal(metrics_times_name((enum histogram)h), metrics_name((enum metric)m));
	}
}

/* A program of its own reads what others count, and writes nothing there; memory of another kind is refused. */
static void read_by_a_program(void **context)
{
	(void)context;
	metrics_row(4);
	int64_t before = metrics_sum(METRIC_early);
	pid_t pid = fork();
	if (pid == 0) {
		int ends[2];
		if (pipe(ends) < 0 || metrics_attach(ends[0]) != -EPROTO)
			_exit(1);
		if (metrics_attach(metrics_fd_readonly()) != 0)
			_exit(2);
		metrics_row(4);
		metrics_clear_gauges(4);
		metrics_add(METRIC_early, 100); /* into a row of its own */
		_exit(metrics_sum(METRIC_early) == before ? 0 : 3);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(metrics_sum(METRIC_early), before);
}

/* What has been counted is counted on by the program after this one, if it counts the same. */
static void gone_on_with(void **context)
{
	(void)context;
	int fd = metrics_fd(), ends[2];
	assert_true(fd >= 0 && pipe(ends) == 0);
	metrics_row(3);
	metrics_add(METRIC_messages, 5);
	int64_t before = metrics_sum(METRIC_messages);
	assert_int_equal(metrics_adopt(ends[0]), -EPROTO);
	close(ends[1]);
	assert_int_equal(metrics_sum(METRIC_messages), before);
	assert_int_equal(metrics_adopt(dup(fd)), 0);
	assert_true(metrics_fd() >= 0 && metrics_fd() != fd && metrics_fd_readonly() >= 0);
	assert_int_equal(metrics_sum(METRIC_messages), before);
	metrics_row(3);
	metrics_add(METRIC_messages, 1);
	assert_int_equal(metrics_sum(METRIC_messages), before + 1);
	int other = memfd_create("another version", MFD_CLOEXEC);
	struct stat st;
	assert_true(other >= 0 && fstat(metrics_fd(), &st) == 0 && ftruncate(other, st.st_size) == 0);
	assert_int_equal(metrics_adopt(other), -EPROTO);
	assert_int_equal(metrics_sum(METRIC_messages), before + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(private_at_first), cmocka_unit_test(rows_add_up), cmocka_unit_test(gauges_start_again),
		cmocka_unit_test(shared_with_children), cmocka_unit_test(each_has_a_name),
		cmocka_unit_test(buckets_are_fine), cmocka_unit_test(times_add_up), cmocka_unit_test(gone_on_with), cmocka_unit_test(read_by_a_program) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
