/* The tour, core: everything that is assembled piece by piece (a log line, a reply, the reason of an error) is
 * assembled in a buf. It has a ceiling, so no input can make it grow for ever. */
#include "core/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BUF_FIRST 256 /* bytes of a first allocation */

struct slice slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

bool slice_is(struct slice s, const char *text)
{
	return s.len == strlen(text) && (s.len == 0 || memcmp(s.at, text, s.len) == 0); /* an empty buf's bytes are NULL */
}

bool slice_is_nocase(struct slice s, const char *text)
{
	return s.len == strlen(text) && (s.len == 0 || strncasecmp(s.at, text, s.len) == 0);
}

struct slice slice_trim(struct slice s)
{
	while (s.len > 0 && (s.at[0] == ' ' || s.at[0] == '\t')) {
		s.at++;
		s.len--;
	}
	while (s.len > 0 && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
		s.len--;
	return s;
}

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max, .owned = true };
}

void buf_init_fixed(struct buf *b, char *memory, size_t size)
{
	*b = (struct buf){ .at = memory, .cap = size, .max = size };
}

void buf_fini(struct buf *b)
{
	if (!b->owned)
		return;
	free(b->at);
	buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->full = false;
}

char *buf_reserve(struct buf *b, size_t len)
{
	if (len <= b->cap - b->len)
		return b->at + b->len;
	if (!b->owned || len > b->max - b->len)
		goto full;
	size_t cap = b->cap ? b->cap : BUF_FIRST;
	while (cap < b->len + len)
		cap *= 2;
	if (cap > b->max)
		cap = b->max;
	char *at = realloc(b->at, cap);
	if (!at)
		goto full;
	b->at = at;
	b->cap = cap;
	return b->at + b->len;
full:
	b->full = true;
	return NULL;
}

bool buf_put_slice(struct buf *b, struct slice s)
{
	return buf_put(b, s.at, s.len);
}

bool buf_put_char(struct buf *b, char c)
{
	return buf_put(b, &c, 1);
}

bool buf_vputf(struct buf *b, const char *format, va_list args)
{
	va_list again;
	va_copy(again, args);
	/* Mostly it fits, with room for vsnprintf's NUL, which is not part of a buf. If not, the length is known and room is made. */
	size_t room = b->cap - b->len;
	int need = vsnprintf(room > 0 ? b->at + b->len : NULL, room, format, args);
	bool ok = need >= 0;
	if (ok && (size_t)need >= room) {
		char *text = malloc((size_t)need + 1);
		ok = text && vsnprintf(text, (size_t)need + 1, format, again) == need && buf_put(b, text, (size_t)need);
		if (!ok)
			b->full = true;
		free(text);
	} else if (ok) {
		b->len += (size_t)need;
	}
	va_end(again);
	return ok;
}

bool buf_putf(struct buf *b, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	bool ok = buf_vputf(b, format, args);
	va_end(args);
	return ok;
}

static bool put_escaped_byte(struct buf *b, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	char out[4] = { '\\' };
	switch (c) {
	case '"':
	case '\\':
		out[1] = (char)c;
		return buf_put(b, out, 2);
	case '\t':
		return buf_put(b, "\\t", 2);
	case '\r':
		return buf_put(b, "\\r", 2);
	case '\n':
		return buf_put(b, "\\n", 2);
	default:
		break;
	}
	out[1] = 'x';
	out[2] = hex[c >> 4];
	out[3] = hex[c & 15];
	return buf_put(b, out, 4);
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

bool buf_put_escaped(struct buf *b, const void *bytes, size_t len, size_t most)
{
	const uint8_t *at = bytes;
	size_t show = len < most ? len : most, before = b->len;
	bool ok = true;
	for (size_t i = 0; ok && i < show; i++) {
		size_t run = i;
		while (run < show && is_plain(at[run]))
			run++;
		ok = buf_put(b, at + i, run - i) && (run == show || put_escaped_byte(b, at[run]));
		i = run;
	}
	ok = ok && (show == len || buf_put_text(b, "..."));
	if (!ok)
		b->len = before;
	return ok;
}

void buf_drop(struct buf *b, size_t n)
{
	b->len -= n;
	if (b->len > 0)
		memmove(b->at, b->at + n, b->len);
}

const char *buf_text(struct buf *b)
{
	char *end = buf_reserve(b, 1);
	if (end) {
		*end = '\0';
		return b->at;
	}
	if (b->cap == 0)
		return "";
	b->at[b->cap - 1] = '\0'; /* a full line loses its last byte rather than all of them */
	return b->at;
}

struct slice buf_slice(const struct buf *b)
{
	return (struct slice){ b->at, b->len };
}
