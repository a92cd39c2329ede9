/* The tour, gate: the null server. A slammer has sent a whole session already; it is answered line by line, so that its log says
 * what happened, and so that a rejected DATA does not turn the message into something else than a row of unknown commands. */
#include "gate/refuse.h"

#include <string.h>
#include <time.h>

#include "core/log.h"
#include "smtp/foreign.h"

#define REFUSE_FIRST 1024 /* bytes: what a slammer's usual session is answered with */

static void begin(struct refuse *r)
{
	buf_init(&r->out, REFUSE_OUT);
	buf_reserve(&r->out, REFUSE_FIRST);
	r->bad = r->answered = 0;
	r->slowdown = (struct slowdown){ { 0 } };
	r->slow_s = 0;
	r->slowed = r->one = false;
	r->foreign = NULL;
}

void refuse_init_after(struct refuse *r, struct slice owed, struct slice reply)
{
	begin(r);
	buf_put_slice(&r->out, owed);
	buf_put_slice(&r->out, reply);
}

void refuse_init(struct refuse *r, const struct refuse_rules *rules)
{
	begin(r);
	if (rules->first.len > 0)
		buf_put_slice(&r->out, rules->first);
	else if (rules->denied.len > 0)
		reply_greeting(&r->out, rules->hostname, rules->greeting, (int64_t)time(NULL));
	else
		reply_refusal(&r->out, rules->hostname);
}

void refuse_fini(struct refuse *r)
{
	buf_fini(&r->out);
}

/* The next line of `rest`: up to LF, or REFUSE_LINE bytes, or with `last` whatever there is. *used counts its line end too. */
static bool next_line(struct slice rest, bool last, struct slice *line, size_t *used)
{
	const char *lf = memchr(rest.at, '\n', rest.len);
	bool cut = !lf && rest.len >= REFUSE_LINE;
	if (!lf && !cut && !(last && rest.len > 0))
		return false;
	*line = (struct slice){ rest.at, lf ? (size_t)(lf - rest.at) : rest.len };
	*used = line->len + (lf ? 1 : 0);
	/* A CR belongs to the line end where there is one; in a line that was cut it is the line's own. */
	if (!cut && line->len > 0 && line->at[line->len - 1] == '\r')
		line->len--;
	return true;
}

/* Sendmail takes letters, digits and these as a domain, whatever they add up to. */
static bool is_domain(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.at[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!letter && (c == '\0' || !strchr("[].-_#:", c)))
			return false;
	}
	return true;
}

static void answer_hello(struct refuse *r, const struct refuse_rules *rules, const struct command *c)
{
	const char *verb = c->verb == COMMAND_EHLO ? "EHLO" : "HELO";
	if (c->rest.len == 0) {
		reply_put(&r->out, 501, "5.0.0", "%s requires domain address", verb);
	} else if (!is_domain(c->rest)) {
		reply_put(&r->out, 501, "5.0.0", "Invalid domain name");
	} else {
		reply_hello(&r->out, rules->hostname, &rules->client, c->verb == COMMAND_EHLO);
		if (c->verb == COMMAND_EHLO)
			reply_put(&r->out, 250, NULL, "ENHANCEDSTATUSCODES");
	}
}

/* The commands that Sendmail knows and rejects, and those it does not know, share one counter. True: that was one too many. */
static bool answer_bad(struct refuse *r, const struct refuse_rules *rules, struct slice line, bool known)
{
	if (++r->bad > rules->max_bad_commands) {
		reply_put(&r->out, 421, "4.7.0", "%s Too many bad commands; closing connection", rules->hostname);
		return true;
	}
	if (known && rules->denied.len > 0) {
		buf_putf(&r->out, "%.*s\r\n", (int)rules->denied.len, rules->denied.at);
		return rules->denied.len > 3 && memcmp(rules->denied.at, "421", 3) == 0;
	}
	if (known)
		reply_put(&r->out, 550, "5.0.0", "Command rejected");
	else
		reply_unrecognized(&r->out, line);
	return false;
}

static bool answer(struct refuse *r, const struct refuse_rules *rules, struct slice line, const struct command *c)
{
	if (r->answered < UINT16_MAX)
		r->answered++;
	switch (c->verb) {
	case COMMAND_HELO:
	case COMMAND_EHLO:
		answer_hello(r, rules, c);
		return false;
	case COMMAND_NOOP:
		reply_put(&r->out, 250, "2.0.0", "OK");
		return false;
	case COMMAND_RSET:
		reply_put(&r->out, 250, "2.0.0", "Reset state");
		return false;
	case COMMAND_QUIT:
		reply_closing(&r->out, rules->hostname);
		return true;
	case COMMAND_UNKNOWN:
		r->foreign = rules->denied.len > 0 && rules->forbidden ? foreign_command(rules->forbidden, line, c, r->answered == 1) : NULL;
		if (r->foreign) {
			foreign_put_reply(&r->out, rules->hostname, r->foreign, &rules->client);
			return true;
		}
		return answer_bad(r, rules, line, false);
	case COMMAND_STARTTLS: /* as a Sendmail without TLS and SASL: it does not know them */
	case COMMAND_AUTH:
	case COMMAND_BDAT:
		return answer_bad(r, rules, line, false);
	default:
		return answer_bad(r, rules, line, true);
	}
}

void refuse_log_attack(const struct addr *client, const struct slowdown_step *step)
{
	struct log_line l;
	log_begin(&l, LOG_LEVEL_NOTICE);
	log_text(&l, "event", "attack");
	log_addr(&l, "client", client);
	log_text(&l, "command", step->command);
	log_int(&l, "count", step->count);
	log_end(&l);
}

/* How long the reply to this command is held back, in seconds; counts it. What the null server rejects in any case is not slowed down, as in Sendmail. */
static unsigned slow_down(struct refuse *r, const struct refuse_rules *rules, enum command_verb verb)
{
	enum slowdown_kind kind = slowdown_kind(verb);
	if (kind != SLOWDOWN_HELO && kind != SLOWDOWN_NOOP)
		return 0;
	struct slowdown_step step = slowdown_count(&r->slowdown, kind);
	if (step.command)
		refuse_log_attack(rules->client.addr, &step);
	return step.seconds;
}

enum refuse_result refuse_run(struct refuse *r, const struct refuse_rules *rules, bool last)
{
	enum refuse_result result = REFUSE_MORE;
	size_t done = 0, used;
	struct slice line;
	/* A reply is at most some 550 bytes (a greeting by a host name of 255): with this much room it cannot fail to fit. */
	while (result == REFUSE_MORE && r->out.len + COMMAND_LINE < REFUSE_OUT) {
		if (!next_line((struct slice){ r->in + done, r->in_len - done }, last, &line, &used))
			break;
		struct command c = command_parse(line);
		r->slow_s = r->slowed ? 0 : slow_down(r, rules, c.verb);
		r->slowed = r->slow_s > 0;
		if (r->slowed) {
			result = REFUSE_SLOW;
			break;
		}
		done += used;
		if (answer(r, rules, line, &c))
			result = REFUSE_END;
		if (r->one)
			break;
	}
	memmove(r->in, r->in + done, r->in_len - done);
	r->in_len -= done;
	return r->out.full ? REFUSE_END : result; /* no memory: whoever waits for a reply that is not there hears the end instead */
}
