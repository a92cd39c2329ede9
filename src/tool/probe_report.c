/* The tour, probe: the report, for people and for programs. Both are assembled in a buf, so that nothing is printed by halves. */
#include "tool/probe.h"

#include <string.h>

#define SHOWN 200 /* bytes of a reply's text in the report for people */

static const char *end_words(enum probe_end end)
{
	static const char *const words[] = {
		[PROBE_END_NONE] = "not begun", [PROBE_END_CLOSED] = "closed by the server", [PROBE_END_RESET] = "reset by the server",
		[PROBE_END_TIMEOUT] = "given up, nothing more came", [PROBE_END_NOT_SMTP] = "given up, not SMTP",
		[PROBE_END_TOO_MUCH] = "given up, too much was said", [PROBE_END_OPEN] = "left open by the server",
		[PROBE_END_ERROR] = "broken",
	};
	return words[end];
}

/* For people. */

/* "HELO 250, MAIL 550, …": neighbours that are the same are counted, since a refused message brings one reply for each of its lines. */
static void put_replies(struct buf *out, const struct probe_record *r)
{
	for (size_t i = 1; i < r->replies_len;) {
		size_t n = 1;
		while (i + n < r->replies_len && r->replies[i + n].to == r->replies[i].to && r->replies[i + n].code == r->replies[i].code)
			n++;
		buf_putf(out, "%s %d", probe_reply_step(r->replies[i].to), r->replies[i].code);
		if (n > 1)
			buf_putf(out, " (%zu times)", n);
		buf_put_text(out, i + n < r->replies_len ? ", " : "; ");
		i += n;
	}
}

static void put_first(struct buf *out, const struct probe_record *r)
{
	if (r->replies_len > 0) {
		const struct probe_reply *first = &r->replies[0];
		struct slice text = probe_reply_text(first);
		buf_put_text(out, "answered after ");
		probe_words_time(out, first->at);
		buf_putf(out, ": %d ", first->code);
		buf_put_escaped(out, text.at, text.len, SHOWN);
		if (first->lines > 1)
			buf_putf(out, " (%s of %u lines)", first->code == first->first_code ? "first" : "last", first->lines);
	} else {
		buf_put_text(out, "not answered");
	}
}

static void put_session(struct buf *out, const char *name, const struct probe_record *r)
{
	if (!r->connected)
		return;
	buf_putf(out, "  %s: ", name);
	put_first(out, r);
	buf_put_text(out, "\n           ");
	put_replies(out, r);
	buf_putf(out, "%s after ", end_words(r->end));
	probe_words_time(out, r->end_at);
	buf_put_char(out, '\n');
}

static void put_notes(struct buf *out, struct slice notes, void (*each)(struct buf *out, struct slice line))
{
	while (notes.len > 0) {
		const char *nl = memchr(notes.at, '\n', notes.len);
		size_t len = nl ? (size_t)(nl - notes.at) : notes.len;
		each(out, (struct slice){ notes.at, len });
		len += nl != NULL;
		notes.at += len;
		notes.len -= len;
	}
}

static void text_note(struct buf *out, struct slice line)
{
	buf_put_text(out, "  note: ");
	buf_put_slice(out, line);
	buf_put_char(out, '\n');
}

void probe_report_text(struct buf *out, const struct probe_report *report)
{
	char address[ADDR_TEXT], memory[4096];
	struct buf notes;
	addr_format_port(&report->address, address);
	buf_put_escaped(out, report->host, strlen(report->host), PROBE_HOST);
	buf_putf(out, " (%s): ", address);
	probe_words(out, report->facts, report->judgement);
	buf_put_char(out, '\n');
	put_session(out, "patient", report->facts->patient);
	put_session(out, "slammer", report->facts->slammer);
	buf_init_fixed(&notes, memory, sizeof(memory));
	probe_words_notes(&notes, report->facts, report->judgement);
	put_notes(out, buf_slice(&notes), text_note);
}

/* For programs. */

/* Length of the valid UTF-8 sequence at the start (RFC 3629: shortest form, no surrogates, up to U+10FFFF); 0: there is none. */
static size_t utf8_len(const unsigned char *at, size_t len)
{
	static const struct {
		unsigned char low, high, second_low, second_high;
		size_t len;
	} forms[] = {
		{ 0x00, 0x7f, 0, 0, 1 }, { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (at[0] < forms[i].low || at[0] > forms[i].high)
			continue;
		if (forms[i].len > len)
			return 0;
		if (forms[i].len > 1 && (at[1] < forms[i].second_low || at[1] > forms[i].second_high))
			return 0;
		for (size_t k = 2; k < forms[i].len; k++)
			if (at[k] < 0x80 || at[k] > 0xbf)
				return 0;
		return forms[i].len;
	}
	return 0;
}

void probe_report_string(struct buf *out, struct slice bytes)
{
	const unsigned char *at = (const unsigned char *)bytes.at;
	buf_put_char(out, '"');
	for (size_t i = 0; i < bytes.len;) {
		size_t n = utf8_len(at + i, bytes.len - i);
		if (n == 0) {
			buf_put_text(out, "\\ufffd");
			i++;
			continue;
		}
		if (at[i] == '"' || at[i] == '\\')
			buf_putf(out, "\\%c", at[i]);
		else if (at[i] < 0x20 || at[i] == 0x7f)
			buf_putf(out, "\\u%04x", at[i]);
		else
			buf_put(out, at + i, n);
		i += n;
	}
	buf_put_char(out, '"');
}

/* Keys are ours and need no escaping; each but the first of an object begins with its comma. */
void probe_report_key_text(struct buf *out, const char *key, const char *text)
{
	buf_putf(out, ",\"%s\":", key);
	probe_report_string(out, slice_of(text));
}

/* Nanoseconds as milliseconds; negative: null. */
void probe_report_key_ms(struct buf *out, const char *key, int64_t ns)
{
	if (ns < 0)
		buf_putf(out, ",\"%s\":null", key);
	else
		buf_putf(out, ",\"%s\":%lld.%03lld", key, (long long)(ns / LOOP_MS), (long long)(ns % LOOP_MS / 1000));
}

void probe_report_reply(struct buf *out, const struct probe_reply *reply)
{
	buf_putf(out, "{\"to\":\"%s\",\"code\":%d,\"lines\":%u", probe_reply_step(reply->to), reply->code, reply->lines);
	probe_report_key_ms(out, "first_line_ms", reply->first_at);
	probe_report_key_ms(out, "ms", reply->at);
	buf_put_text(out, ",\"text\":");
	probe_report_string(out, (struct slice){ reply->text, reply->text_len });
	buf_put_char(out, '}');
}

const char *probe_report_end(enum probe_end end)
{
	static const char *const keys[] = {
		[PROBE_END_NONE] = "none", [PROBE_END_CLOSED] = "closed", [PROBE_END_RESET] = "reset", [PROBE_END_TIMEOUT] = "timeout",
		[PROBE_END_NOT_SMTP] = "not-smtp", [PROBE_END_TOO_MUCH] = "too-much", [PROBE_END_OPEN] = "open", [PROBE_END_ERROR] = "error",
	};
	return keys[end];
}

static void json_session(struct buf *out, const struct probe_record *r, enum probe_outcome outcome)
{
	buf_putf(out, "{\"outcome\":\"%s\",\"connected\":%s", probe_judge_outcome(outcome), r->connected ? "true" : "false");
	if (!r->connected) {
		probe_report_key_text(out, "error", strerror(-r->error));
		buf_put_char(out, '}');
		return;
	}
	probe_report_key_ms(out, "connect_ms", r->connect_ns);
	probe_report_key_ms(out, "round_trip_ms", r->rtt_ns);
	probe_report_key_ms(out, "talk_ms", r->talk_at);
	probe_report_key_ms(out, "greeting_ms", r->replies_len > 0 ? r->replies[0].at : -1);
	buf_putf(out, ",\"code\":%d", r->replies_len > 0 ? r->replies[0].code : 0);
	buf_put_text(out, ",\"replies\":[");
	for (size_t i = 0; i < r->replies_len; i++) {
		if (i > 0)
			buf_put_char(out, ',');
		probe_report_reply(out, &r->replies[i]);
	}
	buf_putf(out, "],\"end\":\"%s\"", probe_report_end(r->end));
	probe_report_key_ms(out, "end_ms", r->end_at);
	if (r->junk_len > 0) {
		buf_put_text(out, ",\"junk\":");
		probe_report_string(out, (struct slice){ r->junk, r->junk_len });
	}
	buf_put_char(out, '}');
}

static void json_note(struct buf *out, struct slice line)
{
	if (out->len > 0 && out->at[out->len - 1] != '[')
		buf_put_char(out, ',');
	probe_report_string(out, line);
}

static void json_refusal(struct buf *out, const struct probe_report *report)
{
	const struct probe_reply *refusal = report->judgement->refusal;
	if (!refusal)
		return;
	int64_t talked = report->facts->slammer->talk_at;
	buf_putf(out, ",\"refusal\":{\"to\":\"%s\",\"code\":%d", probe_reply_step(refusal->to), refusal->code);
	probe_report_key_ms(out, "after_ms", refusal->at > talked ? refusal->at - talked : 0);
	buf_put_char(out, '}');
}

void probe_report_json(struct buf *out, const struct probe_report *report)
{
	const struct probe_judgement *j = report->judgement;
	char text[ADDR_TEXT], memory[4096];
	struct buf words;
	buf_put_text(out, "{\"host\":");
	probe_report_string(out, slice_of(report->host));
	buf_putf(out, ",\"port\":%u", (unsigned)report->port);
	probe_report_key_text(out, "address", addr_format(&report->address, text));
	probe_report_key_text(out, "verdict", probe_judge_word(j->verdict));
	buf_putf(out, ",\"exit\":%d", probe_judge_exit(j->verdict));
	buf_init_fixed(&words, memory, sizeof(memory));
	probe_words(&words, report->facts, j);
	probe_report_key_text(out, "words", buf_text(&words));
	buf_clear(&words);
	probe_words_notes(&words, report->facts, j);
	buf_put_text(out, ",\"notes\":[");
	put_notes(out, buf_slice(&words), json_note);
	buf_put_char(out, ']');
	probe_report_key_ms(out, "held_ms", j->held);
	json_refusal(out, report);
	if (report->facts->patient->tried) {
		buf_put_text(out, ",\"patient\":");
		json_session(out, report->facts->patient, j->patient);
	}
	if (report->facts->slammer->tried) {
		buf_put_text(out, ",\"slammer\":");
		json_session(out, report->facts->slammer, j->slammer);
	}
	buf_put_text(out, "}\n");
}
