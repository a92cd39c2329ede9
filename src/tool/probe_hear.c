/* The tour, probe: listening to a server: bytes become lines, lines become replies in a record, under the same ceilings whoever listens. What follows from a
 * reply is the listener's business, and so is the clock. */
#include "tool/probe.h"

#include <errno.h>
#include <string.h>

#include "core/sock.h"

void probe_ear_init(struct probe_ear *ear, const struct probe_ear_ops *ops, struct probe_record *record)
{
	ear->ops = ops;
	ear->record = record;
	ear->bytes = 0;
	ear->over = false;
	buf_init(&ear->in, PROBE_LINE);
}

void probe_ear_fini(struct probe_ear *ear)
{
	buf_fini(&ear->in);
}

static void finish(struct probe_ear *ear, enum probe_end how, int error)
{
	if (ear->over)
		return;
	ear->over = true;
	ear->ops->end(ear, how, error);
}

void probe_ear_stop(struct probe_ear *ear)
{
	ear->over = true;
}

static void not_smtp(struct probe_ear *ear, struct slice bytes)
{
	struct probe_record *r = ear->record;
	r->junk_len = bytes.len < PROBE_JUNK ? bytes.len : PROBE_JUNK;
	memcpy(r->junk, bytes.at, r->junk_len);
	finish(ear, PROBE_END_NOT_SMTP, 0);
}

/* The reply in the making is complete. */
static void complete(struct probe_ear *ear)
{
	struct probe_record *r = ear->record;
	struct probe_reply *reply = &r->replies[r->replies_len++];
	*reply = r->partial;
	r->partial.lines = 0;
	r->partial.text_len = 0;
	ear->ops->reply(ear, reply);
}

static void hear_line(struct probe_ear *ear, struct slice line)
{
	struct probe_record *r = ear->record;
	if (line.len > 0 && line.at[line.len - 1] == '\r')
		line.len--;
	ear->ops->line(ear, line);
	if (r->replies_len == PROBE_REPLIES) {
		finish(ear, PROBE_END_TOO_MUCH, 0);
		return;
	}
	switch (probe_reply_add(&r->partial, line, ear->ops->elapsed(ear))) {
	case PROBE_REPLY_MORE:
		break;
	case PROBE_REPLY_DONE:
		complete(ear);
		break;
	case PROBE_REPLY_BAD:
		not_smtp(ear, line);
		break;
	case PROBE_REPLY_TOO_MUCH:
		finish(ear, PROBE_END_TOO_MUCH, 0);
		break;
	}
}

/* All whole lines of in; and what is left, if it cannot become one. */
static void hear(struct probe_ear *ear)
{
	size_t done = 0;
	while (!ear->over) {
		const char *at = ear->in.at + done;
		const char *nl = memchr(at, '\n', ear->in.len - done);
		if (!nl)
			break;
		hear_line(ear, (struct slice){ at, (size_t)(nl - at) });
		done = (size_t)(nl - ear->in.at) + 1;
	}
	buf_drop(&ear->in, done);
	if (!ear->over && !probe_reply_possible(buf_slice(&ear->in)))
		not_smtp(ear, buf_slice(&ear->in));
}

/* The end of the connection; a last line without its end counts as one. */
static void hear_end(struct probe_ear *ear, enum probe_end how, int error)
{
	if (ear->in.len > 0)
		hear_line(ear, buf_slice(&ear->in));
	finish(ear, how, error);
}

void probe_ear_receive(struct probe_ear *ear, int fd)
{
	while (!ear->over) {
		size_t before = ear->in.len;
		switch (sock_read(fd, &ear->in, 0)) {
		case SOCK_OK:
			ear->bytes += ear->in.len - before;
			hear(ear);
			if (ear->bytes > PROBE_BYTES)
				finish(ear, PROBE_END_TOO_MUCH, 0);
			break;
		case SOCK_AGAIN:
			return;
		case SOCK_FULL:
			finish(ear, PROBE_END_TOO_MUCH, 0);
			break;
		case SOCK_EOF:
			hear_end(ear, PROBE_END_CLOSED, 0);
			break;
		case SOCK_ERROR:
			hear_end(ear, errno == ECONNRESET || errno == EPIPE ? PROBE_END_RESET : PROBE_END_ERROR, -errno);
			break;
		}
	}
}
