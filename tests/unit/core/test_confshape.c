/* The shape of a configuration file: what is one, and how what is not is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/confshape.h"

static void is_shaped(const char *text)
{
	char memory[512];
	struct buf why;
	unsigned line = 77;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!confshape_check(slice_of(text), &line, &why))
		fail_msg("%s: line %u: %s", text, line, buf_text(&why));
	assert_int_equal(line, 77);
}

static void is_not(const char *text, unsigned where, const char *message)
{
	char memory[512];
	struct buf why;
	unsigned line = 0;
	buf_init_fixed(&why, memory, sizeof(memory));
	assert_false(confshape_check(slice_of(text), &line, &why));
	assert_string_equal(buf_text(&why), message);
	assert_int_equal(line, where);
}

static void good(void **context)
{
	(void)context;
	is_shaped("");
	is_shaped("\n \t\r\n");
	is_shaped("a = 1");
	is_shaped("a=1 b='x y'\nc = \"q\\\"=,{}()\" d = { } e = { a } f = { \"a\", b, }");
	is_shaped("listen \"x\" { } listen y { }\nbackend \"b\" {\n address = x\n proxy = v2 }\ninclude(\"f\") include(f)");
	is_shaped("accept_domains = one\nnonsense = 1");
}

static void bad(void **context)
{
	(void)context;
	is_not("a 1", 1, "\"a\" is followed by \"1\"; expected NAME = VALUE (a value with a blank in it stands in quotes)");
	is_not("a = 1 s\n", 1, "\"s\" is followed by the end of the file; expected NAME = VALUE (a value with a blank in it stands in quotes)");
	is_not("\"a\" 1", 1, "\"a\" is followed by \"1\"; expected NAME = VALUE, the name without quotes");
	is_not("a = 10,000", 1, "\"10\" is followed by \",\"; expected no comma behind a value: the next option begins in a new line, and a number has no commas in it");
	is_not("\na =\nb = 1\n", 2, "\"a\" is followed by \"b\"; expected a value behind the =");
	is_not("a =\n\n", 1, "\"a\" is followed by the end of the file; expected a value behind the =");
	is_not("a = { 1 2 }", 1, "\"1\" is followed by \"2\"; expected a value, a comma or the } that ends the list");
	is_not("a = { 1, { } }", 1, "\"1\" is followed by \"{\"; expected a value, a comma or the } that ends the list");
	is_not("\nlisten \"x\"\n\nb = 1", 4, "\"x\" is followed by \"b\"; expected listen \"ADDRESS:PORT\" { }");
	is_not("listen = \"x\"", 1, "\"listen\" is followed by \"=\"; expected listen \"ADDRESS:PORT\" { }");
	is_not("backend {\n}", 1, "\"backend\" is followed by \"{\"; expected backend \"NAME\" { address = \"smtp:HOST:PORT\" }");
	is_not("backend b { address = x, proxy = v2 }", 1,
	       "\"x\" is followed by \",\"; expected no comma behind a value: the next option begins in a new line, and a number has no commas in it");
	is_not("backend b { = }", 1, "\"b\" is followed by \"=\"; expected NAME = VALUE, or the } that ends the section");
	is_not("include \"f\"", 1, "\"include\" is followed by \"f\"; expected include(\"FILE\")");
	is_not("include(a, b)", 1, "\"include\" is followed by \",\"; expected include(\"FILE\")");
	is_not("include()", 1, "\"include\" is followed by \")\"; expected include(\"FILE\")");
	is_not("a = 1\n)", 2, "\")\" begins nothing; expected NAME = VALUE, a section or include(\"FILE\")");
	is_not("\x01 \"x", 1, "\"\\x01\" is followed by \"\"; expected NAME = VALUE (a value with a blank in it stands in quotes)");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(good), cmocka_unit_test(bad) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
