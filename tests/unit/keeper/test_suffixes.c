/* The public suffix list: its rules, and what is no list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper/suffixes.h"

static bool has(const struct suffixes *s, const char *domain)
{
	return suffixes_has(s, slice_of(domain));
}

static void its_rules(void **context)
{
	struct suffixes s = { .text = NULL };
	(void)context;
	assert_true(suffixes_take(&s, slice_of("// a remark\r\r\rcom\nco.uk and more\r\n  dyn.example  \n*.ck\n!www.ck\n//x.example\n")));
	assert_true(has(&s, "com") && has(&s, "co.uk") && has(&s, "dyn.example") && has(&s, "foo.ck"));
	assert_false(has(&s, "uk") || has(&s, "example.com") || has(&s, "www.ck") || has(&s, "a.b.ck") || has(&s, "x.example") || has(&s, "ck") || has(&s, ""));
	suffixes_free(&s);
	assert_false(has(&s, "com"));
}

static void what_is_no_list(void **context)
{
	struct suffixes s;
	char longest[300];
	(void)context;
	suffixes_read(&s, "/nonexistent");
	assert_false(has(&s, "com"));
	suffixes_read(&s, "/");
	assert_false(has(&s, "com"));
	suffixes_read(&s, "");
	assert_false(has(&s, "com"));
	assert_true(suffixes_take(&s, slice_of("")));
	memset(longest, 'a', sizeof(longest));
	assert_false(suffixes_has(&s, (struct slice){ longest, sizeof(longest) }));
	suffixes_free(&s);
}

static void a_file(void **context)
{
	char path[] = "/tmp/tarry-suffixes-XXXXXX";
	struct suffixes s;
	(void)context;
	int fd = mkstemp(path);
	assert_int_equal(write(fd, "co.uk\ncom", 9), 9);
	close(fd);
	suffixes_read(&s, path);
	assert_true(has(&s, "co.uk") && has(&s, "com"));
	suffixes_free(&s);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(its_rules), cmocka_unit_test(what_is_no_list), cmocka_unit_test(a_file) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
