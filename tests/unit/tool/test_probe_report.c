/* tarry probe: the report. What is printed as JSON is read back by a strict reader, with whatever a server may say in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tool/probe.h"

static void test_json_strings(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "plain", "\"plain\"" },
		{ "\"\\\x01\x7f\n", "\"\\\"\\\\\\u0001\\u007f\\u000a\"" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\xa7\"" },
		{ "\xff", "\"\\ufffd\"" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },             /* not the shortest form */
		{ "\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },   /* a surrogate */
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, /* above U+10FFFF */
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },             /* cut short */
		{ "\xe2\x82x", "\"\\ufffd\\ufffdx\"" },
		{ "", "\"\"" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char memory[128];
		struct buf out;
		buf_init_fixed(&out, memory, sizeof(memory));
		probe_report_string(&out, slice_of(rows[i].in));
		assert_string_equal(buf_text(&out), rows[i].out);
	}
}

static void test_json_string_ends_with_its_bytes(void **state)
{
	(void)state;
	char memory[64];
	struct buf out;
	buf_init_fixed(&out, memory, sizeof(memory));
	probe_report_string(&out, (struct slice){ "\xe2\x82\xac", 2 });
	assert_string_equal(buf_text(&out), "\"\\ufffd\\ufffd\"");
}

/* A strict JSON reader (RFC 8259): it fails the test on anything else, and collects the scalar at one path ("patient.replies.0.text"). */
struct reader {
	const char *at, *end, *wanted;
	char path[128], found[2048];
	size_t found_len;
	bool hit;
};

static void take(struct reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		fail_msg("'%c' expected at: %.40s", c, r->at);
	r->at++;
}

static void keep(struct reader *r, bool hit, char c)
{
	if (!hit)
		return;
	assert_true(r->found_len < sizeof(r->found) - 1);
	r->found[r->found_len++] = c;
	r->found[r->found_len] = '\0';
}

/* What is escaped here is a control byte, U+FFFD, or one of two characters. */
static void read_escape(struct reader *r, bool hit)
{
	char c = *r->at++;
	if (c != 'u') {
		assert_true(c == '"' || c == '\\');
		keep(r, hit, c);
		return;
	}
	char hex[5] = "", *stop;
	assert_true(r->end - r->at >= 4);
	memcpy(hex, r->at, 4);
	unsigned long code = strtoul(hex, &stop, 16);
	assert_ptr_equal(stop, hex + 4);
	r->at += 4;
	assert_true(code < 0x80 || code == 0xfffd);
	keep(r, hit, code < 0x80 ? (char)code : '?');
}

static void read_text(struct reader *r, bool hit)
{
	take(r, '"');
	while (r->at < r->end && *r->at != '"') {
		assert_true((unsigned char)*r->at >= 0x20);
		if (*r->at == '\\') {
			r->at++;
			read_escape(r, hit);
		} else {
			keep(r, hit, *r->at++);
		}
	}
	take(r, '"');
}

static void read_value(struct reader *r);

static void read_members(struct reader *r, bool object, char close)
{
	size_t base = strlen(r->path), n = 0;
	for (r->at++; *r->at != close; n++) {
		if (n > 0)
			take(r, ',');
		char key[64];
		snprintf(key, sizeof(key), "%zu", n);
		if (object) {
			const char *from = r->at + 1;
			read_text(r, false);
			snprintf(key, sizeof(key), "%.*s", (int)(r->at - 1 - from), from);
			take(r, ':');
		}
		snprintf(r->path + base, sizeof(r->path) - base, "%s%s", base ? "." : "", key);
		read_value(r);
		r->path[base] = '\0';
	}
	r->at++;
}

static void read_value(struct reader *r)
{
	bool hit = strcmp(r->path, r->wanted) == 0;
	if (hit) {
		assert_false(r->hit); /* a key comes once */
		r->hit = true;
	}
	if (*r->at == '{' || *r->at == '[') {
		read_members(r, *r->at == '{', *r->at == '{' ? '}' : ']');
	} else if (*r->at == '"') {
		read_text(r, hit);
	} else {
		char word[32];
		size_t len = strcspn(r->at, ",]}");
		assert_in_range(len, 1, sizeof(word) - 1);
		memcpy(word, r->at, len);
		word[len] = '\0';
		if (strcmp(word, "true") != 0 && strcmp(word, "false") != 0 && strcmp(word, "null") != 0)
			assert_int_equal(strspn(word, "0123456789.-"), len);
		for (size_t i = 0; i < len; i++)
			keep(r, hit, word[i]);
		r->at += len;
	}
}

/* The whole of the text is one object and a line end; the scalar at a path of it must be this; NULL: there is none. */
static void expect(struct buf *json, const char *path, const char *value)
{
	struct reader r = { .at = buf_text(json), .end = json->at + json->len, .wanted = path };
	assert_int_equal(*r.at, '{');
	read_value(&r);
	take(&r, '\n');
	assert_ptr_equal(r.at, r.end);
	assert_int_equal(r.hit, value != NULL);
	if (value)
		assert_string_equal(r.found, value);
}

struct made {
	struct probe_record patient, slammer;
	struct probe_facts facts;
	struct probe_judgement judgement;
	struct probe_report report;
	struct buf out;
};

static struct made *make(void)
{
	struct made *m = calloc(1, sizeof(*m));
	assert_non_null(m);
	m->patient = (struct probe_record){ .tried = true, .connected = true, .end = PROBE_END_CLOSED, .talk_at = -1 };
	m->slammer = m->patient;
	m->facts = (struct probe_facts){ .patient = &m->patient, .slammer = &m->slammer, .threshold = 200 * LOOP_MS, .timeout = 30 * LOOP_SECOND };
	m->report = (struct probe_report){ .host = "mx", .port = 25, .facts = &m->facts, .judgement = &m->judgement };
	assert_true(addr_parse(slice_of("192.0.2.1"), &m->report.address));
	buf_init(&m->out, 1024 * 1024);
	return m;
}

static void reply(struct probe_record *r, enum probe_step to, struct slice line, int64_t at)
{
	struct probe_reply *next = &r->replies[r->replies_len++];
	assert_int_equal(probe_reply_add(next, line, at), PROBE_REPLY_DONE);
	next->to = to;
}

static void held_and_refused(struct made *m)
{
	reply(&m->patient, PROBE_STEP_GREETING, slice_of("220 mx"), LOOP_SECOND + 1234567);
	m->slammer.talk_at = LOOP_MS;
	reply(&m->slammer, PROBE_STEP_GREETING, slice_of("554 no"), 3 * LOOP_MS);
	m->judgement = probe_judge(&m->facts);
}

static void unmake(struct made *m)
{
	buf_fini(&m->out);
	free(m);
}

static void test_json_read_back(void **state)
{
	(void)state;
	static const struct {
		const char *path, *value;
	} rows[] = {
		{ "host", "mx" }, { "port", "25" }, { "address", "192.0.2.1" }, { "verdict", "holds" }, { "exit", "0" },
		{ "words", "holds the greeting 1.00 s; early talk refused after 2.0 ms with 554" }, { "notes.0", NULL }, { "held_ms", "1001.234" },
		{ "refusal.to", "greeting" }, { "refusal.code", "554" }, { "refusal.after_ms", "2.000" },
		{ "patient.outcome", "held" }, { "patient.connected", "true" }, { "patient.talk_ms", "null" }, { "patient.greeting_ms", "1001.234" },
		{ "patient.code", "220" }, { "patient.replies.0.text", "mx" }, { "patient.replies.1.to", "QUIT" }, { "patient.replies.2.to", NULL },
		{ "patient.end", "closed" },
		{ "slammer.outcome", "refused" }, { "slammer.talk_ms", "1.000" }, { "slammer.replies.0.code", "554" }, { "slammer.junk", NULL },
	};
	struct made *m = make();
	held_and_refused(m);
	reply(&m->patient, PROBE_STEP_QUIT, slice_of("221 bye"), 2 * LOOP_SECOND);
	probe_report_json(&m->out, &m->report);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		expect(&m->out, rows[i].path, rows[i].value);
	unmake(m);
}

/* Several notes, a session that never stood, and one that was not wanted. */
static void test_json_of_other_shapes(void **state)
{
	(void)state;
	struct made *m = make();
	reply(&m->patient, PROBE_STEP_GREETING, slice_of("220 mx"), 45 * LOOP_SECOND);
	m->slammer.connected = false;
	m->slammer.error = -111;
	m->judgement = probe_judge(&m->facts);
	m->judgement.verdict = PROBE_CHECKS_ONLY;
	probe_report_json(&m->out, &m->report);
	expect(&m->out, "slammer.error", "Connection refused");
	expect(&m->out, "slammer.replies.0.code", NULL);
	expect(&m->out, "refusal.code", NULL);
	expect(&m->out, "notes.1", "many clients wait 30 s for a greeting, some only 5: a pause this long loses good mail");
	expect(&m->out, "notes.2", NULL);
	unmake(m);

	m = make();
	m->slammer.tried = false;
	m->patient.end = PROBE_END_TIMEOUT;
	m->judgement = probe_judge(&m->facts);
	probe_report_json(&m->out, &m->report);
	expect(&m->out, "slammer.outcome", NULL);
	expect(&m->out, "held_ms", "null");
	expect(&m->out, "patient.greeting_ms", "null");
	expect(&m->out, "patient.end", "timeout");
	unmake(m);
}

/* Each byte value in a reply, in what is not SMTP and in the host's name: still one object on one line. */
static void test_json_of_hostile_bytes(void **state)
{
	(void)state;
	for (int value = 0; value < 256; value++) {
		struct made *m = make();
		char line[] = "554 a_\"}],\\b", host[] = "h_\"}", text[] = "a_\"}],\\b", name[] = "h_\"}";
		line[5] = (char)value;
		text[1] = value < 0x80 ? (char)value : '?';
		host[1] = value ? (char)value : 'x'; /* a name has no NUL */
		name[1] = value < 0x80 ? host[1] : '?';
		m->report.host = host;
		reply(&m->patient, PROBE_STEP_GREETING, (struct slice){ line, sizeof(line) - 1 }, LOOP_MS);
		memcpy(m->slammer.junk, line + 4, m->slammer.junk_len = sizeof(text) - 1);
		m->slammer.end = PROBE_END_NOT_SMTP;
		m->judgement = probe_judge(&m->facts);
		probe_report_json(&m->out, &m->report);
		assert_ptr_equal(memchr(m->out.at, '\n', m->out.len), m->out.at + m->out.len - 1);
		expect(&m->out, "host", name);
		if (value != 0) { /* the reader keeps C strings */
			expect(&m->out, "patient.replies.0.text", text);
			expect(&m->out, "slammer.junk", text);
		}
		expect(&m->out, "slammer.end", "not-smtp");
		buf_clear(&m->out);
		probe_report_text(&m->out, &m->report);
		for (size_t i = 0; i < m->out.len; i++)
			assert_true(m->out.at[i] == '\n' || (m->out.at[i] >= 0x20 && m->out.at[i] < 0x7f));
		unmake(m);
	}
}

static void test_text_for_people(void **state)
{
	(void)state;
	struct made *m = make();
	held_and_refused(m);
	for (int i = 0; i < 3; i++)
		reply(&m->patient, PROBE_STEP_NOOP, slice_of("250 ok"), 2 * LOOP_SECOND);
	reply(&m->patient, PROBE_STEP_QUIT, slice_of("221 bye"), 2 * LOOP_SECOND);
	m->patient.end_at = 2 * LOOP_SECOND;
	m->slammer.end = PROBE_END_RESET;
	m->slammer.end_at = 4 * LOOP_MS;
	probe_report_text(&m->out, &m->report);
	const char *first = strchr(buf_text(&m->out), ')');
	assert_non_null(first);
	assert_string_equal(first, "): holds the greeting 1.00 s; early talk refused after 2.0 ms with 554\n"
		"  patient: answered after 1.00 s: 220 mx\n"
		"           NOOP 250 (3 times), QUIT 221; closed by the server after 2.00 s\n"
		"  slammer: answered after 3.0 ms: 554 no\n"
		"           reset by the server after 4.0 ms\n"
		"  note: the connection was reset right after the refusal: on a slower path a client may never read why it was refused\n");
	unmake(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_strings),
		cmocka_unit_test(test_json_string_ends_with_its_bytes),
		cmocka_unit_test(test_json_read_back),
		cmocka_unit_test(test_json_of_other_shapes),
		cmocka_unit_test(test_json_of_hostile_bytes),
		cmocka_unit_test(test_text_for_people),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
