/* From a configuration to what its roles need, and from arguments to a program's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/log.h"
#include "core/reach.h"
#include "core/sandbox_conf.h"

static struct sandbox_needs needs;

static void load(struct conf *conf, const char *const *options)
{
	struct conf_override overrides[8];
	struct buf errors, warnings;
	size_t n = 0;
	for (; options[n]; n++)
		overrides[n].text = options[n];
	buf_init(&errors, 4096);
	buf_init(&warnings, 4096);
	if (!conf_load(conf, NULL, overrides, n, &errors, &warnings))
		fail_msg("%s", buf_text(&errors));
	buf_fini(&errors);
	buf_fini(&warnings);
	sandbox_needs_init(&needs);
}

static bool writes(const char *path)
{
	for (unsigned i = 0; i < needs.paths_len; i++)
		if (needs.paths[i].right == LANDLOCK_WRITE && strcmp(needs.paths[i].path, path) == 0)
			return true;
	return false;
}

static unsigned writable(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < needs.paths_len; i++)
		n += needs.paths[i].right == LANDLOCK_WRITE;
	return n;
}

static void folders(const char *maildir, const char *expected)
{
	struct conf conf;
	char option[300];
	snprintf(option, sizeof(option), "maildir=%s", maildir);
	load(&conf, (const char *const[]){ option, NULL });
	sandbox_conf_mail(&needs, &conf);
	if (!writes(expected) || writable() != 1)
		fail_msg("%s: %s is not what may be written", maildir, expected);
	assert_int_equal(needs.paths[0].right, LANDLOCK_LIST);
	assert_int_equal(needs.ports_len, 0);
	conf_fini(&conf);
}

/* The nearest folder that is there, and never one that a recipient's name is in. */
static void mail_folder(void **state)
{
	(void)state;
	folders("/usr/%d/%u", "/usr/");
	folders("/usr/mail-%u", "/usr/");
	folders("/usr/nonexistent/x/%d/%u", "/usr");
	folders("/nonexistent/x/%d/%u", "/");
	folders("nonexistent/%u", ".");
	folders("%u", ".");
}

static void further_folders(void **state)
{
	struct conf conf;
	(void)state;
	load(&conf, (const char *const[]){ "maildir=/usr/%u", "sandbox_paths=/var,/srv", NULL });
	sandbox_conf_mail(&needs, &conf);
	assert_true(writes("/usr/") && writes("/var") && writes("/srv") && writable() == 3);
	conf_fini(&conf);
}

static int front(void)
{
	struct conf conf;
	socklen_t len;
	load(&conf, (const char *const[]){ "backend=smtp:192.0.2.1:2525,no", "log=syslog", NULL });
	sandbox_conf_front(&needs, &conf, "@x");
	if (needs.ports_len != 1 || needs.ports[0] != 2525 || needs.paths_len != 0 || needs.binds || needs.abstract || reach_seal() < 0)
		return 1;
	const struct sockaddr *first = reach_at(0, &len);
	if (!first || first->sa_family != AF_INET)
		return 2;
	const struct sockaddr_un *second = reach_at(1, &len);
	return second && second->sun_family == AF_UNIX && strcmp(second->sun_path, log_socket(LOG_TO_SYSLOG)) == 0 && !reach_at(2, &len) ? 0 : 3;
}

static int front_with_mail(void)
{
	struct conf conf;
	socklen_t len;
	load(&conf, (const char *const[]){ "hostname=h", NULL });
	sandbox_conf_front(&needs, &conf, "@x");
	return needs.ports_len == 0 && needs.abstract && reach_seal() == 0 && reach_at(0, &len) && len == offsetof(struct sockaddr_un, sun_path) + 2 && !reach_at(1, &len) ? 0 : 1;
}

static void front_addresses(void **state)
{
	int (*const cases[])(void) = { front, front_with_mail };
	(void)state;
	for (size_t i = 0; i < 2; i++) { /* sealing is for good */
		int status;
		pid_t pid = fork();
		if (pid == 0)
			_exit(cases[i]());
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

/* What one side writes the other one reads. */
static void arguments(void **state)
{
	static const char *const modes[] = { "sandbox=enforce", "sandbox=log", "sandbox=off" };
	(void)state;
	for (int m = 0; m < 3; m++) {
		struct conf conf;
		const char *args[SANDBOX_ARGS];
		struct sandbox_arguments got = { .mode = -1 };
		load(&conf, (const char *const[]){ modes[m], "sandbox_paths=/var,/srv", NULL });
		size_t n = sandbox_conf_args(&conf, args);
		assert_int_equal(n, 6);
		for (size_t i = 0; i < n; i += 2)
			assert_true(sandbox_take(&got, strcmp(args[i], "--allow") == 0 ? SANDBOX_OPTION_ALLOW : SANDBOX_OPTION_MODE, args[i + 1]));
		assert_int_equal(got.mode, m);
		assert_int_equal(got.allow_len, 2);
		assert_string_equal(got.allow[1], "/srv");
		assert_false(got.try);
		assert_false(sandbox_take(&got, SANDBOX_OPTION_MODE, "perhaps"));
		assert_true(sandbox_take(&got, SANDBOX_OPTION_TRY, NULL) && got.try);
		for (unsigned i = 0; i < 2 * SANDBOX_ALLOWED; i++)
			assert_true(sandbox_take(&got, SANDBOX_OPTION_ALLOW, "/x"));
		assert_int_equal(got.allow_len, SANDBOX_ALLOWED);
		conf_fini(&conf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(mail_folder), cmocka_unit_test(further_folders), cmocka_unit_test(front_addresses), cmocka_unit_test(arguments) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
