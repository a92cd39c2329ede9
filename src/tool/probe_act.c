/* The tour, probe: the acts: what each class of client says, and when.
 *
 * A script is letters, one for each thing that is said:
 *
 *   H HELO   E EHLO   M MAIL   R RCPT   D DATA   . the message and its end   B the message by BDAT   N NOOP   S RSET   Q QUIT   T STARTTLS
 *   J the act's bytes, which are no command     F a message with the act's bytes for an end     x the end that was meant
 *
 * and for what is only waited for: g the greeting, t the first line of one that goes on, * the TLS handshake. */
#include "tool/probe_all.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define BYTES(literal) { literal, sizeof(literal) - 1 }

/* What every act that is not a session of its own does in the end: the server shows whether it still takes this client for a good one. */
#define AFTER "EMRSQ"

/* A TLS 1.2 ClientHello (RFC 5246 7.4.1.2) with a line end behind it, as all bytes here: a server that reads lines has one. */
#define CLIENT_HELLO \
	"\x16\x03\x01\x00\x31\x01\x00\x00\x2d\x03\x03" "tarry probe: early talk, no TLS." "\x00\x00\x06\xc0\x2f\xc0\x2b\x00\x9c\x01\x00" "\r\n"
#define PROXY_V2 "\r\n\r\n\0\r\nQUIT\n" "\x21\x11\x00\x0c" "\xc0\x00\x02\x63" "\xc0\x00\x02\x01" "\x30\x39\x00\x19" "\r\n"
#define HTTP_POST "POST / HTTP/1.1\r\nHost: mail\r\nContent-Type: text/plain\r\nContent-Length: 120\r\n\r\n"

const struct probe_act probe_acts[] = {
	{ .name = "patient", .title = "waits for each reply", .how = PROBE_LEGAL, .lead = "", .deed = "", .after = "gEMRSQ", .after_to = "gEMRD.Q" },

	{ .name = "early-verb", .title = "HELO before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "H", .after = "MRSQ" },
	{ .name = "early-session", .title = "a whole session before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "HMRSQ", .deed_to = "HMRD.Q",
	  .after = "" },
	{ .name = "early-tls", .title = "a TLS hello before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER, .bytes = BYTES(CLIENT_HELLO) },
	{ .name = "early-http", .title = "HTTP before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER,
	  .bytes = BYTES("GET / HTTP/1.1\r\nHost: mail\r\n\r\n") },
	{ .name = "early-proxy1", .title = "a PROXY v1 header before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER,
	  .bytes = BYTES("PROXY TCP4 192.0.2.99 192.0.2.1 12345 25\r\n") },
	{ .name = "early-proxy2", .title = "a PROXY v2 header before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER,
	  .bytes = BYTES(PROXY_V2) },
	{ .name = "early-ssh", .title = "SSH before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER, .bytes = BYTES("SSH-2.0-OpenSSH_9.6\r\n") },
	{ .name = "early-text", .title = "other text before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER, .bytes = BYTES("is anybody there?\r\n") },
	{ .name = "early-binary", .title = "binary before the greeting", .needs = PROBE_NEEDS_GREETING, .lead = "", .deed = "J", .after = AFTER,
	  .bytes = BYTES("\x01\x02\xff\xfe\x00\x80\x90\x1b\r\n") },
	{ .name = "teaser", .title = "talks between the greeting's lines", .needs = PROBE_NEEDS_GREETING, .lead = "t", .deed = "E", .after = "MRSQ" },

	{ .name = "http", .title = "HTTP after the greeting", .lead = "g", .deed = "J", .after = AFTER, .bytes = BYTES("GET / HTTP/1.1\r\nHost: mail\r\n\r\n") },
	{ .name = "http-post", .title = "a session in the body of a POST", .lead = "g", .deed = "JEMRSQ", .after = "", .bytes = BYTES(HTTP_POST) },
	{ .name = "ehlo-ahead", .title = "MAIL with EHLO, unasked", .lead = "g", .deed = "EM", .after = "RSQ" },
	{ .name = "helo-ahead", .title = "MAIL with HELO", .lead = "g", .deed = "HM", .after = "RSQ" },
	{ .name = "helo-group", .title = "MAIL, RCPT in one after HELO", .lead = "gH", .deed = "MR", .after = "SQ" },
	{ .name = "data-ahead", .title = "the message with DATA", .needs = PROBE_NEEDS_TO, .lead = "gEMR", .deed = "D.", .after = "Q" },
	{ .name = "eom-ahead", .title = "NOOP with the message's end after HELO", .needs = PROBE_NEEDS_TO, .lead = "gHMRD", .deed = ".N", .after = "Q" },
	{ .name = "starttls-ahead", .title = "NOOP with STARTTLS (injection)", .needs = PROBE_NEEDS_STARTTLS, .how = PROBE_MAY_IGNORE, .lead = "gE", .deed = "TN", .after = "*EMRSQ" },

	{ .name = "lf-commands", .title = "commands end in a bare LF", .how = PROBE_BARE_LF, .lead = "g", .deed = "E", .after = "MRSQ" },
	{ .name = "eod-lf-lf", .title = "LF . LF for the message's end", .needs = PROBE_NEEDS_TO, .how = PROBE_MAY_IGNORE, .lead = "gEMRD", .deed = "F", .after = "xQ", .bytes = BYTES("\n.\n") },
	{ .name = "eod-lf-crlf", .title = "LF . CRLF for the message's end", .needs = PROBE_NEEDS_TO, .how = PROBE_MAY_IGNORE, .lead = "gEMRD", .deed = "F", .after = "xQ", .bytes = BYTES("\n.\r\n") },
	{ .name = "eod-cr-cr", .title = "CR . CR for the message's end", .needs = PROBE_NEEDS_TO, .how = PROBE_MAY_IGNORE, .lead = "gEMRD", .deed = "F", .after = "xQ", .bytes = BYTES("\r.\r") },
	{ .name = "eod-crlf-lf", .title = "CRLF . LF for the message's end", .needs = PROBE_NEEDS_TO, .how = PROBE_MAY_IGNORE, .lead = "gEMRD", .deed = "F", .after = "xQ", .bytes = BYTES("\r\n.\n") },

	{ .name = "group", .title = "MAIL, RCPT in one, as PIPELINING allows", .needs = PROBE_NEEDS_PIPELINING, .how = PROBE_LEGAL, .lead = "gE", .deed = "MR", .after = "SQ" },
	{ .name = "group-data", .title = "MAIL, RCPT, DATA in one, as PIPELINING allows", .needs = PROBE_NEEDS_TO | PROBE_NEEDS_PIPELINING, .how = PROBE_LEGAL, .lead = "gE", .deed = "MRD",
	  .after = ".Q" },
	{ .name = "group-bdat", .title = "MAIL, RCPT, BDAT in one, as CHUNKING allows", .needs = PROBE_NEEDS_TO | PROBE_NEEDS_PIPELINING | PROBE_NEEDS_CHUNKING, .how = PROBE_LEGAL, .lead = "gE",
	  .deed = "MRB", .after = "Q" },
	{ .name = "eom-group", .title = "QUIT with the message's end, as PIPELINING allows", .needs = PROBE_NEEDS_TO | PROBE_NEEDS_PIPELINING, .how = PROBE_LEGAL, .lead = "gEMRD", .deed = ".Q",
	  .after = "" },
};
const size_t probe_acts_len = sizeof(probe_acts) / sizeof(probe_acts[0]);

const struct probe_act *probe_act_find(struct slice name)
{
	for (size_t i = 0; i < probe_acts_len; i++)
		if (slice_is(name, probe_acts[i].name))
			return &probe_acts[i];
	return NULL;
}

const char *probe_act_way(enum probe_way way)
{
	static const char *const names[PROBE_WAYS] = { "clear", "starttls", "tls" };
	return names[way];
}

const char *probe_act_lead(const struct probe_act *act, enum probe_way way, char memory[PROBE_ACT_LEAD])
{
	const char *lead = act->lead[0] == 'g' && way == PROBE_WAY_STARTTLS ? act->lead + 1 : act->lead;
	snprintf(memory, PROBE_ACT_LEAD, "%s%s", way == PROBE_WAY_STARTTLS ? "gET*" : way == PROBE_WAY_TLS ? "*" : "", lead);
	return memory;
}

static const struct {
	unsigned need;
	const char *keyword, *missing;
} offers[] = {
	{ PROBE_NEEDS_PIPELINING, "PIPELINING", "PIPELINING is not offered" },
	{ PROBE_NEEDS_CHUNKING, "CHUNKING", "CHUNKING is not offered" },
	{ PROBE_NEEDS_STARTTLS, "STARTTLS", "STARTTLS is not offered" },
};
#define OFFERS (sizeof(offers) / sizeof(offers[0]))

unsigned probe_act_offer(struct slice line)
{
	for (size_t i = 0; i < OFFERS; i++) {
		size_t len = strlen(offers[i].keyword);
		if (line.len >= 4 + len && line.at[0] == '2' && strncasecmp(line.at + 4, offers[i].keyword, len) == 0 && (line.len == 4 + len || line.at[4 + len] == ' '))
			return offers[i].need;
	}
	return 0;
}

const char *probe_act_missing(const struct probe_act *act, unsigned offered)
{
	for (size_t i = 0; i < OFFERS; i++)
		if (act->needs & offers[i].need & ~offered)
			return offers[i].missing;
	return NULL;
}

enum probe_step probe_act_step(char letter)
{
	static const struct {
		char letter;
		enum probe_step step;
	} steps[] = {
		{ 'g', PROBE_STEP_GREETING }, { 'H', PROBE_STEP_HELO }, { 'E', PROBE_STEP_EHLO }, { 'M', PROBE_STEP_MAIL }, { 'R', PROBE_STEP_RCPT }, { 'D', PROBE_STEP_DATA },
		{ '.', PROBE_STEP_EOM }, { 'x', PROBE_STEP_EOM }, { 'B', PROBE_STEP_EOM }, { 'N', PROBE_STEP_NOOP }, { 'S', PROBE_STEP_RSET }, { 'Q', PROBE_STEP_QUIT },
		{ 'T', PROBE_STEP_STARTTLS }, { 'J', PROBE_STEP_JUNK }, { 'F', PROBE_STEP_FALSE },
	};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i].letter == letter)
			return steps[i].step;
	return PROBE_STEP_NONE;
}

static const char *const message_lines[] = {
	"Auto-Submitted: auto-generated",
	"",
	"This message was sent by tarry probe, to see what a mail server does.",
	"It can be thrown away.",
};
#define MESSAGE_LINES (sizeof(message_lines) / sizeof(message_lines[0]))

unsigned probe_act_message_lines(void)
{
	return 5 + MESSAGE_LINES;
}

unsigned probe_act_lines(const struct probe_act *act)
{
	unsigned n = 0;
	for (size_t i = 0; i < act->bytes.len; i++)
		n += act->bytes.at[i] == '\n';
	return n;
}

/* All of it but the end of its last line. */
static void put_message(struct buf *out, const struct probe_act *act, const struct probe_words_of *words)
{
	char date[64];
	time_t t = time(NULL);
	struct tm tm;
	gmtime_r(&t, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	buf_putf(out, "Date: %s\r\nMessage-ID: <%lld.%ld.%s@%s>\r\n", date, (long long)t, (long)getpid(), act->name, words->helo);
	if (words->from && words->from[0])
		buf_putf(out, "From: <%s>\r\n", words->from);
	else
		buf_putf(out, "From: <probe@%s>\r\n", words->helo); /* a header has no empty address */
	buf_putf(out, "To: <%s>\r\nSubject: tarry probe: %s", words->to, act->name);
	for (size_t i = 0; i < MESSAGE_LINES; i++)
		buf_putf(out, "\r\n%s", message_lines[i]);
}

static void put_bdat(struct buf *out, const struct probe_act *act, const struct probe_words_of *words)
{
	struct buf message;
	buf_init(&message, PROBE_OUT);
	put_message(&message, act, words);
	buf_put_text(&message, "\r\n");
	buf_putf(out, "BDAT %zu LAST\r\n", message.len);
	buf_put_slice(out, buf_slice(&message));
	buf_fini(&message);
}

bool probe_act_put(struct buf *out, const struct probe_act *act, char letter, const struct probe_words_of *words)
{
	const char *end = act->how & PROBE_BARE_LF ? "\n" : "\r\n";
	switch (letter) {
	case 'H':
	case 'E':
		buf_putf(out, "%s %s%s", letter == 'H' ? "HELO" : "EHLO", words->helo, end);
		break;
	case 'M':
		buf_putf(out, "MAIL FROM:<%s>%s", words->from ? words->from : "", end);
		break;
	case 'R': /* postmaster is everywhere: RFC 5321 4.5.1 */
		buf_putf(out, "RCPT TO:<%s>%s", words->to ? words->to : "postmaster", end);
		break;
	case 'D':
		buf_putf(out, "DATA%s", end);
		break;
	case '.':
		put_message(out, act, words);
		buf_put_text(out, "\r\n.\r\n");
		break;
	case 'F':
		put_message(out, act, words);
		buf_put_slice(out, act->bytes);
		break;
	case 'x':
		buf_put_text(out, "\r\n.\r\n");
		break;
	case 'B':
		put_bdat(out, act, words);
		break;
	case 'J':
		buf_put_slice(out, act->bytes);
		break;
	case 'N':
		buf_putf(out, "NOOP%s", end);
		break;
	case 'S':
		buf_putf(out, "RSET%s", end);
		break;
	case 'Q':
		buf_putf(out, "QUIT%s", end);
		break;
	case 'T':
		buf_putf(out, "STARTTLS%s", end);
		break;
	default:
		break;
	}
	return !out->full;
}
