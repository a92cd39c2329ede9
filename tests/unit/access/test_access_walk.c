/* The keys that are tried, one after the other, as Sendmail tries them (SENDMAIL.md 8, 11, 12); and that a table's own walk asks for nothing else, in no other order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/access_walk.h"

#define ELSEWHERE 0
#define HERE 1
#define KEYS_MAX 600
#define ROW_MAX (64 * 1024)

static struct access *tables;
static struct access_walk walk;
/* What has been put. */
static struct {
	uint32_t rank;
	enum access_tag tag;
	unsigned bits;
	char text[ACCESS_WALK_KEY + 1];
} row[KEYS_MAX];
static size_t row_len, row_most;

static int table(const char *text)
{
	char spec[64], memory[4000];
	struct buf said;
	size_t entries;
	int file = memfd_create("access", MFD_CLOEXEC);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	buf_init_fixed(&said, memory, sizeof(memory));
	int fd = access_build(spec, &said, &said, &entries);
	close(file);
	if (said.len > 0)
		fail_msg("%s", buf_text(&said));
	return fd;
}

/* A map elsewhere, and one that is here. */
static void begin_with(const struct access_rules *rules, const char *text)
{
	int fds[] = { -1, table(text) };
	access_close(tables);
	tables = access_open(fds, 2, rules);
	assert_non_null(tables);
}

static int begin(void **context)
{
	static const struct access_rules none = { .skip = false };
	(void)context;
	begin_with(&none, "");
	return 0;
}

static int end(void **context)
{
	(void)context;
	access_close(tables);
	tables = NULL;
	return 0;
}

/* Keys of addresses are ours in a table that is here: they are shown as they are written, in lower case. */
static void take(struct access_walk *w)
{
	assert_ptr_equal(w, &walk);
	assert_int_equal(w->len, 1);
	assert_true(row_len < KEYS_MAX);
	char *to = row[row_len].text;
	struct buf b;
	buf_init_fixed(&b, to, sizeof(row[0].text));
	bool ours = w->slices[0].at[0] == '\0';
	assert_true(ours ? access_key_format(w->slices[0], &b) : buf_put_slice(&b, w->slices[0]));
	buf_text(&b);
	for (; ours && *to; to++)
		if (*to >= 'A' && *to <= 'Z')
			*to = (char)(*to + ('a' - 'A'));
	row[row_len].rank = w->ranks[0];
	row[row_len].tag = w->tags[0];
	row[row_len].bits = w->bits[0];
	w->len = 0;
	w->done = ++row_len == row_most;
}

static void start(unsigned map, enum access_tag tag)
{
	access_walk_init(&walk, tables, map, tag);
	walk.take = take;
	row_len = 0;
	row_most = KEYS_MAX + 1;
}

static struct access_client client(const char *address, const char *name)
{
	struct access_client c = { .name = slice_of(name) };
	assert_true(addr_parse(slice_of(address), &c.addr));
	return c;
}

static void walk_client(unsigned map, enum access_tag tag, enum access_scope scope, const char *address, const char *name)
{
	struct access_client c = client(address, name);
	start(map, tag);
	access_walk_client(&walk, tables, scope, &c);
}

static void walk_user(unsigned map, enum access_tag tag, const char *local, const char *domain, bool ours)
{
	struct access_user u = { slice_of(local), slice_of(domain), ours, NULL };
	start(map, tag);
	access_walk_user(&walk, &u);
}

/* "rank key", one a line. */
static void expect(const char *want)
{
	static char got[ROW_MAX];
	size_t len = 0;
	got[0] = '\0';
	for (size_t i = 0; i < row_len; i++)
		len += (size_t)snprintf(got + len, sizeof(got) - len, "%u %s\n", row[i].rank, row[i].text);
	assert_string_equal(got, want);
}

static void names(void **context)
{
	(void)context;
	walk_client(ELSEWHERE, ACCESS_GREETPAUSE, ACCESS_BY_NAME, "192.0.2.1", "Host.example.COM");
	expect("0 greetpause:host.example.com\n2 greetpause:example.com\n4 greetpause:com\n");
	/* Connect: means keys without a tag too, each right behind its own. */
	walk_client(ELSEWHERE, ACCESS_CONNECT, ACCESS_BY_NAME, "192.0.2.1", "a.example");
	expect("0 connect:a.example\n1 a.example\n2 connect:example\n3 example\n");
	assert_int_equal(row[0].tag, ACCESS_CONNECT);
	assert_int_equal(row[1].tag, ACCESS_UNTAGGED);
	walk_client(ELSEWHERE, ACCESS_GREETPAUSE, ACCESS_BY_NAME, "192.0.2.1", "localhost");
	expect("0 greetpause:localhost\n");
}

static void dots_before_domains(void **context)
{
	static const struct access_rules dots = { .dot_domain = true };
	(void)context;
	begin_with(&dots, "");
	walk_client(ELSEWHERE, ACCESS_GREETPAUSE, ACCESS_BY_NAME, "192.0.2.1", "a.b.example");
	expect("0 greetpause:a.b.example\n2 greetpause:.b.example\n4 greetpause:b.example\n6 greetpause:.example\n8 greetpause:example\n");
	/* Of a client's name only. */
	walk_user(ELSEWHERE, ACCESS_TO, "u", "b.example", false);
	expect("0 to:u@b.example\n6 to:b.example\n8 to:example\n");
}

static void addresses(void **context)
{
	(void)context;
	walk_client(ELSEWHERE, ACCESS_CONNECT, ACCESS_BY_ADDRESS, "192.0.2.1", "a.example");
	expect("0 connect:192.0.2.1\n1 192.0.2.1\n32 connect:192.0.2\n33 192.0.2\n64 connect:192.0\n65 192.0\n96 connect:192\n97 192\n");
	assert_int_equal(row[3].bits, 24);
	assert_int_equal(row[3].tag, ACCESS_UNTAGGED);
	/* ClientRate: has no keys without a tag. */
	walk_client(ELSEWHERE, ACCESS_CLIENTRATE, ACCESS_BY_ADDRESS, "192.0.2.1", "");
	expect("0 clientrate:192.0.2.1\n32 clientrate:192.0.2\n64 clientrate:192.0\n96 clientrate:192\n");
	/* Who has no name has its address in brackets for one; who has one, has not. */
	walk_client(ELSEWHERE, ACCESS_GREETPAUSE, ACCESS_BY_NAME, "192.0.2.1", "");
	expect("0 greetpause:[192.0.2.1]\n32 greetpause:[192.0.2]\n64 greetpause:[192.0]\n96 greetpause:[192]\n");
	walk_client(ELSEWHERE, ACCESS_GREETPAUSE, ACCESS_BY_DEFAULT, "192.0.2.1", "a.example");
	expect("0 greetpause:\n");
}

/* A whole IPv6 address has two spellings and one rank; what 8.13 shortens ::… to stands right before the empty prefix. */
static void six(void **context)
{
	(void)context;
	walk_client(ELSEWHERE, ACCESS_GREETPAUSE, ACCESS_BY_ADDRESS, "2001:db8::1", "");
	expect("0 greetpause:ipv6:2001:db8:0:0:0:0:0:1\n0 greetpause:ipv6:2001:db8::1\n64 greetpause:ipv6:2001:db8:0:0:0:0:0\n128 greetpause:ipv6:2001:db8:0:0:0:0\n"
		"192 greetpause:ipv6:2001:db8:0:0:0\n256 greetpause:ipv6:2001:db8:0:0\n320 greetpause:ipv6:2001:db8:0\n384 greetpause:ipv6:2001:db8\n"
		"448 greetpause:ipv6:2001\n514 greetpause:ipv6\n");
	walk_client(ELSEWHERE, ACCESS_CONNECT, ACCESS_BY_NAME, "::5:0:1", "");
	assert_int_equal(row_len, 22);
	assert_string_equal(row[0].text, "connect:[ipv6:0:0:0:0:0:5:0:1]");
	assert_string_equal(row[1].text, "connect:[ipv6:::5:0:1]");
	assert_string_equal(row[2].text, "[ipv6:0:0:0:0:0:5:0:1]");
	assert_int_equal(row[1].rank, 0);
	assert_int_equal(row[2].rank, 1);
	static const char *const last[] = { "connect:[ipv6:]", "[ipv6:]", "connect:[ipv6]", "[ipv6]" };
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(row[18 + i].text, last[i]);
		assert_int_equal(row[18 + i].rank, 512 + i);
	}
}

static void senders(void **context)
{
	(void)context;
	walk_user(ELSEWHERE, ACCESS_FROM, "User+x", "Sub.example", false);
	expect("0 from:user+x@sub.example\n1 user+x@sub.example\n2 from:user+*@sub.example\n3 user+*@sub.example\n4 from:user@sub.example\n5 user@sub.example\n"
		"6 from:user+x@\n7 user+x@\n8 from:user+*@\n9 user+*@\n10 from:user@\n11 user@\n12 from:sub.example\n13 sub.example\n14 from:example\n15 example\n");
	/* Without a + the ranks of what follows are the same. */
	walk_user(ELSEWHERE, ACCESS_FROM, "user", "example", false);
	expect("0 from:user@example\n1 user@example\n6 from:user@\n7 user@\n12 from:example\n13 example\n");
}

static void recipients(void **context)
{
	(void)context;
	walk_user(ELSEWHERE, ACCESS_TO, "u+d", "a.example", false);
	expect("0 to:u+d@a.example\n2 to:u+*@a.example\n4 to:u@a.example\n6 to:a.example\n8 to:example\n");
	/* user@ is for our own domains, and comes behind them. */
	walk_user(ELSEWHERE, ACCESS_SPAM, "u", "a.example", true);
	expect("0 spam:u@a.example\n6 spam:a.example\n8 spam:example\n10 spam:u@\n");
	walk_user(ELSEWHERE, ACCESS_SPAM, "u+", "", true);
	expect("0 spam:u+@\n2 spam:u+*@\n4 spam:u@\n");
	walk_user(ELSEWHERE, ACCESS_SPAM, "u", "", false);
	expect("");
}

/* A key that no file has room for is not tried, and those behind it keep their ranks. */
static void too_long(void **context)
{
	char local[ACCESS_WALK_KEY], want[2 * ACCESS_WALK_KEY];
	size_t fits = ACCESS_WALK_KEY - strlen("to:@b.example");
	(void)context;
	memset(local, 'x', sizeof(local));
	local[fits] = '\0';
	walk_user(ELSEWHERE, ACCESS_TO, local, "b.example", false);
	snprintf(want, sizeof(want), "0 to:%s@b.example\n6 to:b.example\n8 to:example\n", local);
	expect(want);
	local[fits] = 'x';
	local[fits + 1] = '\0';
	walk_user(ELSEWHERE, ACCESS_TO, local, "b.example", false);
	expect("6 to:b.example\n8 to:example\n");
}

/* Of a table that is here only what it can have is asked for, networks among the prefixes. */
static void no_more_than_there_is(void **context)
{
	static const struct access_rules none = { .skip = false };
	(void)context;
	begin_with(&none, "GreetPause:192.0.2 1\nGreetPause:192.0.0.0/16 2\nGreetPause:10.0 3\nGreetPause:10.0.0.0/23 4\nConnect:[192] OK\n10.9.8.7 OK\n"
		"GreetPause:IPv6:2001:db8::/32 5\nGreetPause:IPv6: 6\n");
	walk_client(HERE, ACCESS_GREETPAUSE, ACCESS_BY_ADDRESS, "192.0.2.77", "");
	expect("32 greetpause:192.0.2\n38 greetpause:192.0.2.0/23\n64 greetpause:192.0\n66 greetpause:192.0.0.0/16\n");
	walk_client(HERE, ACCESS_GREETPAUSE, ACCESS_BY_NAME, "192.0.2.77", "host.example");
	expect("");
	walk_client(HERE, ACCESS_GREETPAUSE, ACCESS_BY_DEFAULT, "192.0.2.77", "");
	expect("");
	walk_client(HERE, ACCESS_CONNECT, ACCESS_BY_ADDRESS, "192.0.2.77", "");
	expect("1 192.0.2.77\n");
	walk_client(HERE, ACCESS_CONNECT, ACCESS_BY_NAME, "192.0.2.77", "");
	expect("96 connect:[192]\n");
	/* Users without domains, and domains without users. */
	begin_with(&none, "To:u@b.example REJECT\nSpam:example FRIEND\nother.example REJECT\n");
	walk_user(HERE, ACCESS_TO, "u", "b.example", true);
	expect("0 to:u@b.example\n10 to:u@\n");
	walk_user(HERE, ACCESS_SPAM, "u", "b.example", true);
	expect("6 spam:b.example\n8 spam:example\n");
	walk_user(HERE, ACCESS_FROM, "u", "b.example", true);
	expect("13 b.example\n15 example\n");
}

/* A rank is a key's place among all keys that there could be, in whichever table: so the answers of several can be compared. */
static void ranks_are_the_same_everywhere(void **context)
{
	static const struct access_rules dots = { .dot_domain = true };
	static const char *const addresses[] = { "192.0.2.1", "2001:db8::1", "::5:0:1", "::" };
	static const char *const names[] = { "", "a.b.example", "example" };
	static const enum access_tag tags[] = { ACCESS_GREETPAUSE, ACCESS_CONNECT, ACCESS_CLIENTCONN };
	size_t compared = 0;
	(void)context;
	begin_with(&dots, "GreetPause:192.0.2.1 1\nGreetPause:192.0 1\nGreetPause:[192] 1\nGreetPause:.example 1\nGreetPause:example 1\nGreetPause:IPv6: 1\n"
		"GreetPause:[IPv6:] 1\nGreetPause:IPv6:2001:db8 1\nGreetPause:IPv6 1\nGreetPause:2001:db8::1 1\nGreetPause: 1\nConnect:192.0.2 OK\n192 OK\n[192.0.2.1] OK\n"
		"Connect:[IPv6:2001:db8::1] OK\nIPv6:2001:db8:0:0:0 OK\n[IPv6:] OK\nConnect:b.example OK\nexample OK\nClientConn:192.0.2 1\nClientConn:IPv6:2001 1\n"
		"ClientConn: 1\n");
	for (size_t i = 0; i < 4 * 3 * 3 * 3; i++) {
		struct {
			uint32_t rank;
			char text[ACCESS_WALK_KEY + 1];
		} here[64];
		enum access_scope scope = (enum access_scope)(i % 3);
		enum access_tag tag = tags[i / 3 % 3];
		size_t len, at = 0;
		walk_client(HERE, tag, scope, addresses[i / 27], names[i / 9 % 3]);
		assert_true(row_len < 64);
		for (len = 0; len < row_len; len++) {
			here[len].rank = row[len].rank;
			memcpy(here[len].text, row[len].text, sizeof(here[len].text));
		}
		walk_client(ELSEWHERE, tag, scope, addresses[i / 27], names[i / 9 % 3]);
		for (size_t k = 0; k < len; k++, compared++) {
			while (at < row_len && strcmp(row[at].text, here[k].text) != 0)
				at++; /* in the same order */
			if (at == row_len)
				fail_msg("%s", here[k].text);
			assert_int_equal(row[at].rank, here[k].rank);
		}
		for (size_t k = 1; k < row_len; k++)
			assert_true(row[k - 1].rank <= row[k].rank);
	}
	assert_true(compared > 100);
}

/* Once nothing more is wanted nothing more is put, from whatever kind of key on. */
static void done_is_done(void **context)
{
	struct access_client named = client("::5:0:1", "a.b.example"), nameless = client("::5:0:1", "");
	struct access_user user = { slice_of("u+x"), slice_of("b.example"), true, NULL };
	(void)context;
	for (size_t n = 1; n < 10; n++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			start(ELSEWHERE, kind == 3 ? ACCESS_FROM : ACCESS_CONNECT);
			row_most = n;
			if (kind == 3)
				access_walk_user(&walk, &user);
			else
				access_walk_client(&walk, tables, kind == 1 ? ACCESS_BY_ADDRESS : ACCESS_BY_NAME, kind == 0 ? &named : &nameless);
			assert_int_equal(row_len, kind == 0 && n > 6 ? 6 : n);
		}
	}
	begin_with(&(struct access_rules){ .skip = false }, "GreetPause:192.0.2.1 1\nGreetPause:192.0.2.0/24 1\nGreetPause:192.0 1\n");
	struct access_client other = client("192.0.9.9", "");
	for (size_t n = 1; n < 4; n++) {
		start(HERE, ACCESS_GREETPAUSE);
		row_most = n;
		access_walk_client(&walk, tables, ACCESS_BY_ADDRESS, &other);
		assert_int_equal(row_len, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names, begin, end),
		cmocka_unit_test_setup_teardown(dots_before_domains, begin, end),
		cmocka_unit_test_setup_teardown(addresses, begin, end),
		cmocka_unit_test_setup_teardown(six, begin, end),
		cmocka_unit_test_setup_teardown(senders, begin, end),
		cmocka_unit_test_setup_teardown(recipients, begin, end),
		cmocka_unit_test_setup_teardown(too_long, begin, end),
		cmocka_unit_test_setup_teardown(no_more_than_there_is, begin, end),
		cmocka_unit_test_setup_teardown(ranks_are_the_same_everywhere, begin, end),
		cmocka_unit_test_setup_teardown(done_is_done, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
