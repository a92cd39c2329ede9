/* tarry probe --all: the table, for people and for programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "probe_made.h"

#define WAITS "+greeting220 +EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 closed"

static const char *text_of(struct made *m, struct buf *out, bool json)
{
	buf_init(out, 1024 * 1024);
	if (json)
		probe_table_json(out, &m->round, "mail.example.org", 25);
	else
		probe_table_text(out, &m->round, "mail.example.org", 25);
	return buf_text(out);
}

static void has(struct made *m, bool json, const char *words)
{
	struct buf out;
	if (!strstr(text_of(m, &out, json), words))
		fail_msg("no \"%s\" in:\n%s", words, buf_text(&out));
	buf_fini(&out);
}

static void test_rows(void **state)
{
	(void)state;
	struct made m;
	made_begin(&m, NULL, PROBE_WAY_CLEAR, WAITS);
	made_play(&m, "early-verb", PROBE_WAY_CLEAR, "*greeting554 *HELO250 +MAIL550 +QUIT221 closed");
	made_play(&m, "early-ssh", PROBE_WAY_CLEAR, "*greeting220 *bytes500 *bytes500 +EHLO250 +MAIL250 +RCPT250 +RSET250 +QUIT221 reset");
	made_play(&m, "group", PROBE_WAY_CLEAR, "greeting220 EHLO250 open")->left_out = "PIPELINING is not offered";
	made_play(&m, "helo-group", PROBE_WAY_CLEAR, "greeting421 closed");
	made_play(&m, "ehlo-ahead", PROBE_WAY_CLEAR, "! closed");
	struct probe_play *no = made_play(&m, "helo-ahead", PROBE_WAY_CLEAR, "closed");
	no->record.connected = false;
	no->record.error = -111;
	made_play(&m, "http", PROBE_WAY_STARTTLS, "greeting220 EHLO250 STARTTLS220 *bytes421 closed");
	has(&m, false, "mail.example.org ([::]:25): of 4 things that no good client does 3 had consequences and 1 had none; of 1 that a good one does 1 went well; 2 cannot be told; 1 left out\n");
	has(&m, false, "\n   HELO before the greeting                           refused            1.0 ms  554 said; HELO 250, MAIL 550, QUIT 221; closed\n");
	has(&m, false, "\n ! SSH before the greeting                            passed             1.0 ms  220 said; bytes 500 (2 times), EHLO 250, MAIL 250, RCPT 250, RSET 250, QUIT 221; reset\n");
	has(&m, false, " left-out                   PIPELINING is not offered\n");
	has(&m, false, " not-reached                greeting 421 said; closed\n");
	has(&m, false, " closed                     no reply; closed\n");
	has(&m, false, " no-connection              Connection refused\n");
	has(&m, false, "\ninside STARTTLS:\n");
	has(&m, true, "{\"host\":\"mail.example.org\",\"port\":25,\"address\":\"::\",\"proxy\":\"no\",\"exit\":1,\"caught\":3,\"served\":1,\"good\":1,\"punished\":0,\"unknown\":2,\"left_out\":1,\"acts\":[");
	has(&m, true, "{\"act\":\"early-verb\",\"way\":\"clear\",\"title\":\"HELO before the greeting\",\"legal\":false,\"word\":\"refused\",\"mark\":\"caught\","
	              "\"decisive\":{\"to\":\"greeting\",\"code\":554,\"ms\":1.000},\"again\":false,\"talk_ms\":0.000,\"after_ms\":1.000,\"replies\":[{\"to\":\"greeting\",\"code\":554,\"lines\":1,"
	              "\"first_line_ms\":1.000,\"ms\":1.000,\"text\":\"said\",\"part\":\"deed\"},");
	has(&m, true, "\"word\":\"left-out\",\"mark\":\"none\",\"again\":false,\"why\":\"PIPELINING is not offered\"}");
	has(&m, true, "\"error\":\"Connection refused\"}");
	made_end_all(&m);
}

static void test_a_way_left_out(void **state)
{
	(void)state;
	struct made m;
	made_begin(&m, NULL, PROBE_WAY_CLEAR, WAITS);
	made_play(&m, "http", PROBE_WAY_STARTTLS, "open")->left_out = "STARTTLS is not offered";
	made_play(&m, "group", PROBE_WAY_STARTTLS, "open")->left_out = "STARTTLS is not offered";
	made_play(&m, "eod-lf-lf", PROBE_WAY_STARTTLS, "open")->left_out = "it would send a message: --to is not given";
	has(&m, false, "closed\ninside STARTTLS: left out: STARTTLS is not offered\n");
	m.round.plays[1]->left_out = NULL;
	has(&m, false, "closed\ninside STARTTLS:\n   HTTP after");
	made_end_all(&m);
}

static void test_given_up(void **state)
{
	(void)state;
	struct made m;
	made_begin(&m, NULL, PROBE_WAY_CLEAR, "! timeout");
	m.round.gave_up = "nobody answers";
	has(&m, false, "given up: nobody answers; of 0 things");
	has(&m, true, "\"gave_up\":\"nobody answers\"");
	made_end_all(&m);
}

/* Every play at its largest, of bytes that take most when escaped: nothing is cut. */
static void test_largest(void **state)
{
	(void)state;
	struct made m;
	struct buf out;
	made_begin(&m, NULL, PROBE_WAY_CLEAR, WAITS);
	while (m.round.plays_len < PROBE_PLAYS) {
		struct probe_play *play = made_play(&m, "early-binary", PROBE_WAY_CLEAR, "! not-smtp");
		struct probe_record *r = &play->record;
		r->replies_len = PROBE_REPLIES;
		for (size_t i = 0; i < PROBE_REPLIES; i++) {
			struct probe_reply *reply = &r->replies[i];
			*reply = (struct probe_reply){ .code = 500 + (int)(i % 2), .first_code = 500, .lines = PROBE_LINES, .text_len = PROBE_TEXT, .to = PROBE_STEP_JUNK, .phase = PROBE_PHASE_DEED,
			                               .first_at = INT64_MAX / 2, .at = INT64_MAX / 2 };
			memset(reply->text, 0xff, PROBE_TEXT);
		}
		r->junk_len = PROBE_JUNK;
		memset(r->junk, 0xff, PROBE_JUNK);
	}
	for (int json = 0; json < 2; json++) {
		buf_init(&out, PROBE_TABLE);
		if (json)
			probe_table_json(&out, &m.round, "h", 25);
		else
			probe_table_text(&out, &m.round, "h", 25);
		assert_false(out.full);
		for (size_t i = 0; i < out.len; i++)
			assert_true((unsigned char)out.at[i] < 0x7f && (out.at[i] >= ' ' || out.at[i] == '\n'));
		buf_fini(&out);
	}
	made_end_all(&m);
}

static void test_acts(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, 8192);
	probe_table_acts(&out);
	assert_false(out.full);
	assert_non_null(strstr(buf_text(&out), "early-tls        a TLS hello before the greeting\n"));
	assert_non_null(strstr(buf_text(&out), "group-data       MAIL, RCPT, DATA in one, as PIPELINING allows (only with --to)\n"));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows), cmocka_unit_test(test_a_way_left_out), cmocka_unit_test(test_given_up), cmocka_unit_test(test_largest), cmocka_unit_test(test_acts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
