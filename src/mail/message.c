/* The tour, mail: one message. Bytes go through data.c, which finds the line ends, into a block, and the block into the file whenever it is full. */
#include "mail/message.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define TAKE_LEAST 1024 /* bytes taken in one go at least; with less room than that the block is written first */

/* Microseconds since 1970 (never the same twice in a process) and the process: 11 and 5 digits of 5 bits. */
void message_make_id(char out[MESSAGE_ID])
{
	static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
	static uint64_t last;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t stamp = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	last = stamp > last ? stamp : last + 1;
	stamp = last;
	uint64_t process = (uint64_t)getpid();
	for (int i = 10; i >= 0; i--, stamp >>= 5)
		out[i] = digits[stamp & 31];
	for (int i = 15; i >= 11; i--, process >>= 5)
		out[i] = digits[process & 31];
	out[16] = '\0';
}

/* The file goes at once, not when the client comes to an end: the disk may be full. */
static void give_up(struct message *m, int error)
{
	m->error = error;
	maildir_abort(&m->file);
	buf_fini(&m->block);
}

static void flush(struct message *m)
{
	if (m->error < 0 || m->block.len == 0)
		return;
	int e = maildir_write(&m->file, m->block.at, m->block.len);
	buf_clear(&m->block);
	if (e < 0)
		give_up(m, e);
}

int message_begin(struct message *m, struct maildir_store *store, const char *path, struct slice header, bool lf)
{
	*m = (struct message){ .most = INT64_MAX };
	data_init(&m->data, lf);
	buf_init(&m->block, MESSAGE_BLOCK);
	int e = maildir_begin(store, path, &m->file);
	if (e < 0)
		return e;
	if (!buf_put_slice(&m->block, header)) {
		message_fini(m);
		return -ENOMEM;
	}
	return 0;
}

bool message_ended(const struct message *m)
{
	return m->data.state == DATA_END;
}

/* The text goes nowhere any more, but the end must be found. */
static size_t skip(struct message *m, struct slice in)
{
	char nowhere[TAKE_LEAST + DATA_SLACK];
	struct buf out;
	if (in.len > TAKE_LEAST)
		in.len = TAKE_LEAST;
	buf_init_fixed(&out, nowhere, sizeof(nowhere));
	return data_take(&m->data, in, &out);
}

static size_t take(struct message *m, struct slice in)
{
	size_t room = m->block.max - m->block.len;
	if (room < TAKE_LEAST + DATA_SLACK) {
		flush(m);
		room = m->block.max;
	}
	if (in.len > room - DATA_SLACK)
		in.len = room - DATA_SLACK;
	if (m->error == 0 && !buf_reserve(&m->block, in.len + DATA_SLACK))
		give_up(m, -ENOMEM);
	if (m->error < 0)
		return skip(m, in);
	size_t n = data_take(&m->data, in, &m->block);
	if (m->data.size > m->most)
		give_up(m, -EFBIG);
	return n;
}

size_t message_take(struct message *m, struct slice in)
{
	size_t done = 0;
	while (done < in.len && !message_ended(m))
		done += take(m, (struct slice){ in.at + done, in.len - done });
	return done;
}

enum message_result message_commit(struct message *m, struct maildir_store *store, char *const *paths, size_t paths_len, unsigned most_hops)
{
	if (m->data.size > m->most)
		return MESSAGE_TOO_LARGE;
	if (m->data.hops > most_hops)
		return MESSAGE_LOOPS;
	flush(m);
	if (m->error == 0)
		m->error = maildir_commit(store, &m->file, paths, paths_len);
	return m->error < 0 ? MESSAGE_FAILED : MESSAGE_STORED;
}

void message_fini(struct message *m)
{
	maildir_abort(&m->file);
	buf_fini(&m->block);
}
