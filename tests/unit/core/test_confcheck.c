/* Whether a text can be the value of an option. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "core/confcheck.h"

static void hosts(void **context)
{
	static const struct {
		const char *text;
		bool ascii, utf8;
	} table[] = { { "example.org", true, true }, { "a", true, true }, { "", false, false }, { "a..b", false, false }, { ".a", false, false },
		{ "-a.org", false, false }, { "a-.org", false, false }, { "a b", false, false }, { "b\xc3\xbc" "cher.example", false, true },
		{ "a\r\nb", false, false }, { "under_score.example", false, true } };
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (confcheck_is_host(table[i].text, false) != table[i].ascii || confcheck_is_host(table[i].text, true) != table[i].utf8)
			fail_msg("\"%s\": %d, with utf8 %d", table[i].text, confcheck_is_host(table[i].text, false), confcheck_is_host(table[i].text, true));
}

static void values(void **context)
{
	static const struct {
		const char *name, *text, *why; /* how the complaint begins; NULL: there is none */
	} table[] = { { "hostname", "[192.0.2.1]", NULL }, { "hostname", "[IPv6:2001:db8::1]", NULL }, { "hostname", "[IPv6:192.0.2.1]", "not a host name" }, { "hostname", "[]", "not a host name" },
		{ "access_db", "text:/etc/tarry/access", NULL }, { "access_db", ":x", "no access database" }, { "access_db", "text:", "no access database" },
		{ "maildir", "/var/mail/%d/%u", NULL }, { "maildir", "/var/mail/%d", "all users would share" }, { "maildir", "/var/mail/%u/%", "'%' before" },
		{ "local_greet_pause", "192.0.2.1 300", NULL }, { "local_greet_pause", "192.0.2.1", "not a local pause" }, { "local_greet_pause", "* 3s", "not a local pause" },
		{ "ban_never", "10.0.0.0/8", NULL }, { "ban_never", "10.0.0.0/33", "not an address" }, { "ban_reply", "tempfail", NULL }, { "ban_reply", "refuse", "not what a banned client" },
		{ "ban_offences", "early  limited", NULL }, { "ban_offences", "early late", "has a word in it" }, { "ban_kernel", "nftables inet tarry banned", NULL },
		{ "ban_kernel", "nftables bridge tarry banned", "names no sets" }, { "ban_kernel", "nftables inet tarry banned x", "names no sets" },
		{ "forbidden_commands", "GET POST", NULL }, { "forbidden_commands", "GET,POST", "not a list of commands" }, { "recipient_delimiter", "+", NULL }, { "recipient_delimiter", "@", "cannot part" },
		{ "resolver", "", NULL }, { "resolver", "127.0.0.1", NULL }, { "resolver", "127.0.0.1:5353,::1,[2001:db8::53]:53,fe80::1%eth0", NULL }, { "resolver", "localhost", "not the addresses" },
		{ "resolver", "127.0.0.1, 127.0.0.2", "not the addresses" }, { "resolver", "127.0.0.1:0", "not the addresses" }, { "resolver", "127.0.0.1:99999", "not the addresses" },
		{ "desk_hosts", "door.example.org", NULL }, { "desk_hosts", "2001:db8::1", NULL }, { "desk_hosts", "door_1", NULL }, { "desk_hosts", "door.example.org:8080", "not a name" },
		{ "desk_hosts", "http://door/", "not a name" }, { "desk_hosts", "", "not a name" },
		{ "smtp_login_msg", "anything goes", NULL }, { "smtp_login_msg", "but\nnot that", "has a control character" } };
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *why = confcheck(table[i].name, table[i].text);
		if (table[i].why ? !why || strncmp(why, table[i].why, strlen(table[i].why)) != 0 : why != NULL)
			fail_msg("%s = \"%s\": %s", table[i].name, table[i].text, why ? why : "fine");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(hosts), cmocka_unit_test(values) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
