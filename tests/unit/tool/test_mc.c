/* tarry mc: the article's three lines in either order, and mc_convert() for `tarry serve`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tool/mc.h"

static char path[] = "/tmp/tarry-test-mc-XXXXXX";
static struct buf text, errors, warnings;

static int setup(void **state)
{
	(void)state;
	buf_init(&text, MC_OUTPUT_BYTES);
	buf_init(&errors, 65536);
	buf_init(&warnings, 65536);
	int fd = mkstemp(path);
	return fd >= 0 && close(fd) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&text);
	buf_fini(&errors);
	buf_fini(&warnings);
	return unlink(path);
}

static bool convert(const char *lines)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(lines, f);
	assert_int_equal(fclose(f), 0);
	buf_clear(&text);
	buf_clear(&errors);
	buf_clear(&warnings);
	return mc_convert(path, &text, &errors, &warnings);
}

#define DELAY "FEATURE(`delay_checks', `friend')\n"
#define ACCESS "FEATURE(`access_db', `hash -o -T<TMPF> /etc/mail/access')\n"
#define PAUSE "FEATURE(`greet_pause', `1000')\n"

static void test_article(void **state)
{
	(void)state;
	assert_true(convert(DELAY ACCESS PAUSE));
	assert_string_equal(buf_text(&warnings), "");
	assert_non_null(strstr(buf_text(&text), "\ngreet_pause = 1000\n"));
	assert_non_null(strstr(buf_text(&text), "\naccess_db = { \"hash:/etc/mail/access.db\" }\naccess_missing = ignore\naccess_failure = tempfail\ndelay_checks = friend\n"));
	assert_null(strstr(buf_text(&text), "greet_pause_keys"));
	/* The wrong order: Sendmail warns, and uses the argument only. */
	assert_true(convert(DELAY PAUSE ACCESS));
	assert_string_equal(buf_text(&warnings), "*** WARNING: FEATURE(`greet_pause') before FEATURE(`access_db') -- greet_pause will not use access_db!\n");
	assert_non_null(strstr(buf_text(&text), "\ngreet_pause = 1000\n"));
	assert_non_null(strstr(buf_text(&text), "\ngreet_pause_keys = no\n"));
	assert_string_equal(buf_text(&errors), "");
}

static void test_bad(void **state)
{
	(void)state;
	assert_false(convert("m4exit(`0')\n"));
	assert_non_null(strstr(buf_text(&errors), "m4 stopped before the end of the file"));
	assert_int_equal(text.len, 0);
	assert_false(convert("define(`a\n"));
	assert_int_equal(text.len, 0);
	assert_int_not_equal(errors.len, 0);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(mc_is_mc("/etc/mail/sendmail.mc"));
	assert_true(mc_is_mc("a.mc"));
	assert_false(mc_is_mc(".mc"));
	assert_false(mc_is_mc("tarry.conf"));
	assert_false(mc_is_mc("a.mc.conf"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_article), cmocka_unit_test(test_bad), cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
