/* tarry mc: frames, numbers, facts, and the rules of SLocal_greet_pause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/mc.h"

#define FACT(kind, text) "\001" kind "\002" text "\n\003\n"
#define END FACT("end", "")

static struct mc_facts *facts;

static int setup(void **state)
{
	(void)state;
	facts = malloc(sizeof(*facts));
	return facts ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(facts);
	return 0;
}

static void is(struct slice s, const char *text)
{
	if (!slice_is(s, text))
		fail_msg("\"%.*s\" is not \"%s\"", (int)s.len, s.at, text);
}

static void test_frames(void **state)
{
	(void)state;
	struct slice rest = slice_of("a\001k\002t\003b\001broken\001k2\002t2\001k3\002\003\001never\002");
	struct mc_frame f;
	assert_true(mc_read_frame(&rest, &f));
	is(f.before, "a");
	is(f.kind, "k");
	is(f.text, "t");
	assert_true(mc_read_frame(&rest, &f));
	is(f.before, "b\001broken");
	is(f.kind, "k2");
	is(f.text, "t2"); /* ends where the next one begins */
	assert_true(mc_read_frame(&rest, &f));
	is(f.kind, "k3");
	is(f.text, "");
	assert_true(mc_read_frame(&rest, &f));
	is(f.kind, "never");
	assert_false(mc_read_frame(&rest, &f));
	is(f.before, "");
	rest = slice_of("plain\001 text");
	assert_false(mc_read_frame(&rest, &f));
	is(f.before, "plain\001 text");
	assert_int_equal(rest.len, 0);
}

static void test_numbers(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t value; /* -1: none */
	} rows[] = {
		{ "300", 300 }, { " 300", 300 }, { "0300", 300 }, { "300ms", 300 }, { "300.9", 300 }, { "300 900", 300 }, { "3e2", 3 }, { "0x12c", 0 }, { "0", 0 },
		{ "", -1 }, { "abc", -1 }, { "-5", -1 }, { "+300", -1 }, { ".5", -1 }, { "\"300\"", -1 }, { "300000", 300000 }, { "300001", 300000 },
		{ "99999999999999999999999999999", 300000 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t value = -1;
		assert_int_equal(mc_read_number(slice_of(rows[i].text), 300000, &value), rows[i].value >= 0);
		assert_int_equal(value, rows[i].value);
	}
}

static void test_facts(void **state)
{
	(void)state;
	assert_true(mc_read(slice_of("text that is skipped\n" FACT("hostname", "mail.example.org") FACT("greet_pause", "1000") FACT("greet_pause_keys", "no")
		FACT("greet_pause", "2000") FACT("access_db", "hash -o /x") FACT("access_skip", "") FACT("lookup_dot_domain", "") FACT("delay_checks", "friend")
		FACT("ratecontrol", "on") FACT("ratecontrol", "terminate") FACT("conncontrol", "on") FACT("conncontrol", "nodelay") FACT("daemon", "Name=A")
		FACT("daemon", "Name=B") FACT("no_default_msa", "") FACT("skip", "one") FACT("skip", "two") FACT("skip", "one") FACT("reject_msg", "550 no")
		FACT("rate_window", "60s") FACT("max_children", "20") FACT("to_command", "5m") FACT("smtp_login_msg", "$j") FACT("ldap_spec", "-h l") FACT("bad_rcpts", "3")
		FACT("unknown", "x") END), facts));
	is(facts->hostname, "mail.example.org");
	assert_true(facts->has_pause);
	is(facts->pause, "1000"); /* the first one wins */
	assert_false(facts->has_keys);
	assert_true(facts->has_access && !facts->access_ldap);
	is(facts->access, "hash -o /x");
	assert_true(facts->access_skip && facts->lookup_dot_domain && facts->no_default_msa);
	assert_int_equal(facts->delay_checks, MC_DELAY_FRIEND);
	assert_true(facts->ratecontrol.on && facts->ratecontrol.terminate && !facts->ratecontrol.nodelay);
	assert_true(facts->conncontrol.on && facts->conncontrol.nodelay && !facts->conncontrol.terminate);
	assert_int_equal(facts->daemons_len, 2);
	is(facts->daemons[1], "Name=B");
	assert_int_equal(facts->skips_len, 2);
	is(facts->reject_msg, "550 no");
	is(facts->rate_window, "60s");
	is(facts->max_children, "20");
	is(facts->to_command, "5m");
	is(facts->smtp_login_msg, "$j");
	is(facts->ldap_spec, "-h l");
	is(facts->bad_rcpts, "3");
	assert_int_equal(facts->text_lines, 1);
	is(facts->text, "text that is skipped");
	/* Without its end it is not the whole. */
	assert_false(mc_read(slice_of(FACT("hostname", "a")), facts));
	assert_false(mc_read(slice_of(""), facts));
	assert_true(mc_read(slice_of(FACT("access_db_ldap", "cluster") END), facts));
	assert_true(facts->access_ldap);
}

static void test_delay_checks(void **state)
{
	(void)state;
	assert_true(mc_read(slice_of(FACT("delay_checks", "on") END), facts));
	assert_int_equal(facts->delay_checks, MC_DELAY_ON);
	assert_true(mc_read(slice_of(FACT("delay_checks", "friend") FACT("delay_checks", "on") END), facts));
	assert_int_equal(facts->delay_checks, MC_DELAY_FRIEND);
	assert_true(mc_read(slice_of(FACT("delay_checks", "hater") FACT("delay_checks", "friend") END), facts));
	assert_int_equal(facts->delay_checks, MC_DELAY_HATER);
	assert_true(mc_read(slice_of(END), facts));
	assert_int_equal(facts->delay_checks, MC_DELAY_OFF);
}

#define S "SLocal_greet_pause\n"

static void rule(const char *line, const char *key, int64_t ms)
{
	char text[1024];
	strcpy(text, S);
	strcat(strcat(text, line), "\n" END);
	assert_true(mc_read(slice_of(text), facts));
	assert_int_equal(facts->rules_len, 1);
	is(facts->rules[0].key, key);
	is(facts->rules[0].line, line);
	if (key[0])
		assert_int_equal(facts->rules[0].ms, ms);
}

static void test_rules(void **state)
{
	(void)state;
	rule("R$* $| 127.0.0.2\t$# 300", "127.0.0.2", 300);
	rule("R$* $| IPv6:2001:db8::1\t\t$#0\tour own", "IPv6:2001:db8::1", 0);
	rule("Rhost.example.com $| $*\t$# 0", "host.example.com", 0);
	rule("R$*\t$# 5000", "*", 5000);
	rule("R$* $| $*\t$# 7", "*", 7);
	rule("R$* $| $*  $# 7", "*", 7); /* an editor has made blanks of the tab */
	rule("R$+ $| 10.0.0.1\t$# 99999999999", "10.0.0.1", 1000000000);
	/* Other forms. */
	rule("R$* $| 127.0.0.$+\t$# 300", "", 0);
	rule("R$+.example.com $| $*\t$# 300", "", 0);
	rule("Rhost.example.com $| 127.0.0.1\t$# 300", "", 0);
	rule("R127.0.0.1 $| $*\t$# 300", "", 0);
	rule("R$* $| 127.0.0\t$# 300", "", 0);
	rule("R$* $| 127.0.0.1\t$@ 300", "", 0);
	rule("R$* $| 127.0.0.1\t$# $1", "", 0);
	rule("R$* $| 127.0.0.1", "", 0);
	rule("R\t$# 1", "", 0);
	rule("Ra\"b $| $*\t$# 1", "", 0);
}

static void test_rules_and_text(void **state)
{
	(void)state;
	assert_true(mc_read(slice_of("\001section\002LOCAL_CONFIG\003\n# a comment\n\nKmap hash /x\nD{a}b\n" S "R$* $| 10.0.0.1\t$# 1\nR$* $| 10.0.0.2\n\t$# 2\nSother\nR$* $| 10.0.0.3\t$# 3\n"
		"Sother\nSLocal_greet_pause2\nR$*\t$# 4\n" S "R$*\t$# 5\n\001section\002LOCAL_RULE_0\003\nR$*\t$# 6\n" END), facts));
	assert_int_equal(facts->rules_len, 3);
	is(facts->rules[1].key, "10.0.0.2"); /* over two lines */
	assert_int_equal(facts->rules[2].ms, 5);
	assert_int_equal(facts->skips_len, 2);
	is(facts->skips[0], "Sother");
	is(facts->skips[1], "SLocal_greet_pause2");
	assert_int_equal(facts->text_lines, 3);
	is(facts->text, "Kmap hash /x");
}

static void test_ceilings(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1 << 20);
	buf_put_text(&b, S);
	for (int i = 0; i < MC_RULES + 1; i++)
		buf_putf(&b, "R$*\t$# %d\n", i);
	buf_put_text(&b, END);
	assert_true(mc_read(buf_slice(&b), facts));
	assert_true(facts->too_many && facts->rules_len == MC_RULES);
	buf_clear(&b);
	for (int i = 0; i < MC_SKIPS + 1; i++)
		buf_putf(&b, "\001skip\002%d\003\n", i);
	buf_put_text(&b, END);
	assert_true(mc_read(buf_slice(&b), facts));
	assert_true(facts->too_many && facts->skips_len == MC_SKIPS);
	buf_clear(&b);
	for (int i = 0; i < MC_DAEMONS + 1; i++)
		buf_put_text(&b, FACT("daemon", "x"));
	buf_put_text(&b, END);
	assert_true(mc_read(buf_slice(&b), facts));
	assert_true(facts->too_many && facts->daemons_len == MC_DAEMONS);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames), cmocka_unit_test(test_numbers), cmocka_unit_test(test_facts), cmocka_unit_test(test_delay_checks),
		cmocka_unit_test(test_rules), cmocka_unit_test(test_rules_and_text), cmocka_unit_test(test_ceilings),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
