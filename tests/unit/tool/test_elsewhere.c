/* Maps elsewhere, asked by tools: what is made of a tarry-lookup that is not there, refuses, hangs, dies or talks nonsense. A script stands for it: it has to be beside the program,
 * so this program copies itself into a folder of its own and goes on there. What the real one answers is tested by tests/system/test_maps.py. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "tool/elsewhere.h"

static const char *folder;
static struct elsewhere e;
static struct conf conf;
static char *specs[] = { "text:/x", "redis://h/", "hash:/y" };

static void fake(const char *script)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/tarry-lookup", folder);
	unlink(path);
	if (!script)
		return;
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "#!/bin/sh\n%s\n", script);
	fclose(f);
	assert_int_equal(chmod(path, 0755), 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&conf, 0, sizeof(conf));
	conf.access_db.at = specs;
	conf.access_db.len = 3;
	conf.lookup_timeout = 100 * INT64_C(1000000);
	conf.user = "nobody";
	return 0;
}

/* One key of a map that is elsewhere; why it failed. */
static const char *ask(void)
{
	static char why[WIRE_REASON_MAX + 1];
	static struct wire_question q;
	struct wire_answer answer;
	q = (struct wire_question){ .searches = 1, .counts = { 1 }, .keys = { slice_of("connect:10") } };
	elsewhere_ask(&e, 1, &q, &answer);
	assert_int_equal(answer.searches, 1);
	assert_int_equal(answer.found[0].result, WIRE_FAILED);
	snprintf(why, sizeof(why), "%.*s", (int)answer.found[0].text.len, answer.found[0].text.at);
	return why;
}

static void no_program(void **state)
{
	(void)state;
	fake(NULL);
	assert_int_equal(elsewhere_count(&conf), 2);
	assert_int_equal(elsewhere_check_names(&conf), EX_UNAVAILABLE);
	assert_int_equal(elsewhere_start(&e, &conf), EX_UNAVAILABLE);
	elsewhere_stop(&e);
	conf.access_db.len = 1; /* and none needed */
	assert_int_equal(elsewhere_start(&e, &conf), EX_OK);
	assert_int_equal(e.pid, 0);
	elsewhere_stop(&e);
}

static void names(void **state)
{
	(void)state;
	fake("test \"$1 $2 $3 $4\" = '--check -- redis://h/ hash:/y' && exit 78; exit 1");
	assert_int_equal(elsewhere_start(&e, &conf), 78);
	assert_int_equal(e.pid, 0);
	fake("kill -9 $$");
	assert_int_equal(elsewhere_check_names(&conf), EX_SOFTWARE);
}

static void dies(void **state)
{
	(void)state;
	fake("exit 0");
	assert_int_equal(elsewhere_start(&e, &conf), EX_OK);
	const char *why = ask();
	assert_true(strcmp(why, "tarry-lookup has died of it") == 0 || strcmp(why, "tarry-lookup takes no questions") == 0);
	assert_string_equal(ask(), "tarry-lookup takes no questions");
	elsewhere_stop(&e);
}

static void hangs(void **state)
{
	(void)state;
	fake("test \"$1\" = --check && exit 0; exec sleep 1000");
	assert_int_equal(elsewhere_start(&e, &conf), EX_OK);
	assert_string_equal(ask(), "no answer in time");
	elsewhere_stop(&e); /* does not wait for it */
}

static void nonsense(void **state)
{
	(void)state;
	fake("test \"$1\" = --check && exit 0; echo nonsense >&0; exec sleep 1000");
	assert_int_equal(elsewhere_start(&e, &conf), EX_OK);
	assert_string_equal(ask(), "tarry-lookup has died of it");
	elsewhere_stop(&e);
}

static char taken[200];

static bool take(void *context, const char *entry)
{
	(void)context;
	strcat(strcat(taken, entry), ";");
	return strcmp(entry, "too\tmuch") != 0;
}

static bool dump(const char *script, char why[200])
{
	struct buf text;
	buf_init_fixed(&text, why, 200);
	taken[0] = '\0';
	fake(script);
	bool ok = elsewhere_dump("hash:/y", NULL, take, NULL, &text);
	buf_text(&text);
	return ok;
}

static void entries(void **state)
{
	char why[200];
	(void)state;
	assert_true(dump("test \"$*\" = '--dump -- hash:/y' || exit 1; printf 'a\\t1\\0b\\t2\\0\\0'", why));
	assert_string_equal(taken, "a\t1;b\t2;");
	assert_false(dump("printf 'a\\t1\\0it is bad\\0'", why));
	assert_string_equal(why, "it is bad");
	assert_false(dump("printf 'a\\t1\\0'", why));
	assert_string_equal(why, "tarry-lookup has died of it");
	assert_false(dump("printf 'too\\tmuch\\0\\0'", why));
	assert_string_equal(why, "no memory for its entries");
	assert_false(dump(NULL, why));
	assert_non_null(strstr(why, "is not there"));
}

/* The copy, which has the folder to itself. */
static int go_on(const char *self, const char *in)
{
	char copy[PATH_MAX], command[2 * PATH_MAX];
	snprintf(copy, sizeof(copy), "%s/test", in);
	snprintf(command, sizeof(command), "cp '%s' '%s'", self, copy);
	if (system(command) != 0)
		return 1;
	execl(copy, copy, in, (char *)NULL);
	return 1;
}

static int remove_folder(void **state)
{
	char command[PATH_MAX + 16];
	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	char in[] = "/tmp/tarry-test-elsewhere-XXXXXX", self[PATH_MAX] = "";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(no_program, setup), cmocka_unit_test_setup(names, setup), cmocka_unit_test_setup(dies, setup),
		cmocka_unit_test_setup(hangs, setup), cmocka_unit_test_setup(nonsense, setup), cmocka_unit_test_setup(entries, setup),
	};
	if (argc < 2)
		return readlink("/proc/self/exe", self, sizeof(self) - 1) > 0 && mkdtemp(in) && chmod(in, 0755) == 0 ? go_on(self, in) : 1;
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, remove_folder);
}
