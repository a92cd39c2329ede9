#include "watch_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "smtp/command.h"

static void fault(struct model *m, const char *what)
{
	if (!m->fault)
		m->fault = what;
}

static void reply(struct model *m, int code, const char *text)
{
	buf_putf(&m->out, "%d %s #%u\r\n", code, text, m->replies++);
}

void model_init(struct model *m)
{
	*m = (struct model){ .state = MODEL_COMMANDS };
	buf_init(&m->line, MODEL_MOST);
	buf_init(&m->out, MODEL_MOST);
	buf_init(&m->messages, MODEL_MOST);
	buf_init(&m->message, MODEL_MOST);
	reply(m, 220, "model.test ESMTP");
}

void model_fini(struct model *m)
{
	buf_fini(&m->line);
	buf_fini(&m->out);
	buf_fini(&m->messages);
	buf_fini(&m->message);
}

static void reset(struct model *m)
{
	m->mail = false;
	m->recipients = 0;
	buf_clear(&m->message);
}

static bool begins(struct slice s, const char *with)
{
	size_t n = strlen(with);
	return s.len >= n && strncasecmp(s.at, with, n) == 0;
}

static bool has(struct slice s, const char *text)
{
	return s.len > 0 && memmem(s.at, s.len, text, strlen(text));
}

static void store(struct model *m)
{
	buf_put_slice(&m->messages, buf_slice(&m->message));
	buf_put_text(&m->messages, "<end>\n");
	m->accepted++;
	reset(m);
}

static void begin_chunk(struct model *m, struct slice rest)
{
	char text[32];
	snprintf(text, sizeof(text), "%.*s", (int)rest.len, rest.at);
	m->chunk = (size_t)strtoull(text, NULL, 10);
	m->chunk_last = strcasestr(text, "LAST") != NULL;
	m->state = MODEL_CHUNK;
	if (m->recipients == 0)
		fault(m, "BDAT without a recipient");
}

static void end_chunk(struct model *m)
{
	m->state = MODEL_COMMANDS;
	reply(m, 250, m->chunk_last ? "message taken" : "chunk taken");
	if (m->chunk_last)
		store(m);
}

static void hello(struct model *m, bool extended)
{
	reset(m);
	if (extended)
		buf_putf(&m->out, "250-model.test\r\n250-XCLIENT NAME ADDR\r\n%s250-CHUNKING\r\n250-AUTH PLAIN\r\n250-STARTTLS\r\n250 PIPECONNECT\r\n", m->no_pipelining ? "" : "250-PIPELINING\r\n");
	else
		reply(m, 250, "hello");
	m->replies += extended;
}

static void mail(struct model *m, struct slice rest)
{
	if (m->mail)
		reply(m, 503, "sender already given");
	else if (has(rest, "<bad"))
		reply(m, 550, "bad sender");
	else
		reply(m, 250, "sender ok");
	m->mail = m->mail || !has(rest, "<bad");
}

static void rcpt(struct model *m, struct slice rest)
{
	bool good = m->mail && !has(rest, "<unknown");
	m->recipients += good;
	reply(m, good ? 250 : m->mail ? 550 : 503, "recipient");
}

/* Words that must not have passed. */
static void look_at(struct model *m, struct slice line, const struct command *c)
{
	static const char *const words[] = { "XCLIENT", "XFORWARD", "BURL", "VERB", "TURN", "ATRN", "SEND", "SOML", "SAML" };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (slice_is_nocase(c->word, words[i]))
			fault(m, "a command that is the door's");
	if (memchr(line.at, '\r', line.len) || memchr(line.at, '\0', line.len))
		fault(m, "a CR or NUL in a command");
	if (c->verb == COMMAND_RCPT && (has(c->rest, "<no") || has(c->rest, "<drop") || has(c->rest, "<later.no")))
		fault(m, "a recipient that was refused");
	if (c->verb == COMMAND_MAIL && (has(c->rest, "<no") || has(c->rest, "<drop")))
		fault(m, "a sender that was refused");
}

static void command(struct model *m, struct slice line)
{
	struct command c = command_parse(line);
	look_at(m, line, &c);
	switch (c.verb) {
	case COMMAND_HELO:
	case COMMAND_EHLO:
		hello(m, c.verb == COMMAND_EHLO);
		break;
	case COMMAND_MAIL:
		mail(m, c.rest);
		break;
	case COMMAND_RCPT:
		rcpt(m, c.rest);
		break;
	case COMMAND_DATA:
		if (m->recipients == 0)
			fault(m, "DATA without a recipient");
		m->state = begins(c.rest, "fail") ? MODEL_COMMANDS : MODEL_TEXT;
		reply(m, m->state == MODEL_TEXT ? 354 : 451, "data");
		break;
	case COMMAND_BDAT:
		begin_chunk(m, c.rest);
		if (m->chunk == 0)
			end_chunk(m);
		break;
	case COMMAND_RSET:
		reset(m);
		reply(m, 250, "reset");
		break;
	case COMMAND_AUTH:
		m->state = MODEL_AUTH;
		reply(m, 334, "go on");
		break;
	case COMMAND_STARTTLS:
		m->state = MODEL_TLS;
		reply(m, 220, "tls");
		break;
	case COMMAND_QUIT:
		m->state = MODEL_CLOSED;
		reply(m, 221, "bye");
		break;
	case COMMAND_UNKNOWN:
		reply(m, 500, "unknown");
		break;
	default:
		buf_put_text(&m->out, "250-one\r\n");
		reply(m, 250, "two");
		break;
	}
}

static void text_line(struct model *m, struct slice line)
{
	if (memchr(line.at, '\r', line.len) || memchr(line.at, '\0', line.len))
		fault(m, "a CR or NUL in text");
	if (slice_is(line, ".")) {
		m->state = MODEL_COMMANDS;
		store(m);
		reply(m, 250, "message taken");
		return;
	}
	size_t stuffed = line.len > 0 && line.at[0] == '.';
	buf_put(&m->message, line.at + stuffed, line.len - stuffed);
	buf_put_text(&m->message, "\n");
}

static void end_line(struct model *m)
{
	struct slice line = { m->line.at, m->line.len - 2 };
	if (m->line.len < 2 || line.at[line.len] != '\r') {
		fault(m, "a bare LF");
		line.len = m->line.len - 1;
	}
	if (m->state == MODEL_TEXT) {
		text_line(m, line);
	} else if (m->state == MODEL_AUTH) {
		m->state = slice_is(line, "more") ? MODEL_AUTH : MODEL_COMMANDS;
		reply(m, m->state == MODEL_AUTH ? 334 : slice_is(line, "*") ? 501 : 235, "auth");
	} else {
		command(m, line);
	}
	buf_clear(&m->line);
}

void model_take(struct model *m, struct slice bytes)
{
	for (size_t i = 0; i < bytes.len && m->state != MODEL_CLOSED && m->state != MODEL_TLS; i++) {
		if (m->state == MODEL_CHUNK) {
			buf_put_char(&m->message, bytes.at[i]);
			if (--m->chunk == 0)
				end_chunk(m);
			continue;
		}
		buf_put_char(&m->line, bytes.at[i]);
		if (bytes.at[i] == '\n')
			end_line(m);
	}
}

static enum watch_decision judge(struct model_rules *rules, struct slice local, struct slice text, struct buf *out)
{
	bool later = begins(local, "later"), refuse = begins(local, later ? "later.no" : "no");
	char line[512];
	int n = snprintf(line, sizeof(line), "%s %.*s... %s\r\n", refuse ? "550 5.7.1" : "250 2.1.5", (int)text.len, text.at, refuse ? "Access denied" : "ok");
	enum watch_decision decision = refuse ? WATCH_ANSWER : begins(local, "drop") ? WATCH_ACCEPT : WATCH_PASS;
	if (later) {
		rules->later = true;
		rules->decision = decision;
		snprintf(rules->reply, sizeof(rules->reply), "%s", decision == WATCH_PASS ? "" : line);
		return WATCH_WAIT;
	}
	if (decision != WATCH_PASS)
		buf_put(out, line, (size_t)n);
	return decision;
}

static enum watch_decision rule_mail(void *context, const struct command_path *from, struct slice parameters, struct buf *out)
{
	struct model_rules *rules = context;
	(void)parameters;
	snprintf(rules->sender, sizeof(rules->sender), "%.*s", (int)from->local.len, from->local.len ? from->local.at : "");
	return judge(rules, from->local, from->text, out);
}

static enum watch_decision rule_rcpt(void *context, const struct command_path *to, struct slice parameters, struct buf *out)
{
	(void)parameters;
	return judge(context, to->local, to->text, out);
}

static enum watch_decision rule_data(void *context, unsigned recipients, unsigned accepted, struct buf *out)
{
	struct model_rules *rules = context;
	rules->recipients = recipients;
	rules->accepted = accepted;
	rules->asked++;
	if (strncmp(rules->sender, "mute", 4) == 0) {
		buf_put_text(out, "554 5.7.1 no data\r\n");
		return WATCH_ANSWER;
	}
	if (recipients > 0 && strncmp(rules->sender, "discard", 7) != 0)
		return WATCH_PASS;
	buf_put_text(out, "250 2.0.0 1abc Message accepted for delivery\r\n");
	return WATCH_DISCARD;
}

const struct watch_rules model_rules = { .hostname = "door.test", .max_bad_commands = 25, .mail = rule_mail, .rcpt = rule_rcpt, .data = rule_data };

void model_decide(struct model_rules *rules, struct watch *w)
{
	if (!rules->later)
		return;
	rules->later = false;
	watch_decided(w, rules->decision, slice_of(rules->reply));
}
