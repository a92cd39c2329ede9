/* tarry check: what it prints, where, and its exit codes. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "tool/tool.h"

static char folder[] = "/tmp/tarry-test-check-XXXXXX";
static char out[65536], err[65536];

static int setup(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("/") == 0 ? system(command) : -1;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void read_back(const char *name, char *to, size_t size)
{
	FILE *f = fopen(name, "r");
	assert_non_null(f);
	to[fread(to, 1, size - 1, f)] = '\0';
	fclose(f);
}

/* Runs it with arguments up to NULL; what it printed is in out and err. */
static int run(const char *const *arguments)
{
	/* An account that there is, also where root asks. */
	static const char *const first[] = { "check", "-o", "user=nobody" };
	char *argv[16];
	int argc = 0, saved[2] = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };
	for (; argc < 3; argc++)
		argv[argc] = (char *)(uintptr_t)first[argc];
	for (; arguments[argc - 3]; argc++)
		argv[argc] = (char *)(uintptr_t)arguments[argc - 3];
	argv[argc] = NULL;
	fflush(stdout);
	fflush(stderr);
	for (int fd = 1; fd <= 2; fd++) {
		int to = open(fd == 1 ? "out" : "err", O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(to, fd);
		close(to);
	}
	int code = tool_check(argc, argv);
	fflush(stdout);
	for (int fd = 1; fd <= 2; fd++) {
		dup2(saved[fd - 1], fd);
		close(saved[fd - 1]);
	}
	read_back("out", out, sizeof(out));
	read_back("err", err, sizeof(err));
	return code;
}

static void test_good(void **state)
{
	(void)state;
	write_file("access", "GreetPause:127.0.0.1\t0\nGreetPause:10\tsoon\n");
	write_file("good", "hostname = mx.example\naccess_db = { \"text:access\" }\ngreet_pause = 1h\nlisten \"[::1]:2525\" { }\nmaildir = /m/%u\n");
	assert_int_equal(run((const char *const[]){ "-c", "good", NULL }), EX_OK);
	assert_string_equal(out, "# file         good\n"
		"# hostname     mx.example\n"
		"# listen       [::1]:2525\n"
		"# greet_pause  300s\n"
		"# early talk   refuse: smtp, session, text, binary; drop: tls, http, ssh; tempfail: proxy\n"
		"# backend      the mail server inside, for mx.example, localhost\n"
		"# mail goes to /m/%u\n"
		"# access_db    text:access\n"
		"#              2 entries\n"
		"# known        those who have passed are greeted at once; kept in /var/lib/tarry/known\n"
		"# desk         http://127.0.0.1:8025/, for whoever is on this machine\n");
	assert_non_null(strstr(err, "tarry: warning: good:3: greet_pause = 1h: cut to 300 s, as Sendmail does\n"));
	assert_non_null(strstr(err, "tarry: warning: access:2: "));
	/* -v shows what can be read again. */
	assert_int_equal(run((const char *const[]){ "-v", "-c", "good", "-o", "backend=smtp:unix:/run/x,v1", "-o", "greet_pause=0", NULL }), EX_OK);
	assert_non_null(strstr(out, "# backend      backend, smtp:unix:/run/x; told the client's address by PROXY v1\n"));
	assert_non_null(strstr(out, "\ngreet_pause = 0\n"));
	assert_non_null(strstr(out, "\nmax_recipients = 100\n"));
	write_file("again", out); /* the summary above it is comments */
	assert_int_equal(run((const char *const[]){ "-c", "again", NULL }), EX_OK);
}

/* Allowed, and hardly what was meant: seconds are not the unit. */
static void test_doubtful(void **state)
{
	(void)state;
	write_file("short", "hostname = mx.example\ngreet_pause = 5\n");
	assert_int_equal(run((const char *const[]){ "-c", "short", NULL }), EX_OK);
	assert_non_null(strstr(err, "tarry: warning: short:2: greet_pause: 5 ms"));
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "greet_pause=100", NULL }), EX_OK);
	assert_null(strstr(err, "greet_pause"));
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "user=no-such-account", NULL }), geteuid() == 0 ? EX_NOUSER : EX_OK);
	assert_int_equal(strstr(err, "there is no such account") != NULL, geteuid() == 0);
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "user=nobody", NULL }), EX_OK);
	assert_null(strstr(err, "there is no such account"));
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "user=root", NULL }), geteuid() == 0 ? EX_CONFIG : EX_OK);
	assert_int_equal(strstr(err, "that is root") != NULL, geteuid() == 0);
	/* A macro that becomes nothing. */
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "reject_msg=550 5.7.1 $&{client_port} $&{client_addr} $j", NULL }), EX_OK);
	assert_non_null(strstr(err, "reject_msg: $&{client_port}: no macro that a refusal can have"));
	assert_null(strstr(err, "reject_msg: $&{client_addr}"));
	/* A Maildir that nobody could make. */
	write_file("flat", "");
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "maildir=flat/below/%u", NULL }), EX_OK);
	assert_non_null(strstr(err, "maildir = \"flat/below/%u\""));
	assert_non_null(strstr(err, "mail will be answered 451"));
	assert_int_equal(run((const char *const[]){ "-c", "short", "-o", "maildir=/tmp/%u", NULL }), EX_OK);
	assert_null(strstr(err, "451"));
}

/* Where clients may all look like the container's gateway; not where nobody comes from outside, or a load balancer says who they are. */
static void test_container(void **state)
{
	static const char advice[] = "tarry: advice: this is a container: ";
	static const struct {
		const char *listen;
		bool advised;
	} rows[] = {
		{ "listen \"*:2525\" { }\n", true },
		{ "listen \"192.0.2.1:2525\" { }\nlisten \"127.0.0.1:2525\" { }\n", true },
		{ "listen \"127.0.0.1:2525\" { }\n", false },
		{ "listen \"*:2525\" { proxy = yes trust = { \"192.0.2.2\" } }\n", false },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		write_file("listens", rows[i].listen);
		setenv("container", "podman", 1);
		assert_int_equal(run((const char *const[]){ "-c", "listens", NULL }), EX_OK);
		assert_int_equal(strstr(err, advice) != NULL, rows[i].advised);
		assert_int_equal(strstr(out, ", clients as its load balancers name them (PROXY)\n") != NULL, i == 3);
		unsetenv("container");
	}
}

static void test_bad(void **state)
{
	(void)state;
	write_file("bad", "fronts = x\nlinger = y\n");
	assert_int_equal(run((const char *const[]){ "-c", "bad", NULL }), EX_CONFIG);
	assert_string_equal(out, "");
	assert_string_equal(err, "tarry: bad:1: fronts = \"x\": not a number; expected a number, 0 to 64\n"
		"tarry: bad:2: linger = \"y\": not a duration; expected milliseconds or a number with ms, s, m, h or d, 0 to 60s\n");
	write_file("access", "GreetPause:10\n");
	assert_int_equal(run((const char *const[]){ "-c", "/dev/null", "-o", "access_db=text:access", NULL }), EX_DATAERR);
	assert_string_equal(out, "");
	assert_int_equal(strncmp(err, "tarry: access:1: ", 17), 0);
	assert_int_equal(run((const char *const[]){ "-c", "/dev/null", "-o", "access_db=text:nowhere", NULL }), EX_NOINPUT);
	assert_int_equal(run((const char *const[]){ "-c", "nowhere", NULL }), EX_NOINPUT);
	assert_string_equal(err, "tarry: nowhere: No such file or directory\n");
	assert_int_equal(run((const char *const[]){ "-c", "/", NULL }), EX_NOINPUT);
	assert_string_equal(err, "tarry: /: Is a directory\n");
}

static void test_usage(void **state)
{
	(void)state;
	assert_int_equal(run((const char *const[]){ "-z", NULL }), EX_USAGE);
	assert_int_equal(run((const char *const[]){ "-c", NULL }), EX_USAGE);
	assert_int_equal(run((const char *const[]){ "file", NULL }), EX_USAGE);
	assert_int_equal(run((const char *const[]){ "--help", NULL }), EX_OK);
	assert_int_equal(run((const char *const[]){ "-h", NULL }), EX_OK);
	assert_int_equal(strncmp(out, "usage: tarry check", 18), 0);
	assert_string_equal(err, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_doubtful), cmocka_unit_test(test_container), cmocka_unit_test(test_bad), cmocka_unit_test(test_usage),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
