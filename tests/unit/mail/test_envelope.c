/* Which recipients are ours, and that nothing makes us a relay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "folder.h"
#include "mail/envelope.h"

static char *domains[] = { "example.org", "Mail.Example.ORG", "[192.0.2.1]" };
static struct conf conf;
static char delimiter[] = "+", template[] = "/nowhere/%d/%u", host[] = "mail.example.org";
static struct envelope envelope;

static int begin(void **state)
{
	(void)state;
	conf = (struct conf){ .hostname = host, .accept_domains = { domains, 3 }, .maildir = template, .create_maildirs = true,
		.recipient_delimiter = delimiter, .max_recipients = 100 };
	return 0;
}

static int end(void **state)
{
	(void)state;
	envelope_clear(&envelope);
	return 0;
}

static enum envelope_answer add(const char *address)
{
	char line[512];
	struct command_path path;
	struct command_error error;
	snprintf(line, sizeof(line), "TO:%s", address);
	assert_true(command_parse_rcpt(slice_of(line), &path, &error));
	return envelope_add(&envelope, &conf, &path);
}

static void accepted(void **state)
{
	static const struct {
		const char *address, *path;
	} rows[] = {
		{ "<joe@example.org>", "/nowhere/example.org/joe" },
		{ "<JOE+x@EXAMPLE.org>", "/nowhere/example.org/joe" },
		{ "<joe@mail.example.org>", "/nowhere/mail.example.org/joe" },
		{ "<\"joe doe\"@example.org>", "/nowhere/example.org/joe doe" },
		{ "<\"j\\oe\"@example.org>", "/nowhere/example.org/joe" },
		{ "<postmaster>", "/nowhere/example.org/postmaster" },
		{ "<joe@[192.0.2.1]>", "/nowhere/[192.0.2.1]/joe" },
		{ "<@relay.example.net,@b.example:ann@example.org>", "/nowhere/example.org/ann" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		envelope_clear(&envelope);
		assert_int_equal(add(rows[i].address), ENVELOPE_OK);
		assert_int_equal(envelope.paths_len, 1);
		assert_string_equal(envelope.paths[0], rows[i].path);
	}
	conf.accept_domains.len = 0;
	envelope_clear(&envelope);
	assert_int_equal(add("<postmaster>"), ENVELOPE_OK);
	assert_string_equal(envelope.first, "postmaster@mail.example.org");
}

static void refused(void **state)
{
	static const struct {
		const char *address;
		enum envelope_answer answer;
	} rows[] = {
		{ "<joe@elsewhere.test>", ENVELOPE_RELAY },
		{ "<joe@sub.example.org>", ENVELOPE_RELAY },
		{ "<joe@notexample.org>", ENVELOPE_RELAY },
		{ "<joe@example.orgx>", ENVELOPE_RELAY },
		{ "<joe@example>", ENVELOPE_RELAY },
		{ "<joe@[127.0.0.1]>", ENVELOPE_RELAY },
		{ "<@example.org:joe@elsewhere.test>", ENVELOPE_RELAY },
		{ "<joe%elsewhere.test@example.org>", ENVELOPE_RELAY },
		{ "<joe%elsewhere.test>", ENVELOPE_RELAY },
		{ "<elsewhere.test!joe@example.org>", ENVELOPE_RELAY },
		{ "<elsewhere.test!joe>", ENVELOPE_RELAY },
		{ "<\"joe@elsewhere.test\"@example.org>", ENVELOPE_RELAY },
		{ "<\"joe@elsewhere.test\">", ENVELOPE_RELAY },
		{ "<\"joe\\@elsewhere.test\"@example.org>", ENVELOPE_RELAY },
		{ "<..@example.org>", ENVELOPE_BAD },
		{ "<../../etc/cron.d/x@example.org>", ENVELOPE_BAD },
		{ "<\"../x\"@example.org>", ENVELOPE_BAD },
		{ "<\"\"@example.org>", ENVELOPE_BAD },
		{ "<+@example.org>", ENVELOPE_BAD },
		{ "<.joe@example.org>", ENVELOPE_BAD },
		{ "<a/b@example.org>", ENVELOPE_BAD },
		{ "<aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@example.org>", ENVELOPE_BAD }, /* 65 */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (add(rows[i].address) != rows[i].answer)
			fail_msg("%s", rows[i].address);
	assert_int_equal(envelope.recipients, 0);
	assert_int_equal(envelope.paths_len, 0);
}

static void counted(void **state)
{
	char address[64];
	(void)state;
	conf.max_recipients = 7;
	assert_int_equal(add("<joe@example.org>"), ENVELOPE_OK);
	assert_int_equal(add("<joe+again@example.org>"), ENVELOPE_OK);
	assert_int_equal(envelope.paths_len, 1);
	for (int i = 0; i < 5; i++) {
		snprintf(address, sizeof(address), "<u%d@example.org>", i);
		assert_int_equal(add(address), ENVELOPE_OK);
	}
	assert_int_equal(envelope.paths_len, 6);
	assert_int_equal(add("<one@example.org>"), ENVELOPE_FULL);
	assert_int_equal(add("<one@elsewhere.test>"), ENVELOPE_RELAY);
	assert_int_equal(envelope.recipients, 7);
	assert_string_equal(envelope.first, "joe@example.org");
}

static void known_users(void **state)
{
	char root[FOLDER_PATH], path[FOLDER_PATH + 32], own[FOLDER_PATH + 32];
	(void)state;
	folder_make(root);
	snprintf(own, sizeof(own), "%s/%%d/%%u", root);
	conf.maildir = own;
	conf.create_maildirs = false;
	assert_int_equal(add("<joe@example.org>"), ENVELOPE_UNKNOWN);
	snprintf(path, sizeof(path), "%s/example.org", root);
	assert_int_equal(mkdir(path, S_IRWXU), 0);
	snprintf(path, sizeof(path), "%s/example.org/joe", root);
	assert_int_equal(mkdir(path, S_IRWXU), 0);
	assert_int_equal(add("<joe@example.org>"), ENVELOPE_OK);
	assert_int_equal(add("<ann@example.org>"), ENVELOPE_UNKNOWN);
	folder_remove(root);
}

static void senders(void **state)
{
	struct command_mail mail;
	struct command_error error;
	(void)state;
	assert_true(command_parse_mail(slice_of("FROM:<>"), &mail, &error));
	assert_true(envelope_set_from(&envelope, &mail));
	assert_string_equal(envelope.from, "");
	envelope_clear(&envelope);
	assert_null(envelope.from);
	assert_true(command_parse_mail(slice_of("FROM:<@x.test:a@b.test> SMTPUTF8"), &mail, &error));
	assert_true(envelope_set_from(&envelope, &mail));
	assert_string_equal(envelope.from, "a@b.test");
	assert_true(envelope.smtputf8);
}

#define WITH_CONF(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CONF(accepted), WITH_CONF(refused), WITH_CONF(counted), WITH_CONF(known_users), WITH_CONF(senders),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
