/* The tour, mail: the connection of a session. Bytes are read in large pieces, cut into lines or passed on as text, and the replies gathered; they are sent when
 * the input is used up, so that a pipelining client gets them in few segments, or before when they become many. While the client
 * does not take its replies nothing more is read from it.
 *
 *   HEADER ──▶ COMMAND ⇄ DATA      QUIT, 421, end of input ──▶ LAST ──all sent──▶ LINGER ──▶ GONE
 */
#include "mail/smtpd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/log.h"
#include "core/sock.h"

#define HEADER_WAIT (5 * LOOP_SECOND) /* for the PROXY header, which the door sends at once */
#define COMMAND_IN 4096               /* bytes read at once where commands are expected */
#define OUT_HIGH (SMTPD_OUT - DIALOGUE_REPLY)

enum state { HEADER, COMMAND, DATA, LAST, LINGER, GONE };

struct session {
	struct source source;
	struct smtpd *home;
	struct session *next, *prev;
	enum state state;
	bool skipping; /* the rest of a line that was too long */
	bool ended;    /* the client has sent its end */
	struct buf in, out;
	size_t used;   /* bytes of in that are done with */
	size_t lingered;
	int64_t since;
	struct dialogue dialogue;
};

static const char *const state_names[] = { "header", "command", "data", "last", "linger", "gone" };

static struct session *of(struct source *source)
{
	return (struct session *)source; /* its first member */
}

/* Deadlines belong to states; a state that was entered anew (a command answered, a block of text taken) waits anew. */
static void set_deadline(struct session *s)
{
	const struct conf *conf = s->home->shared.conf;
	int64_t wait = s->state == HEADER ? HEADER_WAIT : s->state == LINGER ? conf->linger : conf->command_timeout;
	loop_set_due(s->home->loop, &s->source, loop_now(s->home->loop) + wait);
}

static void report_end(const struct session *s)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_DEBUG))
		return;
	log_text(&l, "event", "session");
	if (s->dialogue.id[0])
		log_text(&l, "session", s->dialogue.id);
	if (s->dialogue.local || !s->dialogue.shared)
		log_text(&l, "client", "local");
	else
		log_addr(&l, "client", &s->dialogue.client);
	log_int(&l, "commands", s->dialogue.commands);
	log_int(&l, "messages", s->dialogue.messages);
	log_ms(&l, "ms", loop_now(s->home->loop) - s->since);
	log_end(&l);
}

static void leave(struct session *s)
{
	struct smtpd *home = s->home;
	report_end(s);
	loop_close(home->loop, &s->source);
	dialogue_fini(&s->dialogue);
	buf_fini(&s->in);
	buf_fini(&s->out);
	if (s->prev)
		s->prev->next = s->next;
	else
		home->all = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->next = home->gone;
	home->gone = s;
	home->sessions--;
}

/* The one place where the state changes. */
static void enter(struct session *s, enum state state)
{
	struct log_line l;
	if (state != s->state && log_begin(&l, LOG_LEVEL_DEBUG)) {
		log_text(&l, "event", "state");
		log_text(&l, "from", state_names[s->state]);
		log_text(&l, "to", state_names[state]);
		log_end(&l);
	}
	s->state = state;
	switch (state) {
	case GONE:
		leave(s);
		return;
	case LAST: /* what came after the last command is not answered */
		dialogue_fini(&s->dialogue);
		s->used = s->in.len;
		break;
	case LINGER:
		shutdown(s->source.fd, SHUT_WR);
		break;
	case HEADER:
	case COMMAND:
	case DATA:
		break;
	}
	set_deadline(s);
}

static void report_error(const struct session *s, const char *event, const char *error)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_ERROR))
		return;
	log_text(&l, "event", event);
	if (s->dialogue.id[0])
		log_text(&l, "session", s->dialogue.id);
	log_text(&l, "error", error);
	log_end(&l);
}

/* The socket has failed. That the door has gone, with its client, is nothing to write about. */
static void lose(struct session *s)
{
	if (errno != EPIPE && errno != ECONNRESET)
		report_error(s, "session_lost", strerror(errno));
	enter(s, GONE);
}

/* Send what there is. False: not all of it went, or the session is gone. */
static bool flush(struct session *s)
{
	enum sock_result sent = s->out.len == 0 ? SOCK_OK : sock_write(s->source.fd, &s->out);
	if (sent == SOCK_OK)
		buf_fini(&s->out);
	else if (sent != SOCK_AGAIN)
		lose(s);
	return sent == SOCK_OK;
}

/* There is no memory for what would come next. What has been answered goes out, then the client hears that it should come again. */
static void give_up(struct session *s)
{
	char memory[DIALOGUE_REPLY];
	struct buf reply;
	report_error(s, "no_memory", strerror(ENOMEM));
	buf_init_fixed(&reply, memory, sizeof(memory));
	dialogue_no_memory(&s->home->shared, &reply);
	if (flush(s) && sock_write(s->source.fd, &reply) == SOCK_OK)
		enter(s, LAST);
	else if (s->state != GONE)
		enter(s, GONE);
}

/* What has been read and not used yet. */
static struct slice input(const struct session *s)
{
	return s->in.len > s->used ? (struct slice){ s->in.at + s->used, s->in.len - s->used } : slice_of("");
}

/* Take the header off the input. False: it is not complete. */
static bool take_header(struct session *s)
{
	struct proxyhdr header;
	const char *why = NULL;
	int n = proxyhdr_read_v2(input(s), &header, &why);
	if (n < 0) {
		log_event(LOG_LEVEL_WARNING, "bad_proxy_header", "%s", why);
		enter(s, GONE);
		return false;
	}
	if (n == 0)
		return false;
	s->used += (size_t)n;
	dialogue_init(&s->dialogue, &s->home->shared, &header);
	dialogue_greet(&s->dialogue, &s->out);
	enter(s, COMMAND);
	return true;
}

static void follow(struct session *s, enum dialogue_next next)
{
	enter(s, next == DIALOGUE_COMMAND ? COMMAND : next == DIALOGUE_DATA ? DATA : LAST);
}

/* The rest of a line that was too long, up to its end. */
static bool skip_line(struct session *s)
{
	const char *end = memchr(s->in.at + s->used, '\n', s->in.len - s->used);
	s->used = end ? (size_t)(end - s->in.at) + 1 : s->in.len;
	s->skipping = !end;
	return end != NULL;
}

/* Take a line off the input and answer it. False: there is none, or not all of it. An end of input ends a line too, as in Sendmail. */
static bool take_line(struct session *s)
{
	struct slice line = input(s);
	if (line.len == 0)
		return false;
	if (s->skipping)
		return skip_line(s);
	if (dialogue_opening(&s->dialogue, line, &s->out) == DIALOGUE_CLOSE) {
		s->used += line.len;
		follow(s, DIALOGUE_CLOSE);
		return true;
	}
	const char *end = memchr(line.at, '\n', line.len);
	size_t len = end ? (size_t)(end - line.at) + 1 : line.len;
	if (len > COMMAND_LINE) {
		enum dialogue_next next = dialogue_long_line(&s->dialogue, &s->out);
		s->skipping = true;
		follow(s, next);
		return true;
	}
	if (!end && !s->ended)
		return false;
	s->used += len;
	line.len = end ? len - 1 : len;
	bool crlf = end && line.len > 0 && line.at[line.len - 1] == '\r';
	line.len -= crlf;
	follow(s, dialogue_line(&s->dialogue, line, crlf, &s->out));
	return true;
}

static bool take_data(struct session *s)
{
	struct slice text = input(s);
	if (text.len == 0)
		return false;
	enum dialogue_next next = dialogue_data(&s->dialogue, &text, &s->out);
	s->used = s->in.len - text.len;
	follow(s, next);
	return true;
}

static bool take_one(struct session *s)
{
	switch (s->state) {
	case HEADER:
		return take_header(s);
	case COMMAND:
		return take_line(s);
	case DATA:
		return take_data(s);
	case LAST:
	case LINGER:
	case GONE:
		break;
	}
	return false;
}

/* What is used up goes; what is left moves to the front, once for all the lines of a piece. */
static void settle_input(struct session *s)
{
	if (s->used > 0)
		buf_drop(&s->in, s->used);
	s->used = 0;
	if (s->in.len == 0)
		buf_fini(&s->in);
}

/* Before anything is done there is room for its reply: one that were lost would leave the client waiting, or have it take the next one for it. False: no memory. */
static bool has_room(struct session *s)
{
	return input(s).len == 0 || buf_reserve(&s->out, DIALOGUE_REPLY);
}

/* All that can be answered now is. False: the client must take replies first, or the session is gone. */
static bool answer(struct session *s)
{
	do {
		if (s->out.len > OUT_HIGH && !flush(s))
			return false;
		if (!has_room(s))
			give_up(s);
	} while (take_one(s));
	return s->state != GONE;
}

/* The end of what can be done now: send, and wait for more input or for the client to take the replies. */
static void rest(struct session *s, bool answered)
{
	if (s->state == GONE)
		return;
	settle_input(s);
	if (s->ended && answered && s->state < LAST)
		enter(s, LAST);
	if (!flush(s)) {
		if (s->state != GONE && loop_rewatch(s->home->loop, &s->source, EPOLLOUT) < 0)
			enter(s, GONE);
		return;
	}
	if (s->state == LAST)
		enter(s, s->ended ? GONE : LINGER);
}

/* Throw away what still comes, up to a limit: closing with unread input would take the last reply with it. */
static void linger(struct session *s)
{
	static char nowhere[SMTPD_IN];
	struct buf in;
	buf_init_fixed(&in, nowhere, sizeof(nowhere));
	enum sock_result got = sock_read(s->source.fd, &in, 0);
	s->lingered += in.len;
	if ((got != SOCK_OK && got != SOCK_AGAIN) || s->lingered > (size_t)s->home->shared.conf->linger_bytes)
		enter(s, GONE);
}

static void receive(struct session *s)
{
	enum sock_result got = SOCK_ERROR;
	errno = ENOMEM;
	if (s->state != DATA || buf_reserve(&s->in, SMTPD_IN - s->in.len))
		got = sock_read(s->source.fd, &s->in, s->state == DATA ? 0 : COMMAND_IN);
	switch (got) {
	case SOCK_OK:
	case SOCK_AGAIN:
		break;
	case SOCK_EOF:
		s->ended = true;
		break;
	case SOCK_FULL:
	case SOCK_ERROR:
		if (errno != ENOMEM) {
			lose(s);
			return;
		}
		give_up(s);
		break;
	}
	rest(s, s->state != GONE && answer(s));
}

static void ready(struct loop *loop, struct source *source, uint32_t events)
{
	struct session *s = of(source);
	if (events & EPOLLOUT) {
		if (!flush(s))
			return;
		if (loop_rewatch(loop, source, EPOLLIN) < 0) {
			enter(s, GONE);
			return;
		}
		set_deadline(s);
		rest(s, answer(s));
	} else if (s->state == LINGER) {
		linger(s);
	} else if (s->out.len > 0) {
		enter(s, GONE); /* an error or a hang-up while only EPOLLOUT was asked for */
	} else {
		receive(s);
	}
}

static void due(struct loop *loop, struct source *source)
{
	struct session *s = of(source);
	(void)loop;
	if ((s->state != COMMAND && s->state != DATA) || s->out.len > 0) {
		enter(s, GONE);
		return;
	}
	dialogue_timeout(&s->dialogue, &s->out);
	enter(s, LAST);
	rest(s, true);
}

static const struct source_ops ops = { .ready = ready, .due = due };

void smtpd_init(struct smtpd *smtpd, struct loop *loop, const struct conf *conf)
{
	*smtpd = (struct smtpd){ .loop = loop, .shared = { .conf = conf, .loop = loop } };
	maildir_store_init(&smtpd->shared.store, conf->hostname, conf->create_maildirs);
}

void smtpd_fini(struct smtpd *smtpd)
{
	while (smtpd->all)
		enter(smtpd->all, GONE);
	smtpd_sweep(smtpd);
	maildir_store_fini(&smtpd->shared.store);
}

void smtpd_stop(struct smtpd *smtpd, bool all)
{
	for (struct session *s = smtpd->all, *next; s; s = next) {
		next = s->next;
		if (s->state == HEADER)
			enter(s, GONE);
		if (s->state != COMMAND && !(all && s->state == DATA))
			continue;
		dialogue_shutdown(&s->dialogue, &s->out);
		enter(s, LAST);
		rest(s, true);
	}
}

bool smtpd_is_busy(const struct smtpd *smtpd)
{
	for (const struct session *s = smtpd->all; s; s = s->next)
		if (s->state == DATA)
			return true;
	return false;
}

bool smtpd_is_full(const struct smtpd *smtpd)
{
	return smtpd->sessions >= SMTPD_SESSIONS;
}

bool smtpd_add(struct smtpd *smtpd, int fd)
{
	struct session *s = calloc(1, sizeof(*s));
	if (!s) {
		loop_close(smtpd->loop, &(struct source){ .fd = fd });
		return false;
	}
	source_init(&s->source, &ops);
	s->home = smtpd;
	s->since = loop_now(smtpd->loop);
	buf_init(&s->in, SMTPD_IN);
	buf_init(&s->out, SMTPD_OUT);
	smtpd->sessions++;
	s->next = smtpd->all;
	if (s->next)
		s->next->prev = s;
	smtpd->all = s;
	int e = loop_watch(smtpd->loop, &s->source, fd, EPOLLIN);
	if (e < 0) {
		s->source.fd = fd; /* closed with the rest */
		enter(s, GONE);
		return false;
	}
	enter(s, HEADER);
	return true;
}

void smtpd_sweep(struct smtpd *smtpd)
{
	while (smtpd->gone) {
		struct session *s = smtpd->gone;
		smtpd->gone = s->next;
		free(s);
	}
}
