/* The tour, smtp: what we say. Every reply is one line, or the first lines of several; all are put together here, so that one place knows
 * that a line ends in CRLF, never holds a client's control characters, and goes out whole or not at all. */
#include "smtp/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define REPLY_ECHO 203      /* characters of a line that are repeated whole (Sendmail: MAXSHORTSTR) */
#define REPLY_ECHO_END 100  /* characters of each end of a longer one */

/* Undo what was written since `before`, if it did not all fit. */
static bool whole(struct buf *out, size_t before, bool ok)
{
	if (!ok)
		out->len = before;
	return ok;
}

static bool put_code(struct buf *out, int code, char separator)
{
	char text[4] = { (char)('0' + code / 100 % 10), (char)('0' + code / 10 % 10), (char)('0' + code % 10), separator };
	return buf_put(out, text, sizeof(text));
}

/* Most replies are literals: those are copied, not formatted. */
static bool put_format(struct buf *out, const char *format, va_list args)
{
	return strchr(format, '%') ? buf_vputf(out, format, args) : buf_put_text(out, format);
}

bool reply_put(struct buf *out, int code, const char *enhanced, const char *format, ...)
{
	size_t before = out->len;
	va_list args;
	va_start(args, format);
	bool ok = put_code(out, code, ' ') && (!enhanced || (buf_put_text(out, enhanced) && buf_put_char(out, ' '))) &&
		put_format(out, format, args) && buf_put(out, "\r\n", 2);
	va_end(args);
	return whole(out, before, ok);
}

bool reply_put_more(struct buf *out, int code, const char *format, ...)
{
	size_t before = out->len;
	va_list args;
	va_start(args, format);
	bool ok = put_code(out, code, '-') && put_format(out, format, args) && buf_put(out, "\r\n", 2);
	va_end(args);
	return whole(out, before, ok);
}

static const char *format_date(char out[REPLY_DATE], int64_t unix_time, const char *zone)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t at = (time_t)unix_time;
	struct tm t;
	if (!gmtime_r(&at, &t))
		t = (struct tm){ .tm_mday = 1, .tm_year = 70, .tm_wday = 4 };
	int n = snprintf(out, REPLY_DATE, "%.3s, %d %.3s %d %02d:%02d:%02d %s", days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon,
		t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec, zone);
	if (n < 0)
		out[0] = '\0';
	return out;
}

const char *reply_date(char out[REPLY_DATE], int64_t unix_time)
{
	return format_date(out, unix_time, "+0000");
}

/* The macros that Sendmail's own message has, and no others: what is not known here is nothing. */
static bool put_macro(struct buf *out, char macro, const char *host, int64_t unix_time)
{
	char date[REPLY_DATE];
	switch (macro) {
	case 'j':
		return buf_put_text(out, host);
	case 'v':
	case 'Z':
		return buf_put_text(out, TARRY_VERSION);
	case 'b':
		return buf_put_text(out, format_date(date, unix_time, "GMT"));
	case '$':
		return buf_put_char(out, '$');
	default:
		return true;
	}
}

bool reply_greeting(struct buf *out, const char *host, const char *message, int64_t unix_time)
{
	size_t before = out->len;
	bool ok = put_code(out, 220, ' '), named = false;
	for (const char *p = message[0] ? message : "$j Tarry $v; $b"; *p && ok; p++) {
		if (*p == ' ' && !named) { /* behind the first word, as Sendmail does, whatever stands there */
			named = true;
			ok = buf_put_text(out, " ESMTP");
		}
		if (*p == '$' && p[1])
			ok = ok && put_macro(out, *++p, host, unix_time);
		else
			ok = ok && buf_put_char(out, (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p);
	}
	return whole(out, before, ok && (named || buf_put_text(out, " ESMTP")) && buf_put_text(out, "\r\n"));
}

bool reply_refusal(struct buf *out, const char *host)
{
	size_t before = out->len;
	return whole(out, before, put_code(out, 554, ' ') && buf_put_text(out, host) && buf_put_text(out, " ESMTP not accepting messages\r\n"));
}

bool reply_client(struct buf *out, const struct reply_client *client)
{
	size_t before = out->len;
	char literal[ADDR_TEXT];
	if (!client->addr)
		return buf_put_text(out, "localhost");
	return whole(out, before, buf_put_slice(out, client->name) && buf_put_text(out, client->name.len > 0 ? " " : "") &&
		buf_put_text(out, addr_format_literal(client->addr, literal)) && buf_put_text(out, client->forged ? " (may be forged)" : ""));
}

bool reply_hello(struct buf *out, const char *host, const struct reply_client *client, bool more)
{
	size_t before = out->len;
	return whole(out, before, put_code(out, 250, more ? '-' : ' ') && buf_put_text(out, host) && buf_put_text(out, " Hello ") && reply_client(out, client) &&
		buf_put_text(out, ", pleased to meet you\r\n"));
}

/* Seven bits, and no control character that a terminal or a parser might act on. */
static bool put_harmless(struct buf *out, const char *at, size_t len)
{
	char *to = buf_reserve(out, len);
	if (!to)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = (char)(at[i] & 0x7f);
		to[i] = (c < 0x20 && c != '\t') || c == 0x7f ? '?' : c;
	}
	out->len += len;
	return true;
}

bool reply_unrecognized(struct buf *out, struct slice line)
{
	size_t before = out->len;
	bool ok = buf_put_text(out, "500 5.5.1 Command unrecognized: \"");
	if (line.len <= REPLY_ECHO)
		ok = ok && put_harmless(out, line.at, line.len);
	else
		ok = ok && put_harmless(out, line.at, REPLY_ECHO_END) && buf_put_text(out, "...") &&
			put_harmless(out, line.at + line.len - REPLY_ECHO_END, REPLY_ECHO_END);
	return whole(out, before, ok && buf_put_text(out, "\"\r\n"));
}

bool reply_closing(struct buf *out, const char *host)
{
	size_t before = out->len;
	return whole(out, before, buf_put_text(out, "221 2.0.0 ") && buf_put_text(out, host) && buf_put_text(out, " closing connection\r\n"));
}
