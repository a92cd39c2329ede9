/* That the others still turn: written, read, over a fork, and by the program after this one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/pulse.h"

static void alone(void **context)
{
	(void)context;
	assert_int_equal(pulse_fd(), -1);
	pulse_beat(3, 77);
	assert_true(pulse_last(3) == 77 && pulse_last(4) == 0);
	pulse_beat(METRICS_ROWS, 1); /* no such row */
	assert_true(pulse_last(METRICS_ROWS) == 0 && pulse_last(UINT32_MAX) == 0);
}

static void together(void **context)
{
	(void)context;
	assert_int_equal(pulse_init(-1), 0);
	assert_true(pulse_last(3) == 0 && pulse_fronts() == 0);
	pid_t pid = fork();
	if (pid == 0) {
		pulse_beat(METRICS_ROWS - 1, INT64_MAX);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(pulse_last(METRICS_ROWS - 1) == INT64_MAX);
	pulse_set_fronts(5);
	int fd = dup(pulse_fd());
	assert_int_equal(pulse_init(fd), 0);
	assert_int_equal(pulse_fd(), fd);
	assert_true(pulse_fronts() == 5 && pulse_last(METRICS_ROWS - 1) == INT64_MAX);
	pulse_set_fronts(UINT32_MAX); /* by one that is not itself any more */
	assert_int_equal(pulse_fronts(), METRICS_ROWS);
	/* Of another version: a new one. */
	int other = memfd_create("test", MFD_CLOEXEC);
	assert_true(other >= 0 && ftruncate(other, 64) == 0);
	assert_int_equal(pulse_init(other), 0);
	assert_true(pulse_fronts() == 0 && pulse_last(METRICS_ROWS - 1) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(alone), cmocka_unit_test(together) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
