/* Values of Connect:, From:, To: and Spam:, against what a real Sendmail answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "access/access_value.h"

static const struct slice reject = { "550 5.7.1 Access denied", 23 };

static void replies(void **context)
{
	static const struct {
		const char *value, *reply;
	} table[] = {
		{ "REJECT", "550 5.7.1 Access denied" }, { "reject \r", "550 5.7.1 Access denied" }, { "ERROR:5.7.1:550 go away", "550 5.7.1 go away" },
		{ "ERROR:4.7.1:450 come back", "450 4.7.1 come back" }, { "ERROR:\"550 quoted text\"", "550 5.0.0 quoted text" }, { "ERROR:550 5.7.1 text", "550 5.7.1 text" },
		{ "ERROR:5.7.1:text only", "553 5.3.0 text only" }, { "550 bare text", "550 5.0.0 bare text" }, { "550 5.7.1 bare dsn text", "550 5.7.1 bare dsn text" },
		{ "450 bare temp", "450 4.0.0 bare temp" }, { "421 bare 421", "421 4.0.0 bare 421" }, { "ERROR:4.3.2:421 drop", "421 4.3.2 drop" },
		{ "ERROR:5.7.1:554 five54", "554 5.7.1 five54" }, { "ERROR:five hundred", "553 5.3.0 five hundred" }, { "FRIEND", "553 5.3.0 FRIEND" }, { "300", "553 5.3.0 300" },
		{ "SKIP", "553 5.3.0 SKIP" }, { "<TMPF>", "451 4.3.0 Temporary system failure. Please try again later." },
		{ "OK<TMPF>", "451 4.3.0 Temporary system failure. Please try again later." }, { "5501 no code", "553 5.3.0 5501 no code" }, { "550", "550 5.0.0 " },
		{ "550 5.7.1234 no dsn", "550 5.0.0 5.7.1234 no dsn" }, { "ERROR:", "553 5.3.0 " }, { "", "553 5.3.0 " }, { "250 fine", "553 5.3.0 250 fine" },
	};
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		char text[200];
		struct access_decision d = access_value_decide(slice_of(table[i].value), reject, false);
		assert_true(d.action == ACCESS_REFUSE || d.action == ACCESS_TEMPFAIL);
		snprintf(text, sizeof(text), "%u %s %.*s", d.reply.code, d.reply.dsn, (int)d.reply.text.len, d.reply.text.at);
		if (strcmp(text, table[i].reply) != 0)
			fail_msg("%s: %s", table[i].value, text);
	}
}

static void words(void **context)
{
	static const struct {
		const char *value;
		enum access_action action;
	} table[] = { { "OK", ACCESS_OK }, { "ok\t", ACCESS_OK }, { "RELAY", ACCESS_RELAY }, { "DISCARD", ACCESS_DISCARD }, { "OBSERVE", ACCESS_OBSERVE }, { "observe ", ACCESS_OBSERVE }, { "OBSERVE it", ACCESS_REFUSE }, { "SKIP", ACCESS_SKIP },
		{ "QUARANTINE:held for review", ACCESS_QUARANTINE }, { "OK then", ACCESS_REFUSE }, { "QUARANTINE", ACCESS_REFUSE } };
	(void)context;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		assert_int_equal(access_value_decide(slice_of(table[i].value), reject, true).action, table[i].action);
	struct access_decision d = access_value_decide(slice_of("quarantine: held "), reject, false);
	assert_int_equal(d.reply.text.len, 4);
	/* The option reject_msg is the text of REJECT; without a code of its own class it gets one. */
	d = access_value_decide(slice_of("REJECT"), slice_of("550 Go away"), false);
	assert_string_equal(d.reply.dsn, "5.0.0");
	d = access_value_decide(slice_of("REJECT"), slice_of("Go away"), false);
	assert_int_equal(d.reply.code, 553);
}

static void spam(void **context)
{
	(void)context;
	assert_int_equal(access_value_spam(slice_of("friend ")), ACCESS_SPAM_FRIEND);
	assert_int_equal(access_value_spam(slice_of("HATER")), ACCESS_SPAM_HATER);
	assert_int_equal(access_value_spam(slice_of("SPAMFRIEND")), ACCESS_SPAM_OLD_FRIEND);
	assert_int_equal(access_value_spam(slice_of("FRIEND now")), ACCESS_SPAM_NONE);
	assert_int_equal(access_value_spam(slice_of("OK")), ACCESS_SPAM_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(replies), cmocka_unit_test(words), cmocka_unit_test(spam) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
