/* The parser of command lines: verbs as Sendmail finds them, paths and parameters of MAIL and RCPT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/command.h"

static void assert_slice(struct slice s, const char *text)
{
	if (!slice_is(s, text))
		fail_msg("\"%.*s\" is not \"%s\"", (int)s.len, s.at, text);
}

static void verbs_of_lines(void **state)
{
	static const struct {
		const char *line;
		enum command_verb verb;
		const char *rest;
	} rows[] = {
		{ "HELO x", COMMAND_HELO, "x" },
		{ "ehlo a b ", COMMAND_EHLO, "a b" },
		{ " \t mAiL  FROM:<>", COMMAND_MAIL, "FROM:<>" },
		{ "RCPT", COMMAND_RCPT, "" },
		{ "DATA\r", COMMAND_DATA, "" },
		{ "NOOP\rQUIT", COMMAND_NOOP, "QUIT" },
		{ "quit\v\f", COMMAND_QUIT, "" },
		{ "rset", COMMAND_RSET, "" },
		{ "VRFY x", COMMAND_VRFY, "x" },
		{ "EXPN x", COMMAND_EXPN, "x" },
		{ "HELP", COMMAND_HELP, "" },
		{ "ETRN x", COMMAND_ETRN, "x" },
		{ "VERB", COMMAND_VERB, "" },
		{ "SEND", COMMAND_SEND, "" },
		{ "SAML", COMMAND_SAML, "" },
		{ "SOML", COMMAND_SOML, "" },
		{ "TURN", COMMAND_TURN, "" },
		{ "debug", COMMAND_DEBUG, "" },
		{ "showq", COMMAND_SHOWQ, "" },
		{ "wiz", COMMAND_WIZ, "" },
		{ "STARTTLS", COMMAND_STARTTLS, "" },
		{ "AUTH LOGIN", COMMAND_AUTH, "LOGIN" },
		{ "BDAT 10 LAST", COMMAND_BDAT, "10 LAST" },
		{ "", COMMAND_UNKNOWN, "" },
		{ "   ", COMMAND_UNKNOWN, "" },
		{ ".", COMMAND_UNKNOWN, "" },
		{ "mailfrom:<a@example.net>", COMMAND_UNKNOWN, "" },
		{ "HEL x", COMMAND_UNKNOWN, "x" },
		{ "HELOO x", COMMAND_UNKNOWN, "x" },
		{ "LHLO x", COMMAND_UNKNOWN, "x" },
		{ "XCLIENT NAME=x", COMMAND_UNKNOWN, "NAME=x" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command c = command_parse(slice_of(rows[i].line));
		if (c.verb != rows[i].verb)
			fail_msg("\"%s\" is verb %d, not %d", rows[i].line, (int)c.verb, (int)rows[i].verb);
		assert_slice(c.rest, rows[i].rest);
	}
}

static void nul_is_no_space(void **state)
{
	(void)state;
	struct command c = command_parse((struct slice){ "\0QUIT", 5 });
	assert_int_equal(c.verb, COMMAND_UNKNOWN);
	c = command_parse((struct slice){ "QUIT\0", 5 });
	assert_int_equal(c.verb, COMMAND_UNKNOWN);
	c = command_parse((struct slice){ NULL, 0 });
	assert_int_equal(c.verb, COMMAND_UNKNOWN);
}

static void helo_argument(void **state)
{
	char longest[5 + COMMAND_DOMAIN + 2] = "HELO ";
	struct command_error error;
	(void)state;
	struct command c = command_parse(slice_of("HELO mail.example.org"));
	assert_true(command_parse_helo(&c, &error));
	c = command_parse(slice_of("HELO [IPv6:2001:db8::1]"));
	assert_true(command_parse_helo(&c, &error));
	c = command_parse(slice_of("EHLO"));
	assert_false(command_parse_helo(&c, &error));
	assert_int_equal(error.code, 501);
	assert_string_equal(error.enhanced, "5.0.0");
	assert_string_equal(error.text, "EHLO requires domain address");
	c = command_parse(slice_of("helo"));
	assert_false(command_parse_helo(&c, &error));
	assert_string_equal(error.text, "HELO requires domain address");
	c = command_parse(slice_of("HELO a b"));
	assert_false(command_parse_helo(&c, &error));
	assert_string_equal(error.text, "Invalid domain name");
	c = command_parse(slice_of("HELO a(b)"));
	assert_false(command_parse_helo(&c, &error));
	c = command_parse(slice_of("HELO b\xc3\xbc"));
	assert_false(command_parse_helo(&c, &error));
	c = command_parse((struct slice){ "HELO a\0b", 8 });
	assert_false(command_parse_helo(&c, &error));
	memset(longest + 5, 'a', COMMAND_DOMAIN + 1);
	c = command_parse((struct slice){ longest, 5 + COMMAND_DOMAIN });
	assert_true(command_parse_helo(&c, &error));
	c = command_parse((struct slice){ longest, 5 + COMMAND_DOMAIN + 1 });
	assert_false(command_parse_helo(&c, &error));
}

static void paths_that_are_taken(void **state)
{
	static const struct {
		const char *rest, *text, *local, *domain;
	} rows[] = {
		{ "TO:<joe@example.org>", "<joe@example.org>", "joe", "example.org" },
		{ "to: <joe@example.org>", "<joe@example.org>", "joe", "example.org" },
		{ "To : <joe@example.org> ", "<joe@example.org>", "joe", "example.org" },
		{ "TO:joe@example.org", "joe@example.org", "joe", "example.org" },
		{ "TO:<postmaster>", "<postmaster>", "postmaster", "" },
		{ "TO:<\"joe doe>\"@example.org>", "<\"joe doe>\"@example.org>", "\"joe doe>\"", "example.org" },
		{ "TO:\"a b\"@example.org", "\"a b\"@example.org", "\"a b\"", "example.org" },
		{ "TO:<\"a\\\"b\"@example.org>", "<\"a\\\"b\"@example.org>", "\"a\\\"b\"", "example.org" },
		{ "TO:<@a.example,@b.example:joe@example.org>", "<@a.example,@b.example:joe@example.org>", "joe", "example.org" },
		{ "TO:<joe@[192.0.2.1]>", "<joe@[192.0.2.1]>", "joe", "[192.0.2.1]" },
		{ "TO:<joe@[IPv6:2001:db8::1]>", "<joe@[IPv6:2001:db8::1]>", "joe", "[IPv6:2001:db8::1]" },
		{ "TO:<a.b..c.@example.org>", "<a.b..c.@example.org>", "a.b..c.", "example.org" },
		{ "TO:<u%v!w/x=y+z@example.org>", "<u%v!w/x=y+z@example.org>", "u%v!w/x=y+z", "example.org" },
		{ "TO:<j\xc3\xb6@example.org>", "<j\xc3\xb6@example.org>", "j\xc3\xb6", "example.org" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command_path path;
		struct command_error error;
		if (!command_parse_rcpt(slice_of(rows[i].rest), &path, &error))
			fail_msg("\"%s\": %s", rows[i].rest, error.text);
		assert_slice(path.text, rows[i].text);
		assert_slice(path.local, rows[i].local);
		if (rows[i].domain[0])
			assert_slice(path.domain, rows[i].domain);
		else
			assert_int_equal(path.domain.len, 0);
		assert_false(path.null);
		assert_int_equal(path.utf8, strchr(rows[i].rest, '\xc3') != NULL);
	}
}

static void paths_that_are_refused(void **state)
{
	static const struct {
		const char *rest;
		int code;
	} rows[] = {
		{ "", 501 },
		{ "TO", 501 },
		{ "TO:", 501 },
		{ "TO<a@b>", 501 },
		{ "FROM:<a@b>", 501 },
		{ "TO:<a@b", 501 },
		{ "TO:<\"a@b>", 501 },
		{ "TO:<>", 553 },
		{ "TO:<@>", 553 },
		{ "TO:<@b>", 553 },
		{ "TO:<a@>", 553 },
		{ "TO:<a@b>c", 553 },
		{ "TO:<a@b@c>", 553 },
		{ "TO:<a b@c>", 553 },
		{ "TO:<<a@b>>", 553 },
		{ "TO:<a@.b>", 553 },
		{ "TO:<a@b.>", 553 },
		{ "TO:<a@b..c>", 553 },
		{ "TO:<a@b/c>", 553 },
		{ "TO:<a@[]>", 553 },
		{ "TO:<a@[1/2]>", 553 },
		{ "TO:<@a:>", 553 },
		{ "TO:<@a,b:c@d>", 553 },
		{ "TO:<@a,@b>", 553 },
		{ "TO:<a\\b@c>", 553 },
		{ "TO:<a@b> NOTIFY=NEVER", 555 },
		{ "TO:<a\x01@b>", 501 },
		{ "TO:<a@b>\x7f", 501 },
		{ "TO:<a@b>\rRCPT", 501 },
		{ "TO:<a\xff@b>", 501 },
		{ "TO:<a\xc0\xaf@b>", 501 },
		{ "TO:<a\xe0\x80\xaf@b>", 501 },
		{ "TO:<a\xed\xa0\x80@b>", 501 },
		{ "TO:<a\xf4\x90\x80\x80@b>", 501 },
		{ "TO:<a@b\xc3>", 501 },
		{ "TO:<\"\xc2\x9b" "31m\"@b>", 501 }, /* CSI: a terminal acts on it as on ESC [ */
		{ "TO:<a\xc2\x85@b>", 501 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command_path path = { .utf8 = true };
		struct command_error error;
		if (command_parse_rcpt(slice_of(rows[i].rest), &path, &error))
			fail_msg("\"%s\" was taken", rows[i].rest);
		if (error.code != rows[i].code)
			fail_msg("\"%s\": %d, not %d", rows[i].rest, error.code, rows[i].code);
		assert_true(error.code / 100 == error.enhanced[0] - '0');
		assert_null(path.text.at); /* outputs are written only on success */
	}
	struct command_path path;
	struct command_error error;
	assert_false(command_parse_rcpt((struct slice){ "TO:<a\0b@c>", 10 }, &path, &error));
	assert_int_equal(error.code, 501);
	assert_false(command_parse_rcpt((struct slice){ "TO:<a@\0>", 8 }, &path, &error));
}

static void lengths(void **state)
{
	char line[1024] = "TO:<";
	struct command_path path;
	struct command_error error;
	(void)state;
	memset(line + 4, 'a', sizeof(line) - 4);
	memcpy(line + 4 + COMMAND_PATH - 4, "@b>", 3);
	assert_false(command_parse_rcpt((struct slice){ line, 3 + COMMAND_PATH + 1 }, &path, &error)); /* no '>' within */
	line[3 + COMMAND_PATH - 1] = '>';
	line[3 + COMMAND_PATH - 2] = 'b';
	line[3 + COMMAND_PATH - 3] = '@';
	assert_true(command_parse_rcpt((struct slice){ line, 3 + COMMAND_PATH }, &path, &error));
	assert_int_equal(path.text.len, COMMAND_PATH);
	memmove(line + 5, line + 4, COMMAND_PATH);
	assert_false(command_parse_rcpt((struct slice){ line, 3 + COMMAND_PATH + 1 }, &path, &error));
	assert_int_equal(error.code, 553);
}

static void mail_parameters(void **state)
{
	struct command_mail mail;
	struct command_error error;
	(void)state;
	assert_true(command_parse_mail(slice_of("FROM:<>"), &mail, &error));
	assert_true(mail.from.null);
	assert_int_equal(mail.size, -1);
	assert_false(mail.body8);
	assert_false(mail.smtputf8);
	assert_true(command_parse_mail(slice_of("FROM:<a@b> SIZE=1234 body=8bitmime  smtputf8"), &mail, &error));
	assert_int_equal(mail.size, 1234);
	assert_true(mail.body8);
	assert_true(mail.smtputf8);
	assert_true(command_parse_mail(slice_of("FROM:<a@b> BODY=7BIT"), &mail, &error));
	assert_false(mail.body8);
	assert_true(command_parse_mail(slice_of("FROM:<a@b> SIZE=99999999999999999999"), &mail, &error));
	assert_true(mail.size == INT64_MAX);
	assert_true(command_parse_mail(slice_of("FROM:<a@b> SIZE=000000000000000005"), &mail, &error));
	assert_int_equal(mail.size, 5);
	assert_true(command_parse_mail(slice_of("FROM:<j\xc3\xb6@b> SMTPUTF8"), &mail, &error));
	assert_true(mail.from.utf8);

	static const struct {
		const char *rest;
		int code;
	} rows[] = {
		{ "", 501 },
		{ "FROM:<a@b> SIZE", 501 },
		{ "FROM:<a@b> SIZE=", 501 },
		{ "FROM:<a@b> SIZE=-1", 501 },
		{ "FROM:<a@b> SIZE=1x", 501 },
		{ "FROM:<a@b> SIZE=123456789012345678901", 501 },
		{ "FROM:<a@b> BODY=BINARYMIME", 501 },
		{ "FROM:<a@b> BODY", 501 },
		{ "FROM:<a@b> SMTPUTF8=1", 555 },
		{ "FROM:<a@b> RET=FULL", 555 },
		{ "FROM:<a@b> =x", 501 },
		{ "FROM:<a@b> AUTH=<>", 555 },
		{ "FROM:<j\xc3\xb6@b>", 553 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (command_parse_mail(slice_of(rows[i].rest), &mail, &error))
			fail_msg("\"%s\" was taken", rows[i].rest);
		if (error.code != rows[i].code)
			fail_msg("\"%s\": %d, not %d", rows[i].rest, error.code, rows[i].code);
	}
	assert_false(command_parse_mail(slice_of(""), &mail, &error));
	assert_string_equal(error.text, "Syntax error in parameters scanning \"\"");
}

static void unquoting(void **state)
{
	char memory[16];
	struct buf out;
	(void)state;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(command_unquote(slice_of("joe"), &out));
	assert_string_equal(buf_text(&out), "joe");
	buf_clear(&out);
	assert_true(command_unquote(slice_of("\"j\\o\\\"e f\""), &out));
	assert_string_equal(buf_text(&out), "jo\"e f");
	buf_clear(&out);
	assert_false(command_unquote(slice_of("\"0123456789abcdefg\""), &out));
	assert_int_equal(out.len, 0);
}

/* As the door reads them: parameters are left to the server, whatever they are, if they are parameters. */
static void paths_and_parameters(void **state)
{
	static const struct {
		const char *line;
		const char *path, *domain, *parameters; /* path NULL: refused */
	} rows[] = {
		{ "MAIL FROM:<a@b> SIZE=1 RET=HDRS ENVID=x AUTH=<>", "<a@b>", "b", "SIZE=1 RET=HDRS ENVID=x AUTH=<>" },
		{ "mail from:<>", "<>", "", "" },
		{ "RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a@b", "<a@b>", "b", "NOTIFY=NEVER ORCPT=rfc822;a@b" },
		{ "RCPT TO: a@b X-Y", "a@b", "b", "X-Y" },
		{ "RCPT TO:<@r1,@r2:a@b>", "<@r1,@r2:a@b>", "b", "" },
		{ "RCPT TO:<>", NULL, NULL, NULL },
		{ "RCPT TO:<a@b> <c@d>", NULL, NULL, NULL },
		{ "RCPT TO:<a@b>,<c@d>", NULL, NULL, NULL },
		{ "RCPT TO:a@b (c) <d@e>", NULL, NULL, NULL },
		{ "RCPT TO:<a@b> =x", NULL, NULL, NULL },
		{ "RCPT TO:<a@b> -x", NULL, NULL, NULL },
		{ "RCPT TO:<a@b> x_y=1", NULL, NULL, NULL },
		{ "RCPT <a@b>", NULL, NULL, NULL },
		{ "RCPT FROM:<a@b>", NULL, NULL, NULL },
		{ "MAIL", NULL, NULL, NULL },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct command c = command_parse(slice_of(rows[i].line));
		struct command_path path;
		struct slice parameters;
		struct command_error error;
		if (command_parse_path(&c, &path, &parameters, &error) != (rows[i].path != NULL))
			fail_msg("row %zu: %s", i, rows[i].line);
		if (!rows[i].path) {
			assert_true(error.code >= 500 && error.code < 600);
			continue;
		}
		assert_slice(path.text, rows[i].path);
		assert_slice(path.domain, rows[i].domain);
		assert_slice(parameters, rows[i].parameters);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_and_parameters),
		cmocka_unit_test(verbs_of_lines),
		cmocka_unit_test(nul_is_no_space),
		cmocka_unit_test(helo_argument),
		cmocka_unit_test(paths_that_are_taken),
		cmocka_unit_test(paths_that_are_refused),
		cmocka_unit_test(lengths),
		cmocka_unit_test(mail_parameters),
		cmocka_unit_test(unquoting),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
