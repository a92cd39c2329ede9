/* tarry probe: any bytes as what a server says, through replies, judgement, words and both reports. The first byte chooses how the sessions
 * ended and what they tried; each line is what both heard. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tool/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hear(struct probe_record *r, struct slice line)
{
	static const enum probe_step steps[] = { PROBE_STEP_HELO, PROBE_STEP_MAIL, PROBE_STEP_RCPT, PROBE_STEP_DATA, PROBE_STEP_EOM, PROBE_STEP_QUIT };
	int64_t at = (int64_t)r->replies_len * LOOP_SECOND;
	if (r->replies_len == PROBE_REPLIES || r->junk_len > 0)
		return;
	switch (probe_reply_add(&r->partial, line, at)) {
	case PROBE_REPLY_DONE:
		r->replies[r->replies_len] = r->partial;
		r->replies[r->replies_len].to = r->replies_len == 0 ? PROBE_STEP_GREETING : steps[(r->replies_len - 1) % 6];
		r->replies_len++;
		memset(&r->partial, 0, sizeof(r->partial));
		break;
	case PROBE_REPLY_BAD:
		r->junk_len = line.len < PROBE_JUNK ? line.len : PROBE_JUNK;
		if (line.len > 0)
			memcpy(r->junk, line.at, r->junk_len);
		r->end = PROBE_END_NOT_SMTP;
		break;
	default:
		break;
	}
}

/* What is printed must be printable; JSON may have whole UTF-8 besides, which begins at 0x80. */
static void check(const struct buf *out, bool json)
{
	if (out->full)
		abort();
	for (size_t i = 0; i < out->len; i++) {
		unsigned char c = (unsigned char)out->at[i];
		if ((c < ' ' && c != '\n') || c == 0x7f || (c > 0x7e && !json) || (json && c == '\n' && i + 1 < out->len))
			abort();
	}
}

static void run(const struct probe_facts *facts)
{
	struct probe_judgement j = probe_judge(facts);
	struct probe_report report = { .host = "host", .port = 25, .facts = facts, .judgement = &j };
	struct buf out;
	buf_init(&out, 1024 * 1024);
	probe_report_text(&out, &report);
	check(&out, false);
	buf_clear(&out);
	probe_report_json(&out, &report);
	check(&out, true);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct probe_record *r = calloc(2, sizeof(*r));
	if (!r)
		return 0;
	for (int i = 0; i < 2; i++)
		r[i] = (struct probe_record){ .tried = true, .connected = true, .end = (enum probe_end)(data[0] >> 5) };
	r[1].late = data[0] & 1;
	r[0].tried = !(data[0] & 2) || !(data[0] & 4);
	for (const char *at = (const char *)data + 1, *stop = (const char *)data + size; at < stop;) {
		const char *nl = memchr(at, '\n', (size_t)(stop - at));
		struct slice line = { at, nl ? (size_t)(nl - at) : (size_t)(stop - at) };
		if (!(data[0] & 2))
			hear(&r[0], line);
		if (!(data[0] & 4))
			hear(&r[1], line);
		at += line.len + (nl != NULL);
	}
	struct probe_facts facts = {
		.patient = &r[0], .slammer = &r[1], .threshold = 200 * LOOP_MS, .timeout = 30 * LOOP_SECOND, .deliver = data[0] & 8,
	};
	run(&facts);
	free(r);
	return 0;
}
