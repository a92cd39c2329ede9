/* tarry probe --all: what was heard becomes one word. Most of what is heard here was said by real servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "probe_made.h"

#define TO "victim@example.org"
#define WAITS "+greeting220 +EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed"
#define SENDS "+greeting220 +EHLO250 +MAIL250 +RCPT250 +DATA354 +message250 +QUIT221 closed"
#define SERVED " +EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed"

struct row {
	const char *act, *to, *patient, *heard;
	enum probe_word word;
	int decisive; /* its code; 0: none */
};

static void check(const struct row *row, enum probe_way way)
{
	struct made m;
	made_begin(&m, row->to, way, row->patient);
	struct probe_play *play = strcmp(row->act, "patient") == 0 && !row->heard ? m.patient : made_play(&m, row->act, way, row->heard);
	struct probe_weight weight = probe_weigh(play, m.patient);
	if (weight.word != row->word || (weight.decisive ? weight.decisive->code : 0) != row->decisive)
		fail_msg("%s: %s: %s %d, expected %s %d", row->act, row->heard, probe_weigh_word(weight.word), weight.decisive ? weight.decisive->code : 0, probe_weigh_word(row->word), row->decisive);
	made_end_all(&m);
}

static void check_all(const struct row *rows, size_t len)
{
	for (size_t i = 0; i < len; i++)
		check(&rows[i], PROBE_WAY_CLEAR);
}
#define CHECK(rows) check_all(rows, sizeof(rows) / sizeof(rows[0]))

static void test_early_talk(void **state)
{
	(void)state;
	static const struct row rows[] = {
		/* Sendmail, and the door */
		{ "early-verb", NULL, WAITS, "*greeting554 *HELO250 +MAIL550 +QUIT221 closed", PROBE_WORD_REFUSED, 554 },
		{ "early-session", TO, SENDS, "*greeting554 *HELO250 *MAIL550 *RCPT550 *DATA550 *line500 *line500 *message500 *QUIT221 closed", PROBE_WORD_REFUSED, 554 },
		{ "early-tls", NULL, WAITS, "*greeting554 *bytes500 +EHLO250 +MAIL550 +QUIT221 closed", PROBE_WORD_REFUSED, 554 },
		{ "early-http", NULL, WAITS, "*greeting421 closed", PROBE_WORD_TEMPFAIL, 421 },
		/* Postfix without postscreen */
		{ "early-verb", NULL, WAITS, "*greeting220 *HELO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "early-session", TO, SENDS, "*greeting220 *HELO250 *MAIL250 *RCPT250 *DATA354 *message250 *QUIT221 closed", PROBE_WORD_ACCEPTED, 250 },
		{ "early-ssh", NULL, WAITS, "*greeting220 *bytes500" SERVED, PROBE_WORD_PASSED, 250 },
		{ "early-http", NULL, WAITS, "*greeting220 *bytes221 closed", PROBE_WORD_CLOSED, 0 },
		/* what was said is thrown away, and its author is a client as any other */
		{ "early-binary", NULL, WAITS, "*greeting220" SERVED, PROBE_WORD_IGNORED, 250 },
		/* postscreen's enforce: only at RCPT */
		{ "early-verb", NULL, WAITS, "*greeting220 *HELO250 +MAIL250 +RCPT550 +QUIT221 closed", PROBE_WORD_REFUSED, 550 },
		/* ... where a client that waits gets 450 at its first visit, and early talk 550 */
		{ "early-verb", NULL, "+greeting220 +EHLO250 +MAIL250 +RCPT450 +QUIT221 closed", "*greeting220 *HELO250 +MAIL250 +RCPT550 +QUIT221 closed", PROBE_WORD_REFUSED, 550 },
		{ "early-verb", NULL, "+greeting220 +EHLO250 +MAIL250 +RCPT450 +QUIT221 closed", "*greeting220 *HELO250 +MAIL250 +RCPT450 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		/* Exim's synchronisation error, in the middle of it */
		{ "early-session", NULL, WAITS, "*greeting220 *HELO250 *MAIL554 closed", PROBE_WORD_REFUSED, 554 },
		/* cut off; hung */
		{ "early-tls", NULL, WAITS, "! reset", PROBE_WORD_CLOSED, 0 },
		{ "early-tls", NULL, WAITS, "! timeout", PROBE_WORD_SILENT, 0 },
		{ "early-tls", NULL, WAITS, "*greeting220 *bytes500 closed", PROBE_WORD_REFUSED, 500 },
		{ "early-tls", NULL, WAITS, "*greeting220 *bytes500 timeout", PROBE_WORD_REFUSED, 500 },
		{ "early-tls", NULL, WAITS, "! not-smtp", PROBE_WORD_NOT_SMTP, 0 },
		{ "teaser", NULL, WAITS, "*greeting521 closed", PROBE_WORD_REFUSED, 521 },
	};
	CHECK(rows);
}

/* What is refused to everybody says nothing about the deed. */
static void test_refused_to_all(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "early-verb", NULL, "+greeting220 +EHLO250 +MAIL250 +RCPT550 +QUIT221 closed", "*greeting220 *HELO250 +MAIL250 +RCPT550 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "early-verb", NULL, "+greeting220 +EHLO250 +MAIL530 +QUIT221 closed", "*greeting220 *HELO250 +MAIL530 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "early-verb", NULL, NULL, "*greeting220 *HELO250 +MAIL530 +QUIT221 closed", PROBE_WORD_CLOSED, 0 }, /* how far anybody comes is not known */
		{ "patient", NULL, "+greeting220 +EHLO250 +MAIL250 +RCPT550 +QUIT221 closed", NULL, PROBE_WORD_PASSED, 250 },
		{ "patient", NULL, "+greeting554 +QUIT221 closed", NULL, PROBE_WORD_REFUSED, 554 },
		{ "patient", NULL, "+greeting220 +EHLO250 +MAIL421 closed", NULL, PROBE_WORD_TEMPFAIL, 421 },
		{ "data-ahead", TO, "+greeting220 +EHLO250 +MAIL250 +RCPT250 +DATA354 +message550 +QUIT221 closed", "greeting220 EHLO250 MAIL250 RCPT250 *DATA354 *message550 +QUIT221 closed",
		  PROBE_WORD_NOT_REACHED, 550 },
	};
	CHECK(rows);
}

static void test_ahead(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "ehlo-ahead", NULL, WAITS, "greeting220 *EHLO554 *MAIL550 +RCPT550 +QUIT221 closed", PROBE_WORD_REFUSED, 554 },
		{ "ehlo-ahead", NULL, WAITS, "greeting220 *EHLO250 *MAIL250 +RCPT250 +RSET250 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "ehlo-ahead", NULL, WAITS, "greeting220 *EHLO250 ?1 +QUIT221 closed", PROBE_WORD_IGNORED, 0 },
		{ "ehlo-ahead", NULL, WAITS, "greeting220 *EHLO250 ?1 reset", PROBE_WORD_CLOSED, 0 },
		{ "ehlo-ahead", NULL, WAITS, "greeting220 *EHLO250 ?1 timeout", PROBE_WORD_SILENT, 0 },
		{ "helo-group", NULL, WAITS, "greeting220 HELO250 *MAIL250 *RCPT250 +RSET250 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "http", NULL, WAITS, "greeting220 *bytes421 closed", PROBE_WORD_TEMPFAIL, 421 },
		{ "http", NULL, WAITS, "greeting220 *bytes500 *bytes500" SERVED, PROBE_WORD_PASSED, 250 },
		{ "data-ahead", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT250 *DATA554 closed", PROBE_WORD_REFUSED, 554 },
		{ "data-ahead", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT250 *DATA354 *message250 +QUIT221 closed", PROBE_WORD_ACCEPTED, 250 },
		{ "eom-ahead", TO, SENDS, "greeting220 HELO250 MAIL250 RCPT250 DATA354 *message250 *NOOP250 +QUIT221 closed", PROBE_WORD_ACCEPTED, 250 },
		{ "eom-ahead", TO, SENDS, "greeting220 HELO250 MAIL250 RCPT250 DATA354 *message554 closed", PROBE_WORD_REFUSED, 554 },
		{ "starttls-ahead", NULL, WAITS, "greeting220 EHLO250 *STARTTLS220 ?1 +EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed", PROBE_WORD_IGNORED, 0 },
		{ "starttls-ahead", NULL, WAITS, "greeting220 EHLO250 *STARTTLS220 *NOOP250 +EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "starttls-ahead", NULL, WAITS, "greeting220 EHLO250 *STARTTLS554 *NOOP250 +QUIT221 closed", PROBE_WORD_REFUSED, 554 },
		{ "starttls-ahead", NULL, WAITS, "greeting220 EHLO250 *STARTTLS220 ?1 error", PROBE_WORD_CLOSED, 0 },
		{ "starttls-ahead", NULL, WAITS, "greeting220 EHLO250 *STARTTLS421 closed", PROBE_WORD_TEMPFAIL, 421 },
	};
	CHECK(rows);
}

static void test_ends_of_a_message(void **state)
{
	(void)state;
	static const struct row rows[] = {
		{ "eod-lf-lf", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT250 DATA354 *false-end250 +QUIT221 closed", PROBE_WORD_ACCEPTED, 250 },
		{ "eod-lf-lf", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT250 DATA354 +message250 +QUIT221 closed", PROBE_WORD_IGNORED, 250 },
		{ "eod-lf-lf", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT250 DATA354 *false-end421 closed", PROBE_WORD_TEMPFAIL, 421 },
		{ "eod-lf-lf", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT250 DATA354 +message550 +QUIT221 closed", PROBE_WORD_REFUSED, 550 },
		{ "lf-commands", NULL, WAITS, "greeting220 *EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed", PROBE_WORD_PASSED, 250 },
		{ "lf-commands", NULL, WAITS, "greeting220 *EHLO521 closed", PROBE_WORD_REFUSED, 521 },
		{ "group-data", TO, SENDS, "greeting220 EHLO250 *MAIL250 *RCPT250 *DATA354 +message250 +QUIT221 closed", PROBE_WORD_ACCEPTED, 250 },
		{ "group", NULL, WAITS, "greeting220 EHLO250 *MAIL503 *RCPT503 +QUIT221 closed", PROBE_WORD_REFUSED, 503 },
	};
	CHECK(rows);
}

static void test_not_done(void **state)
{
	(void)state;
	struct made m;
	static const struct row rows[] = {
		{ "ehlo-ahead", NULL, WAITS, "greeting421 closed", PROBE_WORD_NOT_REACHED, 421 },
		{ "ehlo-ahead", NULL, WAITS, "closed", PROBE_WORD_NOT_REACHED, 0 },
		{ "ehlo-ahead", NULL, WAITS, "not-smtp", PROBE_WORD_NOT_SMTP, 0 },
		{ "data-ahead", TO, SENDS, "greeting220 EHLO250 MAIL250 RCPT550 QUIT221 closed", PROBE_WORD_NOT_REACHED, 221 },
	};
	CHECK(rows);
	made_begin(&m, NULL, PROBE_WAY_CLEAR, WAITS);
	struct probe_play *play = made_play(&m, "group", PROBE_WAY_CLEAR, "greeting220 EHLO250 open");
	play->left_out = "PIPELINING is not offered";
	assert_int_equal(probe_weigh(play, m.patient).word, PROBE_WORD_LEFT_OUT);
	play->left_out = NULL;
	play->record.connected = false;
	assert_int_equal(probe_weigh(play, m.patient).word, PROBE_WORD_NO_CONNECTION);
	made_end_all(&m);
}

/* One letter for each word: c caught, s served, g good, p punished, - nothing. */
static void test_marks(void **state)
{
	(void)state;
	static const char letters[] = "-csgp";
	static const struct {
		const char *act, *expected;
	} rows[] = {
		/*                passed accepted refused tempfail closed ignored silent not-smtp not-reached no-connection left-out */
		{ "patient", "ggpppp-----" }, { "group", "ggpppp-----" }, { "early-tls", "ssccc" "s-----" }, { "eod-lf-lf", "ssccc" "c-----" }, { "starttls-ahead", "ssccc" "c-----" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (enum probe_word word = 0; word < PROBE_WORDS; word++)
			assert_int_equal(letters[probe_weigh_mark(probe_act_find(slice_of(rows[i].act)), word)], rows[i].expected[word]);
}

static int sum_of(const char *patient, const char *act, const char *heard, const char *other, const char *heard_other)
{
	struct made m;
	made_begin(&m, NULL, PROBE_WAY_CLEAR, patient);
	made_play(&m, act, PROBE_WAY_CLEAR, heard);
	if (other)
		made_play(&m, other, PROBE_WAY_CLEAR, heard_other);
	int code = probe_weigh_all(&m.round).exit;
	made_end_all(&m);
	return code;
}

static void test_exit_codes(void **state)
{
	(void)state;
	static const char caught[] = "*greeting554 *HELO250 +MAIL550 +QUIT221 closed", served[] = "*greeting220 *HELO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed";
	static const char punished[] = "greeting220 EHLO250 *MAIL503 *RCPT503 +QUIT221 closed";
	assert_int_equal(sum_of(WAITS, "early-verb", caught, NULL, NULL), 0);
	assert_int_equal(sum_of(WAITS, "early-verb", served, "ehlo-ahead", "greeting220 *EHLO554 +QUIT221 closed"), 1);
	assert_int_equal(sum_of(WAITS, "early-verb", served, "group", punished), 2);
	assert_int_equal(sum_of(WAITS, "early-verb", caught, "group", punished), 2);
	assert_int_equal(sum_of("+greeting554 +QUIT221 closed", "early-verb", caught, NULL, NULL), 77);
	assert_int_equal(sum_of("! not-smtp", "early-verb", "! not-smtp", NULL, NULL), 76);
	assert_int_equal(sum_of("! timeout", "early-verb", "! timeout", NULL, NULL), 75);
	assert_int_equal(sum_of("+greeting421 closed", "early-verb", "*greeting421 closed", NULL, NULL), 75);
	struct made m;
	made_begin(&m, NULL, PROBE_WAY_CLEAR, "closed");
	m.patient->record.connected = false;
	assert_int_equal(probe_weigh_all(&m.round).exit, 69);
	made_end_all(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early_talk), cmocka_unit_test(test_refused_to_all), cmocka_unit_test(test_ahead), cmocka_unit_test(test_ends_of_a_message),
		cmocka_unit_test(test_not_done), cmocka_unit_test(test_marks), cmocka_unit_test(test_exit_codes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
