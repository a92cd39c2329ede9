/* Macros in the text of a refusal: what each becomes, and that nothing of a stranger's ends a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "access/macros.h"

static char said[512];

static const char *put(const char *text, const char *address, const char *ptr, enum macros_resolve resolve)
{
	struct addr addr;
	struct buf out;
	assert_true(addr_parse(slice_of(address), &addr));
	buf_init_fixed(&out, said, sizeof(said));
	assert_true(macros_put(&out, slice_of(text), &(struct macros){ "mx.example.org", &addr, slice_of(ptr), resolve }));
	return buf_text(&out);
}

static void each_macro(void **context)
{
	static const char all[] = "$&{client_addr} $&{client_name} $&{client_ptr} $&{client_resolve}";
	(void)context;
	assert_string_equal(put(all, "192.0.2.1", "a.example", MACROS_OK), "192.0.2.1 a.example a.example OK");
	assert_string_equal(put(all, "192.0.2.1", "a.example", MACROS_FORGED), "192.0.2.1 [192.0.2.1] a.example FORGED");
	assert_string_equal(put(all, "192.0.2.1", "", MACROS_FAIL), "192.0.2.1 [192.0.2.1] [192.0.2.1] FAIL");
	assert_string_equal(put(all, "2001:db8::1", "", MACROS_TEMP), "IPv6:2001:db8::1 [IPv6:2001:db8::1] [IPv6:2001:db8::1] TEMP");
	assert_string_equal(put("Go away,${client_addr}, says $j and $&j: $$j", "192.0.2.1", "", MACROS_FAIL), "Go away,192.0.2.1, says mx.example.org and mx.example.org: $j");
}

static void odd_texts(void **context)
{
	static const struct {
		const char *text, *says;
	} table[] = {
		{ "", "" }, { "no macro", "no macro" }, { "$", "" }, { "a$", "a" }, { "a$&", "a" }, { "$&{client_addr", "" }, { "$&{client_addr}}", "192.0.2.1}" }, { "$x$&x$&{no}.", "." },
		{ "$?{x}yes$|no$.", "yesno" }, { "$&$j", "j" }, { "$$$$", "$$" }, { "${}", "" }, { "${client_addr}${client_addr}", "192.0.2.1192.0.2.1" }, { "a\r\nb\x7f$j", "a  b mx.example.org" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_string_equal(put(table[i].text, "192.0.2.1", "", MACROS_FAIL), table[i].says);
}

/* names.c lets none of these through; this does not rely on it. */
static void hostile_names(void **context)
{
	(void)context;
	assert_string_equal(put("no $&{client_ptr}", "192.0.2.1", "a\r\n250 ok\x1b[2J\x80.example", MACROS_FORGED), "no a??250?ok?[2J?.example");
	assert_string_equal(put("no $&{client_name}", "192.0.2.1", "$j\t$&{client_addr}", MACROS_OK), "no $j?$&{client_addr}"); /* not replaced again */
}

static void what_is_unknown(void **context)
{
	struct slice text = slice_of("550 $j $x, $&{client_addr} $&{client_port} $? $$ ${broken"), macro;
	(void)context;
	static const char *const expected[] = { "$x", "$&{client_port}", "$?", "${broken" };
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_true(macros_unknown(&text, &macro));
		assert_true(slice_is(macro, expected[i]));
	}
	assert_false(macros_unknown(&text, &macro));
	assert_true(macros_want_name(slice_of("550 $j $&{client_ptr}")));
	assert_true(macros_want_name(slice_of("${client_name}")) && macros_want_name(slice_of("$&{client_resolve}")));
	assert_false(macros_want_name(slice_of("550 5.7.1 $j $&{client_addr}")));
}

static void no_room(void **context)
{
	char memory[10];
	struct buf out;
	struct addr addr;
	(void)context;
	assert_true(addr_parse(slice_of("192.0.2.1"), &addr));
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_false(macros_put(&out, slice_of("see $&{client_addr}"), &(struct macros){ "h", &addr, slice_of(""), MACROS_OK }));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_macro), cmocka_unit_test(odd_texts), cmocka_unit_test(hostile_names), cmocka_unit_test(what_is_unknown), cmocka_unit_test(no_room) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
