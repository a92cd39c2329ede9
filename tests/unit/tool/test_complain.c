/* Complaints: their form, and where those about an access table say the fault is. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "tool/complain.h"

static char folder[] = "/tmp/tarry-test-complain-XXXXXX";
static char err[65536];
static int unknown; /* what the name service says of an account that it does not tell */

/* In place of the C library's. */
struct passwd *getpwnam(const char *name)
{
	static char text[] = "x", home[] = "/";
	static struct passwd nobody = { .pw_name = text, .pw_dir = home, .pw_shell = text, .pw_uid = 65534, .pw_gid = 65534 };
	errno = unknown;
	return strcmp(name, "there") == 0 ? &nobody : NULL;
}

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

/* Runs complain_access() (spec) or complain_lines() (kind); what it printed is in err. */
static int run(const struct conf *conf, const char *spec, struct buf *said, const char *kind)
{
	int saved = dup(STDERR_FILENO), to = open("err", O_WRONLY | O_CREAT | O_TRUNC, 0600), code = 0;
	assert_true(saved >= 0 && to >= 0);
	fflush(stderr);
	dup2(to, STDERR_FILENO);
	close(to);
	if (spec)
		code = complain_access(conf, spec, said);
	else
		complain_lines(said, kind);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	read_back("err", err, sizeof(err));
	return code;
}

static void lines(const char *text, const char *kind, const char *expected)
{
	struct buf said;
	buf_init(&said, 4096);
	assert_true(buf_put_text(&said, text));
	run(NULL, NULL, &said, kind);
	assert_string_equal(err, expected);
	buf_fini(&said);
}

static void test_lines(void **state)
{
	(void)state;
	lines("", "", "");
	lines("", "warning: ", "");
	lines("one\n", "", "tarry: one\n");
	lines("one", "", "tarry: one\n");
	lines("one\ntwo\nthree\n", "warning: ", "tarry: warning: one\ntarry: warning: two\ntarry: warning: three\n");
	lines("one\ntwo", "warning: ", "tarry: warning: one\ntarry: warning: two\n");
	lines("one\n\ntwo\n", "", "tarry: one\ntarry: \ntarry: two\n");
	lines("%s%n 100%\n", "%d ", "tarry: %d %s%n 100%\n");
}

/* The bytes need no NUL after them. */
static void test_lines_end_with_their_bytes(void **state)
{
	(void)state;
	struct buf said;
	char *memory = malloc(7);
	assert_non_null(memory);
	buf_init_fixed(&said, memory, 7);
	memcpy(memory, "one\ntwo", said.len = 7);
	run(NULL, NULL, &said, "");
	assert_string_equal(err, "tarry: one\ntarry: two\n");
	free(memory);
}

static void test_lines_beyond_the_ceiling(void **state)
{
	(void)state;
	struct buf said;
	buf_init(&said, 8);
	assert_true(buf_put_text(&said, "one\n"));
	assert_false(buf_put_text(&said, "too long\n"));
	run(NULL, NULL, &said, "warning: ");
	assert_string_equal(err, "tarry: warning: one\ntarry: warning: more than can be shown; begin with these\n");
	buf_fini(&said);
}

/* Loads conf (NULL: none) with an -o (NULL: none), and complains of spec. */
static int table(const char *path, const char *override, const char *spec, const char *text)
{
	struct conf conf;
	struct buf said;
	struct conf_override overrides[] = { { override } };
	buf_init(&said, 4096);
	if (!conf_load(&conf, path, overrides, override ? 1 : 0, &said, &said))
		fail_msg("%s", buf_text(&said));
	buf_clear(&said);
	assert_true(buf_put_text(&said, text));
	int code = run(&conf, spec, &said, NULL);
	conf_fini(&conf);
	buf_fini(&said);
	return code;
}

static void test_access(void **state)
{
	(void)state;
	write_file("conf", "hostname = mx.example\n\naccess_db = { \"text:nowhere\" }\n");
	write_file("there", "GreetPause:10\n");
	/* A file that cannot be read: each line begins with the place that names it. */
	assert_int_equal(table("conf", NULL, "text:nowhere", "first\nsecond"), EX_NOINPUT);
	assert_string_equal(err, "tarry: conf:3: access_db = \"text:nowhere\": first\ntarry: conf:3: access_db = \"text:nowhere\": second\n");
	assert_int_equal(table("conf", "access_db=text:gone", "text:gone", "no\n"), EX_NOINPUT);
	assert_string_equal(err, "tarry: -o access_db=text:gone: access_db = \"text:gone\": no\n");
	/* No table at all. */
	assert_int_equal(table("conf", NULL, "nonsense:there", "no\n"), EX_CONFIG);
	assert_string_equal(err, "tarry: conf:3: access_db = \"nonsense:there\": no\n");
	/* A file that can be read: its lines say themselves where they are. */
	assert_int_equal(table("conf", NULL, "text:there", "there:1: bad\nthere:2: bad\n"), EX_DATAERR);
	assert_string_equal(err, "tarry: there:1: bad\ntarry: there:2: bad\n");
}

/* A place longer than there is room for is cut, and the complaint still comes. */
static void test_access_of_a_long_name(void **state)
{
	(void)state;
	char spec[8000] = "text:";
	memset(spec + 5, 'x', sizeof(spec) - 6);
	spec[sizeof(spec) - 1] = '\0';
	assert_int_equal(table(NULL, NULL, spec, "no\n"), EX_CONFIG); /* no path is that long */
	assert_int_equal(strncmp(err, "tarry: default: access_db = \"text:xxx", 36), 0);
	assert_in_range(strlen(err), 4000, sizeof(spec) - 1);
	assert_string_equal(err + strlen(err) - 4, "xno\n");
}

/* Somebody who is not there is a mistake, and nobody tries again; one who cannot be looked up now is none. */
static void test_accounts(void **state)
{
	static const struct {
		const char *text;
		int error, account, programs;
	} rows[] = {
		{ "user = gone", 0, EX_NOUSER, EX_OK },
		{ "user = gone", ENOENT, EX_NOUSER, EX_OK },
		{ "user = gone", EIO, EX_OSERR, EX_OK },
		{ "user = there\nbackend b { exec = { \"/bin/true\" } user = there }", EIO, EX_OK, EX_OK },
		{ "user = there\nbackend b { exec = { \"/bin/true\" } user = gone }", 0, EX_OK, EX_NOUSER },
		{ "user = there\nbackend b { exec = { \"/bin/true\" } user = gone }", EIO, EX_OK, EX_OSERR },
		{ "user = there\nbackend b { exec = { \"/nowhere/true\" } user = there }", EIO, EX_OK, EX_UNAVAILABLE },
		{ "user = there\nbackend b { exec = { \"/nowhere/true\" } user = there }\nbackend c { exec = { \"/bin/true\" } user = gone }", EIO, EX_OK, EX_OSERR },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf conf;
		struct account account;
		struct buf said;
		buf_init(&said, 4096);
		write_file("accounts", rows[i].text);
		if (!conf_load(&conf, "accounts", NULL, 0, &said, &said))
			fail_msg("%s", buf_text(&said));
		unknown = rows[i].error;
		assert_int_equal(complain_account(&conf, &account), rows[i].account);
		assert_int_equal(complain_exec(&conf), rows[i].programs);
		conf_fini(&conf);
		buf_fini(&said);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_lines_end_with_their_bytes),
		cmocka_unit_test(test_lines_beyond_the_ceiling),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_access_of_a_long_name),
		cmocka_unit_test(test_accounts),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
