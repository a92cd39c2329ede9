/* The configuration: values and their bounds, files and what can be wrong with them, -o, defaults. conffile.c and confrow.c are tested
 * through conf_load(), as everybody uses them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../untested.h"
#include "core/conf.h"
#include "core/conffile.h"

#define SECOND INT64_C(1000000000)
#define MS INT64_C(1000000)

static char folder[] = "/tmp/tarry-test-conf-XXXXXX";
static struct conf conf;
static struct buf errors, warnings;

static int setup(void **state)
{
	(void)state;
	buf_init(&errors, 256 * 1024);
	buf_init(&warnings, 256 * 1024);
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	char command[128];
	buf_fini(&errors);
	buf_fini(&warnings);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("/") == 0 ? system(command) : -1;
}

static void write_file(const char *name, const char *text, size_t len)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	close(fd);
}

/* Loads a file, or none, with overrides up to NULL; conf_fini(&conf) after it. */
static bool load(const char *path, const char *const *overrides)
{
	struct conf_override list[8];
	size_t len = 0;
	for (; overrides && overrides[len]; len++)
		list[len].text = overrides[len];
	buf_clear(&errors);
	buf_clear(&warnings);
	memset(&conf, 0xa5, sizeof(conf)); /* whatever stood there before must not matter */
	return conf_load(&conf, path, list, len, &errors, &warnings);
}

static bool load_text(const char *text)
{
	write_file("c", text, strlen(text));
	return load("c", NULL);
}

static void loads(const char *text)
{
	if (!load_text(text))
		fail_msg("%s: %s", text, buf_text(&errors));
	assert_string_equal(buf_text(&errors), "");
}

static void fails(const char *text, const char *message)
{
	assert_false(load_text(text));
	assert_string_equal(buf_text(&errors), message);
	assert_null(conf.hostname); /* empty, nothing to free */
	assert_null(conf.listens);
}

static void overrides_fail(const char *override, const char *message)
{
	const char *const list[] = { override, NULL };
	assert_false(load(NULL, list));
	assert_string_equal(buf_text(&errors), message);
}

static void test_duration(void **state)
{
	(void)state;
	static const struct { const char *text; int64_t ns; } good[] = {
		{ "0", 0 }, { "1500", 1500 * MS }, { "1500ms", 1500 * MS }, { "1.5s", 1500 * MS }, { "5m", 300 * SECOND }, { "1h", 3600 * SECOND },
		{ "1d", 86400 * SECOND }, { "0.001ms", 1000 }, { "0.0000001ms", 0 }, { "1.9999999999999999999999s", 2 * SECOND - 1 },
		{ "106751d", INT64_C(106751) * 86400 * SECOND }, { "007s", 7 * SECOND },
	};
	static const char *const bad[] = { "", "s", "soon", "-1", "+1", " 1", "1 ", "1 s", "1S", "1.s", ".5s", "1.5.5s", "1ss", "1e3", "0x10", "106752d",
		"99999999999999999999", "1min", "\xd9\xa1s" };
	int64_t ns;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ns = -1;
		assert_true(conf_duration(slice_of(good[i].text), &ns));
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ns = 77;
		assert_false(conf_duration(slice_of(bad[i]), &ns));
		assert_int_equal(ns, 77);
	}
}

static void test_size(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "K", "1.5M", "-1", "1T", "1KB", "8589934592G" };
	int64_t n;
	assert_true(conf_size(slice_of("100"), &n) && n == 100);
	assert_true(conf_size(slice_of("64K"), &n) && n == 65536);
	assert_true(conf_size(slice_of("10M"), &n) && n == 10485760);
	assert_true(conf_size(slice_of("4G"), &n) && n == INT64_C(4294967296));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(conf_size(slice_of(bad[i]), &n));
}

/* Bare, too, it is a percentage: 0.01 is one in ten thousand. */
static void test_percent(void **state)
{
	(void)state;
	static const struct { const char *text, *shown; int64_t n; } good[] = { { "1%", "1%", 10000 }, { "1", "1%", 10000 }, { "0", "0%", 0 }, { "0.5%", "0.5%", 5000 }, { "0.01", "0.01%", 100 },
		{ "99.9%", "99.9%", 999000 }, { "0.0001%", "0.0001%", 1 }, { "100%", "100%", 1000000 }, { "12.0300%", "12.03%", 120300 } };
	static const char *const bad[] = { "", "%", "1.%", ".5%", "-1%", "1 %", "1%%", "1p", "99999999999999999999%", "0,5%" };
	int64_t n, back;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char memory[64];
		struct buf b;
		buf_init_fixed(&b, memory, sizeof(memory));
		assert_true(conf_percent(slice_of(good[i].text), &n) && n == good[i].n);
		conf_put_percent(&b, n);
		assert_string_equal(buf_text(&b), good[i].shown);
		assert_true(conf_percent(buf_slice(&b), &back) && back == n);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(conf_percent(slice_of(bad[i]), &n));
}

static void shown_as(int64_t ns, const char *text)
{
	char memory[64];
	struct buf b;
	int64_t back;
	buf_init_fixed(&b, memory, sizeof(memory));
	conf_put_duration(&b, ns);
	assert_string_equal(buf_text(&b), text);
	assert_true(conf_duration(buf_slice(&b), &back) && back == ns);
}

static void test_put_duration(void **state)
{
	(void)state;
	shown_as(0, "0");
	shown_as(1, "0.000001ms");
	shown_as(1500 * MS, "1500ms");
	shown_as(300 * SECOND, "300s");
	shown_as(900 * SECOND, "15m");
	shown_as(7200 * SECOND, "2h");
	shown_as(86400 * SECOND, "1d");
	shown_as(86401 * SECOND, "86401s");
}

static void test_defaults(void **state)
{
	(void)state;
	assert_true(load(NULL, NULL));
	assert_int_equal(conf.greet_pause, SECOND);
	assert_int_equal(conf.listens_len, 1);
	assert_int_equal(conf.listens[0].at.port, 2525);
	assert_true(addr_is4(&conf.listens[0].at) && addr_is_loopback(&conf.listens[0].at));
	assert_int_equal(conf.backends_len, 1);
	assert_string_equal(conf.backends[0].name, "mail");
	assert_int_equal(conf.backends[0].kind, CONF_BACKEND_MAIL);
	assert_int_equal(conf.backends[0].proxy, CONF_PROXY_V2);
	assert_true(conf.hostname[0] != '\0');
	assert_string_equal(conf.accept_domains.at[0], conf.hostname);
	assert_string_equal(conf.accept_domains.at[conf.accept_domains.len - 1], "localhost");
	assert_true(conf.create_maildirs);
	assert_int_equal(conf.log, 0);
	assert_string_equal(conf_words("log_level")[conf.log_level], "info");
	assert_null(conf_words("hostname"));
	assert_int_equal(warnings.len, 0);
	conf_fini(&conf);
	conf_fini(&conf); /* twice is fine */
}

static void test_values(void **state)
{
	(void)state;
	loads("# a comment\n"
		"hostname = mx.example.org // another\n"
		"greet_pause = 2500 /* one\n   more */ fronts = 3\n"
		"access_db = { \"text:/etc/tarry/access\" }\n"
		"accept_domains = {\n\texample.org, # here too\n\t'Example.NET'\n}\n"
		"maildir = /srv//mail/%d/%u%%\n"
		"create_maildirs = no\n"
		"recipient_delimiter = \"\"\n"
		"max_message_size = 1M\n"
		"log = journal\r\nlog_level = debug\r\n"
		"listen \"[::]:25\" { }\nlisten 10.0.0.5:2525 { }\n"
		"backend 'post \"fix\"' { address = \"smtp:unix:/run/x\" proxy = v2 }\n");
	assert_string_equal(conf.hostname, "mx.example.org");
	assert_int_equal(conf.greet_pause, 2500 * MS);
	assert_int_equal(conf.fronts, 3);
	assert_int_equal(conf.access_db.len, 1);
	assert_string_equal(conf.access_db.at[0], "text:/etc/tarry/access");
	assert_int_equal(conf.accept_domains.len, 2);
	assert_string_equal(conf.accept_domains.at[0], "example.org");
	assert_string_equal(conf.accept_domains.at[1], "example.net");
	assert_string_equal(conf.maildir, "/srv//mail/%d/%u%%");
	assert_false(conf.create_maildirs);
	assert_string_equal(conf.recipient_delimiter, "");
	assert_int_equal(conf.max_message_size, 1048576);
	assert_string_equal(conf_words("log")[conf.log], "journal");
	assert_string_equal(conf_words("log_level")[conf.log_level], "debug");
	assert_int_equal(conf.listens_len, 2);
	assert_int_equal(conf.listens[1].at.port, 2525);
	assert_string_equal(conf.backends[0].name, "post \"fix\"");
	assert_string_equal(conf.backends[0].path, "/run/x");
	assert_int_equal(conf.backends[0].proxy, CONF_PROXY_V2);
	conf_fini(&conf);
	/* The last one counts, also of lists. */
	loads("accept_domains = { a, b }\naccept_domains = c\ngreet_pause=1s greet_pause=0");
	assert_int_equal(conf.accept_domains.len, 1);
	assert_string_equal(conf.accept_domains.at[0], "c");
	assert_int_equal(conf.greet_pause, 0);
	conf_fini(&conf);
}

static void test_wrong_values(void **state)
{
	(void)state;
	fails("\n\ngreet_pause = soon\n",
		"c:3: greet_pause = \"soon\": not a duration; expected milliseconds or a number with ms, s, m, h or d, 0 to 300s\n");
	fails("linger = 61s", "c:1: linger = \"61s\": too large; expected milliseconds or a number with ms, s, m, h or d, 0 to 60s\n");
	fails("accept_backoff = 9", "c:1: accept_backoff = \"9\": too small; expected milliseconds or a number with ms, s, m, h or d, 10ms to 60s\n");
	fails("fronts = 65", "c:1: fronts = \"65\": too large; expected a number, 0 to 64\n");
	fails("fronts = -1", "c:1: fronts = \"-1\": not a number; expected a number, 0 to 64\n");
	fails("max_recipients = 1K", "c:1: max_recipients = \"1K\": not a number; expected a number, 1 to 10000\n");
	fails("max_message_size = 5G", "c:1: max_message_size = \"5G\": too large; expected bytes, or a number with K, M or G, 1K to 4G\n");
	fails("create_maildirs = true", "c:1: create_maildirs = \"true\": neither yes nor no; expected yes or no\n");
	fails("log = file", "c:1: log = \"file\": not one of its words; expected stderr, syslog or journal\n");
	fails("maildir = \"\"", "c:1: maildir = \"\": too short; expected 1 to 1024 bytes of text\n");
	fails("recipient_delimiter = '++'", "c:1: recipient_delimiter = \"++\": too long; expected 0 to 1 bytes of text\n");
	fails("access_db = { \"text:/a\", \"b:b\", \"c:c\", \"d:d\", \"e:e\", \"f:f\", \"g:g\", \"h:h\", \"i:i\" }", "c:1: access_db = \"i:i\": too many entries; expected 0 to 8 entries\n");
	fails("user = 'a\tb'", "c:1: user = \"a\\tb\": has a control character in it\n");
	/* All of them are told, each with its line. */
	fails("fronts = x\n\nfronts = y\n", "c:1: fronts = \"x\": not a number; expected a number, 0 to 64\n"
		"c:3: fronts = \"y\": not a number; expected a number, 0 to 64\n");
	/* A list is told the line of the entry. */
	assert_false(load_text("accept_domains = {\n  example.org,\n  \"exa mple\"\n}\n"));
	assert_non_null(strstr(buf_text(&errors), "c:3: accept_domains = \"exa mple\": not a domain"));
}

static void test_names(void **state)
{
	(void)state;
	static const char *const good[] = { "mx", "mx.example.org", "1.example", "a-b.c", "[192.0.2.1]", "[IPv6:2001:db8::1]" };
	static const char *const bad[] = { "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "mx.-a", "[192.0.2]", "[2001:db8::1]", "[IPv6:192.0.2.1]", "[", "[]", "m\xc3\xbcller" };
	static const char *const maildirs[] = { "/m/%d", "/m/%u%x", "/m/%u%", "/m" };
	char text[512], label[65];
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "hostname = '%s'", good[i]);
		loads(text);
		conf_fini(&conf);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "hostname = '%s'", bad[i]);
		assert_false(load_text(text));
	}
	for (size_t i = 0; i < sizeof(maildirs) / sizeof(maildirs[0]); i++) {
		snprintf(text, sizeof(text), "maildir = '%s'", maildirs[i]);
		assert_false(load_text(text));
	}
	memset(label, 'a', sizeof(label) - 1);
	label[64] = '\0';
	snprintf(text, sizeof(text), "hostname = %s", label);
	assert_false(load_text(text));
	snprintf(text, sizeof(text), "hostname = %s", label + 1);
	loads(text);
	conf_fini(&conf);
	loads("accept_domains = { 'm\xc3\xbcller.example', 'with_bar.example' }");
	conf_fini(&conf);
	static const char *const delimiters[] = { "a", "@", "/", "%", " " };
	for (size_t i = 0; i < sizeof(delimiters) / sizeof(delimiters[0]); i++) {
		snprintf(text, sizeof(text), "recipient_delimiter = '%s'", delimiters[i]);
		assert_false(load_text(text));
	}
}

static void test_pause_is_cut(void **state)
{
	(void)state;
	loads("greet_pause = 300s");
	assert_int_equal(warnings.len, 0);
	conf_fini(&conf);
	loads("\ngreet_pause = 400s\n");
	assert_int_equal(conf.greet_pause, 300 * SECOND);
	assert_string_equal(buf_text(&warnings), "c:2: greet_pause = 400s: cut to 300 s, as Sendmail does\n");
	conf_fini(&conf);
	/* A warning is there also when something else is wrong. */
	assert_false(load_text("greet_pause = 1d\nfronts = x"));
	assert_true(warnings.len > 0);
	fails("greet_pause = -1s", "c:1: greet_pause = \"-1s\": not a duration; expected milliseconds or a number with ms, s, m, h or d, 0 to 300s\n");
}

static void test_backend_that_relays_for_everybody(void **state)
{
	(void)state;
	loads("backend \"b\" { address = \"smtp:192.0.2.1:25\" }");
	assert_int_equal(strncmp(buf_text(&warnings), "c:1: backend \"b\": proxy = no: ", 30), 0);
	conf_fini(&conf);
	loads("backend \"b\" { address = \"smtp:192.0.2.1:25\" proxy = v1 }");
	assert_int_equal(warnings.len, 0);
	conf_fini(&conf);
}

static void test_backend_that_is_the_door(void **state)
{
	(void)state;
	static const char *const loops[][2] = { { "127.0.0.1:25", "127.0.0.1:25" }, { "[::]:25", "127.0.0.1:25" }, { "[::]:25", "[::1]:25" },
		{ "0.0.0.0:25", "127.0.0.1:25" }, { "192.0.2.1:25", "192.0.2.1:25" } };
	static const char *const others[][2] = { { "127.0.0.1:25", "127.0.0.1:26" }, { "0.0.0.0:25", "[::1]:25" }, { "[::]:25", "192.0.2.1:25" },
		{ "192.0.2.1:25", "127.0.0.1:25" }, { "127.0.0.1:25", "127.0.0.2:25" } };
	char text[200], complaint[300];
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		snprintf(text, sizeof(text), "listen \"%s\" { }\nbackend \"b\" { address = \"smtp:%s\" proxy = v2 }", loops[i][0], loops[i][1]);
		snprintf(complaint, sizeof(complaint), "c:1: listen = \"%s\": the backend has this address, so the door would connect to itself; "
			"expected another port for the backend\n", loops[i][0]);
		fails(text, complaint);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(text, sizeof(text), "listen \"%s\" { }\nbackend \"b\" { address = \"smtp:%s\" proxy = v2 }", others[i][0], others[i][1]);
		loads(text);
		conf_fini(&conf);
	}
}

static void test_syntax(void **state)
{
	(void)state;
	fails("\ngreet_pawse = 1s", "c:2: no such option 'greet_pawse'; did you mean 'greet_pause'?\n");
	fails("something = 1s", "c:1: no such option 'something'\n");
	fails("backend x { adress = 'mail:' }", "c:1: no such option 'adress'; did you mean 'address'?\n");
	fails("listen x {\n prozy = yes }", "c:2: no such option 'prozy'; did you mean 'proxy'?\n");
	fails("greet_pause 1s", "c:1: \"greet_pause\" is followed by \"1s\"; expected NAME = VALUE (a value with a blank in it stands in quotes)\n");
	fails("listen \"127.0.0.1:25\"\n\n\n", "c:1: \"127.0.0.1:25\" is followed by the end of the file; expected listen \"ADDRESS:PORT\" { }\n");
	loads("\xef\xbb\xbf" "fronts = 1"); /* a byte-order mark */
	conf_fini(&conf);
	fails("foo = 1", "c:1: no such option 'foo'\n");
	fails("hostname = \"mx\n", "c:1: string without an end; expected \" before the end of the line\n");
	fails("hostname = 'mx", "c:1: string without an end; expected ' before the end of the line\n");
	fails("hostname = \"m\\x\"", "c:1: backslash in a string; only \\\\ and \\\" are known\n");
	fails("hostname = \"${HOME}\"", "c:1: \"${\": the environment is not read; put the string in single quotes if it is meant\n");
	fails("hostname = ${HOME}", "c:1: '$' outside of a string; expected quotes around what it belongs to\n");
	fails("listen *:25 { }", "c:1: '*' outside of a string; expected quotes around what it belongs to\n");
	fails("accept_domains += { a }", "c:1: '+' outside of a string; expected quotes around what it belongs to\n");
	fails("fronts = 1\n/* no\nend\n", "c:2: comment without an end; expected */\n");
	fails("fronts = 1\nlisten \"x\" {\n\n", "c:2: '{' is never closed; expected '}'\n");
	fails("\n}", "c:2: '}' closes nothing\n");
	/* A line of C comments does not shift what comes after it, and an error leaves nothing behind for the next file. */
	fails("/* a */ /* b */\n/* c */\nfronts = x\n", "c:3: fronts = \"x\": not a number; expected a number, 0 to 64\n");
	loads("fronts = 1");
	conf_fini(&conf);
	write_file("c", "fronts = 1\n\0", 12);
	assert_false(load("c", NULL));
	assert_string_equal(buf_text(&errors), "c:2: byte 0x00; expected a text file\n");
}

static void test_files(void **state)
{
	(void)state;
	assert_false(load("nowhere", NULL));
	assert_string_equal(buf_text(&errors), "nowhere: No such file or directory\n");
	assert_false(load("/", NULL));
	assert_string_equal(buf_text(&errors), "/: Is a directory\n");
	assert_false(load("/dev/zero", NULL));
	assert_string_equal(buf_text(&errors), "/dev/zero: larger than 1 MB, which no configuration is\n");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_true(load("fifo", NULL)); /* nobody writes to it: empty, and no waiting */
	conf_fini(&conf);
	assert_true(load("/dev/null", NULL));
	conf_fini(&conf);

	char *large = malloc(CONFFILE_BYTES + 1);
	assert_non_null(large);
	memset(large, '\n', CONFFILE_BYTES + 1);
	write_file("large", large, CONFFILE_BYTES);
	assert_true(load("large", NULL));
	conf_fini(&conf);
	write_file("large", large, CONFFILE_BYTES + 1);
	assert_false(load("large", NULL));
	free(large);
}

static void test_include(void **state)
{
	(void)state;
	assert_int_equal(mkdir("sub", 0700), 0);
	write_file("sub/one", "fronts = 2\ninclude(\"two\")\n", 26);
	write_file("sub/two", "max_recipients = 7\nlinger = 1\n", 30);
	loads("fronts = 1\nlinger = 2\ninclude(\"sub/one\")\nlinger = 3\n");
	assert_int_equal(conf.fronts, 2);          /* after the file's own line */
	assert_int_equal(conf.max_recipients, 7);  /* found beside the file that includes it */
	assert_int_equal(conf.linger, 3 * MS);     /* before the file's own line */
	conf_fini(&conf);
	write_file("sub/two", "\nlinger = x\n", 12);
	fails("include(\"sub/one\")\nfronts = y\n", "sub/two:2: linger = \"x\": not a duration; expected milliseconds or a number with ms, s, m, h or d, 0 to 60s\n"
		"c:2: fronts = \"y\": not a number; expected a number, 0 to 64\n");
	fails("\ninclude(\"nowhere\")", "c:2: include: nowhere: No such file or directory\n");
	fails("include(\"c\")", "c:1: include: c: includes itself\n");
	fails("include(a, b)", "c:1: \"include\" is followed by \",\"; expected include(\"FILE\")\n");
	fails("include()", "c:1: \"include\" is followed by \")\"; expected include(\"FILE\")\n");
	write_file("sub/two", "include(\"../c\")\n", 16);
	fails("include(\"sub/one\")", "sub/two:1: include: sub/../c: includes itself\n");
	/* Too deep, and too many. */
	for (int i = 0; i < 12; i++) {
		char name[16], text[32];
		snprintf(name, sizeof(name), "deep%d", i);
		int n = snprintf(text, sizeof(text), "include(\"deep%d\")\n", i + 1);
		write_file(name, text, (size_t)n);
	}
	fails("include(\"deep0\")", "deep7:1: include: deep8: included too deeply; expected 8 levels at most\n");
	write_file("empty", "", 0);
	struct buf many;
	buf_init(&many, 4096);
	for (int i = 0; i < CONFFILE_FILES; i++)
		buf_put_text(&many, "include(\"empty\")\n");
	assert_false(load_text(buf_text(&many)));
	assert_string_equal(buf_text(&errors), "c:64: include: empty: one file too many; expected 64 at most\n");
	buf_fini(&many);
}

static void test_listen_rows(void **state)
{
	struct addr inside, outside;
	(void)state;
	assert_true(addr_parse(slice_of("10.1.2.3"), &inside) && addr_parse(slice_of("11.1.2.3"), &outside));
	loads("listen \"127.0.0.1:25\" { }\nlisten \"127.0.0.1:26\" { proxy = yes trust = { \"10.0.0.0/8\", \"2001:db8::1\" } health = { \"11.1.2.3\" } }");
	assert_false(conf.listens[0].proxy);
	assert_int_equal(conf.listens[0].trusted.len, 0);
	assert_true(conf.listens[1].proxy);
	assert_int_equal(conf.listens[1].trusted.len, 2);
	assert_true(conf_has(&conf.listens[1].trusted, &inside) && !conf_has(&conf.listens[1].trusted, &outside));
	assert_true(!conf_has(&conf.listens[1].probers, &inside) && conf_has(&conf.listens[1].probers, &outside));
	assert_false(conf_has(&conf.listens[0].probers, &outside));
	conf_fini(&conf);
	/* A program on the load balancer's socket. */
	loads("listen \"127.0.0.1:26\" { proxy = yes trust = { \"10.0.0.1\" } }\nbackend \"x\" { exec = { \"/bin/true\" } }\nbackend \"y\" { address = \"smtp:127.0.0.1:1\" proxy = v2 }");
	assert_non_null(strstr(buf_text(&warnings), "c:2: backend \"x\": exec, and the listener at c:1 takes clients from a load balancer: "));
	assert_null(strstr(buf_text(&warnings), "\"y\""));
	conf_fini(&conf);
	loads("listen \"127.0.0.1:26\" { }\nbackend \"x\" { exec = { \"/bin/true\" } }");
	assert_null(strstr(buf_text(&warnings), "load balancer"));
	conf_fini(&conf);
	fails("listen \"127.0.0.1:25\" { proxy = yes }", "c:1: listen = \"127.0.0.1:25\": proxy = yes, and nobody is trusted to say who the client is; "
	      "expected trust = { \"ADDRESS\" } of the load balancer in it\n");
	fails("listen \"127.0.0.1:25\" { trust = { \"10.0.0.1\" } }", "c:1: listen = \"127.0.0.1:25\": trust without proxy = yes; expected both, or none\n");
	fails("listen \"127.0.0.1:25\" { proxy = yes\ntrust = { \"everybody\" } }",
	      "c:2: trust = \"everybody\": not an address or network; expected one like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32\n");
	fails("listen \"127.0.0.1:25\" { health = { \"10.0.0.0/33\" } }",
	      "c:1: health = \"10.0.0.0/33\": not an address or network; expected one like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32\n");
}

static void test_listens(void **state)
{
	(void)state;
	fails("listen \"127.0.0.1:25\" { }\n\nlisten \"127.0.0.1:25\" { }", "c:3: listen = \"127.0.0.1:25\": the same as another listener\n");
	fails("listen \"*:25\" { }\nlisten \"[::]:25\" { }", "c:2: listen = \"[::]:25\": the same as another listener\n");
	fails("listen \"[::]:25\" { }\nlisten \"0.0.0.0:25\" { }", "c:2: listen = \"0.0.0.0:25\": the same as another listener: [::] takes IPv4 clients too\n");
	loads("listen \"127.0.0.1:25\" { }\nlisten \"127.0.0.1:26\" { }\nlisten \"[::1]:25\" { }");
	assert_int_equal(conf.listens_len, 3);
	conf_fini(&conf);
	assert_false(load_text("listen everywhere { }"));
	assert_false(load_text("listen 127.0.0.1:65536 { }"));
	struct buf many;
	buf_init(&many, 65536);
	for (int i = 0; i <= CONF_LISTENS; i++)
		buf_putf(&many, "listen \"127.0.0.1:%d\" { }\n", 1000 + i);
	fails(buf_text(&many), "c:65: listen = \"127.0.0.1:1064\": one listener too many; expected 64 at most\n");
	buf_fini(&many);
}

static void test_programs(void **state)
{
	static const char form[] = "expected { \"/path/to/program\", \"argument\", ... }\n";
	static const char *const wrong[][2] = {
		{ "backend b { exec = { \"exim4\", \"-bs\" } }", "c:1: backend = \"b\": exec: no path of a program; " },
		{ "backend b { exec = { \"\" } }", "c:1: backend = \"b\": exec: no path of a program; " },
		{ "backend b { exec = \"/usr/sbin/exim4 -bs\" }", "c:1: backend = \"b\": exec: a path with a blank in it; no shell parts it: " },
	};
	(void)state;
	loads("backend b { exec = { \"/usr/sbin/exim4\", \"-bs\" }  user = root  max = 7 }");
	assert_int_equal(conf.backends[0].kind, CONF_BACKEND_EXEC);
	assert_int_equal(conf.backends[0].exec.len, 2);
	assert_string_equal(conf.backends[0].exec.at[1], "-bs");
	assert_string_equal(conf_backend_at(&conf.backends[0]), "/usr/sbin/exim4");
	assert_string_equal(conf.backends[0].user, "root");
	assert_int_equal(conf.backends[0].max, 7);
	assert_true(conf_hands_over(&conf));
	assert_int_equal(warnings.len, 0); /* it sees the client itself: nothing is to be said about proxy */
	conf_fini(&conf);
	loads("backend b { exec = \"/usr/sbin/qmail-smtpd\" }");
	assert_int_equal(conf.backends[0].exec.len, 1);
	assert_int_equal(conf.backends[0].max, CONF_EXEC_MAX);
	conf_fini(&conf);
	loads("backend b { address = \"mail:\" }");
	assert_false(conf_hands_over(&conf));
	conf_fini(&conf);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char complaint[256];
		snprintf(complaint, sizeof(complaint), "%s%s", wrong[i][1], form);
		fails(wrong[i][0], complaint);
	}
	fails("backend b { exec = { \"/x\" }  address = \"mail:\" }", "c:1: backend = \"b\": has both exec and address; expected one of them\n");
	fails("backend b { exec = { \"/x\" }  proxy = v2 }",
		"c:1: backend = \"b\": the program of exec has the client's own socket and need not be told who that is; expected no proxy, xclient or transparent line\n");
	fails("backend b { exec = { \"/x\" }  max = 10001 }", "c:1: backend = \"b\": max: too large with exec; expected 10000 sessions of a program at most\n");
	fails("backend b { address = \"mail:\"  user = root }", "c:1: backend = \"b\": user without exec; expected it with a program only\n");
}

static void test_backend_tls(void **state)
{
	(void)state;
	loads("backend a { address = \"smtp:127.0.0.1:1\" tls = implicit tls_ca = \"/ca\" tls_name = \"mx.example\" proxy = v2 }\n"
	      "backend b { address = \"smtp:localhost:2\" tls = implicit tls_ca = \"/ca\" xclient = yes }\n"
	      "backend c { address = \"smtp:unix:/s\" tls = starttls }\nbackend d { address = \"smtp:[::1]:3\" tls = implicit }\nbackend e { address = \"smtp:localhost:4\" }");
	assert_int_equal(conf.backends[0].tls, CONF_TLS_IMPLICIT);
	assert_int_equal(conf.backends[2].tls, CONF_TLS_STARTTLS);
	assert_int_equal(conf.backends[4].tls, CONF_TLS_NO);
	assert_string_equal(conf.backends[0].tls_name, "mx.example");
	assert_string_equal(conf.backends[1].tls_name, "localhost"); /* the host of its address */
	for (size_t i = 2; i < 5; i++)
		assert_true(!conf.backends[i].tls_name || !conf.backends[i].tls_name[0]);
	assert_ptr_equal(conf_tls_backend(&conf), &conf.backends[0]);
	conf_fini(&conf);
	loads("backend b { address = \"mail:\" }");
	assert_null(conf_tls_backend(&conf));
	conf_fini(&conf);
	fails("backend b { address = \"mail:\" tls = implicit }", "c:1: backend = \"b\": mail: is reached within this machine; expected no tls line\n");
	fails("backend b { exec = { \"/bin/x\" } tls = starttls }",
		"c:1: backend = \"b\": the program of exec has the client's own socket; expected no tls, tls_ca or tls_name line\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" tls_ca = \"/ca\" }",
		"c:1: backend = \"b\": tls_ca or tls_name, and tls = no; expected tls = implicit or tls = starttls, or neither\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" tls = starttls tls_ca = \"/ca\" }",
		"c:1: backend = \"b\": tls_ca, and no name that the certificate should have; expected tls_name = \"NAME\", or a name for the host in address\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" tls = yes }", "c:1: tls = \"yes\": not one of its words; expected no, starttls or implicit\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" tls = implicit tls_name = \"*.example\" }",
		"c:1: tls_name = \"*.example\": not the name of a host; expected letters, digits, hyphens and dots\n");
}

static void test_tls(void **state)
{
	(void)state;
	loads("tls_certificate = \"c.pem\"\nlisten \"127.0.0.1:25\" { }\nlisten \"127.0.0.1:465\" { tls = implicit }\nlisten \"127.0.0.1:24\" { tls = no }");
	assert_int_equal(conf.listens[0].tls, CONF_TLS_STARTTLS);
	assert_int_equal(conf.listens[1].tls, CONF_TLS_IMPLICIT);
	assert_int_equal(conf.listens[2].tls, CONF_TLS_NO);
	conf_fini(&conf);
	loads("listen \"127.0.0.1:25\" { tls = starttls }"); /* where there is no certificate, it says nothing */
	conf_fini(&conf);
	fails("listen \"127.0.0.1:465\" { tls = implicit }", "c:1: tls = \"implicit\": there is no tls_certificate; expected one for this port\n");
	fails("tls_certificate = c\nlisten \"127.0.0.1:465\" { tls = implicit }\nbackend b { exec = { \"/usr/sbin/exim4\", \"-bs\" } }",
		"c:2: tls = \"implicit\": a backend has exec, and a program cannot have a client whose TLS ends at the door; expected no such backend, or no such port\n");
	fails("\ntls_key = k", "c:2: tls_key = \"k\": there is no tls_certificate; expected one that this key belongs to\n");
	fails("listen \"127.0.0.1:465\" { tls = yes }", "c:1: tls = \"yes\": not one of its words; expected no, starttls or implicit\n");
}

static void test_backends(void **state)
{
	(void)state;
	loads("backend b { address = \"smtp:127.0.0.1:10025\" proxy = v1 }");
	assert_int_equal(conf.backends[0].kind, CONF_BACKEND_TCP);
	assert_int_equal(conf.backends[0].at.port, 10025);
	assert_int_equal(conf.backends[0].proxy, CONF_PROXY_V1);
	conf_fini(&conf);
	loads("backend b { address = \"smtp:[::1]:25\" }");
	assert_int_equal(conf.backends[0].proxy, CONF_PROXY_NO);
	conf_fini(&conf);
	loads("backend b { address = \"mail:\" }");
	assert_int_equal(conf.backends[0].proxy, CONF_PROXY_V2);
	conf_fini(&conf);
	fails("backend b { address = \"mail:\" proxy = v1 }", "c:1: backend = \"b\": mail: learns the client only by proxy = v2; expected that or no proxy line\n");
	fails("backend b { proxy = v1 }", "c:1: backend = \"b\": has no address; expected address = \"smtp:HOST:PORT\", \"smtp:unix:/path\" or \"mail:\" in it, "
		"or exec = { \"/path/to/program\", ... }\n");
	fails("backend b {\n address = \"mail:\" }\nbackend c {\n address = \"mail:\" }",
		"c:4: backend = \"c\": mail: is there already; expected it once\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" }\nbackend b { address = \"mail:\" }",
		"c:2: backend = \"b\": another backend has this name; expected one of its own, which is what the log calls it\n");
	fails("backend b { address = \"mail:\" weight = 0 }", "c:1: weight = \"0\": too small; expected a number, 1 to 1000\n");
	loads("backend a { address = \"smtp:127.0.0.1:1\" weight = 3 }\nbackend b { address = \"mail:\" max = 20 }\nbackend c { address = \"smtp:127.0.0.1:2\" }");
	assert_int_equal(conf.backends_len, 3);
	assert_int_equal(conf.backends[0].weight, 3);
	assert_int_equal(conf.backends[0].max, 0);
	assert_int_equal(conf.backends[1].max, 20);
	assert_int_equal(conf.backends[1].weight, 1);
	assert_ptr_equal(conf_mail(&conf), &conf.backends[1]);
	conf_fini(&conf);
	fails("backend b { address = \"mail:\" xclient = yes }", "c:1: backend = \"b\": mail: learns the client by proxy = v2; expected no xclient line\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" proxy = v2 xclient = yes }",
		"c:1: backend = \"b\": it would learn who the client is in two ways; expected one of proxy, xclient and transparent\n");
	fails("backend b { address = \"smtp:127.0.0.1:1\" transparent = yes xclient = yes }",
		"c:1: backend = \"b\": it would learn who the client is in two ways; expected one of proxy, xclient and transparent\n");
	fails("backend b { address = \"smtp:unix:/x\" transparent = yes }", "c:1: backend = \"b\": transparent = yes is for TCP; expected address = \"smtp:HOST:PORT\"\n");
	loads("backend b { address = \"smtp:127.0.0.1:1\" transparent = yes }");
	assert_int_equal(warnings.len, 0);
	conf_fini(&conf);
	loads("backend b { address = \"smtp:127.0.0.1:1\" xclient = yes }");
	assert_true(conf.backends[0].xclient);
	assert_int_equal(warnings.len, 0);
	conf_fini(&conf);
	struct buf many;
	buf_init(&many, 16384);
	for (unsigned i = 0; i < 65; i++)
		buf_putf(&many, "backend b%u { address = \"smtp:127.0.0.1:%u\" }\n", i, 1000 + i);
	fails(buf_text(&many), "c:65: backend = \"b64\": one backend too many; expected 64 at most\n");
	buf_fini(&many);
	fails("backend b { address = \"lmtp:x\" }", "c:1: address = \"lmtp:x\": not a backend; expected mail:, smtp:HOST:PORT or smtp:unix:/path\n");
	fails("backend b {\n address = \"smtp:127.0.0.1\" }", "c:2: address = \"smtp:127.0.0.1\": \"127.0.0.1\" is not HOST:PORT; expected smtp:HOST:PORT\n");
	fails("backend b { address = \"smtp:127.0.0.1:0\" }", "c:1: address = \"smtp:127.0.0.1:0\": port 0; expected smtp:HOST:PORT\n");
	fails("backend b { address = \"smtp:unix:run\" }", "c:1: address = \"smtp:unix:run\": not the path of a socket; expected smtp:unix:/path, 107 bytes at most\n");
	fails("backend b { address = \"mail:\" proxy = v3 }", "c:1: proxy = \"v3\": not one of its words; expected no, v1 or v2\n");
	assert_false(load_text("backend b { address = \"smtp:a.invalid:25\" }")); /* RFC 6761: never resolves */
	assert_non_null(strstr(buf_text(&errors), "c:1: address = \"smtp:a.invalid:25\": \"a.invalid\""));
}

static void test_overrides(void **state)
{
	(void)state;
	static const char *const list[] = { "greet_pause=0", "accept_domains=A.example, b.example c.example", "listen=127.0.0.1:1,[::1]:2",
		"backend=smtp:127.0.0.1:3,v2", "hostname = x.example", "local_greet_pause=192.0.2.1 300 , ,\t* 0", NULL };
	static const char file[] = "greet_pause = 5s\nlisten \"127.0.0.1:9\" { }\nbackend b { address = \"mail:\" }\n";
	write_file("c", file, sizeof(file) - 1);
	assert_true(load("c", list));
	assert_int_equal(conf.greet_pause, 0);
	assert_int_equal(conf.accept_domains.len, 3);
	assert_string_equal(conf.accept_domains.at[0], "a.example");
	assert_int_equal(conf.local_greet_pause.len, 2);
	assert_string_equal(conf.local_greet_pause.at[0], "192.0.2.1 300");
	assert_string_equal(conf.local_greet_pause.at[1], "* 0");
	assert_int_equal(conf.listens_len, 2);
	assert_int_equal(conf.listens[1].at.port, 2);
	assert_int_equal(conf.backends_len, 1);
	assert_int_equal(conf.backends[0].at.port, 3);
	assert_int_equal(conf.backends[0].proxy, CONF_PROXY_V2);
	conf_fini(&conf);
	overrides_fail("greet_pause=soon",
		"-o greet_pause=soon: greet_pause = \"soon\": not a duration; expected milliseconds or a number with ms, s, m, h or d, 0 to 300s\n");
	overrides_fail("greet_pawse=1s", "-o greet_pawse=1s: no such option 'greet_pawse'; did you mean 'greet_pause'?\n");
	overrides_fail("greet_pause", "-o greet_pause: no value; expected name=value\n");
	overrides_fail("", "-o : no value; expected name=value\n");
	overrides_fail("listen=", "-o listen=: no address; expected listen=ADDRESS:PORT\n");
	overrides_fail("backend=mail:,no", "-o backend=mail:,no: backend = \"mail\": mail: learns the client only by proxy = v2; expected that or no proxy line\n");
	overrides_fail("x\n=\x1b", "-o x\\n=\\x1b: no such option 'x\\n'\n");
}

/* What conf_show() says reads back as the same. */
static void test_show(void **state)
{
	(void)state;
	struct buf first, second;
	buf_init(&first, 65536);
	buf_init(&second, 65536);
	loads("user = \"a\\\"b\\\\c\"\nhostname = mx.example\naccept_domains = { a, b }\nlinger = 1500\nmax_message_size = 3M\nlog = syslog\n"
		"create_maildirs = no\nlisten \"[::1]:25\" { }\nbackend \"b\" { address = \"smtp:unix:/x\" proxy = v1 }");
	conf_show(&conf, &first);
	conf_fini(&conf);
	assert_non_null(strstr(buf_text(&first), "\nlinger = 1500ms\n"));
	assert_non_null(strstr(buf_text(&first), "user = \"a\\\"b\\\\c\"\n"));
	loads(buf_text(&first));
	conf_show(&conf, &second);
	conf_fini(&conf);
	assert_string_equal(buf_text(&first), buf_text(&second));
	buf_fini(&first);
	buf_fini(&second);
}

/* The sample configuration says what the defaults are: with every "#" taken away it changes nothing. */
static void test_sample(void **state)
{
	(void)state;
	const char *path = getenv("TARRY_SAMPLE");
	char line[1024];
	unsigned taken = 0;
	struct buf text, first, second;
	if (!path) {
		untested();
		return;
	}
	buf_init(&text, 65536);
	buf_init(&first, 65536);
	buf_init(&second, 65536);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		bool option = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
		buf_put_text(&text, option ? line + 1 : line);
		taken += option;
	}
	fclose(f);
	assert_true(taken > 20);
	loads(buf_text(&text));
	conf_show(&conf, &first);
	conf_fini(&conf);
	assert_true(load(NULL, NULL));
	conf_show(&conf, &second);
	conf_fini(&conf);
	assert_string_equal(buf_text(&first), buf_text(&second));
	buf_fini(&text);
	buf_fini(&first);
	buf_fini(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration), cmocka_unit_test(test_size), cmocka_unit_test(test_percent), cmocka_unit_test(test_put_duration), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values), cmocka_unit_test(test_wrong_values), cmocka_unit_test(test_names), cmocka_unit_test(test_pause_is_cut),
		cmocka_unit_test(test_backend_that_relays_for_everybody), cmocka_unit_test(test_backend_that_is_the_door),
		cmocka_unit_test(test_syntax), cmocka_unit_test(test_files), cmocka_unit_test(test_include), cmocka_unit_test(test_listen_rows), cmocka_unit_test(test_listens),
		cmocka_unit_test(test_tls), cmocka_unit_test(test_backend_tls), cmocka_unit_test(test_backends), cmocka_unit_test(test_programs), cmocka_unit_test(test_overrides), cmocka_unit_test(test_show),
		cmocka_unit_test(test_sample),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
