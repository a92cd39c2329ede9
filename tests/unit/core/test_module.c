/* A module that is there, one that is not, one of another version, one that is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/module.h"
#include "core/proc.h"

static char memory[4096];
static struct buf why;

static int setup(void **state)
{
	(void)state;
	buf_init_fixed(&why, memory, sizeof(memory));
	return 0;
}

static void one_that_is_there(void **state)
{
	(void)state;
	const char *const *found = module_load("module_ours", "tarry-ours", &why);
	assert_non_null(found);
	assert_string_equal(*found, "ours");
	assert_int_equal(why.len, 0);
	assert_ptr_equal(module_load("module_ours", "tarry-ours", &why), found);
}

static void one_that_is_not(void **state)
{
	(void)state;
	assert_null(module_load("module_none", "tarry-none", &why));
	assert_non_null(strstr(buf_text(&why), "module_none.so is not installed"));
	assert_non_null(strstr(buf_text(&why), "package tarry-none"));
}

/* A module of an older build is not believed, whatever it exports. */
static void one_of_another_version(void **state)
{
	(void)state;
	assert_null(module_load("module_other", "tarry-other", &why));
	assert_non_null(strstr(buf_text(&why), "not of version " TARRY_VERSION));
	assert_non_null(strstr(buf_text(&why), "tarry-other"));
}

static void one_that_is_none(void **state)
{
	char path[PATH_MAX];
	(void)state;
	assert_true(proc_file("module_ours.so", TARRY_MODULES, path));
	strcpy(strrchr(path, '/'), "/module_text.so"); /* no longer than the other */
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("no module\n", f);
	assert_int_equal(fclose(f), 0);
	assert_null(module_load("module_text", "tarry-text", &why));
	unlink(path);
	assert_true(why.len > 0);
}

/* Where a program was built its own files come first; what is in neither place is expected where it is installed. */
static void where_files_are(void **state)
{
	char path[PATH_MAX], long_name[PATH_MAX], self[PATH_MAX];
	(void)state;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	assert_true(n > 0);
	self[n] = '\0';
	const char *name = strrchr(self, '/') + 1;
	assert_true(proc_file(name, "/nowhere", path));
	assert_string_equal(path, self);
	assert_true(proc_file("passwd", "/etc", path));
	assert_string_equal(path, "/etc/passwd");
	assert_true(proc_file("no such program", "/etc", path));
	assert_string_equal(path, "/etc/no such program");
	memset(long_name, 'x', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	assert_false(proc_file(long_name, "/etc", path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(one_that_is_there, setup), cmocka_unit_test_setup(one_that_is_not, setup), cmocka_unit_test_setup(one_of_another_version, setup),
		cmocka_unit_test_setup(one_that_is_none, setup), cmocka_unit_test(where_files_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
