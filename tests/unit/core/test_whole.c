/* Written whole: into a pipe that takes less at a time, with signals between; or an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/whole.h"

#define MUCH (1 << 20)

static char bytes[MUCH], back[MUCH];

static void interrupt(int signal)
{
	(void)signal;
}

/* Somebody reads slowly, and a signal comes every millisecond: the writer is woken in the middle of a write, and of waiting for one. */
static void through_a_pipe(void **context)
{
	struct sigaction action = { .sa_handler = interrupt }; /* without SA_RESTART */
	const struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	int ends[2], status;
	size_t len = 0;
	ssize_t n;
	(void)context;
	for (size_t i = 0; i < MUCH; i++)
		bytes[i] = (char)(i * 31 + i / 251);
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		sigaction(SIGALRM, &action, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
		int e = whole_write(ends[1], bytes, sizeof(bytes));
		setitimer(ITIMER_REAL, &never, NULL);
		_exit(e == 0 ? 0 : 1);
	}
	close(ends[1]);
	while (len < MUCH && (n = read(ends[0], back + len, MUCH - len < 3000 ? MUCH - len : 3000)) > 0)
		len += (size_t)n;
	assert_int_equal(len, MUCH);
	assert_int_equal(read(ends[0], &(char){ 0 }, 1), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_memory_equal(back, bytes, MUCH);
	close(ends[0]);
}

static void what_does_not_go(void **context)
{
	int ends[2];
	(void)context;
	assert_int_equal(whole_write(-1, "x", 1), -EBADF);
	assert_int_equal(whole_write(-1, "", 0), 0); /* nothing is whole */
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	if (full >= 0)
		assert_int_equal(whole_write(full, "x", 1), -ENOSPC);
	if (full >= 0)
		close(full);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	assert_int_equal(whole_write(ends[1], "x", 1), -EPIPE);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(through_a_pipe), cmocka_unit_test(what_does_not_go) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
