/* LDAP's pure parts: the name of a map, and the filter, in which no key can be anything but a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lookup/map_ldap.h"

static struct map_ldap_url url;
static char memory[MAP_LDAP_FILTER_MAX], said[2048];

static bool parse(const char *spec)
{
	struct buf why;
	buf_init_fixed(&why, said, sizeof(said));
	bool ok = map_ldap_parse(spec, &url, &why);
	buf_text(&why);
	return ok;
}

static const char *filter_of(const struct wire_question *q)
{
	struct buf out;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(map_ldap_filter(&url, q, &out));
	return buf_text(&out);
}

static void sendmails_schema(void **context)
{
	struct wire_question q = { .searches = 2, .counts = { 1, 1 }, .keys = { { "connect:10.0.0.1", 16 }, { "example.com", 11 } } };
	(void)context;
	assert_true(parse("ldap://127.0.0.1/dc=example,dc=org"));
	assert_string_equal(url.host, "127.0.0.1");
	assert_int_equal(url.port, MAP_LDAP_PORT);
	assert_string_equal(url.base, "dc=example,dc=org");
	assert_true(url.sendmail && url.scope == MAP_LDAP_SUB && !url.tls && !url.starttls);
	assert_string_equal(url.key_attribute, "sendmailMTAKey");
	assert_string_equal(url.value_attribute, "sendmailMTAMapValue");
	assert_string_equal(filter_of(&q), "(&(objectClass=sendmailMTAMapObject)(sendmailMTAMapName=access)(|(sendmailMTAKey=connect:10.0.0.1)(sendmailMTAKey=example.com)))");
	assert_true(parse("ldap://h/dc=x????map=acc%2a,cluster=Servers,host=mx1"));
	assert_string_equal(filter_of(&q), "(&(objectClass=sendmailMTAMapObject)(|(sendmailMTACluster=Servers)(sendmailMTAHost=mx1))(sendmailMTAMapName=acc\\2a)"
		"(|(sendmailMTAKey=connect:10.0.0.1)(sendmailMTAKey=example.com)))");
}

static void attributes_of_ones_own(void **context)
{
	struct wire_question q = { .searches = 1, .counts = { 1 }, .keys = { { "k", 1 } } };
	(void)context;
	assert_true(parse("ldaps://[::1]:7777/ou=a%3fb?cn?description?ONE?filter=(ou=x%2cy),binddn=cn=admin%2cdc=x,password_file=/etc/secret,cacert=/etc/ca.pem"));
	assert_true(url.tls && !url.sendmail && url.scope == MAP_LDAP_ONE && url.port == 7777);
	assert_string_equal(url.host, "::1");
	assert_string_equal(url.base, "ou=a?b");
	assert_string_equal(url.bind_dn, "cn=admin,dc=x");
	assert_string_equal(url.password_file, "/etc/secret");
	assert_string_equal(url.ca, "/etc/ca.pem");
	assert_string_equal(filter_of(&q), "(&(ou=x,y)(|(cn=k)))");
	assert_true(parse("ldap://h/dc=x?cn?description?base?starttls"));
	assert_true(url.starttls && url.scope == MAP_LDAP_BASE);
	assert_true(parse("ldaps://h/dc=x"));
	assert_int_equal(url.port, MAP_LDAPS_PORT);
}

static void bad_names(void **context)
{
	static const char *const bad[] = {
		"", "ldap:", "ldap:/", "ldap://", "ldap://h", "ldap://h/", "ldap:///dc=x", "ldapi://x/dc=x", "ldap://h:0/dc=x", "ldap://h/dc=x?cn", "ldap://h/dc=x??cn",
		"ldap://h/dc=x?c)(n?d", "ldap://h/dc=x?cn?d*", "ldap://h/dc=x?cn?d?tree", "ldap://h/dc=x?cn?d?sub?map=access", "ldap://h/dc=x????nonsense=1",
		"ldap://h/dc=x????binddn=cn=a", "ldap://h/dc=x????password_file=/x", "ldaps://h/dc=x????starttls", "ldap://h/dc=x????cacert=/x",
		"ldap://h/dc=x????filter=ou=x", "ldap://h/dc=%zz", "ldap://h/dc=%00", "ldap://u@h/dc=x",
	};
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i]))
			fail_msg("\"%s\" passed", bad[i]);
		assert_true(said[0] != '\0');
	}
}

/* Whatever is in a key: parentheses are as many as without it, and each value reads back as the key. */
static void no_injection(void **context)
{
	static const char *const hostile[] = { "*", "*)(uid=*", "a)(|(cn=*", "\\2a", "a\r\nb", "caf\xc3\xa9", "a b", " lead", "#x", "a&b|c!d", "\x7f" };
	struct wire_question q = { .searches = 1, .counts = { 1 } };
	(void)context;
	assert_true(parse("ldap://h/dc=x?cn?description"));
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		char back[64];
		size_t len = 0;
		q.keys[0] = slice_of(hostile[i]);
		const char *filter = filter_of(&q);
		assert_memory_equal(filter, "(&(|(cn=", 8);
		const char *p = filter + 8;
		for (; *p && *p != ')'; len++) {
			assert_true(*p != '*' && *p != '(' && (unsigned char)*p < 0x80 && *p > ' ');
			back[len] = *p == '\\' ? (char)strtol((char[]){ p[1], p[2], '\0' }, NULL, 16) : *p;
			p += *p == '\\' ? 3 : 1;
		}
		assert_string_equal(p, ")))");
		assert_int_equal(len, strlen(hostile[i]));
		assert_memory_equal(back, hostile[i], len);
	}
	q.keys[0] = (struct slice){ "a\0)", 3 };
	assert_string_equal(filter_of(&q), "(&(|(cn=a\\00\\29)))");
}

/* A question as large as there can be, all of it to be escaped. */
static void the_largest_fits(void **context)
{
	static char key[WIRE_QUESTION_MAX];
	static struct wire_question q;
	static char message[WIRE_QUESTION_MAX];
	struct buf b;
	(void)context;
	memset(key, '*', sizeof(key));
	q = (struct wire_question){ .searches = 1, .counts = { WIRE_KEYS } };
	size_t each = (WIRE_QUESTION_MAX - WIRE_BODY_AT - 5) / WIRE_KEYS - 2;
	for (unsigned i = 0; i < WIRE_KEYS; i++)
		q.keys[i] = (struct slice){ key, each };
	buf_init_fixed(&b, message, sizeof(message));
	assert_true(wire_put_question(&b, &q));
	assert_true(parse("ldap://h/dc=x????map=access"));
	filter_of(&q);
	b.len = 0;
	struct buf small;
	buf_init_fixed(&small, memory, 1000);
	assert_false(map_ldap_filter(&url, &q, &small));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sendmails_schema), cmocka_unit_test(attributes_of_ones_own), cmocka_unit_test(bad_names),
		cmocka_unit_test(no_injection), cmocka_unit_test(the_largest_fits) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
