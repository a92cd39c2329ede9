/* The tour, gate: early talk and its kinds. Each kind has a counter, an option, and so a reaction; the null server is one of those. */
#include "gate/early.h"

#include <stddef.h>

#include "access/macros.h"
#include "gate/front.h"
#include "gate/session.h"

#define LINE 512 /* bytes of a reply line at most, its end included (RFC 5321 4.5.3.1.5) */

static const struct {
	size_t option; /* where in struct conf */
	enum metric counter;
} kinds[TALK_KINDS] = {
	[TALK_SMTP] = { offsetof(struct conf, early_smtp), METRIC_early_smtp },
	[TALK_SESSION] = { offsetof(struct conf, early_session), METRIC_early_session },
	[TALK_TLS] = { offsetof(struct conf, early_tls), METRIC_early_tls },
	[TALK_HTTP] = { offsetof(struct conf, early_http), METRIC_early_http },
	[TALK_PROXY] = { offsetof(struct conf, early_proxy), METRIC_early_proxy },
	[TALK_SSH] = { offsetof(struct conf, early_ssh), METRIC_early_ssh },
	[TALK_TEXT] = { offsetof(struct conf, early_text), METRIC_early_text },
	[TALK_BINARY] = { offsetof(struct conf, early_binary), METRIC_early_binary },
};

struct conf_reaction early_reaction(const struct conf *conf, enum talk_kind kind)
{
	struct conf_reaction reaction;
	const char *why;
	/* It has been checked when the configuration was read; what could not be is Sendmail's. */
	if (!conf_reaction_parse(*(char *const *)((const char *)conf + kinds[kind].option), &reaction, &why))
		conf_reaction_parse("refuse", &reaction, &why);
	return reaction;
}

enum metric early_counter(enum talk_kind kind)
{
	return kinds[kind].counter;
}

enum conn_event early_judge(const struct front *front, struct session *s)
{
	return early_reaction(front->conf, s->kind).kind == CONF_REACTION_REFUSE ? CONN_TALK : CONN_CUT;
}

/* A text that is too long for a line is cut. */
static void put_line(const struct front *front, const struct session *s, const struct conf_reaction *r, struct buf *out)
{
	const struct macros who = session_macros(front, s);
	char memory[LINE - 2];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	buf_putf(&line, "%d ", r->code);
	if (r->dsn.len > 0 && r->code != SESSION_GREETED) /* a greeting has none (RFC 2034 section 4) */
		buf_putf(&line, "%.*s ", (int)r->dsn.len, r->dsn.at);
	macros_put(&line, r->text, &who);
	buf_put_slice(out, buf_slice(&line));
	buf_put_text(out, "\r\n");
}

/* Where the option has no reply. */
static void put_default(const char *host, const struct conf_reaction *r, struct buf *out)
{
	if (r->kind == CONF_REACTION_TEMPFAIL)
		reply_put(out, r->code, "4.7.0", "%s Try again later, and wait for the greeting", host);
	else if (r->code == SESSION_GREETED)
		early_put_end(out, host);
	else if (r->kind == CONF_REACTION_REFUSE)
		reply_refusal(out, host);
	else
		reply_put(out, r->code, NULL, "%s ESMTP not accepting messages", host);
}

void early_put_end(struct buf *out, const char *host)
{
	reply_put(out, SESSION_GREETED, NULL, "%s ESMTP not accepting messages", host);
}

void early_put_reply(const struct front *front, const struct session *s, bool owed, struct buf *out)
{
	struct conf_reaction r = early_reaction(front->conf, s->kind);
	if (r.kind == CONF_REACTION_CLOSE)
		return;
	if (owed && r.kind == CONF_REACTION_REFUSE)
		r.code = SESSION_GREETED;
	else if (owed)
		early_put_end(out, front->conf->hostname);
	if (r.text.len > 0)
		put_line(front, s, &r, out);
	else
		put_default(front->conf->hostname, &r, out);
}

bool early_wants_name(const struct conf *conf)
{
	bool wants = false;
	for (unsigned kind = 0; kind < TALK_KINDS; kind++)
		wants = wants || macros_want_name(early_reaction(conf, (enum talk_kind)kind).text);
	return wants;
}
