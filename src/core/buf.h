/* buf.h: bytes with a length and a ceiling.
 *
 * A slice looks at bytes that somebody else owns. A buf owns or borrows its bytes, and never grows past its
 * ceiling: what does not fit is not written at all, `full` says so, and the caller decides what that means.
 * Growing may allocate; nothing here blocks or logs.
 */
#ifndef TARRY_CORE_BUF_H
#define TARRY_CORE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *at;
	size_t len;
};

struct buf {
	char *at;
	size_t len;  /* bytes in use */
	size_t cap;  /* bytes there are */
	size_t max;  /* the ceiling; cap == max from the start: the memory is the caller's */
	bool full;   /* something did not fit since the last buf_clear() */
	bool owned;  /* at comes from malloc */
};

/* A slice of a literal or of a C string. */
struct slice slice_of(const char *text);
bool slice_is(struct slice s, const char *text);       /* the same bytes */
bool slice_is_nocase(struct slice s, const char *text); /* ASCII case folded */
struct slice slice_trim(struct slice s);               /* without blanks and tabs at both ends */

/* An empty buf that allocates when first written, up to max bytes. buf_fini() frees it and leaves it empty and usable. */
void buf_init(struct buf *b, size_t max);
/* A buf over the caller's memory; never allocates, buf_fini() does nothing to the memory. */
void buf_init_fixed(struct buf *b, char *memory, size_t size);
void buf_fini(struct buf *b);
void buf_clear(struct buf *b);

/* Room for at least len bytes at at+len, or NULL, and `full` is set; the caller adds to len what it wrote. */
char *buf_reserve(struct buf *b, size_t len);

/* Append. False: it did not fit or there was no memory; nothing was written, `full` is set. */
static inline bool buf_put(struct buf *b, const void *bytes, size_t len)
{
	if (len == 0)
		return true;
	char *at = len <= b->cap - b->len ? b->at + b->len : buf_reserve(b, len);
	if (!at)
		return false;
	memcpy(at, bytes, len);
	b->len += len;
	return true;
}
static inline bool buf_put_text(struct buf *b, const char *text)
{
	return buf_put(b, text, strlen(text));
}
bool buf_put_slice(struct buf *b, struct slice s);
bool buf_put_char(struct buf *b, char c);
bool buf_putf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool buf_vputf(struct buf *b, const char *format, va_list args);

/* Bytes from the network made printable: the one place where it is done. 0x20..0x7e pass, except that '"' and '\' get
 * a backslash; \t \r \n are written so, all others as \xHH. At most `most` input bytes are shown; "..." tells that more followed. */
bool buf_put_escaped(struct buf *b, const void *bytes, size_t len, size_t most);

/* Drop the first n bytes (n <= len). */
void buf_drop(struct buf *b, size_t n);
/* The text so far as a C string (the NUL is not counted); "" when there was no room for the NUL. */
const char *buf_text(struct buf *b);
struct slice buf_slice(const struct buf *b);

#endif
