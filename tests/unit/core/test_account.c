/* Accounts: found with their groups, or what is not there said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/account.h"
#include "untested.h"

static char memory[512];
static struct buf why;

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
	assert_non_null(strstr(buf_text(&why), "user = \"no-such-account\""));
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_false(account_find("nobody", "no-such-group", &a, &why));
	assert_non_null(strstr(buf_text(&why), "group = \"no-such-group\""));
	assert_int_equal(a.uid, 77); /* written only on success */
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
	const struct CMUnitTest tests[] = { cmocka_unit_test(found), cmocka_unit_test(not_there), cmocka_unit_test(become) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
