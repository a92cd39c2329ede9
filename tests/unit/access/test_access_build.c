/* The access database as it is built: what is said of each odd line, and that a table is all or nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "descriptors.h"
#include "access/access.h"

#define TEXT_MAX 10000

/* Builds from the text; returns the descriptor. What was said is in *errors and *warnings, without the file's name. */
static int build(const char *text, struct buf *errors, struct buf *warnings, size_t *entries)
{
	char spec[64];
	int file = memfd_create("access", MFD_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(write(file, text, strlen(text)), strlen(text));
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	buf_clear(errors);
	buf_clear(warnings);
	int fd = access_build(spec, errors, warnings, entries);
	close(file);
	return fd;
}

static void warnings_name_the_line(void **context)
{
	static const struct {
		const char *line, *say;
	} table[] = {
		{ "GreetPause:127.0.0.2 1s", ":2: GreetPause:127.0.0.2 1s: read as 1 ms (as Sendmail does); write 1000 for one second" },
		{ "GreetPause:127.0.0.2 5m", "read as 5 ms (as Sendmail does); write 300000 for 5 minutes" },
		{ "GreetPause:127.0.0.2 2h", "write 300000 for the longest pause there is" },
		{ "GreetPause:127.0.0.2 soon", ":2: GreetPause:127.0.0.2 soon: not a number of milliseconds, read as no pause (as Sendmail does); write 0" },
		{ "GreetPause:127.0.0.2 -5", "negative, read as no pause" },
		{ "GreetPause:127.0.0.2 400000", "cut to 300000 ms" },
		{ "GreetPause:127.0.0.2 300 900", "read as 300 ms (as Sendmail does); write 300 alone" },
		{ "GreetPause:127.0.0. 300", "never matches, ignored" },
		{ "GreetPause:IPv6:2001:db8:: 300", "is one address, not a network" },
		{ "GreetPause:10.1.0.0/8 300", "has bits set behind the first 8, read as 10.0.0.0/8" },
		{ "GreetPause: 127.0.0.2 300", "a tag alone is the default and takes a number alone, ignored" },
		{ "Connect:127.0.0.2 300", ":2: Connect:127.0.0.2 300: no word that is known here, read as a refusal with 553 5.3.0 300 (as Sendmail does)" },
		{ "127.0.0.2 FRIEND", "read as a refusal with 553 5.3.0 FRIEND" },
		{ "Connect:127.0.0.2 ERROR:5.7.1:text only", "read as a refusal with 553 5.3.0 text only" },
		{ "Connect:127.0.0.2 550 4.7.1 no", "the reply 550 says 4.7.1, which is of another class" },
		{ "Spam:abuse@ SPAMFRIEND", "means nothing here (as in Sendmail); expected FRIEND or HATER" },
		{ "To:abuse@example.org SPAMFRIEND", "an old form that Sendmail 8.13 no longer reads; it counts as FRIEND here" },
		{ "ClientRate:10 many", "not a number, read as no limit" },
		{ "ClientConn:10 5 each", "read as 5 (as Sendmail does); write that alone" },
		{ "GretPause:127.0.0.2 300", "keys with a tag that Sendmail does not know have no effect" },
	};
	struct buf errors, warnings;
	size_t entries = 99;
	char text[200];
	(void)context;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		snprintf(text, sizeof(text), "# comment\n%s\n", table[i].line);
		int fd = build(text, &errors, &warnings, &entries);
		assert_true(fd >= 0);
		close(fd);
		if (!strstr(buf_text(&warnings), table[i].say))
			fail_msg("%s: %s", table[i].line, buf_text(&warnings));
		assert_int_equal(entries, 1);
		assert_int_equal(errors.len, 0);
	}
	/* And nothing is said of what is right. */
	int fd = build("GreetPause:127.0.0.2 0\nGreetPause:10 300ms\nGreetPause:11 5 # five\nGreetPause: 1000\nGreetPause:IPv6:2001:db8 7\n"
		"GreetPause:example.com 0\nConnect:10 REJECT\n10.1 OK\nFrom:a@b.c 550 5.7.1 no\nTo:x@y ERROR:4.7.1:450 later\nSpam:abuse@ FRIEND\nClientRate:10 3\nClientConn: 7\n"
		"evil.example RELAY\nspammer@ DISCARD\nConnect:11 QUARANTINE:look\nConnect:12 553 5.3.0 x\n", &errors, &warnings, &entries);
	assert_true(fd >= 0);
	close(fd);
	assert_string_equal(buf_text(&warnings), "");
	assert_int_equal(entries, 17);
	buf_fini(&errors);
	buf_fini(&warnings);
}

static void all_or_nothing(void **context)
{
	struct buf errors, warnings;
	size_t entries = 99;
	(void)context;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	int before = descriptors_open();
	assert_int_equal(build("GreetPause:10 300\nGreetPause:11\n", &errors, &warnings, &entries), -1);
	assert_non_null(strstr(buf_text(&errors), ":2: "));
	assert_int_equal(entries, 99); /* outputs are written on success only */
	assert_int_equal(build("GreetPause:10 300\ngreetpause:10 400\n", &errors, &warnings, &entries), -1);
	assert_true(errors.len > 0);
	buf_clear(&errors);
	assert_int_equal(access_build("hash:/etc/mail/access", &errors, &warnings, &entries), -1);
	assert_true(errors.len > 0);
	assert_int_equal(descriptors_open(), before);
	buf_fini(&errors);
	buf_fini(&warnings);
}

/* SKIP is a word or none by the configuration. */
static void skip_is_a_word(void **context)
{
	static const struct {
		const char *line;
		bool refuses;
		const char *say; /* without the option; NULL: nothing */
	} table[] = {
		{ "Connect:10.1 SKIP", true, "Connect:10.1 SKIP: no word without access_skip = yes, read as a refusal with 553 5.3.0 SKIP" }, { "10.1 skip ", true, "read as a refusal" },
		{ "From:a@b SKIP", true, "read as a refusal" }, { "To:example.org SKIP", true, "read as a refusal" }, { "Spam:a@ SKIP", false, "means nothing here" },
		{ "GreetPause:10.1 SKIP", false, "read as no pause" }, { "ClientRate:10.1 SKIP", false, "read as no limit" }, { "Connect:10.1 550 SKIP", false, NULL },
	};
	struct buf errors, warnings;
	size_t entries;
	(void)context;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (unsigned known = 0; known < 3; known++) {
			const struct access_rules rules = { .skip = known == 2 };
			char spec[64];
			int file = memfd_create("access", MFD_CLOEXEC);
			assert_true(dprintf(file, "\n%s\n", table[i].line) > 0);
			snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
			buf_clear(&warnings);
			close(access_build_for(spec, known > 0 ? &rules : NULL, &errors, &warnings, &entries));
			close(file);
			bool says = table[i].say && (known == 1 || (known == 0 && !table[i].refuses));
			assert_int_equal(warnings.len > 0, says);
			if (says && (!strstr(buf_text(&warnings), table[i].say) || !strstr(buf_text(&warnings), ":2: ")))
				fail_msg("%s: %s", table[i].line, buf_text(&warnings));
		}
	buf_fini(&errors);
	buf_fini(&warnings);
}

/* Entries of a map elsewhere: judged as those of a file that others made, but for networks, which such a map is not asked for. */
static void review_of_a_list(void **context)
{
	static const char *const entries[][2] = { { "connect:10.1", "REJECT" }, { "connect:10.2", "300" }, { "greetpause:10.0.0.0/8", "0" }, { "10.0.0.0/8", "OK" }, { "spam:a@", "OK" }, { "from:a@b", "Skip" },
		{ "authinfo:x", "y" }, { "authinfo:z", "y" }, { "1.2.3.4/5/6", "x" } };
	struct buf warnings;
	(void)context;
	buf_init(&warnings, TEXT_MAX);
	struct access_review *r = access_review_new("hash:/x", &(struct access_rules){ .skip = false }, &warnings);
	assert_non_null(r);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		access_review_entry(r, slice_of(entries[i][0]), slice_of(entries[i][1]));
	access_review_end(r);
	assert_null(strstr(buf_text(&warnings), "10.1"));
	assert_non_null(strstr(buf_text(&warnings), "hash:/x: connect:10.2 300: no word that is known here"));
	assert_non_null(strstr(buf_text(&warnings), "hash:/x: greetpause:10.0.0.0/8: never matches, ignored; such a map is asked for"));
	assert_non_null(strstr(buf_text(&warnings), "hash:/x: 10.0.0.0/8: never matches, ignored; such a map is asked for"));
	assert_non_null(strstr(buf_text(&warnings), "hash:/x: from:a@b Skip: no word without access_skip = yes"));
	assert_non_null(strstr(buf_text(&warnings), "hash:/x: spam:a@ OK: means nothing here"));
	assert_non_null(strstr(buf_text(&warnings), "hash:/x: keys with the tag authinfo: have no effect here (2 lines"));
	access_review_end(NULL);
	buf_fini(&warnings);
}

/* Nobody can change a table that has been built; two spellings of one network: the first one counts. */
static void sealed(void **context)
{
	struct buf errors, warnings;
	size_t entries;
	struct addr client;
	(void)context;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	int fd = build("GreetPause:IPv6:2001:db8:0:0:0:0:0:1 111\nGreetPause:2001:db8::1 222\nGreetPause:127 5\n", &errors, &warnings, &entries);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_true(mmap(NULL, 100, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	struct access *access = access_open(&fd, 1, &(struct access_rules){ .skip = false });
	assert_non_null(access);
	assert_true(addr_parse(slice_of("2001:db8::1"), &client));
	assert_int_equal(access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = client }, 9).pause_ms, 111);
	assert_int_equal(access_pause(access, ACCESS_GREETPAUSE, &(struct access_client){ .addr = client }, 9).line, 1);
	access_close(access);
	buf_fini(&errors);
	buf_fini(&warnings);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(warnings_name_the_line), cmocka_unit_test(all_or_nothing), cmocka_unit_test(skip_is_a_word), cmocka_unit_test(review_of_a_list), cmocka_unit_test(sealed) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
