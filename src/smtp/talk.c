/* The tour, smtp: one glance at what somebody said before the greeting. */
#include "smtp/talk.h"

#include <string.h>
#include <strings.h>

#include "smtp/command.h"

#define TALK_LOOKED_AT 256 /* bytes that decide between text and binary */

static bool begins(struct slice s, const char *with, size_t len)
{
	return s.len >= len && memcmp(s.at, with, len) == 0;
}

static bool is_http(struct slice s)
{
	static const char *const verbs[] = { "GET ", "POST ", "HEAD ", "PUT ", "CONNECT ", "OPTIONS ", "DELETE ", "PATCH ", "TRACE ", "PRI * HTTP" };
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (s.len >= strlen(verbs[i]) && strncasecmp(s.at, verbs[i], strlen(verbs[i])) == 0)
			return true;
	return false;
}

static bool is_text(struct slice s)
{
	size_t n = s.len < TALK_LOOKED_AT ? s.len : TALK_LOOKED_AT;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if ((c < 0x20 && c != '\r' && c != '\n' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static enum talk_kind smtp_kind(struct slice s, const char *lf)
{
	return lf && lf + 1 < s.at + s.len ? TALK_SESSION : TALK_SMTP;
}

enum talk_kind talk_kind(struct slice s)
{
	const char *lf = s.len > 0 ? memchr(s.at, '\n', s.len) : NULL;
	if (begins(s, "\x16\x03", 2))
		return TALK_TLS;
	if (begins(s, "\r\n\r\n\0\r\nQUIT\n", 12) || begins(s, "PROXY ", 6))
		return TALK_PROXY;
	if (begins(s, "SSH-", 4))
		return TALK_SSH;
	if (is_http(s))
		return TALK_HTTP;
	struct slice line = { s.at, lf ? (size_t)(lf - s.at) : s.len };
	if (line.len < COMMAND_LINE && command_parse(line).verb != COMMAND_UNKNOWN)
		return smtp_kind(s, lf);
	return is_text(s) ? TALK_TEXT : TALK_BINARY;
}

const char *talk_kind_name(enum talk_kind kind)
{
	static const char *const names[] = { "smtp", "session", "tls", "http", "proxy", "ssh", "text", "binary" };
	return names[kind];
}
