/* tarry mc: from facts to the text of a tarry.conf; every value is parsed, or checked and quoted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/mc.h"

static struct mc_facts *facts;
static struct buf out;

static int setup(void **state)
{
	(void)state;
	facts = calloc(1, sizeof(*facts));
	buf_init(&out, 1 << 20);
	return facts ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&out);
	free(facts);
	return 0;
}

static void write_it(void)
{
	buf_clear(&out);
	assert_true(mc_write(facts, "site.mc", &out));
}

/* A whole line of the text. */
static bool has(const char *line)
{
	char *text = strdup(buf_text(&out)), *rest = NULL;
	bool found = false;
	for (char *at = strtok_r(text, "\n", &rest); at; at = strtok_r(NULL, "\n", &rest))
		found = found || strcmp(at, line) == 0;
	free(text);
	return found;
}

static bool mentions(const char *part)
{
	return strstr(buf_text(&out), part) != NULL;
}

static void test_nothing(void **state)
{
	(void)state;
	write_it();
	assert_true(has("greet_pause = 0"));
	assert_true(has("delay_checks = off"));
	assert_true(has("ratecontrol = off"));
	assert_true(has("conncontrol = off"));
	assert_true(has("listen \"0.0.0.0:25\" { }"));
	assert_true(has("listen \"0.0.0.0:587\" { }"));
	assert_false(mentions("access_db"));
	assert_false(mentions("\nhostname"));
	facts->no_default_msa = true;
	write_it();
	assert_false(mentions("587"));
	struct buf small;
	char memory[64];
	buf_init_fixed(&small, memory, sizeof(memory));
	assert_false(mc_write(facts, "site.mc", &small));
}

static void test_pause(void **state)
{
	(void)state;
	facts->has_pause = facts->has_keys = facts->has_access = true;
	facts->access = slice_of("hash -o -T<TMPF> /etc/mail/access");
	facts->pause = slice_of("1000");
	write_it();
	assert_true(has("greet_pause = 1000"));
	assert_false(mentions("greet_pause_keys"));
	assert_true(has("access_db = { \"hash:/etc/mail/access.db\" }"));
	assert_true(has("access_missing = ignore"));
	assert_true(has("access_failure = tempfail"));
	facts->has_keys = false;
	facts->pause = slice_of("400000");
	facts->access = slice_of("text -T<TMPF> /etc/mail/access");
	write_it();
	assert_true(has("greet_pause = 300000"));
	assert_true(has("greet_pause_keys = no"));
	assert_true(has("access_missing = tempfail"));
	facts->pause = slice_of("soon\n\"");
	facts->access = slice_of("hash /a\001b");
	write_it();
	assert_true(has("greet_pause = 0"));
	assert_true(has("# FEATURE(greet_pause): \"soon\\n\\\"\" is read as no pause."));
	assert_true(has("# access_db has to be set by hand."));
	assert_false(mentions("access_db = "));
}

static void test_words(void **state)
{
	(void)state;
	facts->has_access = facts->access_skip = facts->lookup_dot_domain = true;
	facts->access = slice_of("text /a");
	facts->delay_checks = MC_DELAY_HATER;
	facts->ratecontrol = (struct mc_control){ true, true, true };
	facts->conncontrol = (struct mc_control){ true, false, true };
	write_it();
	assert_true(has("access_skip = yes"));
	assert_true(has("lookup_dot_domain = yes"));
	assert_true(has("delay_checks = hater"));
	assert_true(has("ratecontrol = nodelay_terminate"));
	assert_true(has("conncontrol = terminate"));
	facts->ratecontrol = (struct mc_control){ true, true, false };
	facts->conncontrol = (struct mc_control){ true, false, false };
	write_it();
	assert_true(has("ratecontrol = nodelay"));
	assert_true(has("conncontrol = on"));
}

/* Macros that become nothing are named; those that there are, and a text that is no reply, earn no word. */
static void test_macros(void **state)
{
	static const struct {
		const char *text, *warning;
	} table[] = { { "550 $&{client_addr} $j $$", "" }, { "\"550 5.7.1 no $&{client_port}, $x\"", "tarry: site.mc: confREJECT_MSG: $&{client_port}: no macro that a refusal can have" },
		{ "go away $x", "" } };
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct buf warnings;
		buf_init(&warnings, 4096);
		facts->reject_msg = slice_of(table[i].text);
		mc_write_warnings(facts, "site.mc", &(struct mc_said){ .warnings = &warnings, .bytes = true });
		assert_int_equal(strncmp(buf_text(&warnings), table[i].warning, strlen(table[i].warning)), 0);
		assert_int_equal(warnings.len > 0, table[i].warning[0] != '\0');
		assert_int_equal(strstr(buf_text(&warnings), "\ntarry: site.mc: confREJECT_MSG: $x: ") != NULL, i == 1);
		buf_fini(&warnings);
	}
}

static void test_values(void **state)
{
	(void)state;
	facts->hostname = slice_of("mail.example.org");
	facts->reject_msg = slice_of("\"550 5.7.1 Go \"away\"\"");
	facts->smtp_login_msg = slice_of("$j Sendmail $v/$Z; $b $?{client_addr}from ${client_name}'s$.");
	facts->rate_window = slice_of("10m");
	facts->max_children = slice_of("40");
	facts->bad_rcpts = slice_of("4");
	facts->to_command = slice_of("5");
	write_it();
	assert_true(has("hostname = \"mail.example.org\""));
	assert_true(has("reject_msg = \"550 5.7.1 Go \\\"away\\\"\""));
	assert_true(has("smtp_login_msg = '$j Sendmail $v/$Z; $b $?{client_addr}from ${client_name}\\'s$.'"));
	assert_true(has("connection_rate_window = 600s"));
	assert_true(has("max_connections = 40"));
	assert_true(has("bad_rcpt_throttle = 4"));
	assert_true(has("refuse_timeout = 300s"));
	assert_true(has("command_timeout = 300s"));
	/* Without quotes around it all, as Sendmail's tokens come out again. */
	facts->reject_msg = slice_of("550 5.7.1  Go away, $&{client_addr} ( see  http://x.example/ ) now");
	write_it();
	assert_true(has("reject_msg = \"550 5.7.1 Go away,$&{client_addr}(see http://x.example/)now\""));
	assert_true(mentions("# As Sendmail sends it: without double quotes"));
	facts->reject_msg = slice_of("550 5.7.1 Denied $&{client_name} ${ a, b}");
	write_it();
	assert_false(mentions("# As Sendmail sends it"));
	facts->reject_msg = slice_of("\"550 5.7.1 Go away, please\"");
	write_it();
	assert_true(has("reject_msg = \"550 5.7.1 Go away, please\""));
	facts->hostname = slice_of("$w.example.org");
	facts->reject_msg = slice_of("go away");
	facts->smtp_login_msg = slice_of("a\nlog = syslog");
	facts->rate_window = slice_of("soon");
	facts->max_children = slice_of("0");
	facts->bad_rcpts = slice_of("none");
	facts->to_command = slice_of("2d");
	write_it();
	assert_false(mentions("\nhostname") || mentions("\nreject_msg") || mentions("\nsmtp_login_msg") || mentions("\nconnection_rate") || mentions("\nmax_conn") || mentions("\nbad_rcpt") || mentions("\nlog"));
	assert_true(mentions("# confDOMAIN_NAME: \"$w.example.org\"") && mentions("# confREJECT_MSG: \"go away\"") && mentions("# confSMTP_LOGIN_MSG: "));
	assert_true(has("# refuse_timeout") == false && has("refuse_timeout = 3600s") && has("command_timeout = 86400s"));
	facts->hostname = (struct slice){ "a.example\0.org", 14 };
	write_it();
	assert_false(mentions("\nhostname"));
}

static void test_times(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} rows[] = {
		{ "60s", 60000 }, { "1h30m", 5400000 }, { "5", 300000 }, { "1d", 86400000 }, { "1w", 604800000 }, { "1H", 3600000 }, { "0", 0 }, { " 1m ", 60000 },
		{ "", -1 }, { "s", -1 }, { "1x", -1 }, { "-1", -1 }, { "1m x", -1 }, { "99999999999999999999w", INT64_C(1000000000000) },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t ms = -1;
		assert_int_equal(mc_write_time(slice_of(rows[i].text), 'm', &ms), rows[i].ms >= 0);
		assert_int_equal(ms, rows[i].ms);
	}
}

static void test_listens(void **state)
{
	(void)state;
	static const char *const daemons[] = {
		"Port=smtp, Addr=127.0.0.1, Name=MTA", "p=submission,a=::1,F=inet6,M=Ea", "Port=smtps, M=s, Name=TLS", "Port=2525, Addr=IPv6:2001:db8:0::1", "Port=smtp,Addr=127.0.0.1",
		"Port=26,Family=inet6", "Port=26", "Port=27,Addr=mail.example.org", "Port=no such", "Port=70000", "Family=local, Addr=/x", "Port=28, Addr=[127.0.0.9], Listen=5",
		"Port=29, Addr=\"} log = syslog {", "",
	};
	for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++)
		facts->daemons[facts->daemons_len++] = slice_of(daemons[i]);
	facts->no_default_msa = true;
	write_it();
	assert_true(has("listen \"127.0.0.1:25\" { }"));
	assert_true(has("listen \"[::1]:587\" { }"));
	assert_true(has("listen \"[2001:db8::1]:2525\" { }"));
	assert_true(has("listen \"[::]:26\" { }"));
	assert_true(has("listen \"127.0.0.9:28\" { }"));
	assert_true(has("listen \"0.0.0.0:25\" { }")); /* the empty one */
	assert_true(mentions("# DAEMON_OPTIONS: Port=smtps, M=s, Name=TLS: smtps (M=s)"));
	assert_true(has("# DAEMON_OPTIONS: Port=26: [::] takes IPv4 clients, too"));
	assert_true(has("# DAEMON_OPTIONS: Port=smtp,Addr=127.0.0.1: the same address as another one"));
	size_t n = 0;
	for (const char *at = buf_text(&out); (at = strstr(at, "\nlisten ")); at++)
		n++;
	assert_int_equal(n, 6);
	facts->daemons_len = 1;
	facts->daemons[0] = slice_of("M=s");
	write_it();
	assert_true(mentions("No listener is left"));
}

static void test_rules(void **state)
{
	(void)state;
	facts->rules[0] = (struct mc_rule){ slice_of("R1"), slice_of("IPv6:2001:DB8:0:0:0:0:0:1"), 300 };
	facts->rules[1] = (struct mc_rule){ slice_of("R\"2\n"), { NULL, 0 }, 0 };
	facts->rules[2] = (struct mc_rule){ slice_of("R3"), slice_of("host.example.com"), 400000 };
	facts->rules_len = 3;
	write_it();
	assert_false(mentions("local_greet_pause"));
	assert_true(has("# SLocal_greet_pause without FEATURE(greet_pause) is never asked: R1"));
	facts->has_pause = true;
	write_it();
	assert_true(has("local_greet_pause = { \"2001:db8::1 300\", \"host.example.com 300000\" }"));
	assert_true(has("# SLocal_greet_pause: not a form that is known here; skipped: R\\\"2\\n"));
}

static void test_skips(void **state)
{
	(void)state;
	facts->skips[0] = slice_of("FEATURE(`x')\nlog = syslog");
	facts->skips_len = 1;
	facts->text = slice_of("Kx\rhash");
	facts->text_lines = 2;
	facts->too_many = true;
	write_it();
	assert_true(has("#   FEATURE(`x')\\nlog = syslog"));
	assert_true(has("# Skipped: 2 lines of text for sendmail.cf, from Kx\\rhash"));
	assert_true(mentions("not all"));
}

static void test_strings(void **state)
{
	(void)state;
	buf_clear(&out);
	assert_true(mc_write_string(&out, slice_of("a\"b\\c\td'")));
	assert_true(mc_write_string(&out, slice_of("")));
	assert_true(mc_write_string(&out, slice_of("${x}'\"\\")));
	assert_string_equal(buf_text(&out), "\"a\\\"b\\\\c\td'\"\"\"'${x}\\'\"\\\\'");
	size_t before = out.len;
	assert_false(mc_write_string(&out, slice_of("a\nb")));
	assert_false(mc_write_string(&out, slice_of("\x7f")));
	assert_false(mc_write_string(&out, (struct slice){ "\0", 1 }));
	assert_int_equal(out.len, before);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_nothing), EACH(test_pause), EACH(test_words), EACH(test_macros), EACH(test_values), EACH(test_times), EACH(test_listens), EACH(test_rules), EACH(test_skips), EACH(test_strings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
