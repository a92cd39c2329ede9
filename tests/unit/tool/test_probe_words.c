/* tarry probe: the sentence for each outcome of each session, and for each pair of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/probe.h"

struct made {
	struct probe_record patient, slammer;
	struct probe_facts facts;
	struct probe_judgement j;
	struct buf words;
	char memory[2048];
};

static void greeting(struct probe_record *r, const char *line, int64_t at)
{
	r->replies_len = 1;
	memset(&r->replies[0], 0, sizeof(r->replies[0]));
	assert_int_equal(probe_reply_add(&r->replies[0], slice_of(line), at), PROBE_REPLY_DONE);
}

static void fill(struct probe_record *r, enum probe_outcome outcome)
{
	static const char *const lines[PROBE_OUTCOMES] = {
		[PROBE_BUSY] = "450 later", [PROBE_REFUSED] = "554 no", [PROBE_AT_ONCE] = "220 mx", [PROBE_HELD] = "220 mx",
		[PROBE_SERVED] = "220 mx", [PROBE_LATE] = "220 mx",
	};
	*r = (struct probe_record){ .tried = outcome != PROBE_UNTRIED, .connected = outcome != PROBE_NO_CONNECT, .error = -111, .end_at = 5 * LOOP_MS,
		.end = outcome == PROBE_ALIEN ? PROBE_END_NOT_SMTP : PROBE_END_CLOSED, .junk_len = 4, .junk = "+OK\x07" };
	if (lines[outcome])
		greeting(r, lines[outcome], 2 * LOOP_MS);
}

/* Facts for two outcomes, and the judgement they have together. */
static struct made *make(enum probe_outcome patient, enum probe_outcome slammer)
{
	struct made *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	fill(&m->patient, patient);
	fill(&m->slammer, slammer);
	m->facts = (struct probe_facts){ .patient = &m->patient, .slammer = &m->slammer, .threshold = 200 * LOOP_MS, .timeout = 30 * LOOP_SECOND };
	m->j = (struct probe_judgement){ .verdict = probe_judge_cell(patient, slammer), .patient = patient, .slammer = slammer, .held = LOOP_SECOND };
	if (slammer == PROBE_REFUSED || slammer == PROBE_BUSY)
		m->j.refusal = &m->slammer.replies[0];
	return m;
}

static const char *say(struct made *m)
{
	buf_init_fixed(&m->words, m->memory, sizeof(m->memory));
	probe_words(&m->words, &m->facts, &m->j);
	return buf_text(&m->words);
}

static void expect(struct made *m, const char *words)
{
	assert_string_equal(say(m), words);
	free(m);
}

static void test_patients_words(void **state)
{
	(void)state;
	static const struct {
		enum probe_outcome outcome;
		const char *words;
	} rows[] = {
		{ PROBE_NO_CONNECT, "cannot connect: connection refused" },
		{ PROBE_SILENT, "no greeting within 30 s" },
		{ PROBE_DROPPED, "closes the connection without a greeting, after 5.0 ms" },
		{ PROBE_ALIEN, "does not speak SMTP: it says \"+OK\\x07\" (a POP3 server)" },
		{ PROBE_BUSY, "refused with 450 later: for now" },
		{ PROBE_REFUSED, "a client that waits is refused, after 2.0 ms with 554 no" },
		{ PROBE_AT_ONCE, "you are greeted at once: is your address exempt?" },
		{ PROBE_HELD, "holds the greeting 1.00 s" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(make(rows[i].outcome, PROBE_UNTRIED), rows[i].words);
}

static void test_slammers_words(void **state)
{
	(void)state;
	static const struct {
		enum probe_outcome outcome;
		const char *alone, *beside; /* beside a patient client that was held */
	} rows[] = {
		{ PROBE_NO_CONNECT, "cannot connect: connection refused", "the slammer cannot connect: connection refused" },
		{ PROBE_SILENT, "early talk gets no answer within 30 s", "early talk gets no answer within 30 s" },
		{ PROBE_DROPPED, "early talk is cut off after 5.0 ms without a reply", "early talk is cut off after 5.0 ms without a reply" },
		{ PROBE_ALIEN, "does not speak SMTP: it says \"+OK\\x07\" (a POP3 server)",
		  "does not speak SMTP with who talks early: it says \"+OK\\x07\" (a POP3 server)" },
		{ PROBE_BUSY, "the slammer was refused after 2.0 ms with 450: too many connections, or the answer to early talk?",
		  "the slammer was refused after 2.0 ms with 450: too many connections, or the answer to early talk?" },
		{ PROBE_REFUSED, "early talk refused after 2.0 ms with 554", "early talk refused after 2.0 ms with 554" },
		{ PROBE_SERVED, "no pause: a slamming client was served", NULL },
		{ PROBE_LATE, "the slammer was answered after 2.0 ms, before it talked", "the slammer was answered after 2.0 ms, before it talked" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		expect(make(PROBE_UNTRIED, rows[i].outcome), rows[i].alone);
		struct made *m = make(PROBE_HELD, rows[i].outcome);
		const char *words = say(m);
		if (rows[i].beside) {
			assert_int_equal(strncmp(words, "holds the greeting 1.00 s; ", 27), 0);
			assert_string_equal(words + 27, rows[i].beside);
		} else {
			assert_string_equal(words, "holds the greeting 1.00 s, but early talk is not refused");
		}
		free(m);
	}
}

static void test_words_of_some_pairs(void **state)
{
	(void)state;
	expect(make(PROBE_AT_ONCE, PROBE_LATE), "no pause: you are greeted at once, before the slammer talked");
	expect(make(PROBE_AT_ONCE, PROBE_REFUSED), "early talk is refused although you are greeted at once: after 2.0 ms with 554");
	expect(make(PROBE_AT_ONCE, PROBE_DROPPED), "you are greeted at once; early talk is cut off after 5.0 ms without a reply");
	expect(make(PROBE_SILENT, PROBE_REFUSED), "holds the greeting longer than 30 s; early talk refused after 2.0 ms with 554");
	expect(make(PROBE_SILENT, PROBE_SERVED), "holds the greeting longer than 30 s, but early talk is not refused");
	/* Said once when neither connects. */
	expect(make(PROBE_NO_CONNECT, PROBE_NO_CONNECT), "cannot connect: connection refused");
}

static void test_words_of_details(void **state)
{
	(void)state;
	struct made *m = make(PROBE_SILENT, PROBE_UNTRIED);
	m->patient.partial.lines = 1;
	m->facts.timeout = 1500 * LOOP_MS;
	expect(m, "the greeting, 1 line so far, was not complete within 1.50 s");
	m = make(PROBE_SILENT, PROBE_UNTRIED);
	m->patient.partial.lines = 2;
	expect(m, "the greeting, 2 lines so far, was not complete within 30 s");
	m = make(PROBE_DROPPED, PROBE_UNTRIED);
	m->patient.end = PROBE_END_RESET;
	expect(m, "resets the connection without a greeting, after 5.0 ms");
	m = make(PROBE_BUSY, PROBE_UNTRIED);
	greeting(&m->patient, "421", LOOP_MS);
	expect(m, "refused with 421: too many connections?");
	m = make(PROBE_ALIEN, PROBE_UNTRIED);
	m->patient.end = PROBE_END_TOO_MUCH;
	expect(m, "does not speak SMTP: it says more than SMTP allows (a line over 2048 bytes, 64 replies, or 256 KB)");
	m = make(PROBE_ALIEN, PROBE_UNTRIED);
	m->patient.end = PROBE_END_TOO_MUCH;
	m->patient.partial.lines = PROBE_LINES;
	expect(m, "does not speak SMTP: a reply goes on after 200 lines");
	m = make(PROBE_HELD, PROBE_REFUSED); /* counted from the first bytes sent */
	m->slammer.talk_at = LOOP_MS;
	m->slammer.replies[0].to = PROBE_STEP_MAIL;
	expect(m, "holds the greeting 1.00 s; early talk refused after 1.0 ms with 554 to MAIL");
}

/* Every pair of outcomes has one sentence: no line break, nothing that a terminal obeys, no full stop, no half left out. */
static void test_every_pair_is_a_sentence(void **state)
{
	(void)state;
	for (enum probe_outcome p = PROBE_UNTRIED; p <= PROBE_HELD; p++)
		for (enum probe_outcome s = PROBE_UNTRIED; s < PROBE_OUTCOMES; s++) {
			if ((p == PROBE_UNTRIED && s == PROBE_UNTRIED) || s == PROBE_AT_ONCE || s == PROBE_HELD)
				continue;
			struct made *m = make(p, s);
			char hostile[] = "554 \x1b[2J\r\n\xff.";
			if (m->patient.replies_len > 0 && p != PROBE_AT_ONCE && p != PROBE_HELD)
				greeting(&m->patient, hostile, LOOP_MS);
			const char *words = say(m);
			size_t len = strlen(words);
			assert_false(m->words.full);
			assert_true(len > 10 && words[0] != ';' && words[0] != ' ' && (p == PROBE_REFUSED || words[len - 1] != '.'));
			assert_true(words[len - 1] != ' ' && words[len - 1] != ';' && words[len - 1] != ':');
			for (size_t i = 0; i < len; i++)
				assert_in_range(words[i], 0x20, 0x7e);
			free(m);
		}
}

/* What a server says is cut, the words around it are not. */
static void test_long_text_is_cut(void **state)
{
	(void)state;
	struct made *m = make(PROBE_BUSY, PROBE_UNTRIED);
	char line[PROBE_TEXT];
	memset(line, 0xff, sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	memcpy(line, "450 ", 4);
	greeting(&m->patient, line, LOOP_MS);
	const char *words = say(m), *tail = ": for now";
	assert_in_range(strlen(words), 120 * 4, 120 * 4 + 40);
	assert_string_equal(words + strlen(words) - strlen(tail), tail);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patients_words),
		cmocka_unit_test(test_slammers_words),
		cmocka_unit_test(test_words_of_some_pairs),
		cmocka_unit_test(test_words_of_details),
		cmocka_unit_test(test_every_pair_is_a_sentence),
		cmocka_unit_test(test_long_text_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
