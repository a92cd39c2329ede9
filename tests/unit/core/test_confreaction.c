/* Reactions: a word, and perhaps a reply that fits it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/confreaction.h"

static void good(void **context)
{
	static const struct {
		const char *text;
		enum conf_reaction_kind kind;
		int code;
		const char *dsn, *reply;
	} table[] = {
		{ "refuse", CONF_REACTION_REFUSE, 554, "", "" },
		{ " drop ", CONF_REACTION_DROP, 521, "", "" },
		{ "tempfail", CONF_REACTION_TEMPFAIL, 421, "", "" },
		{ "close", CONF_REACTION_CLOSE, 0, "", "" },
		{ "drop 521 5.5.1 $j Not here", CONF_REACTION_DROP, 521, "5.5.1", "$j Not here" },
		{ "drop  450\t4.7.123  later ", CONF_REACTION_DROP, 450, "4.7.123", "later" },
		{ "refuse 554 no", CONF_REACTION_REFUSE, 554, "", "no" },
		{ "refuse 554 5.7 no", CONF_REACTION_REFUSE, 554, "", "5.7 no" },
		{ "refuse 554 5.7.1.2 no", CONF_REACTION_REFUSE, 554, "", "5.7.1.2 no" },
		{ "refuse 554 5.7.1234 no", CONF_REACTION_REFUSE, 554, "", "5.7.1234 no" },
		{ "refuse 554 55.7.1 no", CONF_REACTION_REFUSE, 554, "", "55.7.1 no" },
		{ "refuse 554 5..1 no", CONF_REACTION_REFUSE, 554, "", "5..1 no" },
		{ "tempfail 421 4.3.2 later", CONF_REACTION_TEMPFAIL, 421, "4.3.2", "later" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct conf_reaction r;
		const char *why = "";
		if (!conf_reaction_parse(table[i].text, &r, &why))
			fail_msg("\"%s\": %s", table[i].text, why);
		assert_int_equal(r.kind, table[i].kind);
		assert_int_equal(r.code, table[i].code);
		assert_true(slice_is(r.dsn, table[i].dsn));
		assert_true(slice_is(r.text, table[i].reply));
	}
	assert_string_equal(conf_reaction_name(CONF_REACTION_TEMPFAIL), "tempfail");
}

static void bad(void **context)
{
	static const struct {
		const char *text, *why;
	} table[] = {
		{ "", "not one of its words" }, { "Drop", "not one of its words" }, { "dropped", "not one of its words" }, { "reject", "not one of its words" },
		{ "drop hello", "no reply behind the word" }, { "drop 52 no", "no reply behind the word" }, { "drop 5211 no", "no reply behind the word" },
		{ "drop 561 no", "no reply behind the word" }, { "drop 5a1 no", "no reply behind the word" },
		{ "drop 220 welcome", "drop with a reply that is no refusal" }, { "drop 354 go", "drop with a reply that is no refusal" },
		{ "refuse 421 later", "refuse with a reply that is no refusal" }, { "tempfail 554 no", "tempfail with a reply that is for good" },
		{ "close 554 no", "close says nothing" }, { "drop 521", "a reply without a text" }, { "drop 521 5.5.1", "a reply without a text" },
		{ "drop 521 4.5.1 no", "the enhanced code is of another class" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct conf_reaction r = { .code = -1 };
		const char *why = NULL;
		assert_false(conf_reaction_parse(table[i].text, &r, &why));
		assert_int_equal(r.code, -1); /* written on success only */
		if (!why || strncmp(why, table[i].why, strlen(table[i].why)) != 0 || !strstr(why, "expected"))
			fail_msg("\"%s\": \"%s\"", table[i].text, why ? why : "");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(good), cmocka_unit_test(bad) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
