/* tarry probe --all: the acts. Above all: none can deliver a message unless there is somebody to deliver it to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/proxyhdr.h"
#include "smtp/talk.h"
#include "tool/probe_all.h"

static const struct probe_words_of nobody = { .helo = "probe.test" }, somebody = { .helo = "probe.test", .from = "", .to = "victim@example.org" };

/* All that an act says, in order. */
static void put_all(struct buf *out, const struct probe_act *act, const struct probe_words_of *words)
{
	const char *const scripts[] = { act->lead, words->to && act->deed_to ? act->deed_to : act->deed, words->to && act->after_to ? act->after_to : act->after };
	for (size_t i = 0; i < 3; i++)
		for (const char *letter = scripts[i]; *letter; letter++)
			assert_true(probe_act_put(out, act, *letter, words));
}

static void test_table(void **state)
{
	(void)state;
	assert_string_equal(probe_acts[PROBE_ACT_PATIENT].name, "patient");
	assert_true(2 * probe_acts_len <= PROBE_PLAYS);
	for (size_t i = 0; i < probe_acts_len; i++) {
		const struct probe_act *act = &probe_acts[i];
		const char *const scripts[] = { act->lead, act->deed, act->after, act->deed_to ? act->deed_to : "", act->after_to ? act->after_to : "" };
		assert_ptr_equal(probe_act_find(slice_of(act->name)), act);
		assert_true(strlen(act->title) <= 50);
		assert_true(strlen(act->lead) < 8); /* with what STARTTLS needs before it, it has room */
		for (size_t k = 0; k < 5; k++)
			for (const char *letter = scripts[k]; *letter; letter++)
				assert_true(*letter == 't' || *letter == '*' || probe_act_step(*letter) != PROBE_STEP_NONE);
		assert_true(strchr(act->deed, 'J') || strchr(act->deed, 'F') ? act->bytes.len > 0 : act->bytes.len == 0);
	}
	assert_null(probe_act_find(slice_of("early")));
	assert_null(probe_act_find(slice_of("")));
}

/* Without a recipient nothing gets as far as a message, not even an empty one. */
static void test_nothing_is_delivered_to_nobody(void **state)
{
	(void)state;
	for (size_t i = 0; i < probe_acts_len; i++) {
		const struct probe_act *act = &probe_acts[i];
		if (act->needs & PROBE_NEEDS_TO)
			continue;
		struct buf out;
		buf_init(&out, PROBE_OUT);
		put_all(&out, act, &nobody);
		assert_null(memmem(out.at, out.len, "DATA", 4));
		assert_null(memmem(out.at, out.len, "BDAT", 4));
		const char *rcpt = memmem(out.at, out.len, "RCPT TO:", 8);
		assert_true(!rcpt || strncmp(rcpt, "RCPT TO:<postmaster>", 20) == 0);
		buf_fini(&out);
	}
}

/* Whoever finds it in a mailbox knows what it is; and it is a message that no server has a reason to refuse. */
static void test_messages_say_what_they_are(void **state)
{
	(void)state;
	for (size_t i = 0; i < probe_acts_len; i++) {
		const struct probe_act *act = &probe_acts[i];
		struct buf out;
		buf_init(&out, 2 * PROBE_OUT);
		put_all(&out, act, &somebody);
		const char *data = memmem(out.at, out.len, "Date: ", 6);
		assert_true(data || !(act->needs & PROBE_NEEDS_TO));
		if (data) {
			size_t len = (size_t)(out.at + out.len - data);
			const char *end = memmem(data, len, "\r\n.\r\n", 5);
			char subject[64];
			snprintf(subject, sizeof(subject), "\r\nSubject: tarry probe: %s\r\n", act->name);
			assert_non_null(memmem(data, len, subject, strlen(subject)));
			assert_non_null(memmem(data, len, "\r\nFrom: <probe@probe.test>\r\nTo: <victim@example.org>\r\n", 53));
			assert_non_null(memmem(data, len, "sent by tarry probe", 19));
			unsigned lines = 0;
			for (const char *at = data; end && at < end + 2; at++)
				lines += *at == '\n';
			if (act->bytes.len == 0 && end)
				assert_int_equal(lines, probe_act_message_lines());
		}
		buf_fini(&out);
	}
}

/* A false end must not hold the true one. */
static void test_false_ends(void **state)
{
	(void)state;
	unsigned n = 0;
	for (size_t i = 0; i < probe_acts_len; i++) {
		struct buf out;
		if (!strchr(probe_acts[i].deed, 'F'))
			continue;
		n++;
		buf_init(&out, PROBE_OUT);
		assert_true(probe_act_put(&out, &probe_acts[i], 'F', &somebody));
		assert_null(memmem(out.at, out.len, "\r\n.\r\n", 5));
		buf_fini(&out);
	}
	assert_int_equal(n, 4);
}

static void test_bdat_counts(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, PROBE_OUT);
	assert_true(probe_act_put(&out, probe_act_find(slice_of("group-bdat")), 'B', &somebody));
	char *end;
	assert_memory_equal(out.at, "BDAT ", 5);
	unsigned long size = strtoul(buf_text(&out) + 5, &end, 10);
	assert_memory_equal(end, " LAST\r\n", 7);
	assert_int_equal(out.at + out.len - (end + 7), size);
	buf_fini(&out);
}

/* The door's own classes, and the server behind it would see the same. */
static void test_kinds(void **state)
{
	(void)state;
	static const struct {
		const char *act;
		enum talk_kind kind;
	} rows[] = {
		{ "early-verb", TALK_SMTP }, { "early-session", TALK_SESSION }, { "early-tls", TALK_TLS }, { "early-http", TALK_HTTP }, { "early-proxy1", TALK_PROXY },
		{ "early-proxy2", TALK_PROXY }, { "early-ssh", TALK_SSH }, { "early-text", TALK_TEXT }, { "early-binary", TALK_BINARY }, { "http", TALK_HTTP },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct probe_act *act = probe_act_find(slice_of(rows[i].act));
		struct buf out;
		buf_init(&out, PROBE_OUT);
		for (const char *letter = act->deed; *letter; letter++)
			probe_act_put(&out, act, *letter, &nobody);
		assert_int_equal(talk_kind(buf_slice(&out)), rows[i].kind);
		buf_fini(&out);
	}
	struct proxyhdr header;
	const char *why = NULL;
	assert_true(proxyhdr_read(probe_act_find(slice_of("early-proxy1"))->bytes, &header, &why) > 0);
	assert_int_equal(proxyhdr_read(probe_act_find(slice_of("early-proxy2"))->bytes, &header, &why), 28);
	struct slice hello = probe_act_find(slice_of("early-tls"))->bytes;
	assert_int_equal(hello.len, 5 + (size_t)hello.at[4] + 2); /* the record is as long as it says, and has a line end behind it */
	assert_int_equal((size_t)hello.at[8] + 4, (size_t)hello.at[4]);
}

static void test_bare_line_ends(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, PROBE_OUT);
	put_all(&out, probe_act_find(slice_of("lf-commands")), &nobody);
	assert_string_equal(buf_text(&out), "EHLO probe.test\nMAIL FROM:<>\nRCPT TO:<postmaster>\nRSET\nQUIT\n");
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table), cmocka_unit_test(test_nothing_is_delivered_to_nobody), cmocka_unit_test(test_messages_say_what_they_are), cmocka_unit_test(test_false_ends),
		cmocka_unit_test(test_bdat_counts), cmocka_unit_test(test_kinds), cmocka_unit_test(test_bare_line_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
