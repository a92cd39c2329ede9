/* Accounts: found with their groups, or what is not there said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/account.h"
#include "untested.h"

#define SOON_US 50000
#define PATIENCE_MS 20000

static char memory[512];
static struct buf why;
static int asked = -1; /* the writing end of a pipe: the name service hangs, and says when */
static bool rings;     /* whoever waits for it is not left to wait so long */

/* In place of the C library's. */
struct passwd *getpwnam(const char *name)
{
	union {
		void *at;
		struct passwd *(*call)(const char *name);
	} real = { .at = dlsym(RTLD_NEXT, "getpwnam") };
	if (asked < 0)
		return real.call(name);
	for (ssize_t n = write(asked, "", 1);; n = 0) {
		(void)n;
		pause();
	}
}

unsigned alarm(unsigned seconds)
{
	if (rings && seconds == ACCOUNT_WAIT)
		setitimer(ITIMER_REAL, &(struct itimerval){ .it_value = { .tv_usec = SOON_US } }, NULL);
	return 0;
}

static void found(void **context)
{
	struct account a;
	const struct passwd *pw = getpwnam("nobody");
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(account_find("nobody", NULL, &a, &why));
	assert_int_equal(a.uid, pw->pw_uid);
	assert_int_equal(a.gid, pw->pw_gid);
	assert_true(a.groups_len >= 1);
	assert_true(account_find("nobody", "mail", &a, &why));
	assert_int_equal(a.gid, getgrnam("mail")->gr_gid);
	bool in = false;
	for (int i = 0; i < a.groups_len; i++)
		in = in || a.groups[i] == a.gid;
	assert_true(in);
	assert_int_equal(why.len, 0);
}

static void not_there(void **context)
{
	struct account a = { .uid = 77 };
	(void)context;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_false(account_find("no-such-account", "", &a, &why));
	assert_int_equal(errno, 0);
	assert_non_null(strstr(buf_text(&why), "user = \"no-such-account\""));
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_false(account_find("nobody", "no-such-group", &a, &why));
	assert_non_null(strstr(buf_text(&why), "group = \"no-such-group\""));
	assert_int_equal(a.uid, 77); /* written only on success */
}

/* A name service that hangs is not waited for for ever. */
static void no_answer(void **context)
{
	struct account a;
	int ends[2];
	(void)context;
	assert_int_equal(pipe(ends), 0);
	buf_init_fixed(&why, memory, sizeof(memory));
	asked = ends[1];
	rings = true;
	assert_false(account_find("nobody", NULL, &a, &why));
	assert_int_not_equal(errno, 0);
	rings = false;
	asked = -1;
	assert_non_null(strstr(buf_text(&why), "has not answered for 30 s"));
	close(ends[0]);
	close(ends[1]);
}

/* Nor is anybody left behind when whoever wanted to know has been ended. */
static void nobody_is_left(void **context)
{
	int ends[2];
	char byte;
	(void)context;
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct account a;
		asked = ends[1];
		buf_init_fixed(&why, memory, sizeof(memory));
		_exit(account_find("nobody", NULL, &a, &why));
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	struct pollfd end = { .fd = ends[0], .events = POLLIN };
	assert_int_equal(poll(&end, 1, PATIENCE_MS), 1);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}

/* For good: there is no way back. */
static void become(void **context)
{
	struct account a;
	int status;
	(void)context;
	if (geteuid() != 0) {
		untested();
		return;
	}
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_true(account_find("nobody", "mail", &a, &why));
	pid_t pid = fork();
	if (pid == 0) {
		gid_t groups[ACCOUNT_GROUPS];
		bool ok = account_become(&a) == 0 && getuid() == a.uid && geteuid() == a.uid && getgid() == a.gid && setuid(0) < 0 && setgid(0) < 0;
		int n = getgroups(ACCOUNT_GROUPS, groups);
		for (int i = 0; i < n; i++)
			ok = ok && groups[i] != 0;
		_exit(ok && n == a.groups_len ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(found), cmocka_unit_test(not_there), cmocka_unit_test(no_answer), cmocka_unit_test(nobody_is_left), cmocka_unit_test(become) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
