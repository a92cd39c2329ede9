/* The tour, probe: lines of a server become replies. More lenient than RFC 5321 where servers are (LF alone ends a line, the codes of
 * one reply may differ), and bounded, since the other side may be anything that listens. */
#include "tool/probe.h"

#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

enum probe_reply_result probe_reply_add(struct probe_reply *reply, struct slice line, int64_t at)
{
	if (line.len < 3 || !probe_reply_possible(line))
		return PROBE_REPLY_BAD;
	if (reply->lines == PROBE_LINES)
		return PROBE_REPLY_TOO_MUCH;
	int code = (line.at[0] - '0') * 100 + (line.at[1] - '0') * 10 + (line.at[2] - '0');
	if (reply->lines == 0) {
		reply->first_at = at;
		reply->first_code = code;
	} else if (reply->text_len < PROBE_TEXT) {
		reply->text[reply->text_len++] = '\n';
	}
	size_t text = line.len > 4 ? line.len - 4 : 0;
	if (text > PROBE_TEXT - reply->text_len)
		text = PROBE_TEXT - reply->text_len;
	if (text > 0)
		memcpy(reply->text + reply->text_len, line.at + 4, text);
	reply->text_len += text;
	reply->lines++;
	reply->code = code;
	reply->at = at;
	return line.len > 3 && line.at[3] == '-' ? PROBE_REPLY_MORE : PROBE_REPLY_DONE;
}

bool probe_reply_possible(struct slice bytes)
{
	for (size_t i = 0; i < bytes.len && i < 3; i++)
		if (!is_digit(bytes.at[i]))
			return false;
	if (bytes.len > 0 && (bytes.at[0] < '2' || bytes.at[0] > '5'))
		return false;
	return bytes.len < 4 || bytes.at[3] == ' ' || bytes.at[3] == '-' || bytes.at[3] == '\r';
}

static bool begins(struct slice bytes, const char *with)
{
	size_t len = strlen(with);
	return bytes.len >= len && memcmp(bytes.at, with, len) == 0;
}

const char *probe_reply_guess(struct slice bytes)
{
	static const struct {
		const char *begins, *what;
	} known[] = {
		{ "\x15\x03", "TLS is wanted first; SMTP without TLS is on port 25" },
		{ "\x16\x03", "TLS is wanted first; SMTP without TLS is on port 25" },
		{ "SSH-", "an SSH server" },
		{ "HTTP/", "an HTTP server" },
		{ "<", "an HTTP server" },
		{ "+OK", "a POP3 server" },
		{ "* OK", "an IMAP server" },
		{ "* BYE", "an IMAP server" },
		{ "\"IMPLEMENTATION\"", "a ManageSieve server" },
		{ "VERSION\t", "a Dovecot service" },
		{ "RFB ", "a VNC server" },
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (begins(bytes, known[i].begins))
			return known[i].what;
	return NULL;
}

struct slice probe_reply_text(const struct probe_reply *reply)
{
	const char *first = memchr(reply->text, '\n', reply->text_len);
	const char *last = memrchr(reply->text, '\n', reply->text_len);
	if (!first)
		return (struct slice){ reply->text, reply->text_len };
	if (reply->code != reply->first_code)
		return (struct slice){ last + 1, (size_t)(reply->text + reply->text_len - last - 1) };
	return (struct slice){ reply->text, (size_t)(first - reply->text) };
}

const struct probe_reply *probe_reply_to(const struct probe_record *record, enum probe_step step)
{
	for (size_t i = record->replies_len; i > 0; i--)
		if (record->replies[i - 1].to == step)
			return &record->replies[i - 1];
	return NULL;
}

const char *probe_reply_step(enum probe_step step)
{
	static const char *const names[] = {
		[PROBE_STEP_GREETING] = "greeting", [PROBE_STEP_EHLO] = "EHLO", [PROBE_STEP_HELO] = "HELO", [PROBE_STEP_MAIL] = "MAIL",
		[PROBE_STEP_RCPT] = "RCPT", [PROBE_STEP_DATA] = "DATA", [PROBE_STEP_LINE] = "line", [PROBE_STEP_EOM] = "message",
		[PROBE_STEP_RSET] = "RSET", [PROBE_STEP_NOOP] = "NOOP", [PROBE_STEP_QUIT] = "QUIT",
		[PROBE_STEP_STARTTLS] = "STARTTLS", [PROBE_STEP_JUNK] = "bytes", [PROBE_STEP_FALSE] = "false-end", [PROBE_STEP_NONE] = "nothing",
	};
	return names[step];
}
