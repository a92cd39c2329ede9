/* A file that is read by a child: what it finds, what it says, and what becomes of it when the child dies. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/confapart.h"
#include "descriptors.h"

#define FILE_NAME "a.conf"

static struct conffile found;
static struct buf errors;

/* ---- what may happen in the child ---- */

static bool two_items(struct buf *bytes)
{
	static struct conffile_value values[] = { { .text = (char *)(uintptr_t)"first", .line = 7 }, { .text = (char *)(uintptr_t)"", .line = 8 } };
	static struct conffile_item items[] = {
		{ .kind = CONFFILE_VALUE, .section = CONFFILE_LISTEN, .name = (char *)(uintptr_t)"trust", .title = (char *)(uintptr_t)"[::]:25", .line = 7, .values = values, .values_len = 2 },
		{ .kind = CONFFILE_SECTION, .section = CONFFILE_LISTEN, .title = (char *)(uintptr_t)"[::]:25", .line = 9 },
	};
	found.items = items;
	found.len = 2;
	return slice_is(buf_slice(bytes), "the bytes");
}

static bool complains(struct buf *bytes)
{
	(void)bytes;
	buf_put_text(&errors, FILE_NAME ":3: no such option\n");
	return false;
}

static bool dies(struct buf *bytes)
{
	(void)bytes;
	signal(SIGABRT, SIG_DFL);
	raise(SIGABRT);
	return true;
}

static bool leaves(struct buf *bytes)
{
	(void)bytes;
	_exit(0);
}

static bool finds_a_lot(struct buf *bytes)
{
	static struct conffile_item items[30000];
	(void)bytes;
	for (size_t i = 0; i < 30000; i++)
		items[i] = (struct conffile_item){ .kind = CONFFILE_SECTION, .section = CONFFILE_BACKEND, .title = (char *)(uintptr_t)"a backend with a long name", .line = (unsigned)i };
	found.items = items;
	found.len = 30000;
	return true;
}

/* ---- */

static bool run(bool (*parse)(struct buf *bytes))
{
	static char text[] = "the bytes";
	struct buf bytes = { .at = text, .len = sizeof(text) - 1, .cap = sizeof(text), .max = sizeof(text) };
	found = (struct conffile){ 0 };
	buf_init(&errors, 4096);
	buf_put_text(&errors, "said before\n");
	int before = descriptors_open();
	bool ok = confapart_run(parse, &bytes, &found, FILE_NAME, &errors);
	assert_int_equal(descriptors_open(), before);
	return ok;
}

static void end(void)
{
	conffile_fini(&found);
	buf_fini(&errors);
}

static void what_is_found(void **context)
{
	(void)context;
	assert_true(run(two_items));
	assert_int_equal(found.len, 2);
	const struct conffile_item *item = &found.items[0];
	assert_int_equal(item->kind, CONFFILE_VALUE);
	assert_int_equal(item->section, CONFFILE_LISTEN);
	assert_string_equal(item->name, "trust");
	assert_string_equal(item->title, "[::]:25");
	assert_string_equal(item->file, FILE_NAME);
	assert_int_equal(item->line, 7);
	assert_int_equal(item->values_len, 2);
	assert_string_equal(item->values[0].text, "first");
	assert_string_equal(item->values[1].text, "");
	assert_int_equal(item->values[1].line, 8);
	assert_int_equal(found.items[1].kind, CONFFILE_SECTION);
	assert_null(found.items[1].name);
	assert_int_equal(found.items[1].values_len, 0);
	assert_string_equal(buf_text(&errors), "said before\n");
	end();
}

static void what_is_said(void **context)
{
	(void)context;
	assert_false(run(complains));
	assert_string_equal(buf_text(&errors), "said before\n" FILE_NAME ":3: no such option\n");
	end();
}

static void more_than_a_pipe_holds(void **context)
{
	(void)context;
	assert_true(run(finds_a_lot));
	assert_int_equal(found.len, 30000);
	assert_int_equal(found.items[29999].line, 29999);
	end();
}

static void a_child_that_ends(void **context)
{
	(void)context;
	assert_false(run(dies));
	assert_string_equal(buf_text(&errors), "said before\n" FILE_NAME ": cannot be read: Cannot allocate memory\n");
	end();
	assert_false(run(leaves));
	assert_int_equal(found.len, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_found), cmocka_unit_test(what_is_said), cmocka_unit_test(more_than_a_pipe_holds), cmocka_unit_test(a_child_that_ends) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
