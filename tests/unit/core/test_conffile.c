/* The configuration file as a list of what stands in it: places, sections, includes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/conffile.h"
#include "descriptors.h"

static char main_path[64], other_path[64];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Reads main_path; *errors has what was said. */
static bool read_main(struct conffile *f, struct buf *errors)
{
	memset(f, 0, sizeof(*f));
	buf_init(errors, 10000);
	return conffile_read(f, main_path, errors);
}

static void items_in_order(void **context)
{
	struct conffile f;
	struct buf errors;
	char text[400];
	(void)context;
	write_file(other_path, "# another file\nmax_connections = 7\n");
	snprintf(text, sizeof(text), "greet_pause = 1s\ninclude(\"%s\")\nlisten \"127.0.0.1:25\" {\n}\naccept_domains = { \"a\",\n\"b\" }\n"
		"backend \"b\" {\n address = \"smtp:unix:/x\"\n}\n", other_path);
	write_file(main_path, text);
	if (!read_main(&f, &errors))
		fail_msg("%s", buf_text(&errors));
	static const struct {
		enum conffile_section section;
		const char *name, *title, *value;
		unsigned line;
	} want[] = {
		{ CONFFILE_ROOT, "greet_pause", NULL, "1s", 1 }, { CONFFILE_ROOT, "max_connections", NULL, "7", 2 },
		{ CONFFILE_LISTEN, NULL, "127.0.0.1:25", NULL, 0 }, { CONFFILE_ROOT, "accept_domains", NULL, "a", 5 },
		{ CONFFILE_BACKEND, "address", "b", "smtp:unix:/x", 8 }, { CONFFILE_BACKEND, NULL, "b", NULL, 0 },
	};
	assert_int_equal(f.len, sizeof(want) / sizeof(want[0]));
	for (size_t i = 0; i < f.len; i++) {
		const struct conffile_item *item = &f.items[i];
		assert_int_equal(item->section, want[i].section);
		assert_int_equal(item->kind, want[i].name ? CONFFILE_VALUE : CONFFILE_SECTION);
		if (want[i].title)
			assert_string_equal(item->title, want[i].title);
		assert_string_equal(item->file, i == 1 ? other_path : main_path);
		if (!want[i].name)
			continue;
		assert_string_equal(item->name, want[i].name);
		assert_string_equal(item->values[0].text, want[i].value);
		assert_int_equal(item->values[0].line, want[i].line);
	}
	assert_int_equal(f.items[3].values_len, 2);
	assert_string_equal(f.items[3].values[1].text, "b");
	assert_int_equal(f.items[3].values[1].line, 6);
	conffile_fini(&f);
	buf_fini(&errors);
}

static void refused(void **context)
{
	static const struct {
		const char *text, *say;
	} table[] = {
		{ "greet_pause = 1s\ngreet_pawse = 2s\n", ":2: no such option 'greet_pawse'; did you mean 'greet_pause'?" },
		{ "listen \"x\" {\n", ":" },
		{ "greet_pause 1s\n", ":1: " },
		{ "include(\"/nonexistent/file\")\n", "/nonexistent/file" },
	};
	(void)context;
	int before = descriptors_open();
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct conffile f;
		struct buf errors;
		write_file(main_path, table[i].text);
		assert_false(read_main(&f, &errors));
		if (!strstr(buf_text(&errors), table[i].say) || errors.at[errors.len - 1] != '\n')
			fail_msg("%s: %s", table[i].text, buf_text(&errors));
		conffile_fini(&f);
		buf_fini(&errors);
	}
	assert_int_equal(descriptors_open(), before);
}

/* A file that includes itself is not read for ever. */
static void circle(void **context)
{
	struct conffile f;
	struct buf errors;
	char text[200];
	(void)context;
	snprintf(text, sizeof(text), "include(\"%s\")\n", main_path);
	write_file(main_path, text);
	assert_false(read_main(&f, &errors));
	assert_true(errors.len > 0);
	conffile_fini(&f);
	buf_fini(&errors);
}

static void no_file(void **context)
{
	struct conffile f;
	struct buf errors;
	(void)context;
	unlink(main_path);
	assert_false(read_main(&f, &errors));
	assert_non_null(strstr(buf_text(&errors), main_path));
	conffile_fini(&f);
	buf_fini(&errors);
}

static int name_files(void **context)
{
	(void)context;
	snprintf(main_path, sizeof(main_path), "/tmp/tarry-test-conffile-%d", (int)getpid());
	snprintf(other_path, sizeof(other_path), "/tmp/tarry-test-conffile-%d.inc", (int)getpid());
	return 0;
}

static int remove_files(void **context)
{
	(void)context;
	unlink(main_path);
	unlink(other_path);
	return 0;
}

/* The same by a child. */
static int go_apart(void **context)
{
	(void)context;
	conffile_apart(true);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(items_in_order), cmocka_unit_test(refused), cmocka_unit_test(circle), cmocka_unit_test(no_file),
		cmocka_unit_test_setup(items_in_order, go_apart), cmocka_unit_test_setup(refused, go_apart), cmocka_unit_test_setup(circle, go_apart), cmocka_unit_test_setup(no_file, go_apart) };
	return cmocka_run_group_tests(tests, name_files, remove_files);
}
