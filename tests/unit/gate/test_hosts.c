/* /etc/hosts and nsswitch.conf, as hosts(5) and nsswitch.conf(5) have them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gate/hosts.h"

static char path[] = "/tmp/tarry-test-hosts-XXXXXX";

static void write_file(const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static const char *name_of(const struct hosts *h, const char *address)
{
	struct addr a;
	assert_true(addr_parse(slice_of(address), &a));
	return hosts_name(h, &a);
}

static void lines(void **context)
{
	(void)context;
	write_file("# a comment\n\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n 2001:db8::7 \t six.example alias # not this\n127.0.0.9 Nine.example nine\n127.0.0.9 second\n"
		"fe80::1%lo scoped\n192.0.2.1\n192.0.2.2 bad/name\n192.0.2.3 1.2.3.4\nnonsense here\n192.0.2.4 dos\r\n#192.0.2.5 no\n192.0.2.6 last");
	struct hosts *h = hosts_read(path);
	assert_non_null(h);
	assert_string_equal(name_of(h, "127.0.0.1"), "localhost"); /* and not ::1's */
	assert_string_equal(name_of(h, "::1"), "localhost");
	assert_string_equal(name_of(h, "2001:db8:0:0::7"), "six.example");
	assert_string_equal(name_of(h, "127.0.0.9"), "Nine.example");
	assert_string_equal(name_of(h, "192.0.2.4"), "dos");
	assert_string_equal(name_of(h, "192.0.2.6"), "last");
	static const char *const none[] = { "fe80::1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.5", "10.0.0.1", "::" };
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_string_equal(name_of(h, none[i]), "");
	hosts_free(h);
}

static void has(const struct hosts *h, const char *name, const char *address, bool known, bool same)
{
	struct addr a;
	bool got = !same;
	assert_true(addr_parse(slice_of(address), &a));
	if (hosts_has(h, name, &a, &got) != known || got != same)
		fail_msg("%s, %s: not as expected", name, address);
}

/* By its names, each of them, as whoever asks for a name's addresses would find it there. */
static void names(void **context)
{
	(void)context;
	write_file("192.0.2.1 one.example uno One\n2001:db8::1 one.example\n192.0.2.2 two.example uno\n192.0.2.3 bad/name three\n192.0.2.4 four bad/name five\n0.0.0.0 ad.example\n0.0.0.0 spy.example\n"
		"127.0.0.1 localhost\n127.0.0.1 trap.example\n192.0.2.1 late\n");
	struct hosts *h = hosts_read(path);
	assert_non_null(h);
	has(h, "one.example", "192.0.2.1", true, true);
	has(h, "ONE.Example", "192.0.2.1", true, true);
	has(h, "one.example", "192.0.2.9", true, false);
	has(h, "one.example", "2001:db8::1", true, true);
	has(h, "one.example", "2001:db8::2", true, false);
	has(h, "uno", "192.0.2.2", true, true);
	has(h, "uno", "192.0.2.1", true, true);
	has(h, "uno", "2001:db8::1", false, false); /* of that family it has none */
	has(h, "late", "192.0.2.1", true, true);
	has(h, "five", "192.0.2.4", true, true);
	has(h, "three", "192.0.2.3", false, false);
	has(h, "bad/name", "192.0.2.4", false, false);
	has(h, "spy.example", "192.0.2.1", false, false); /* a list of names that lead nowhere is none of addresses */
	has(h, "trap.example", "127.0.0.1", false, false);
	has(h, "two.exampl", "192.0.2.2", false, false);
	has(NULL, "one.example", "192.0.2.1", false, false);
	hosts_free(h);
}

/* The end of a line that is too long may be the middle of a name. */
static void cut_names(void **context)
{
	(void)context;
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("192.0.2.1 one", f);
	for (int i = 0; i < HOSTS_LINE - 13 - 5; i++)
		fputc(' ', f);
	fputs("victim.example\n192.0.2.2 two last", f);
	fclose(f);
	struct hosts *h = hosts_read(path);
	assert_non_null(h);
	has(h, "one", "192.0.2.1", true, true);
	has(h, "vict", "192.0.2.1", false, false);
	has(h, "victim.example", "192.0.2.1", false, false);
	has(h, "last", "192.0.2.2", true, true);
	hosts_free(h);
}

static void nothing(void **context)
{
	(void)context;
	write_file("# nobody\n");
	assert_null(hosts_read(path));
	assert_null(hosts_read("/nonexistent/hosts"));
	assert_int_equal(errno, 0);
	/* That there are none is one thing, that they cannot be read now is another. */
	struct rlimit many;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &many), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, many.rlim_max }), 0);
	struct hosts *unread = hosts_read(path);
	int error = errno;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
	assert_null(unread);
	assert_int_equal(error, ENOMEM);
	assert_string_equal(name_of(NULL, "127.0.0.1"), "");
	hosts_free(NULL);
}

/* What stands behind a ceiling is left out, and is never read as something else. */
static void ceilings(void **context)
{
	(void)context;
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "192.0.2.1 one");
	for (int i = 0; i < 3 * HOSTS_LINE; i++)
		fputs(i == HOSTS_LINE - 14 ? "\t192.0.2.2 two" : " ", f);
	fprintf(f, "\n192.0.2.3 %s\n192.0.2.4 four\n", "a.very.long.name");
	for (unsigned i = 0; i < HOSTS_MAX; i++)
		fprintf(f, "10.0.%u.%u n%u\n", i / 256, i % 256, i);
	fclose(f);
	struct hosts *h = hosts_read(path);
	assert_non_null(h);
	assert_string_equal(name_of(h, "192.0.2.1"), "one");
	assert_string_equal(name_of(h, "192.0.2.2"), "");
	assert_string_equal(name_of(h, "192.0.2.4"), "four");
	assert_string_equal(name_of(h, "10.0.0.0"), "n0");
	char last[32];
	snprintf(last, sizeof(last), "10.0.%u.%u", (HOSTS_MAX - 1) / 256, (HOSTS_MAX - 1) % 256);
	assert_string_equal(name_of(h, last), "");
	hosts_free(h);
}

static void order(void **context)
{
	static const struct {
		const char *text;
		bool first;
	} table[] = {
		{ "hosts: files dns\n", true }, { "passwd: files\nhosts:\tfiles dns", true }, { "hosts: dns files\n", false }, { "hosts: dns\n", false }, { "hosts:files dns\n", true },
		{ "#hosts: dns\n", true }, { "", true }, { "hosts: mymachines resolve [!UNAVAIL=return] files myhostname dns\n", true }, { "hosts: resolve dns\n", true },
		{ "hosts: files [NOTFOUND=return] dns # dns files\n", true }, { "hosts: # files\n", false }, { "networks: files\nhosts: dns files\n", false },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		write_file(table[i].text);
		if (hosts_come_first(path) != table[i].first)
			fail_msg("%s", table[i].text);
	}
	assert_true(hosts_come_first("/nonexistent/nsswitch.conf"));
}

static int setup(void **context)
{
	(void)context;
	return close(mkstemp(path));
}

static int teardown(void **context)
{
	(void)context;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(lines), cmocka_unit_test(names), cmocka_unit_test(cut_names), cmocka_unit_test(nothing), cmocka_unit_test(ceilings), cmocka_unit_test(order) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
