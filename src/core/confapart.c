/* The tour, core: a configuration file read in a process of its own: the items are packed there, and unpacked here. Both are the same program, so the form is that of this machine. */
#include "core/confapart.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PACKED_MAX (64 * 1024 * 1024) /* many times what a file of CONFFILE_BYTES can hold */
#define NO_TEXT UINT32_MAX

/* ---- the child's side ---- */

static void put_number(struct buf *out, uint32_t n)
{
	buf_put(out, &n, sizeof(n));
}

static void put_text(struct buf *out, const char *text)
{
	put_number(out, text ? (uint32_t)strlen(text) : NO_TEXT);
	if (text)
		buf_put_text(out, text);
}

static void put_item(struct buf *out, const struct conffile_item *item)
{
	put_number(out, item->kind);
	put_number(out, item->section);
	put_number(out, item->line);
	put_text(out, item->name);
	put_text(out, item->title);
	put_number(out, (uint32_t)item->values_len);
	for (size_t i = 0; i < item->values_len; i++) {
		put_number(out, item->values[i].line);
		put_text(out, item->values[i].text);
	}
}

static bool write_all(int fd, const struct buf *out)
{
	for (size_t done = 0; done < out->len;) {
		ssize_t n = write(fd, out->at + done, out->len - done);
		if (n < 0 && errno != EINTR)
			return false;
		done += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* Whether it went well, what was complained about, what was found. */
_Noreturn static void work(bool (*parse)(struct buf *bytes), struct buf *bytes, const struct conffile *f, struct buf *errors, int to)
{
	struct buf out;
	buf_init(&out, PACKED_MAX);
	buf_clear(errors); /* what was there before, the other side has */
	put_number(&out, parse(bytes));
	put_text(&out, buf_text(errors));
	put_number(&out, (uint32_t)f->len);
	for (size_t i = 0; i < f->len; i++)
		put_item(&out, &f->items[i]);
	_exit(out.full || !write_all(to, &out) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the other side ---- */

static bool take(struct slice *in, void *at, size_t len)
{
	if (in->len < len)
		return false;
	memcpy(at, in->at, len);
	in->at += len;
	in->len -= len;
	return true;
}

static bool take_number(struct slice *in, uint32_t *n)
{
	return take(in, n, sizeof(*n));
}

static bool take_text(struct slice *in, char **text)
{
	uint32_t len;
	*text = NULL;
	if (!take_number(in, &len) || (len != NO_TEXT && in->len < len))
		return false;
	if (len == NO_TEXT)
		return true;
	*text = strndup(in->at, len);
	in->at += len;
	in->len -= len;
	return *text != NULL;
}

static bool take_item(struct slice *in, struct conffile_item *item, const char *file)
{
	uint32_t kind, section, line, values;
	item->file = file;
	if (!take_number(in, &kind) || !take_number(in, &section) || !take_number(in, &line) || !take_text(in, &item->name) || !take_text(in, &item->title) || !take_number(in, &values))
		return false;
	item->kind = (enum conffile_kind)kind;
	item->section = (enum conffile_section)section;
	item->line = line;
	if (values > in->len)
		return false;
	item->values = values > 0 ? calloc(values, sizeof(*item->values)) : NULL;
	for (uint32_t i = 0; i < values && item->values; i++, item->values_len++)
		if (!take_number(in, &item->values[i].line) || !take_text(in, &item->values[i].text))
			return false;
	return item->values_len == values;
}

/* False: memory is used up; what is there is the caller's to free. */
static bool unpack(struct slice in, struct conffile *f, const char *file, struct buf *errors, bool *ok)
{
	uint32_t well, len;
	char *said = NULL;
	bool whole = take_number(&in, &well) && take_text(&in, &said) && take_number(&in, &len);
	if (whole && said)
		buf_put_text(errors, said);
	free(said);
	f->items = whole && len > 0 && len <= in.len ? calloc(len, sizeof(*f->items)) : NULL;
	f->cap = f->items ? len : 0;
	if (!whole || f->cap != len)
		return false;
	for (f->len = 0; f->len < len;)
		if (!take_item(&in, &f->items[f->len++], file))
			return false;
	*ok = well;
	return true;
}

static bool read_all(int from, struct buf *in)
{
	char bytes[16384];
	ssize_t n;
	while ((n = read(from, bytes, sizeof(bytes))) != 0)
		if (n > 0)
			buf_put(in, bytes, (size_t)n);
		else if (errno != EINTR)
			return false;
	return !in->full;
}

static bool cannot(const char *file, const char *why, struct buf *errors)
{
	buf_put_escaped(errors, file, strlen(file), 200);
	buf_putf(errors, ": cannot be read: %s\n", why);
	return false;
}

bool confapart_run(bool (*parse)(struct buf *bytes), struct buf *bytes, struct conffile *f, const char *file, struct buf *errors)
{
	int ends[2], status = 0;
	bool ok = false;
	struct buf in;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return cannot(file, strerror(errno), errors);
	pid_t pid = fork();
	if (pid == 0)
		work(parse, bytes, f, errors, ends[1]);
	int e = pid < 0 ? errno : 0;
	close(ends[1]);
	buf_init(&in, PACKED_MAX);
	bool whole = pid > 0 && read_all(ends[0], &in);
	close(ends[0]); /* a child that still writes ends by that */
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	whole = whole && status == 0 && unpack(buf_slice(&in), f, file, errors, &ok);
	buf_fini(&in);
	return whole ? ok : cannot(file, strerror(e ? e : ENOMEM), errors);
}
