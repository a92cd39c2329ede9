/* The tour, keeper: dialogues. A list is a walk over the rows, a piece whenever there is room in the socket; an import is taken line by line as it comes. */
#include "keeper/dialogue.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/sock.h"
#include "keeper/keeper.h"
#include "keeper/words.h"

#define PIECE 16384 /* bytes read in one go */
#define SHOWN 80

enum state { WANTED, LIST, ADD, IMPORT, DROP, LAST, OVER };

struct dialogue {
	struct source source;
	struct keeper *keeper;
	enum state state;
	uint32_t row;       /* LIST: the next one */
	uint64_t lines, done;
	struct buf in, out;
	bool writes;        /* watched for writing */
};

static void over(struct dialogue *d)
{
	loop_close(&d->keeper->loop, &d->source);
	d->state = OVER;
	if (d->keeper->offline)
		loop_stop(&d->keeper->loop);
}

static void last(struct dialogue *d, const char *wrong, struct slice line)
{
	if (wrong && d->state == ADD) { /* somebody has typed it, and no line of a file */
		struct slice word = words_next(&line);
		buf_put_text(&d->out, "- \"");
		buf_put_escaped(&d->out, word.at, word.len, SHOWN);
		buf_putf(&d->out, "\": %s%s\n", wrong, d->done > 0 ? "; those before it are taken" : "");
	} else if (wrong) {
		buf_putf(&d->out, "- line %llu: \"", (unsigned long long)d->lines);
		buf_put_escaped(&d->out, line.at, line.len, SHOWN);
		buf_putf(&d->out, "\": %s; %llu before it are taken\n", wrong, (unsigned long long)d->done);
	} else {
		buf_putf(&d->out, "+ %llu\n", (unsigned long long)d->done);
	}
	d->state = LAST;
}

/* ---- lines ---- */

/* Whether a front looks for it: of an IPv4 client for one network alone. What comes from a file may be of another door, or of the time of another known_prefix. */
static bool is_looked_for(const struct keeper *k, const struct known_key *key)
{
	return key->at[0] != KNOWN_IPV4 || key->at[1] == k->bits;
}

static void take_entry(struct dialogue *d, struct slice line)
{
	struct slice rest = line, word = words_next(&rest), since = words_next(&rest), passed = words_next(&rest);
	uint32_t now = (uint32_t)time(NULL);
	struct known_times times = { now, now, 0 };
	struct known_key key;
	if (!known_key_parse(word, &key)) {
		last(d, "expected an address, a network (of an IPv6 client a /64) or a domain", line);
	} else if (rest.len > 0 || (since.len > 0 && (!words_take_time(since, &times.since) || !words_take_time(passed, &times.passed)))) {
		last(d, "expected nothing behind it, or two times such as 2026-11-30T14:00:00Z", line);
	} else if (d->state == ADD && !is_looked_for(d->keeper, &key)) {
		last(d, d->keeper->bits == 32 ? "nobody would be known by it: expected an address, as known_prefix = 32 has it" : "nobody would be known by it: expected a network of as many bits as known_prefix has", line);
	} else if (d->state == DROP) {
		d->done += keeper_forfeit(d->keeper, &key, KEEPER_FRONT);
	} else {
		const char *wrong = keeper_pass(d->keeper, &key, times, KEEPER_FRONT);
		d->done += wrong == NULL;
		if (wrong)
			last(d, wrong, line);
	}
}

/* As they are taken by that kind of keeper. */
static void take_for(struct dialogue *d, struct slice line)
{
	static const enum keeper_verb verbs[] = { [ADD] = KEEPER_ADD, [IMPORT] = KEEPER_IMPORT, [DROP] = KEEPER_DROP };
	const char *wrong = d->keeper->kind->line(d->keeper, verbs[d->state], line, &d->done);
	if (wrong)
		last(d, wrong, line);
}

static bool is_taking(const struct dialogue *d)
{
	return d->state == ADD || d->state == IMPORT || d->state == DROP;
}

static void take_line(struct dialogue *d, struct slice line)
{
	line = slice_trim(line);
	if (d->state == WANTED) {
		d->state = slice_is(line, "list") ? LIST : slice_is(line, "import") ? IMPORT : slice_is(line, "drop") ? DROP : slice_is(line, "add") ? ADD : LAST;
		if (d->state == LAST)
			buf_put_text(&d->out, "- expected list, add, import or drop\n");
		return;
	}
	d->lines++;
	if (line.len > 0 && line.at[0] != '#' && d->keeper->kind->line)
		take_for(d, line);
	else if (line.len > 0 && line.at[0] != '#')
		take_entry(d, line);
}

/* What came, up to its last line end; eof: all of it. */
static void take_lines(struct dialogue *d, bool eof)
{
	size_t at = 0;
	while (d->state == WANTED || is_taking(d)) {
		const char *lf = at < d->in.len ? memchr(d->in.at + at, '\n', d->in.len - at) : NULL;
		size_t len = lf ? (size_t)(lf - d->in.at) - at : d->in.len - at;
		if (!lf && (!eof || len == 0) && len <= DIALOGUE_LINE)
			break;
		if (len > DIALOGUE_LINE) {
			d->lines++;
			last(d, "the line is too long", (struct slice){ d->in.at + at, len });
		} else {
			take_line(d, (struct slice){ d->in.at + at, len });
		}
		at += len + (lf ? 1 : 0);
	}
	buf_drop(&d->in, at < d->in.len ? at : d->in.len);
	if (eof && is_taking(d)) {
		if (d->keeper->kind == &keeper_known)
			known_table_sort(&d->keeper->table);
		last(d, NULL, slice_of(""));
	}
	if (eof && d->state == WANTED)
		d->state = LAST;
}

static void list(struct dialogue *d)
{
	const struct keeper *k = d->keeper;
	struct known_key key;
	struct known_times times;
	for (; d->row <= k->table.head->used && d->out.len + DIALOGUE_LINE < DIALOGUE_OUT; d->row++) {
		if (k->kind->put_row) {
			d->done += k->kind->put_row(k, d->row, &d->out);
			continue;
		}
		if (!keeper_row(k, d->row, &key, &times))
			continue;
		known_key_put(&d->out, &key);
		buf_put_char(&d->out, '\t');
		words_put_time(&d->out, times.since);
		buf_put_char(&d->out, '\t');
		words_put_time(&d->out, times.passed);
		buf_put_char(&d->out, '\n');
		d->done++;
	}
	if (d->row > k->table.head->used && d->out.len + DIALOGUE_LINE < DIALOGUE_OUT)
		last(d, NULL, slice_of(""));
}

/* An answer that there was no memory for is not one with holes in it, but none. */
static void write_out(struct dialogue *d)
{
	enum sock_result sent = d->out.full ? SOCK_ERROR : d->out.len > 0 ? sock_write(d->source.fd, &d->out) : SOCK_OK;
	bool waits = sent == SOCK_AGAIN;
	if (sent == SOCK_ERROR || (d->state == LAST && !waits)) {
		over(d);
		return;
	}
	if (waits == d->writes)
		return;
	d->writes = waits;
	if (loop_rewatch(&d->keeper->loop, &d->source, waits ? EPOLLOUT : EPOLLIN) < 0)
		over(d);
}

static void dialogue_ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct dialogue *d = (struct dialogue *)source;
	if (d->state == OVER)
		return;
	if (!d->writes && (d->state == WANTED || is_taking(d))) {
		enum sock_result got = sock_read(source->fd, &d->in, PIECE);
		if (got == SOCK_ERROR) {
			over(d);
			return;
		}
		if (got != SOCK_AGAIN)
			take_lines(d, got == SOCK_EOF);
	} else if (events & (EPOLLHUP | EPOLLERR)) {
		over(d);
		return;
	}
	if (d->state == LIST)
		list(d);
	write_out(d);
	if (d->state == LIST && !d->writes)
		loop_set_due(loop, source, loop_now(loop)); /* the rest, after others have had their turn */
}

static void dialogue_due(struct loop *loop, struct source *source)
{
	dialogue_ready(loop, source, 0);
}

static const struct source_ops dialogue_ops = { dialogue_ready, dialogue_due };

bool dialogue_start(struct keeper *k, int fd)
{
	unsigned i = 0;
	while (i < KEEPER_DIALOGUES && k->dialogues[i])
		i++;
	struct dialogue *d = i < KEEPER_DIALOGUES ? calloc(1, sizeof(*d)) : NULL;
	if (!d) {
		close(fd);
		return false;
	}
	d->keeper = k;
	d->row = 1;
	buf_init(&d->in, PIECE + DIALOGUE_LINE + 1);
	buf_init(&d->out, DIALOGUE_OUT);
	source_init(&d->source, &dialogue_ops);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	k->dialogues[i] = d;
	if (loop_watch(&k->loop, &d->source, fd, EPOLLIN) == 0)
		return true;
	close(fd);
	d->state = OVER;
	return false;
}

void dialogue_accept(struct keeper *k, int listener)
{
	int fd;
	while ((fd = sock_accept_own(listener)) >= 0 || fd == -EPERM)
		if (fd >= 0)
			dialogue_start(k, fd);
}

static void free_one(struct dialogue *d)
{
	buf_fini(&d->in);
	buf_fini(&d->out);
	free(d);
}

void dialogue_reap(struct keeper *k)
{
	for (unsigned i = 0; i < KEEPER_DIALOGUES; i++)
		if (k->dialogues[i] && k->dialogues[i]->state == OVER) {
			free_one(k->dialogues[i]);
			k->dialogues[i] = NULL;
		}
}

void dialogue_end_all(struct keeper *k)
{
	for (unsigned i = 0; i < KEEPER_DIALOGUES; i++)
		if (k->dialogues[i] && k->dialogues[i]->state != OVER)
			over(k->dialogues[i]);
	dialogue_reap(k);
}
