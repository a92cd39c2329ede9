/* The access database: every measured Sendmail transcript about addresses and values, what is beyond Sendmail, and what is said of odd lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "access/access.h"

struct result {
	int fd;
	size_t entries;
	struct buf errors, warnings;
	char errors_memory[8192], warnings_memory[8192];
};

static void build(struct result *r, const char *text)
{
	char spec[64];
	int file = memfd_create("source", MFD_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	buf_init_fixed(&r->errors, r->errors_memory, sizeof(r->errors_memory));
	buf_init_fixed(&r->warnings, r->warnings_memory, sizeof(r->warnings_memory));
	r->entries = 99;
	r->fd = access_build(spec, &r->errors, &r->warnings, &r->entries);
	close(file);
}

static struct access *open_text(const char *text)
{
	struct result r;
	build(&r, text);
	if (r.fd < 0)
		fail_msg("%s", buf_text(&r.errors));
	struct access *access = access_open(&(int){ r.fd }, 1, &(struct access_rules){ .skip = false });
	assert_non_null(access);
	return access;
}

static struct addr addr(const char *text)
{
	struct addr a;
	if (!addr_parse(slice_of(text), &a))
		fail_msg("%s", text);
	return a;
}

/* The pause, or -1 if nothing was found. */
static int64_t pause_of(const struct access *access, const char *client)
{
	struct addr a = addr(client);
	struct access_answer answer = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = a }, 777777);
	assert_int_equal(answer.found, answer.pause_ms != 777777);
	return answer.found ? answer.pause_ms : -1;
}

static uint32_t line_of(const struct access *access, const char *client)
{
	struct addr a = addr(client);
	struct access_answer answer = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = a }, 777777);
	return answer.found ? answer.line : 0;
}

/* Why we answer otherwise than Sendmail 8.13 did. */
enum why {
	SAME,
	NAME_KEY,      /* the key is a host or domain: names are for a later version */
	NAMELESS,      /* the client had a name there; here it has none, and so matches [address] */
	CIDR,          /* never matches in Sendmail */
	BARE_TAG,      /* never matches in Sendmail; here the default */
	SPELLING,      /* leading zeros: never matches in Sendmail */
	UNTAGGED_IPV6, /* an address without IPv6: never matches in Sendmail */
	AS_8_17,       /* as Sendmail 8.17 does, which writes addresses without :: */
	REFUSED,       /* makemap complains, and here the file is not taken */
};

static const struct row {
	const char *text, *client;
	int64_t default_ms, sendmail_8_13, sendmail_8_17, ours; /* -1: the file is refused */
	enum why why;
} rows[] = {
	/* keys.json */
	{ "GreetPause:127.0.0.2\t300\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0\t300\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0\t300\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127\t300\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0.0/8\t300\n", "127.0.0.2", 1200, 1200, 1200, 300, CIDR },
	{ "GreetPause:127.0.0.20\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:27.0.0.2\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:[127.0.0.2]\t300\n", "127.0.0.2", 1200, 1200, 1200, 300, NAMELESS },
	{ "GreetPause:host.sub.example.com\t300\n", "127.0.0.2", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:sub.example.com\t300\n", "127.0.0.2", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:example.com\t300\n", "127.0.0.2", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:com\t300\n", "127.0.0.2", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:xample.com\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:*.example.com\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:*\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:\t300\n", "127.0.0.2", 1200, 1200, 1200, 300, BARE_TAG },
	{ "GreetPause:@\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:host.sub.example.com.\t300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause: 127.0.0.2 300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "127.0.0.2 300\n", "127.0.0.2", 1200, 1200, 0, 1200, SAME },
	{ "Connect:127.0.0.2 300\n", "127.0.0.2", 1200, 1200, 0, 1200, SAME },
	{ "Pause:127.0.0.2 300\n", "127.0.0.2", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:com 300\nGreetPause:127.0.0.2 600\n", "127.0.0.2", 1200, 300, 300, 600, NAME_KEY },
	{ "GreetPause:sub.example.com 600\nGreetPause:example.com 900\n", "127.0.0.2", 1200, 600, 600, 1200, NAME_KEY },
	{ "GreetPause:127.0.0 600\nGreetPause:127.0 900\n", "127.0.0.2", 1200, 600, 600, 600, SAME },
	{ "GreetPause:127.0.0.2 300\nGreetPause: 600\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:example.com 0\nGreetPause:127.0.0.2 600\n", "127.0.0.2", 1200, 0, 0, 600, NAME_KEY },
	{ "GreetPause:example.com abc\nGreetPause:127.0.0.2 600\n", "127.0.0.2", 1200, 0, 0, 600, NAME_KEY },
	{ "GreetPause:127.0.0.2 300\nGreetPause:127.0.0.2 600\n", "127.0.0.2", 1200, 300, 300, -1, REFUSED },
	{ "GreetPause:example.com 300\n", "127.0.0.14", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:example.com 300\n", "127.0.0.13", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:host.sub.example.com 300\n", "127.0.0.13", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:single 300\n", "127.0.0.6", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:UPPER.Example.COM 300\n", "127.0.0.8", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:d.example.com 300\n", "127.0.0.11", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:localhost 300\n", "127.0.0.1", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:127.0.0.1 300\n", "127.0.0.1", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0.4 300\n", "127.0.0.4", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0 300\n", "127.0.0.4", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[127.0.0] 300\n", "127.0.0.4", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[127] 300\n", "127.0.0.4", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[127.0] 300\nGreetPause:127.0.0.4 600\n", "127.0.0.4", 1200, 300, 300, 300, SAME },
	{ "GreetPause:example.com 300\n", "127.0.0.5", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:127.0.0.5 300\n", "127.0.0.5", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[127.0.0.5] 300\n", "127.0.0.5", 1200, 1200, 1200, 300, NAMELESS },
	{ "GreetPause:127.0.0.20 300\n", "127.0.0.20", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[127.0.0.20] 300\n", "127.0.0.20", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0 300\n", "127.0.0.20", 1200, 300, 300, 300, SAME },
	{ "GreetPause:10.1 300\n", "10.1.2.3", 1200, 300, 300, 300, SAME },
	{ "GreetPause:10 300\n", "10.1.2.3", 1200, 300, 300, 300, SAME },
	{ "GreetPause:edu 300\n", "10.1.2.3", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:10.1.2 300\n", "10.1.9.3", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:.example.com 300\n", "127.0.0.9", 1200, 1200, 1200, 1200, SAME },
	/* keys6.json */
	{ "GreetPause:IPv6:::1 300\n", "::1", 1200, 300, 1200, 300, SAME },
	{ "GreetPause:IPv6:0:0:0:0:0:0:0 300\n", "::1", 1200, 1200, 300, 300, AS_8_17 },
	{ "GreetPause:IPv6:0:0:0:0 300\n", "::1", 1200, 1200, 300, 300, AS_8_17 },
	{ "GreetPause:IPv6: 300\n", "::1", 1200, 300, 1200, 300, SAME },
	{ "GreetPause:IPv6 300\n", "::1", 1200, 1200, 300, 300, AS_8_17 },
	{ "GreetPause:IPv6:: 300\n", "::1", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:ipv6:::1 300\n", "::1", 1200, 300, 1200, 300, SAME },
	{ "GreetPause:::1 300\n", "::1", 1200, 1200, 1200, 300, UNTAGGED_IPV6 },
	{ "GreetPause:localhost 300\n", "::1", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:[IPv6:::1] 300\n", "::1", 1200, 1200, 1200, 300, NAMELESS },
	{ "GreetPause:IPv6:2001:db8:1:2:3:4:5:6 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 300, SAME },
	{ "GreetPause:IPv6:2001:db8:1:2 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 300, SAME },
	{ "GreetPause:IPv6:2001:db8 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 300, SAME },
	{ "GreetPause:IPv6:2001 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 300, SAME },
	{ "GreetPause:IPv6:2001:0db8:1:2:3:4:5:6 300\n", "2001:db8:1:2:3:4:5:6", 1200, 1200, 1200, 300, SPELLING },
	{ "GreetPause:IPv6:2001:DB8:1:2 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 300, SAME },
	{ "GreetPause:IPv6 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 300, SAME },
	{ "GreetPause:v6.sub.example.com 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:example.com 300\n", "2001:db8:1:2:3:4:5:6", 1200, 300, 300, 1200, NAME_KEY },
	{ "GreetPause:IPv6:2001:db8: 300\n", "2001:db8:1:2:3:4:5:6", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:IPv6:2001:db8:: 300\n", "2001:db8:1:2:3:4:5:6", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:2001:db8 300\n", "2001:db8:1:2:3:4:5:6", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:IPv6:2001:db8::/32 300\n", "2001:db8:1:2:3:4:5:6", 1200, 1200, 1200, 300, CIDR },
	{ "GreetPause:IPv6:2001:db8:1:2:0:0:0:9 300\n", "2001:db8:1:2::9", 1200, 1200, 300, 300, AS_8_17 },
	{ "GreetPause:IPv6:2001:db8:1:2:: 300\n", "2001:db8:1:2::9", 1200, 1200, 1200, 1200, SAME },
	{ "GreetPause:IPv6:2001:db8:1:2:0 300\n", "2001:db8:1:2::9", 1200, 1200, 300, 300, AS_8_17 },
	{ "GreetPause:IPv6:2001:db8:1 300\n", "2001:db8:1:2::9", 1200, 300, 300, 300, SAME },
	{ "GreetPause:IPv6:2001:db8 300\n", "2001:db8:1:2::9", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[IPv6:2001:db8:1:2::9] 300\n", "2001:db8:1:2::9", 1200, 300, 1200, 300, SAME },
	{ "GreetPause:[IPv6:2001:db8:1:2] 300\n", "2001:db8:1:2::9", 1200, 300, 300, 300, SAME },
	{ "GreetPause:[IPv6:2001:db8] 300\n", "2001:db8:1:2::9", 1200, 300, 300, 300, SAME },
	/* values.json */
	{ "GreetPause:127.0.0.2 0\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 00\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 -5\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 300ms\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0.2 1s\n", "127.0.0.2", 1200, 1, 1, 1, SAME },
	{ "GreetPause:127.0.0.2 0x12c\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 .5\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 \"300\"\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 abc\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 300abc\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0.2 REJECT\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 RELAY\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 DISCARD\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 SKIP\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 FRIEND\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 HATER\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 ERROR:5.7.1:550 go away\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 550 go away\n", "127.0.0.2", 1200, 550, 550, 550, SAME },
	{ "GreetPause:127.0.0.2 ERROR:\"550 go away\"\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 <TMPF>\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2 300<TMPF>\n", "127.0.0.2", 1200, 0, 0, 0, SAME },
	{ "GreetPause:127.0.0.2  \n", "127.0.0.2", 1200, 1200, 1200, -1, REFUSED },
	{ "GreetPause:127.0.0.2 300 # comment\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	{ "GreetPause:127.0.0.2 1\n", "127.0.0.2", 1200, 1, 1, 1, SAME },
	{ "GreetPause:127.0.0.2 2\n", "127.0.0.2", 1200, 2, 2, 2, SAME },
	{ "GreetPause:127.0.0.2 20\n", "127.0.0.2", 1200, 20, 20, 20, SAME },
	{ "GreetPause:127.0.0.2 300%\n", "127.0.0.2", 1200, 300, 300, 300, SAME },
	/* huge.json */
	{ "GreetPause:127.0.0.2 300000\n", "127.0.0.2", 100, 300000, 300000, 300000, SAME },
	{ "GreetPause:127.0.0.2 2147483647\n", "127.0.0.2", 100, 300000, 300000, 300000, SAME },
	{ "GreetPause:127.0.0.2 2147483648\n", "127.0.0.2", 100, 300000, 300000, 300000, SAME },
	{ "GreetPause:127.0.0.2 4294967296\n", "127.0.0.2", 100, 300000, 300000, 300000, SAME },
	{ "GreetPause:127.0.0.2 4294967396\n", "127.0.0.2", 100, 300000, 300000, 300000, SAME },
	{ "GreetPause:127.0.0.2 99999999999999999999\n", "127.0.0.2", 100, 300000, 300000, 300000, SAME },
	{ "GreetPause:127.0.0.2 -4294967000\n", "127.0.0.2", 100, 0, 0, 0, SAME },
};

static void transcripts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct result r;
		build(&r, row->text);
		if (row->ours < 0) {
			assert_int_equal(r.fd, -1);
			assert_int_equal(row->why, REFUSED);
			continue;
		}
		struct access *access = access_open(&(int){ r.fd }, 1, &(struct access_rules){ .skip = false });
		assert_non_null(access);
		struct addr client = addr(row->client);
		struct access_answer answer = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = client }, row->default_ms);
		if (answer.pause_ms != row->ours)
			fail_msg("%s%s: %lld, expected %lld", row->text, row->client, (long long)answer.pause_ms, (long long)row->ours);
		assert_int_equal(row->why == SAME, row->ours == row->sendmail_8_13);
		if (row->why == AS_8_17)
			assert_int_equal(row->ours, row->sendmail_8_17);
		access_close(access);
	}
}

static void order_of_keys(void **state)
{
	(void)state;
	struct access *a = open_text(
		"GreetPause: 1\n"
		"GreetPause:127 2\n"
		"GreetPause:127.0.0.0/8 3\n"
		"GreetPause:127.0.0.0/9 4\n"
		"GreetPause:127.0.0.0/24 5\n"
		"GreetPause:127.0.0 6\n"
		"GreetPause:127.0.0.2/32 7\n"
		"GreetPause:127.0.0.3 8\n"
		"GreetPause:127.0.0.3/32 9\n"
		"GreetPause:[127.9] 10\n"
		"GreetPause:127.9.9.9 11\n"
		"GreetPause:0.0.0.0/0 12\n"
		"GreetPause:10.0.0.0/8 13\n");
	assert_int_equal(pause_of(a, "127.0.0.1"), 6);   /* octets before CIDR of the same length */
	assert_int_equal(pause_of(a, "127.0.0.2"), 7);   /* the longest wins, whatever its form */
	assert_int_equal(pause_of(a, "127.0.0.3"), 8);
	assert_int_equal(pause_of(a, "127.1.0.1"), 4);
	assert_int_equal(pause_of(a, "127.128.0.1"), 2);
	assert_int_equal(pause_of(a, "127.9.9.9"), 10);  /* brackets before everything */
	assert_int_equal(pause_of(a, "11.0.0.1"), 12);
	assert_int_equal(pause_of(a, "10.0.0.1"), 13);
	assert_int_equal(pause_of(a, "::ffff:10.0.0.1"), 13);
	assert_int_equal(pause_of(a, "2001:db8::1"), 1); /* 0.0.0.0/0 is IPv4 only */
	access_close(a);
}

static void order_of_keys6(void **state)
{
	(void)state;
	struct access *a = open_text(
		"GreetPause:IPv6 1\n"
		"GreetPause:IPv6: 2\n"
		"GreetPause:2001:db8::/33 3\n"
		"GreetPause:IPv6:2001:DB8:0:0::/32 4\n"
		"GreetPause:IPv6:2001:db8 5\n"
		"GreetPause:IPv6:2001:0db8:0001 6\n"
		"GreetPause:2001:0db8:0:0:0:0:0:9 7\n"
		"GreetPause:[IPv6:2001:db8:ff] 8\n"
		"GreetPause:IPv6:fe80::/10 9\n"
		"GreetPause:::/0 10\n"
		"GreetPause:2001:db8::a/127 11\n"
		"GreetPause:[IPv6:] 12\n"
		"GreetPause:IPv6:2001:db9::5/128 13\n");
	assert_int_equal(pause_of(a, "2001:db8::1"), 3);
	assert_int_equal(pause_of(a, "2001:db8:8000::1"), 5);
	assert_int_equal(pause_of(a, "2001:db8:1:2::3"), 6);
	assert_int_equal(pause_of(a, "2001:db8::9"), 7);
	assert_int_equal(pause_of(a, "2001:db8::a"), 11);
	assert_int_equal(pause_of(a, "2001:db8::b"), 11);
	assert_int_equal(pause_of(a, "2001:db8::c"), 3);
	assert_int_equal(pause_of(a, "2001:db8:ff::"), 8);
	assert_int_equal(pause_of(a, "febf::1"), 9);
	assert_int_equal(pause_of(a, "fec0::1"), 1);
	assert_int_equal(pause_of(a, "2001:db9::5"), 13);
	assert_int_equal(pause_of(a, "2001:db9::6"), 1);
	assert_int_equal(pause_of(a, "::1"), 12);
	assert_int_equal(pause_of(a, "10.0.0.1"), -1);
	access_close(a);
}

/* "IPv6:" is what Sendmail 8.13 comes to from an address that it writes with :: in front. */
static void beginning_with_zeros(void **state)
{
	(void)state;
	struct access *a = open_text("GreetPause:IPv6: 2\n");
	assert_int_equal(pause_of(a, "::1"), 2);
	assert_int_equal(pause_of(a, "::"), 2);
	assert_int_equal(pause_of(a, "0:0:1:0:1::1"), 2);    /* ::1:0:1:0:0:1, the first of two equal runs */
	assert_int_equal(pause_of(a, "::5:6:7:8"), 2);
	assert_int_equal(pause_of(a, "0:0:1:0:0:0:1:1"), -1); /* 0:0:1::1:1 */
	assert_int_equal(pause_of(a, "0:1::1"), -1);
	assert_int_equal(pause_of(a, "0:1:2:3:4:5:6:7"), -1);
	assert_int_equal(pause_of(a, "2001:db8::1"), -1);
	assert_int_equal(pause_of(a, "127.0.0.1"), -1);
	access_close(a);
}

/* A file that serves Sendmail 8.13 and 8.17 has both spellings. */
static void two_spellings(void **state)
{
	(void)state;
	struct result r;
	build(&r, "GreetPause:IPv6:::1 5\nGreetPause:IPv6:0:0:0:0:0:0:0:1 5\n");
	assert_string_equal(buf_text(&r.warnings), "");
	assert_int_equal(r.entries, 1);
	close(r.fd);
	build(&r, "GreetPause:IPv6:2001:db8::1 5\nGreetPause:2001:DB8::1 6\n");
	assert_non_null(strstr(buf_text(&r.warnings), ":2: GreetPause:2001:DB8::1: the same as line 1 in another spelling, ignored; line 1 counts\n"));
	struct access *a = access_open(&(int){ r.fd }, 1, &(struct access_rules){ .skip = false });
	assert_int_equal(pause_of(a, "2001:db8::1"), 5);
	assert_int_equal(line_of(a, "2001:db8::1"), 1);
	access_close(a);
	build(&r, "GreetPause:IPv6:::1 5\nGreetPause:::1 5\ngreetpause:::1 5\n");
	assert_int_equal(r.fd, -1);
	assert_non_null(strstr(buf_text(&r.errors), ":3: key greetpause:::1: duplicate key\n"));
}

/* What is said of one line, without "FILE:LINE: ". */
static const char *said(struct result *r, const char *text)
{
	build(r, text);
	assert_true(r->fd >= 0);
	close(r->fd);
	const char *at = buf_text(&r->warnings);
	for (int i = 0; i < 2 && *at; i++)
		at = strchr(at, ':') + 1;
	return *at ? at + 1 : at;
}

static void odd_values(void **state)
{
	(void)state;
	static const struct {
		const char *value, *warning;
		int64_t pause;
	} cases[] = {
		{ "300", "", 300 },
		{ "0", "", 0 },
		{ "1", "", 1 },
		{ "0300", "", 300 },
		{ "300ms", "", 300 },
		{ "300 \t", "", 300 },
		{ "300 # five", "", 300 },
		{ "300000", "", 300000 },
		{ "soon", "not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ "OK", "not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ "+300", "not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ ".5", "not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ "0x12c", "not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ "300<tmpf>", "not a number of milliseconds, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ "-5", "negative, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
		{ "1s", "read as 1 ms (as Sendmail does); write 1000 for one second", 1 },
		{ "1 s", "read as 1 ms (as Sendmail does); write 1000 for one second", 1 },
		{ "5S", "read as 5 ms (as Sendmail does); write 5000 for 5 seconds", 5 },
		{ "2m", "read as 2 ms (as Sendmail does); write 120000 for 2 minutes", 2 },
		{ "10min", "read as 10 ms (as Sendmail does); write 300000 for the longest pause there is, 300 seconds", 10 },
		{ "300#", "read as 300 ms (as Sendmail does); write 300 alone if that is meant", 300 },
		{ "300.9", "read as 300 ms (as Sendmail does); write 300 alone if that is meant", 300 },
		{ "550 go away", "read as 550 ms (as Sendmail does); write 550 alone if that is meant", 550 },
		{ "400000", "cut to 300000 ms, the longest pause there is (as in Sendmail)", 300000 },
		{ "99999999999999999999", "cut to 300000 ms, the longest pause there is (as in Sendmail)", 300000 },
		{ "400000 now", "read as 300000 ms (as Sendmail does); write 300000 alone if that is meant", 300000 },
		{ "-99999999999999999999", "negative, read as no pause (as Sendmail does); write 0 if that is meant", 0 },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct result r;
		char text[128], expected[256] = "";
		snprintf(text, sizeof(text), "GreetPause:10 %s\n", cases[i].value);
		if (*cases[i].warning)
			snprintf(expected, sizeof(expected), "GreetPause:10 %.*s: %s\n", (int)strcspn(cases[i].value, "\t"), cases[i].value, cases[i].warning);
		assert_string_equal(said(&r, text), expected);
		struct access *a = open_text(text);
		assert_int_equal(pause_of(a, "10.1.2.3"), cases[i].pause);
		access_close(a);
	}
}

static void keys_that_never_match(void **state)
{
	(void)state;
	static const char *const keys[] = {
		"127.0.0.", "127.0.0.02", "127.00", "256", "127.0.0.1.1", "1..2", ".1", "127.0.0.256", "0127",
		"10/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8/8", "ipv6:10.0.0.0/8", "2001:db8/32", "::/129", "::ffff:10.0.0.1/8", "::ffff:0:0/96",
		"IPv6::", "IPv6:2001:db8:", "IPv6:2001:db8:::", "IPv6:1:2:3:4:5:6:7:8:9", "IPv6:12345", "IPv6:g", "2001:db8", "IPv6:1.2.3.4",
		"::ffff:10.0.0.1", "IPv6:::ffff:10.0.0.1", "IPv6:0:0:0:0:0:ffff", "IPv6:0:0:0:0:0:ffff:a00:1",
		"[", "[]", "[127.0.0.1", "[10.0.0.0/8]", "[host]", "[127.0.0.1]x",
	};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct result r;
		char text[128], start[128];
		snprintf(text, sizeof(text), "GreetPause:%s 5\n", keys[i]);
		snprintf(start, sizeof(start), "GreetPause:%s: never matches, ignored; ", keys[i]);
		const char *warning = said(&r, text);
		if (strncmp(warning, start, strlen(start)) != 0)
			fail_msg("%s: %s", keys[i], warning);
		struct access *a = open_text(text);
		assert_int_equal(pause_of(a, "127.0.0.1"), -1);
		assert_int_equal(pause_of(a, "10.0.0.1"), -1);
		assert_int_equal(pause_of(a, "2001:db8::1"), -1);
		access_close(a);
	}
}

static void keys_that_surprise(void **state)
{
	(void)state;
	struct result r;
	assert_string_equal(said(&r, "GreetPause:IPv6:2001:db8:: 5\n"),
		"GreetPause:IPv6:2001:db8::: is one address, not a network; a network is written without the :: or as ADDRESS/BITS\n");
	assert_string_equal(said(&r, "GreetPause:192.168.5.1/22 5\n"), "GreetPause:192.168.5.1/22: has bits set behind the first 22, read as 192.168.4.0/22\n");
	assert_string_equal(said(&r, "GreetPause: 127.0.0.2 300\n"),
		"GreetPause: 127.0.0.2 300: a tag alone is the default and takes a number alone, ignored; if a key was meant, take out the blank before it\n");
	assert_string_equal(said(&r, "GreetPause: 300\n"), "");
	struct access *a = open_text("GreetPause: 300ms\n");
	assert_int_equal(pause_of(a, "127.0.0.1"), -1);
	access_close(a);
	a = open_text("GreetPause: 300 \r\nGreetPause:127 5\r\n");
	assert_int_equal(pause_of(a, "127.0.0.1"), 5);
	assert_int_equal(pause_of(a, "128.0.0.1"), 300);
	access_close(a);
}

static void what_has_no_effect(void **state)
{
	(void)state;
	struct result r;
	build(&r, "Srv_Features:10 x\nsrv_features:11 y\nPause:10 5\nGreetPause:a@b 5\nFrom:10.1.2.3 REJECT\nConnect: REJECT\nClientRate:example.com 5\nSpam:@example.org FRIEND\n");
	assert_int_equal(r.entries, 8);
	const char *all = buf_text(&r.warnings);
	assert_non_null(strstr(all, ":1: keys with the tag srv_features: have no effect here (2 lines, this is the first)\n"));
	assert_non_null(strstr(all, ":3: keys with a tag that Sendmail does not know have no effect\n"));
	assert_non_null(strstr(all, ":4: GreetPause:a@b: never matches, ignored; clients are told by name, address or network\n"));
	assert_non_null(strstr(all, ":5: From:10.1.2.3: never matches, ignored; senders and recipients are user@domain, user@ or a domain\n"));
	assert_non_null(strstr(all, ":6: Connect:: never matches, ignored; a tag alone is the key of nobody (as in Sendmail)\n"));
	assert_non_null(strstr(all, ":7: ClientRate:example.com: never matches, ignored; limits are by address or network, never by name (as in Sendmail)\n"));
	assert_non_null(strstr(all, ":8: Spam:@example.org: never matches, ignored; a domain is written without the @ (as in Sendmail)\n"));
	size_t lines = 0;
	for (const char *at = all; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, 7);
	close(r.fd);
}

static void warnings_have_a_ceiling(void **state)
{
	(void)state;
	char text[1024] = "Pause:10 x\n";
	for (int i = 1; i <= 40; i++)
		sprintf(text + strlen(text), "GreetPause:%d soon\n", i);
	struct result r;
	build(&r, text);
	assert_true(r.fd >= 0);
	const char *all = buf_text(&r.warnings);
	assert_non_null(strstr(all, ":21: GreetPause:20 soon"));
	assert_null(strstr(all, ":22: "));
	assert_non_null(strstr(all, ": and 20 more\n"));
	assert_non_null(strstr(all, ":1: keys with a tag that Sendmail does not know have no effect"));
	close(r.fd);
}

static void specs(void **state)
{
	(void)state;
	char memory[512];
	struct buf errors, warnings;
	size_t entries = 0;
	buf_init_fixed(&errors, memory, sizeof(memory));
	buf_init(&warnings, 100);
	assert_string_equal(access_file("text:/etc/tarry/access"), "/etc/tarry/access");
	assert_null(access_file("hash:/etc/mail/access"));
	assert_int_equal(access_build("hash:/etc/mail/access", &errors, &warnings, &entries), -1);
	assert_string_equal(buf_text(&errors), "\"hash:/etc/mail/access\" is no map that can be read; expected text:, lmdb: or cdb: and /path/to/file\n");
	buf_clear(&errors);
	assert_int_equal(access_build("text:/nonexistent/access", &errors, &warnings, &entries), -1);
	assert_string_equal(buf_text(&errors), "/nonexistent/access: cannot be read: No such file or directory\n");
	struct access *elsewhere = access_open(&(int){ -1 }, 1, &(struct access_rules){ .skip = false });
	assert_non_null(elsewhere); /* a map that somebody else asks */
	assert_int_equal(access_next_elsewhere(elsewhere, 0), 0);
	assert_int_equal(access_next_elsewhere(elsewhere, 1), ACCESS_MAPS);
	access_close(elsewhere);
	assert_null(access_open(&(int){ memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING) }, 1, &(struct access_rules){ .skip = false }));
	access_close(NULL);
}

/* Against a search that knows nothing of tables: random prefixes and clients from a small space, so that much collides. */

struct model {
	char key[64];
	struct addr base;
	unsigned bits, rank; /* rank: 0 brackets, 1 Sendmail's form, 2 CIDR */
	uint32_t line;
};

static uint64_t seed = 88172645463325252;

static unsigned pick(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed >> 20) % below;
}

static struct addr random_addr(bool v4)
{
	struct addr a = { .port = 0 };
	if (v4)
		a.ip[10] = a.ip[11] = 0xff;
	for (unsigned i = v4 ? 12 : 0; i < 16; i++)
		a.ip[i] = pick(3) ? 0 : (uint8_t)(pick(3) ? pick(4) << 6 : pick(256));
	if (!v4)
		a.ip[0] = 0x20;
	return a;
}

static struct model random_key(void)
{
	struct model m;
	bool v4 = pick(2) == 0;
	char text[ADDR_TEXT];
	m.rank = pick(3);
	m.bits = m.rank == 2 ? pick(v4 ? 33 : 129) : v4 ? 8 + 8 * pick(4) : 16 * pick(9);
	struct addr a = random_addr(v4);
	m.base = addr_mask(&a, m.bits);
	if (m.rank == 2) {
		snprintf(m.key, sizeof(m.key), "%s/%u", addr_format(&m.base, text), m.bits);
		return m;
	}
	char *to = m.key;
	if (m.rank == 0)
		*to++ = '[';
	if (!v4)
		to += sprintf(to, "IPv6");
	for (unsigned i = 0; i < m.bits / (v4 ? 8 : 16); i++) {
		if (v4)
			to += sprintf(to, i ? ".%u" : "%u", m.base.ip[12 + i]);
		else
			to += sprintf(to, ":%x", m.base.ip[2 * i] << 8 | m.base.ip[2 * i + 1]);
	}
	strcpy(to, m.rank == 0 ? "]" : "");
	return m;
}

static bool before(const struct model *a, const struct model *b)
{
	if ((a->rank == 0) != (b->rank == 0))
		return a->rank == 0;
	return a->bits != b->bits ? a->bits > b->bits : a->rank < b->rank;
}

static void against_a_model(void **state)
{
	(void)state;
	enum { ROUNDS = 40, KEYS = 60, CLIENTS = 500 };
	for (int round = 0; round < ROUNDS; round++) {
		struct model keys[KEYS];
		char text[KEYS * 96] = "";
		size_t len = 0, lines = 0;
		for (size_t i = 0; i < KEYS; i++) {
			keys[lines] = random_key();
			bool again = false;
			for (size_t j = 0; j < lines; j++)
				again |= strcmp(keys[j].key, keys[lines].key) == 0;
			if (again)
				continue;
			keys[lines].line = (uint32_t)lines + 1;
			len += (size_t)sprintf(text + len, "GreetPause:%s %zu\n", keys[lines].key, lines);
			lines++;
		}
		struct access *access = open_text(text);
		for (int i = 0; i < CLIENTS; i++) {
			struct addr client = random_addr(pick(2) == 0);
			const struct model *best = NULL;
			for (size_t j = 0; j < lines; j++) {
				struct prefix p = { keys[j].base, (uint8_t)keys[j].bits };
				if (addr_in_prefix(&client, &p) && (!best || before(&keys[j], best)))
					best = &keys[j];
			}
			struct access_answer answer = access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = client }, -5);
			assert_int_equal(answer.found, best != NULL);
			assert_int_equal(answer.pause_ms, best ? (int64_t)best->line - 1 : -5);
			assert_int_equal(answer.line, best ? best->line : 0);
		}
		access_close(access);
	}
}

/* Several tables, and the rules; the line of the key that answered, 0: none. */
static uint32_t line_for(const struct access *a, enum access_tag tag, const char *client, const char *name)
{
	struct access_client c = { addr(client), slice_of(name), NULL };
	struct access_hit hit = access_find_client(a, tag, &c);
	return hit.found ? hit.value.line : 0;
}

static void names(void **state)
{
	(void)state;
	struct access *a = open_text("GreetPause:sub.example.com 1\nGreetPause:127.0.0.2 2\nGreetPause:[127.0.0.4] 3\nGreetPause:org 4\nConnect:bad.example.net OK\n"
		"127.0.0.3 REJECT\nnet REJECT\nConnect:net 550 no\n127.0.0 x\nConnect:127.0 y\n");
	assert_true(access_wants_name(a, ACCESS_GREETPAUSE) && access_wants_name(a, ACCESS_CONNECT) && !access_wants_name(a, ACCESS_CLIENTRATE));
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", "host.sub.example.com"), 1); /* any name beats the address */
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", "sub.example.com"), 1);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", "HOST.Sub.EXAMPLE.com"), 1);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", "xsub.example.com"), 2);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", "example.com"), 2);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.9", "a.org"), 4);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.4", ""), 3);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.4", "has.a.name"), 0); /* and so matches no brackets */
	assert_int_equal(line_for(a, ACCESS_CONNECT, "127.0.0.3", "bad.example.net"), 5);
	assert_int_equal(line_for(a, ACCESS_CONNECT, "127.0.0.3", "other.example.net"), 8); /* at each step the tag first */
	assert_int_equal(line_for(a, ACCESS_CONNECT, "127.0.0.3", "a.test"), 6);
	assert_int_equal(line_for(a, ACCESS_CONNECT, "127.0.0.7", "a.test"), 9); /* an address without a tag before a prefix with one */
	assert_int_equal(line_for(a, ACCESS_CONNECT, "127.0.1.7", "a.test"), 10);
	access_close(a);
}

static void skip_and_dots(void **state)
{
	static const struct access_rules skip = { .skip = true }, dots = { .dot_domain = true };
	(void)state;
	struct result r;
	build(&r, "GreetPause:example.com SKIP\nGreetPause:127.0.0.2 SKIP\nGreetPause:127 7\nGreetPause:.example.org 5\nGreetPause: 9\n");
	struct access *a = access_open(&(int){ dup(r.fd) }, 1, &skip);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.9", "a.example.com"), 3); /* the search by name has found nothing, that by address goes on */
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", "a.example.com"), 5); /* neither, so the default */
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "10.0.0.2", "a.example.org"), 5);  /* no such key without dot_domain */
	access_close(a);
	a = access_open(&(int){ dup(r.fd) }, 1, &(struct access_rules){ .skip = false });
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.9", "a.example.com"), 1);
	access_close(a);
	a = access_open(&r.fd, 1, &dots);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "10.0.0.2", "a.b.example.org"), 4);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "10.0.0.2", "example.org"), 5);
	access_close(a);
}

static uint32_t line_of_user(const struct access *a, enum access_tag tag, const char *local, const char *domain, bool ours)
{
	struct access_user user = { slice_of(local), slice_of(domain), ours, NULL };
	struct access_hit hit = access_find_user(a, tag, &user);
	return hit.found ? hit.value.line : 0;
}

static void users(void **state)
{
	(void)state;
	struct access *a = open_text("Spam:abuse@ FRIEND\nSpam:example.org HATER\nSpam:joe+list@example.net FRIEND\nSpam:joe+*@example.net HATER\nSpam:joe@example.net FRIEND\n"
		"From:bad@example.net REJECT\nFrom:bad@ REJECT\nexample.com REJECT\nSpam:pete+*@ FRIEND\n");
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "abuse", "example.edu", true), 1);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "ABUSE", "mail.example.edu", true), 1);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "abuse", "example.edu", false), 0);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "abuse", "example.org", true), 2); /* a domain beats user@ */
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "abuse", "sub.example.org", true), 2);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "joe+list", "example.net", true), 3);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "joe+other", "example.net", true), 4);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "joe", "example.net", true), 5);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "pete+x", "example.edu", true), 9);
	assert_int_equal(line_of_user(a, ACCESS_SPAM, "pete", "example.edu", true), 0);
	assert_int_equal(line_of_user(a, ACCESS_FROM, "bad", "example.net", false), 6);
	assert_int_equal(line_of_user(a, ACCESS_FROM, "bad", "example.edu", false), 7);
	assert_int_equal(line_of_user(a, ACCESS_FROM, "good", "a.example.com", false), 8);
	assert_int_equal(line_of_user(a, ACCESS_FROM, "", "", false), 0);
	char huge[600];
	memset(huge, 'a', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	assert_int_equal(line_of_user(a, ACCESS_FROM, huge, huge, false), 0);
	access_close(a);
}

/* For each key in its order the maps in theirs. */
static void several_maps(void **state)
{
	(void)state;
	struct result one, two;
	int fds[2];
	build(&one, "GreetPause:127 1\nGreetPause:10 1\n");
	build(&two, "\nGreetPause:127.0.0.1 2\n\nGreetPause:10 4\nGreetPause:example.com 5\n");
	fds[0] = one.fd;
	fds[1] = two.fd;
	struct access *a = access_open(fds, 2, &(struct access_rules){ .skip = false });
	assert_non_null(a);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.1", ""), 2); /* the longer key, though in the later map */
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "127.0.0.2", ""), 1);
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "10.0.0.2", ""), 2); /* the same key: the earlier map, line 2 of it */
	assert_int_equal(line_for(a, ACCESS_GREETPAUSE, "10.0.0.2", "example.com"), 5);
	access_close(a);
}

/* ---- a map elsewhere ---- */

static char traced[4096];

static void trace_key(void *context, unsigned map, struct slice key, const struct map_value *value)
{
	(void)context;
	snprintf(traced + strlen(traced), sizeof(traced) - strlen(traced), "%u %.*s%s%.*s;", map, (int)key.len, key.at, value ? "=" : "", value ? (int)value->text.len : 0,
	         value ? value->text.at : "");
}

static void trace_failed(void *context, unsigned map)
{
	(void)context;
	snprintf(traced + strlen(traced), sizeof(traced) - strlen(traced), "%u failed;", map);
}

static unsigned place_elsewhere; /* of the map */

/* The plan for a client, answered as a map would that has this key, and the pause that follows; -1: none. */
static int64_t pause_elsewhere(struct access *a, const char *client, const char *name, const char *key, const char *value)
{
	static struct access_plan plan;
	struct access_answers answers = { 0 };
	struct access_client c = { addr(client), slice_of(name), &answers };
	struct wire_answer answer = { .id = 0 };
	assert_true(access_plan_client(a, &plan, &c, c.name));
	size_t first = 0;
	answer.searches = plan.question.searches;
	for (unsigned s = 0; s < answer.searches; first += plan.question.counts[s++]) {
		answer.found[s].result = WIRE_NONE;
		for (unsigned k = plan.question.counts[s]; k-- > 0;)
			if (key && slice_is(plan.question.keys[first + k], key))
				answer.found[s] = (struct wire_found){ .result = WIRE_FOUND, .key = (uint16_t)k, .text = slice_of(value) };
	}
	assert_true(access_take_answer(&answers, place_elsewhere, &plan, key ? &answer : NULL));
	traced[0] = '\0';
	struct access_answer said = access_pause(a, ACCESS_GREETPAUSE, &c, 777777);
	access_answers_fini(&answers);
	return said.found ? said.pause_ms : -1;
}

static void elsewhere(void **state)
{
	static const struct access_trace trace = { trace_key, trace_failed, NULL };
	struct access *a = access_open(&(int){ -1 }, 1, &(struct access_rules){ .skip = true });
	(void)state;
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "a.example", "greetpause:10.1", "5"), 5);
	/* SKIP ends the search by address, and is not the default. */
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "a.example", "greetpause:10.1", "SKIP"), -1);
	access_set_trace(a, &trace);
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "a.example", "greetpause:10.1", "5"), 5);
	assert_string_equal(traced, "0 greetpause:a.example;0 greetpause:example;0 greetpause:10.1.2.3;0 greetpause:10.1.2;0 greetpause:10.1=5;");
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "", "greetpause:", "6"), 6);
	assert_non_null(strstr(traced, ";0 greetpause:10;0 greetpause:=6;"));
	/* Of the two spellings of one address, the one that was there. */
	assert_int_equal(pause_elsewhere(a, "2001:db8::1", "a", "greetpause:ipv6:2001:db8::1", "7"), 7);
	assert_string_equal(traced, "0 greetpause:a;0 greetpause:ipv6:2001:db8:0:0:0:0:0:1;0 greetpause:ipv6:2001:db8::1=7;");
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "a", NULL, NULL), -1);
	assert_string_equal(traced, "0 failed;0 failed;0 failed;");
	access_close(a);
}

/* Whatever kind of map it is: for each key in its order the maps in theirs, and the default is the last key. */
static void the_default_elsewhere(void **state)
{
	struct result r;
	(void)state;
	build(&r, "GreetPause: 9\n");
	struct access *a = access_open((const int[]){ -1, r.fd }, 2, &(struct access_rules){ .skip = true });
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "", "greetpause:", "6"), 6);
	assert_int_equal(pause_elsewhere(a, "2001:db8::1", "", "greetpause:", "6"), 6);
	assert_int_equal(pause_elsewhere(a, "2001:db8::1", "", "greetpause:ipv6", "5"), 5);
	assert_int_equal(pause_elsewhere(a, "2001:db8::1", "", "greetpause:ipv6", "SKIP"), 9);
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "", "greetpause:10", "SKIP"), 9);
	access_close(a);
	build(&r, "GreetPause: 9\n");
	a = access_open((const int[]){ r.fd, -1 }, 2, &(struct access_rules){ .skip = false });
	place_elsewhere = 1;
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "", "greetpause:", "6"), 9); /* the earlier map has it too */
	assert_int_equal(pause_elsewhere(a, "10.1.2.3", "", "greetpause:10", "5"), 5);
	place_elsewhere = 0;
	access_close(a);
}

static void one_key_elsewhere(void **state)
{
	static struct access_plan plan;
	static const struct { const char *typed, *keys; } typed[] = {
		{ "Connect:Example.COM", "connect:example.com" }, { "From:A@B", "from:a@b" }, { "Nonsense:x", "nonsense:x" }, { "GreetPause:10.1", "greetpause:10.1 greetpause:10.1" },
		{ "GreetPause:IPv6:2001:DB8::1", "greetpause:ipv6:2001:db8::1 greetpause:ipv6:2001:db8:0:0:0:0:0:1" }, { "ClientRate:", "clientrate: clientrate:" },
	};
	char text[2 * ACCESS_NAME_MAX + 100];
	(void)state;
	for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
		assert_true(access_plan_get(&plan, slice_of(typed[i].typed)));
		assert_int_equal(plan.question.searches, 1);
		text[0] = '\0';
		for (unsigned k = 0; k < plan.question.counts[0]; k++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", k ? " " : "", (int)plan.question.keys[k].len, plan.question.keys[k].at);
		assert_string_equal(text, typed[i].keys);
	}
	memset(text, 'a', sizeof(text));
	assert_false(access_plan_get(&plan, (struct slice){ text, sizeof(text) }));
	assert_false(access_plan_get(&plan, (struct slice){ text, 0 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elsewhere), cmocka_unit_test(one_key_elsewhere), cmocka_unit_test(the_default_elsewhere),
		cmocka_unit_test(names), cmocka_unit_test(skip_and_dots), cmocka_unit_test(users), cmocka_unit_test(several_maps),
		cmocka_unit_test(transcripts),
		cmocka_unit_test(order_of_keys),
		cmocka_unit_test(order_of_keys6),
		cmocka_unit_test(beginning_with_zeros),
		cmocka_unit_test(two_spellings),
		cmocka_unit_test(odd_values),
		cmocka_unit_test(keys_that_never_match),
		cmocka_unit_test(keys_that_surprise),
		cmocka_unit_test(what_has_no_effect),
		cmocka_unit_test(warnings_have_a_ceiling),
		cmocka_unit_test(specs),
		cmocka_unit_test(against_a_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
