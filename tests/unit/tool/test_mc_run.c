/* tarry mc: m4 as a child: what it may include, what it says, and how it ends. What takes seconds, an endless loop, is for tests/system/test_mc.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#include "tool/mc.h"

static char folder[] = "/tmp/tarry-test-mc-XXXXXX";
static struct buf out, errors, warnings;

static int setup(void **state)
{
	(void)state;
	buf_init(&out, MC_OUTPUT_BYTES);
	buf_init(&errors, MC_OUTPUT_BYTES);
	buf_init(&warnings, MC_OUTPUT_BYTES);
	return mkdtemp(folder) && chdir(folder) == 0 && mkfifo("fifo", 0600) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	buf_fini(&out);
	buf_fini(&errors);
	buf_fini(&warnings);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("/") == 0 ? system(command) : -1;
}

static void write_file(const char *name, const char *text, size_t len)
{
	FILE *f = fopen(name, "w");
	assert_non_null(f);
	fwrite(text, 1, len, f);
	assert_int_equal(fclose(f), 0);
}

static int run(const char *text, bool bytes)
{
	struct mc_said said = { &errors, &warnings, bytes };
	buf_clear(&out);
	buf_clear(&errors);
	buf_clear(&warnings);
	if (text)
		write_file("site.mc", text, strlen(text));
	return mc_run("site.mc", &out, &said);
}

static void is(struct buf *b, const char *text)
{
	assert_string_equal(buf_text(b), text);
}

static void test_good(void **state)
{
	(void)state;
	assert_int_equal(run("include(`../m4/cf.m4')FEATURE(`greet_pause', `10')\n", true), EX_OK);
	assert_non_null(strstr(buf_text(&out), "\001greet_pause\00210\n\003"));
	assert_non_null(strstr(buf_text(&out), "\001end\002"));
	is(&errors, "");
	is(&warnings, "");
}

static void test_said(void **state)
{
	(void)state;
	static const char text[] = "FEATURE(`greet_pause')FEATURE(`access_db')FEATURE(`ratecontrol', `nodelay')\nesyscmd(`id')\n";
	assert_int_equal(run(text, true), EX_OK);
	is(&warnings, "*** ERROR: FEATURE(`greet_pause') requires FEATURE(`access_db')\n"
		"*** WARNING: FEATURE(`greet_pause') before FEATURE(`access_db')\n\tgreet_pause will not use access_db!"
		"*** ERROR: FEATURE(`ratecontrol', `nodelay') requires FEATURE(`delay_checks')"
		"\ntarry: site.mc:2: esyscmd is not run; it counts as empty\n");
	assert_int_equal(run(text, false), EX_OK);
	is(&warnings, "*** ERROR: FEATURE(`greet_pause') requires FEATURE(`access_db')\n"
		"*** WARNING: FEATURE(`greet_pause') before FEATURE(`access_db') -- greet_pause will not use access_db!\n"
		"*** ERROR: FEATURE(`ratecontrol', `nodelay') requires FEATURE(`delay_checks')\n"
		"site.mc:2: esyscmd is not run; it counts as empty\n");
	is(&errors, "");
}

static void test_includes(void **state)
{
	(void)state;
	static const char one[] = "include(`two.m4')define(`confTO_COMMAND', `7m')\n", two[] = "FEATURE(`greet_pause', `7')dnl\n";
	write_file("one.m4", one, sizeof(one) - 1);
	write_file("two.m4", two, sizeof(two) - 1);
	assert_int_equal(run("include(`one.m4')\ninclude(`nowhere.m4')\nsinclude(`nowhere.m4')\ninclude(`fifo')sinclude(`/dev/zero')include(`.')\nundivert(`one.m4')\n", true), EX_OK);
	assert_non_null(strstr(buf_text(&out), "\001greet_pause\0027\n"));
	assert_non_null(strstr(buf_text(&out), "\001to_command\0027m\n"));
	assert_non_null(strstr(buf_text(&out), "\001skip\002include(`nowhere.m4')\n"));
	is(&warnings, "tarry: site.mc:2: include: nowhere.m4: No such file or directory; skipped\n"
		"tarry: site.mc:4: include: fifo: not a plain file; expected one; skipped\n"
		"tarry: site.mc:4: sinclude: /dev/zero: not a plain file; expected one; skipped\n"
		"tarry: site.mc:4: include: .: Is a directory; skipped\n"
		"tarry: site.mc:5: undivert of a file is not done\n");
	/* Of itself, and of more than there is room for. */
	assert_int_equal(run("include(`site.mc')\n", true), EX_DATAERR);
	assert_non_null(strstr(buf_text(&errors), "site.mc:1: "));
	assert_int_equal(run("include(`two.m4')define(`again', `include(`two.m4')again')again\n", true), EX_DATAERR);
	assert_non_null(strstr(buf_text(&errors), "site.mc:1: more than 256 files included; does one include itself?\n"));
}

/* Too deep for the number of runs; the messages do not pile up either. */
static void test_deep_includes(void **state)
{
	(void)state;
	char name[32], text[64];
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "deep%d", i);
		snprintf(text, sizeof(text), "include(`deep%d')\n", i + 1);
		write_file(name, text, strlen(text));
	}
	assert_int_equal(run("include(`deep0')\n", false), EX_DATAERR);
	is(&errors, "site.mc: files are included too deeply; expected 15 levels at most\n");
	is(&warnings, "");
}

static void test_bad(void **state)
{
	(void)state;
	assert_int_equal(run("FEATURE(`a'\ndefine(`b', `c\n", false), EX_DATAERR);
	is(&errors, "site.mc:2: ERROR: end of file in string\n");
	assert_int_equal(run("define(`x', `x(x)')x\n", false), EX_DATAERR);
	assert_int_equal(strncmp(buf_text(&errors), "site.mc:1: recursion limit", 26), 0);
	assert_int_equal(run("m4exit(`3')\n", false), EX_DATAERR);
	is(&errors, "site.mc: m4 ended with exit status 3\n");
	assert_int_equal(run("define(`x', `0123456789012345678901234567890123456789`'x')x\n", false), EX_DATAERR);
	is(&errors, "site.mc: m4 printed more than 4 MB; does it loop?\n");
	assert_int_equal(run("define(`x', `01234567')define(`y', `define(`x', x`'x)y')y\n", false), EX_DATAERR);
	is(&errors, "site.mc: m4: memory exhausted\n");
	write_file("site.mc", "a\0b", 3);
	assert_int_equal(run(NULL, false), EX_DATAERR);
	is(&errors, "site.mc: has a NUL byte; expected a text file\n");
	assert_int_equal(run("\001end\002\003", false), EX_DATAERR);
	is(&errors, "site.mc: has a control byte; expected a text file\n");
	static char large[MC_FILE_BYTES + 1];
	memset(large, '\n', sizeof(large));
	write_file("site.mc", large, sizeof(large));
	assert_int_equal(run(NULL, false), EX_DATAERR);
	write_file("site.mc", large, sizeof(large) - 1);
	assert_int_equal(run(NULL, false), EX_OK);
	unlink("site.mc");
	assert_int_equal(run(NULL, false), EX_NOINPUT);
	is(&errors, "site.mc: No such file or directory\n");
}

static void test_no_m4(void **state)
{
	(void)state;
	char *path = strdup(getenv("PATH"));
	setenv("PATH", folder, 1);
	assert_int_equal(run("\n", false), EX_UNAVAILABLE);
	assert_non_null(strstr(buf_text(&errors), "install GNU m4"));
	setenv("PATH", path, 1);
	free(path);
}

/* What m4 could do to the system, it cannot. */
static void test_harmless(void **state)
{
	(void)state;
	assert_int_equal(run("syscmd(`touch made')esyscmd(`touch made')builtin(`syscmd', `touch made')indir(`syscmd', `touch made')defn(`syscmd')\n"
		"debugfile(`made')mkstemp(`made-XXXXXX')maketemp(`made-XXXXXX')pushdef(`a', defn(`builtin'))a(`syscmd', `touch made')\n", false), EX_OK);
	assert_int_equal(system("ls made* 2>ls.err"), 2 << 8);
	/* Words in running text are words. */
	assert_int_equal(run("define include sinclude undivert syscmd FEATURE MAILER DAEMON_OPTIONS\n", false), EX_OK);
	assert_int_equal(strncmp(buf_text(&out), "define include sinclude  syscmd FEATURE MAILER DAEMON_OPTIONS\n", 60), 0);
	is(&warnings, "");
}

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(run("define(`confA', `1')define(`confB', 2)undefine(`confB')dnl define(`confC', 3)\n"
		"define(`SMART_HOST', `x')define(`mine', `MAILER_X')define(`_X_', 1)define(`confDOMAIN_NAME', `a.example')define(`MASQUERADE_AS', `')\n", false), EX_OK);
	const char *text = buf_text(&out);
	assert_non_null(strstr(text, "\001skip\002define(`confA')\n"));
	assert_non_null(strstr(text, "\001skip\002define(`SMART_HOST')\n"));
	assert_null(strstr(text, "confB"));
	assert_null(strstr(text, "confC"));
	assert_null(strstr(text, "define(`mine')"));
	assert_null(strstr(text, "define(`_X_')"));
	assert_null(strstr(text, "define(`confDOMAIN_NAME')"));
	assert_null(strstr(text, "define(`MASQUERADE_AS')"));
	assert_non_null(strstr(text, "\001hostname\002a.example\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_said), cmocka_unit_test(test_includes), cmocka_unit_test(test_deep_includes), cmocka_unit_test(test_bad),
		cmocka_unit_test(test_no_m4), cmocka_unit_test(test_harmless), cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
