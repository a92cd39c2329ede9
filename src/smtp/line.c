/* The tour, smtp: where a command or a reply ends: at LF. The bytes of most come in one piece, and are not copied. */
#include "smtp/line.h"

static void advance(struct slice *in, size_t n)
{
	if (n == 0)
		return; /* an empty slice's bytes may be NULL */
	in->at += n;
	in->len -= n;
}

static const char *find_end(const char *at, size_t len)
{
	return len > 0 ? memchr(at, '\n', len) : NULL;
}

/* There is a beginning in the buf already: what belongs to it comes out of *in. */
static enum line_result complete(struct buf *partial, struct slice *in, size_t most, bool last, struct line *out)
{
	if (partial->at[partial->len - 1] != '\n') {
		const char *lf = find_end(in->at, in->len);
		size_t n = lf ? (size_t)(lf - in->at) + 1 : in->len;
		if (partial->len + n > most || !buf_put(partial, in->at, n))
			return LINE_LONG;
		advance(in, n);
	}
	*out = (struct line){ .bytes = buf_slice(partial) };
	return last || partial->at[partial->len - 1] == '\n' ? LINE_READY : LINE_MORE;
}

enum line_result line_next(struct buf *partial, struct slice *in, size_t most, bool last, struct line *out)
{
	if (partial->len > 0)
		return complete(partial, in, most, last, out);
	const char *lf = find_end(in->at, in->len < most ? in->len : most);
	if (!lf && in->len > most)
		return LINE_LONG;
	if (lf || (last && in->len > 0)) {
		size_t n = lf ? (size_t)(lf - in->at) + 1 : in->len;
		*out = (struct line){ { in->at, n }, n };
		return LINE_READY;
	}
	if (!buf_put_slice(partial, *in))
		return LINE_LONG;
	advance(in, in->len);
	return LINE_MORE;
}

void line_used(struct buf *partial, struct slice *in, const struct line *line)
{
	if (line->in_place > 0)
		advance(in, line->in_place);
	else
		buf_fini(partial); /* a connection at rest holds no buffer */
}

bool line_keep(struct buf *partial, struct slice *in, const struct line *line)
{
	if (line->in_place == 0)
		return true;
	if (!buf_put_slice(partial, line->bytes))
		return false;
	advance(in, line->in_place);
	return true;
}

bool line_skip(struct buf *partial, struct slice *in)
{
	buf_fini(partial);
	const char *lf = find_end(in->at, in->len);
	advance(in, lf ? (size_t)(lf - in->at) + 1 : in->len);
	return lf != NULL;
}

struct slice line_text(struct slice bytes, bool *crlf)
{
	bool lf = bytes.len > 0 && bytes.at[bytes.len - 1] == '\n';
	bytes.len -= lf;
	*crlf = lf && bytes.len > 0 && bytes.at[bytes.len - 1] == '\r';
	while (bytes.len > 0 && bytes.at[bytes.len - 1] == '\r')
		bytes.len--;
	return bytes;
}
