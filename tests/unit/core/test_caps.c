/* Capabilities: what a process keeps when it is no longer root, and that it is nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/caps.h"
#include "core/sock.h"
#include "untested.h"

#define RAW (UINT64_C(1) << CAP_NET_RAW)
#define ADMIN (UINT64_C(1) << CAP_NET_ADMIN)
#define NOBODY 65534

/* In a child, which may give up what it likes. */
static void in_a_child(int (*run)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(run());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int keep_one(void)
{
	if (!caps_keep() || setresuid(NOBODY, NOBODY, NOBODY) != 0 || sock_may_connect_as() || !caps_limit(RAW))
		return 1;
	return caps_permitted() == RAW && caps_transparent() == RAW && sock_may_connect_as() && setuid(0) != 0 ? 0 : 2;
}

static int keep_none(void)
{
	if (setresuid(NOBODY, NOBODY, NOBODY) != 0 || !caps_limit(RAW | ADMIN))
		return 1;
	return caps_permitted() == 0 && caps_transparent() == 0 && !sock_may_connect_as() ? 0 : 2;
}

static int limit_as_root(void)
{
	if (!caps_limit(ADMIN) || caps_transparent() != ADMIN || !sock_may_connect_as())
		return 1;
	return caps_limit(RAW) && caps_permitted() == 0 && !sock_may_connect_as() ? 0 : 2;
}

/* What it becomes by execve() has that one, and no other: read there. */
static int pass_one_on(void)
{
	if (!caps_keep() || setresuid(NOBODY, NOBODY, NOBODY) != 0 || !caps_pass_on(ADMIN) || caps_permitted() != ADMIN)
		return 1;
	execl("/bin/sh", "sh", "-c", "grep -q '^CapEff:.0000000000001000$' /proc/self/status && grep -q '^CapPrm:.0000000000001000$' /proc/self/status", (char *)NULL);
	return 2;
}

static int pass_on_what_there_is_not(void)
{
	return caps_limit(0) && !caps_pass_on(ADMIN) ? 0 : 1;
}

static void kept_and_given_up(void **state)
{
	(void)state;
	if ((caps_permitted() & (RAW | ADMIN)) != (RAW | ADMIN) || geteuid() != 0) {
		untested();
		return;
	}
	in_a_child(keep_one);
	in_a_child(keep_none);
	in_a_child(limit_as_root);
	in_a_child(pass_one_on);
	in_a_child(pass_on_what_there_is_not);
}

static int ask_for_more(void)
{
	return caps_limit(0) && caps_limit(RAW) && caps_permitted() == 0 ? 0 : 1;
}

static void never_more(void **state)
{
	(void)state;
	in_a_child(ask_for_more);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kept_and_given_up), cmocka_unit_test(never_more) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
