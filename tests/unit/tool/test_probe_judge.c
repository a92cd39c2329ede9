/* tarry probe: the verdict over all cells, from records to sentences, and the report at its largest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/probe.h"

static void test_every_cell(void **state)
{
	(void)state;
	/* One letter for each pair. H holds, N no pause, C checks only, O holds only, U unreachable, ? unsure, X not SMTP, W unwelcome. */
	static const char letters[PROBE_VERDICTS + 1] = "HNCOU?XW";
	static const enum probe_outcome patients[] = {
		PROBE_UNTRIED, PROBE_NO_CONNECT, PROBE_SILENT, PROBE_DROPPED, PROBE_ALIEN, PROBE_BUSY, PROBE_REFUSED, PROBE_AT_ONCE, PROBE_HELD,
	};
	static const enum probe_outcome slammers[] = {
		PROBE_UNTRIED, PROBE_NO_CONNECT, PROBE_SILENT, PROBE_DROPPED, PROBE_ALIEN, PROBE_BUSY, PROBE_REFUSED, PROBE_SERVED, PROBE_LATE,
	};
	static const char *const expected[] = {
		/*                 none refused-to-connect silent dropped alien busy refused served late */
		/* untried     */ "?U??X?HN?",
		/* no connect  */ "UU???????",
		/* silent      */ "????X?HO?",
		/* dropped     */ "WWWWXWWWW",
		/* alien       */ "XXXXXXXXX",
		/* busy        */ "?????????",
		/* refused     */ "WWWWWWWWW",
		/* at once     */ "N??CX?CNN",
		/* held        */ "H??HX?HO?",
	};
	for (size_t p = 0; p < 9; p++)
		for (size_t s = 0; s < 9; s++) {
			char got = letters[probe_judge_cell(patients[p], slammers[s])];
			if (got != expected[p][s])
				fail_msg("%s/%s: %c, expected %c", probe_judge_outcome(patients[p]), probe_judge_outcome(slammers[s]), got, expected[p][s]);
		}
}

static void test_exit_codes(void **state)
{
	(void)state;
	static const int codes[] = { 0, 1, 2, 3, 69, 75, 76, 77 };
	for (size_t i = 0; i < PROBE_VERDICTS; i++) {
		assert_int_equal(probe_judge_exit((enum probe_verdict)i), codes[i]);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(probe_judge_word((enum probe_verdict)i), probe_judge_word((enum probe_verdict)k));
	}
}

/* Facts made by hand: two records, as much of them as a judgement reads. */
struct made {
	struct probe_record patient, slammer;
	struct probe_facts facts;
	struct probe_judgement judgement;
	struct buf words, notes;
	char words_memory[1024], notes_memory[4096];
};

static struct made *make(void)
{
	struct made *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->patient = (struct probe_record){ .tried = true, .connected = true, .end = PROBE_END_CLOSED };
	m->slammer = m->patient;
	m->facts = (struct probe_facts){ .patient = &m->patient, .slammer = &m->slammer, .threshold = 200 * LOOP_MS, .timeout = 30 * LOOP_SECOND };
	return m;
}

static void reply(struct probe_record *r, enum probe_step to, const char *line, int64_t at)
{
	struct probe_reply *next = &r->replies[r->replies_len++];
	memset(next, 0, sizeof(*next));
	assert_int_equal(probe_reply_add(next, slice_of(line), at), PROBE_REPLY_DONE);
	next->to = to;
}

/* Judges, frees, and compares; notes: a part of them, NULL: there are none. */
static void expect(struct made *m, int code, const char *words, const char *notes)
{
	m->judgement = probe_judge(&m->facts);
	buf_init_fixed(&m->words, m->words_memory, sizeof(m->words_memory));
	buf_init_fixed(&m->notes, m->notes_memory, sizeof(m->notes_memory));
	probe_words(&m->words, &m->facts, &m->judgement);
	probe_words_notes(&m->notes, &m->facts, &m->judgement);
	assert_string_equal(buf_text(&m->words), words);
	assert_int_equal(probe_judge_exit(m->judgement.verdict), code);
	if (!notes)
		assert_string_equal(buf_text(&m->notes), "");
	else if (!strstr(buf_text(&m->notes), notes))
		fail_msg("\"%s\" is not in \"%s\"", notes, buf_text(&m->notes));
	free(m);
}

static void patient_greeted(struct made *m, int64_t at)
{
	reply(&m->patient, PROBE_STEP_GREETING, "220 mx", at);
	reply(&m->patient, PROBE_STEP_EHLO, "250 mx", at);
	reply(&m->patient, PROBE_STEP_MAIL, "250 ok", at);
	reply(&m->patient, PROBE_STEP_RSET, "250 ok", at);
	reply(&m->patient, PROBE_STEP_QUIT, "221 bye", at);
}

static void slammer_served(struct made *m, int64_t at)
{
	m->slammer.talk_at = 0;
	reply(&m->slammer, PROBE_STEP_GREETING, "220 mx", at);
	reply(&m->slammer, PROBE_STEP_HELO, "250 mx", at);
	reply(&m->slammer, PROBE_STEP_MAIL, "250 ok", at);
}

static void slammer_refused(struct made *m, int64_t at)
{
	m->slammer.talk_at = 100000;
	reply(&m->slammer, PROBE_STEP_GREETING, "554 no", at);
}

static void test_words_of_the_verdicts(void **state)
{
	(void)state;
	struct made *m = make();
	patient_greeted(m, LOOP_SECOND);
	slammer_refused(m, 500000);
	expect(m, 0, "holds the greeting 1.00 s; early talk refused after 0.4 ms with 554", NULL);

	m = make();
	patient_greeted(m, LOOP_MS);
	slammer_served(m, LOOP_MS);
	expect(m, 1, "no pause: a slamming client was served", "may be exempt");

	m = make();
	patient_greeted(m, LOOP_MS);
	m->slammer.tried = false;
	expect(m, 1, "you are greeted at once: is your address exempt?", NULL);

	m = make();
	patient_greeted(m, LOOP_MS);
	slammer_refused(m, 500000);
	expect(m, 2, "early talk is refused although you are greeted at once: after 0.4 ms with 554", "known from an earlier visit");

	m = make();
	patient_greeted(m, 5010 * LOOP_MS);
	slammer_served(m, LOOP_MS);
	expect(m, 3, "holds the greeting 5.01 s, but early talk is not refused", "--deliver");

	m = make();
	reply(&m->patient, PROBE_STEP_GREETING, "421 4.7.0 later", LOOP_MS);
	m->slammer.tried = false;
	expect(m, 75, "refused with 421 4.7.0 later: too many connections?", NULL);

	m = make();
	m->patient.connected = false;
	m->patient.error = -111;
	m->slammer.tried = false;
	expect(m, 69, "cannot connect: connection refused", NULL);

	m = make();
	m->patient.end = PROBE_END_NOT_SMTP;
	m->patient.junk_len = 8;
	memcpy(m->patient.junk, "SSH-2.0\x1b", 8);
	m->slammer.tried = false;
	expect(m, 76, "does not speak SMTP: it says \"SSH-2.0\\x1b\" (an SSH server)", NULL);

	m = make();
	reply(&m->patient, PROBE_STEP_GREETING, "354 hm", 0);
	m->slammer.tried = false;
	expect(m, 76, "does not speak SMTP: it greets with 354 hm", NULL);

	m = make();
	reply(&m->patient, PROBE_STEP_GREETING, "554 \x1b[2J", LOOP_MS);
	m->slammer.tried = false;
	expect(m, 77, "a client that waits is refused, after 1.0 ms with 554 \\x1b[2J", "test from an address");
}

static void test_resets(void **state)
{
	(void)state;
	struct made *m = make();
	patient_greeted(m, LOOP_SECOND);
	slammer_refused(m, 500000);
	m->slammer.end = PROBE_END_RESET;
	expect(m, 0, "holds the greeting 1.00 s; early talk refused after 0.4 ms with 554", "may never read why");

	m = make();
	patient_greeted(m, LOOP_SECOND);
	m->slammer.end = PROBE_END_RESET;
	m->slammer.end_at = 3 * LOOP_MS;
	expect(m, 0, "holds the greeting 1.00 s; early talk is cut off after 3.0 ms without a reply", "a client cannot know why");
}

/* The network's share is not the server's pause. */
static void test_round_trip_is_taken_off(void **state)
{
	(void)state;
	struct made *m = make();
	patient_greeted(m, 600 * LOOP_MS);
	m->patient.rtt_ns = 599 * LOOP_MS;
	m->slammer.tried = false;
	expect(m, 1, "you are greeted at once: is your address exempt?", NULL);
	m = make();
	patient_greeted(m, 1600 * LOOP_MS);
	m->patient.rtt_ns = 600 * LOOP_MS;
	m->slammer.tried = false;
	expect(m, 0, "holds the greeting 1.00 s", NULL);
	m = make(); /* the threshold itself is a pause */
	patient_greeted(m, 200 * LOOP_MS);
	m->slammer.tried = false;
	expect(m, 0, "holds the greeting 200 ms", NULL);
	m = make();
	patient_greeted(m, 200 * LOOP_MS - 1);
	m->slammer.tried = false;
	expect(m, 1, "you are greeted at once: is your address exempt?", NULL);
	m = make();
	patient_greeted(m, 45 * LOOP_SECOND);
	m->slammer.tried = false;
	expect(m, 0, "holds the greeting 45.00 s", "loses good mail");
}

/* A command refused to the slammer counts only if the patient client fared better. */
static void test_refusals_after_the_greeting(void **state)
{
	(void)state;
	struct made *m = make();
	patient_greeted(m, LOOP_SECOND);
	m->slammer.talk_at = 0;
	reply(&m->slammer, PROBE_STEP_GREETING, "220 mx", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_HELO, "503 too fast", LOOP_SECOND);
	expect(m, 0, "holds the greeting 1.00 s; early talk refused after 1.00 s with 503 to HELO", NULL);

	m = make();
	patient_greeted(m, LOOP_SECOND);
	m->slammer.talk_at = 0;
	reply(&m->slammer, PROBE_STEP_GREETING, "220 mx", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_HELO, "250 hi", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_MAIL, "451 not now", LOOP_SECOND);
	expect(m, 0, "holds the greeting 1.00 s; early talk refused after 1.00 s with 451 to MAIL", "4xx");

	m = make();
	patient_greeted(m, LOOP_SECOND);
	m->patient.replies[2].code = 550;
	m->slammer.talk_at = 0;
	reply(&m->slammer, PROBE_STEP_GREETING, "220 mx", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_HELO, "250 hi", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_MAIL, "550 nobody", LOOP_SECOND);
	expect(m, 3, "holds the greeting 1.00 s, but early talk is not refused", "that is not about early talk");

	m = make(); /* EHLO is the patient client's HELO */
	reply(&m->patient, PROBE_STEP_GREETING, "220 mx", LOOP_SECOND);
	reply(&m->patient, PROBE_STEP_EHLO, "451 later", LOOP_SECOND);
	m->slammer.talk_at = 0;
	reply(&m->slammer, PROBE_STEP_GREETING, "220 mx", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_HELO, "451 later", LOOP_SECOND);
	expect(m, 3, "holds the greeting 1.00 s, but early talk is not refused", "refused at EHLO: 451 later");

	m = make(); /* greeted, and then cut off */
	patient_greeted(m, LOOP_SECOND);
	m->slammer.talk_at = 0;
	m->slammer.end_at = LOOP_SECOND;
	reply(&m->slammer, PROBE_STEP_GREETING, "220 mx", LOOP_SECOND);
	expect(m, 0, "holds the greeting 1.00 s; early talk is cut off after 1.00 s, commands unanswered", NULL);

	m = make(); /* with a message, MAIL is not the end of the test */
	patient_greeted(m, LOOP_SECOND);
	m->facts.deliver = true;
	slammer_served(m, LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_RCPT, "250 ok", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_DATA, "354 go on", LOOP_SECOND);
	reply(&m->slammer, PROBE_STEP_EOM, "554 no", LOOP_SECOND);
	expect(m, 0, "holds the greeting 1.00 s; early talk refused after 1.00 s with 554 to message", NULL);
}

static void test_waiting_too_short(void **state)
{
	(void)state;
	struct made *m = make();
	m->patient.end = m->slammer.end = PROBE_END_TIMEOUT;
	expect(m, 75, "no greeting within 30 s; early talk gets no answer within 30 s", "--timeout");
	m = make();
	m->patient.end = PROBE_END_TIMEOUT;
	slammer_refused(m, 500000);
	expect(m, 0, "holds the greeting longer than 30 s; early talk refused after 0.4 ms with 554", NULL);
	m = make();
	patient_greeted(m, LOOP_SECOND);
	m->slammer.late = true;
	reply(&m->slammer, PROBE_STEP_GREETING, "554 no", LOOP_SECOND);
	expect(m, 75, "holds the greeting 1.00 s; the slammer was answered after 1.00 s, before it talked", "--early");
}

static void test_times(void **state)
{
	(void)state;
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "0.0 ms" }, { 412345, "0.4 ms" }, { 9940000, "9.9 ms" }, { 9960000, "10 ms" }, { 80400000, "80 ms" },
		{ 999400000, "999 ms" }, { 999600000, "1.00 s" }, { 300 * LOOP_SECOND, "300.00 s" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char memory[64];
		struct buf out;
		buf_init_fixed(&out, memory, sizeof(memory));
		probe_words_time(&out, rows[i].ns);
		assert_string_equal(buf_text(&out), rows[i].text);
	}
}

static void test_largest_report_fits(void **state)
{
	(void)state;
	struct made *m = make();
	char line[PROBE_LINE];
	memset(line, 0xff, sizeof(line)); /* six bytes each in JSON */
	memcpy(line, "220 ", 4);
	for (size_t i = 0; i < PROBE_REPLIES; i++) {
		assert_int_equal(probe_reply_add(&m->patient.replies[i], (struct slice){ line, sizeof(line) }, INT64_MAX / 2), PROBE_REPLY_DONE);
		m->slammer.replies[i] = m->patient.replies[i];
	}
	m->patient.replies_len = m->slammer.replies_len = PROBE_REPLIES;
	m->judgement = probe_judge(&m->facts);
	struct probe_report report = { .host = "h", .facts = &m->facts, .judgement = &m->judgement };
	struct buf out;
	buf_init(&out, 1024 * 1024);
	probe_report_json(&out, &report);
	assert_false(out.full);
	assert_int_equal(out.at[out.len - 1], '\n');
	buf_clear(&out);
	probe_report_text(&out, &report);
	assert_false(out.full);
	buf_fini(&out);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell),
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_words_of_the_verdicts),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_round_trip_is_taken_off),
		cmocka_unit_test(test_refusals_after_the_greeting),
		cmocka_unit_test(test_waiting_too_short),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_largest_report_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
