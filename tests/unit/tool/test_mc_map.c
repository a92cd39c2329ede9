/* tarry mc: the map of FEATURE(`access_db'). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/mc.h"

static void check(struct mc_facts *facts, const char *spec, const char *note, bool optional)
{
	struct buf s, n;
	buf_init(&s, 4096);
	buf_init(&n, 4096);
	struct mc_map map = { .spec = &s, .note = &n };
	mc_map(facts, &map);
	assert_string_equal(buf_text(&s), spec);
	assert_string_equal(buf_text(&n), note);
	assert_int_equal(map.optional, optional);
	buf_fini(&s);
	buf_fini(&n);
}

static void map_is(const char *text, const char *spec, const char *note, bool optional)
{
	struct mc_facts *facts = calloc(1, sizeof(*facts));
	assert_non_null(facts);
	facts->access = slice_of(text);
	check(facts, spec, note, optional);
	free(facts);
}

static void test_files(void **state)
{
	(void)state;
	map_is("hash -o -T<TMPF> /etc/mail/access", "hash:/etc/mail/access.db", "", true);
	map_is("hash -T<TMPF>  -o /etc/mail/access", "hash:/etc/mail/access.db", "", true);
	map_is("hash -T<TMPF> /etc/mail/access.db", "hash:/etc/mail/access.db", "", false);
	map_is("text -T<TMPF> /etc/mail/access", "text:/etc/mail/access", "", false);
	map_is("cdb -T<TMPF> \"/etc/my mail/access\"", "cdb:/etc/my mail/access.cdb", "", false);
	map_is("text -z: -T<TMPF> /a", "text:/a", "the map's option -z: is not known here", false);
	map_is("hash -o", "", "the map has no file", true);
	map_is("", "", "the map has no type", false);
	map_is("btree /a", "", "btree is not supported; build the map anew with makemap hash", false);
	map_is("dbm -o /a", "", "the type dbm is not one that Tarry has", false);
	map_is("x\"\n/a", "", "the type x\\\" is not one that Tarry has", false);
}

static void test_ldap(void **state)
{
	(void)state;
	map_is("ldap -T<TMPF> -1 -h ldap.example.org -b dc=example,dc=org -k (cn=%0) -v mailValue",
		"ldap://ldap.example.org/dc=example%2Cdc=org?cn?mailValue?sub", "", false);
	map_is("ldap -o -H ldaps://l.example:1636/ -b dc=x -s one -k \"(&(objectClass=access)(key=%s)(on=1))\" -v v -d cn=reader -P /etc/ldap.secret -M simple",
		"ldaps://l.example:1636/dc=x?key?v?one?filter=(objectClass=access)(on=1),binddn=cn=reader,password_file=/etc/ldap.secret", "", true);
	map_is("ldap -h \"a b\" -p 390 -b x -k key=%0 -v v", "ldap://a:390/x?key?v?sub", "of several servers only the first is taken: a", false);
	map_is("ldap -b x -k key=%0 -v v", "", "the map names no server (-h or -H)", false);
	map_is("ldap -h a -k key=%0 -v v", "", "the map names no base (-b)", false);
	map_is("ldap -H ldapi:/// -b x -k key=%0 -v v", "", "the server ldapi:/// is neither ldap:// nor ldaps://", false);
	/* Filters that a URL cannot say. */
	static const char *const filters[] = { "(|(a=%0)(b=%0))", "(|(a=%0)(b=c))", "(!(a=%0))", "(a=x)", "(&(a=%0)(b=$j))", "(&(|(a=%0)(b=1)))", "((a=%0)", "(a=x%0)", "%0", "=%0", "(&)" };
	for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
		char text[200] = "ldap -h a -b x -v v -k ", note[200] = "its filter and value cannot be said in a URL (-k ";
		strcat(text, filters[i]);
		strcat(strcat(note, filters[i]), ")");
		map_is(text, "", note, false);
	}
}

static void test_ldap_schema(void **state)
{
	(void)state;
	struct mc_facts *facts = calloc(1, sizeof(*facts));
	assert_non_null(facts);
	facts->access_ldap = true;
	check(facts, "", "the map names no server (-h or -H)", false);
	facts->ldap_spec = slice_of("-h ldap.example.org -b dc=x");
	check(facts, "ldap://ldap.example.org/dc=x???sub", "add host=NAME to the URL if entries of this host's own (sendmailMTAHost) are wanted", false);
	facts->access = slice_of("mx,1");
	facts->hostname = slice_of("mail.example.org");
	check(facts, "ldap://ldap.example.org/dc=x???sub?cluster=mx%2C1,host=mail.example.org", "", false);
	free(facts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files), cmocka_unit_test(test_ldap), cmocka_unit_test(test_ldap_schema),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
