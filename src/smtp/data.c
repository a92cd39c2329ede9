/* The tour, smtp: where a message ends. Five states, one byte at a time where it matters; what lies between two line ends is copied in one piece. */
#include "smtp/data.h"

#include <ctype.h>
#include <string.h>

static const char received[] = "received:";
#define RECEIVED (sizeof(received) - 1)

void data_init(struct data *d, bool lf)
{
	*d = (struct data){ .state = DATA_START, .lf = lf, .in_header = true };
}

/* Count Received lines in what goes into the file, up to the first empty line. */
static void scan_header(struct data *d, const char *at, size_t len)
{
	for (size_t i = 0; i < len && d->in_header; i++) {
		char c = at[i];
		if (c == '\n') {
			d->in_header = d->matched > 0;
			d->matched = 0;
		} else if (d->matched < RECEIVED && tolower((unsigned char)c) == received[d->matched]) {
			d->matched++;
			d->hops += d->matched == RECEIVED;
		} else {
			d->matched = RECEIVED + 1;
		}
	}
}

static void emit(struct data *d, struct buf *out, const char *at, size_t len)
{
	if (out)
		buf_put(out, at, len);
	d->size += (int64_t)len;
	if (d->in_header)
		scan_header(d, at, len);
}

static void emit_line_end(struct data *d, struct buf *out)
{
	emit(d, out, "\n", 1);
	d->size++;
	d->state = DATA_START;
}

/* Bytes of a line's text before the next byte that may end it. */
static size_t text_length(const struct data *d, struct slice in)
{
	const char *cr = memchr(in.at, '\r', in.len);
	size_t len = cr ? (size_t)(cr - in.at) : in.len;
	if (d->lf) {
		const char *lf = memchr(in.at, '\n', len);
		if (lf)
			len = (size_t)(lf - in.at);
	}
	return len;
}

/* c follows a dot at the start of a line. The dot was stuffed (RFC 5321 4.5.2) unless this is the end; it is not part of the text. */
static bool after_dot(struct data *d, char c)
{
	if (c == '\r')
		d->state = DATA_DOT_CR;
	else if (c == '\n' && d->lf)
		d->state = DATA_END;
	else
		d->state = DATA_TEXT;
	return d->state != DATA_TEXT;
}

/* c follows a CR that was held back. */
static bool after_cr(struct data *d, char c, struct buf *out)
{
	if (c == '\n') {
		emit_line_end(d, out);
		return true;
	}
	emit(d, out, "\r", 1);
	d->state = c == '\r' ? DATA_CR : DATA_TEXT;
	return c == '\r';
}

/* The byte at the front in a state other than DATA_TEXT. True: it is used up; false: it is the first of a line's text. */
static bool take_byte(struct data *d, char c, struct buf *out)
{
	switch (d->state) {
	case DATA_START:
		d->state = c == '.' ? DATA_DOT : DATA_TEXT;
		return c == '.';
	case DATA_CR:
		return after_cr(d, c, out);
	case DATA_DOT:
		return after_dot(d, c);
	case DATA_DOT_CR:
		if (c == '\n') {
			d->state = DATA_END;
			return true;
		}
		return after_cr(d, c, out);
	case DATA_TEXT:
	case DATA_END:
		break;
	}
	return false;
}

/* The same where only the end is asked for, and CRLF alone ends a line: up to the next line that begins with a dot. */
static size_t skip_text(struct data *d, struct slice in)
{
	const char *at = in.at, *end = in.at + in.len, *lf;
	while ((lf = memchr(at, '\n', (size_t)(end - at)))) {
		at = lf + 1;
		bool line = lf > in.at && lf[-1] == '\r';
		if (line && at < end && *at != '.')
			continue;
		if (line) {
			d->state = at < end ? DATA_DOT : DATA_START;
			return (size_t)(at - in.at) + (at < end);
		}
	}
	d->state = end[-1] == '\r' ? DATA_CR : DATA_TEXT;
	return in.len;
}

/* Text up to the next byte that may end the line, and that byte. Returns the bytes used up. */
static size_t take_text(struct data *d, struct slice in, struct buf *out)
{
	if (!out && !d->lf)
		return skip_text(d, in);
	size_t n = text_length(d, in);
	emit(d, out, in.at, n);
	if (n == in.len)
		return n;
	if (in.at[n] == '\r')
		d->state = DATA_CR;
	else
		emit_line_end(d, out);
	return n + 1;
}

size_t data_take(struct data *d, struct slice in, struct buf *out)
{
	size_t i = 0;
	while (i < in.len && d->state != DATA_END) {
		if (d->state != DATA_TEXT && take_byte(d, in.at[i], out))
			i++;
		else
			i += take_text(d, (struct slice){ in.at + i, in.len - i }, out);
	}
	return i;
}

/* Bytes that another server might take for a line end, or skip and then see one. */
static void blank_out(char *at, size_t len, char what)
{
	char *end = at + len;
	while ((at = memchr(at, what, (size_t)(end - at))))
		*at++ = ' ';
}

bool data_stuff(bool *start, struct slice text, struct buf *out)
{
	char *to = text.len > 0 ? buf_reserve(out, DATA_STUFFED * text.len) : NULL;
	if (!to)
		return text.len == 0;
	const char *at = text.at, *end = text.at + text.len;
	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		size_t len = (size_t)((lf ? lf : end) - at);
		if (*start && len > 0 && *at == '.')
			*to++ = '.';
		memcpy(to, at, len);
		blank_out(to, len, '\r');
		blank_out(to, len, '\0');
		to += len;
		at += len;
		*start = lf != NULL;
		if (lf) {
			*to++ = '\r';
			*to++ = '\n';
			at++;
		}
	}
	out->len = (size_t)(to - out->at);
	return true;
}
