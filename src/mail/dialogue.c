/* The tour, mail: the conversation. One function for each command, in a table; each puts its reply, in Sendmail's words, and says what is to come next. */
#include "mail/dialogue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/metrics.h"
#include "smtp/foreign.h"
#include "smtp/reply.h"

#define TRACE 2048 /* bytes of the header lines that we add, at most */

void dialogue_init(struct dialogue *d, struct dialogue_shared *shared, const struct proxyhdr *header)
{
	*d = (struct dialogue){ .shared = shared, .client = header->client, .local = header->local,
		.has_pause = header->has_pause, .pause_ms = header->pause_ms, .forged = header->forged, .tls = header->tls, .xtls = header->xtls };
	memcpy(d->name, header->name, sizeof(d->name));
	memcpy(d->id, header->id, sizeof(d->id));
}

void dialogue_fini(struct dialogue *d)
{
	envelope_clear(&d->envelope);
	message_fini(&d->message);
}

void dialogue_greet(struct dialogue *d, struct buf *out)
{
	reply_greeting(out, d->shared->conf->hostname, d->shared->conf->smtp_login_msg, (int64_t)time(NULL));
}

void dialogue_timeout(const struct dialogue *d, struct buf *out)
{
	reply_put(out, 421, "4.4.2", "%s Timeout, closing connection", d->shared->conf->hostname);
}

void dialogue_shutdown(const struct dialogue *d, struct buf *out)
{
	reply_put(out, 421, "4.3.2", "%s Service shutting down, try again later", d->shared->conf->hostname);
}

void dialogue_no_memory(const struct dialogue_shared *shared, struct buf *out)
{
	reply_put(out, 421, "4.3.0", "%s Out of memory, try again later", shared->conf->hostname);
}

static void put_error(struct buf *out, const struct command_error *error)
{
	reply_put(out, error->code, error->enhanced, "%s", error->text);
}

/* A reply that begins with the address it is about. */
static void put_about(struct buf *out, int code, const char *enhanced, struct slice path, const char *text)
{
	reply_put(out, code, enhanced, "%.*s... %s", (int)path.len, path.at, text);
}

static struct reply_client client_of(const struct dialogue *d)
{
	return (struct reply_client){ d->local ? NULL : &d->client, slice_of(d->name), d->forged };
}

static enum dialogue_next say_hello(struct dialogue *d, const struct command *c, struct buf *out)
{
	const struct conf *conf = d->shared->conf;
	struct command_error error;
	if (!command_parse_helo(c, &error)) {
		put_error(out, &error);
		return DIALOGUE_COMMAND;
	}
	envelope_clear(&d->envelope); /* as if RSET had been said (RFC 5321 4.1.4) */
	memcpy(d->helo, c->rest.at, c->rest.len);
	d->helo[c->rest.len] = '\0';
	d->esmtp = c->verb == COMMAND_EHLO;
	struct reply_client client = client_of(d);
	reply_hello(out, conf->hostname, &client, d->esmtp);
	if (!d->esmtp)
		return DIALOGUE_COMMAND;
	reply_put_more(out, 250, "ENHANCEDSTATUSCODES");
	reply_put_more(out, 250, "PIPELINING");
	reply_put_more(out, 250, "8BITMIME");
	reply_put_more(out, 250, "SIZE %lld", (long long)conf->max_message_size);
	reply_put_more(out, 250, "SMTPUTF8");
	reply_put(out, 250, NULL, "HELP");
	return DIALOGUE_COMMAND;
}

/* Who it is about: the session, the client, the sender. */
static void put_who(struct log_line *l, const struct dialogue *d)
{
	if (d->id[0])
		log_text(l, "session", d->id);
	if (d->local)
		log_text(l, "client", "local");
	else
		log_addr(l, "client", &d->client);
	if (d->envelope.from)
		log_text(l, "from", d->envelope.from);
}

/* The size that was announced with MAIL. */
static void refuse_size(const struct dialogue *d, struct slice from, struct buf *out)
{
	const long long most = d->shared->conf->max_message_size;
	struct log_line l;
	metrics_add(METRIC_messages_refused, 1);
	reply_put(out, 552, "5.3.4", "Message size exceeds fixed maximum message size (%lld)", most);
	if (!log_begin(&l, LOG_LEVEL_INFO))
		return;
	log_text(&l, "event", "rejected");
	put_who(&l, d);
	log_bytes(&l, "from", from.at, from.len);
	log_text(&l, "reply", "552 5.3.4 Message size exceeds fixed maximum message size");
	log_end(&l);
}

static void refuse_sender(struct slice from, struct buf *out)
{
	metrics_add(METRIC_delivery_failed, 1);
	log_event(LOG_LEVEL_ERROR, "sender_failed", "sender %.*s: %s", (int)from.len, from.at, strerror(ENOMEM));
	reply_put(out, 451, "4.3.0", "Out of memory");
}

static enum dialogue_next begin_mail(struct dialogue *d, const struct command *c, struct buf *out)
{
	const struct conf *conf = d->shared->conf;
	struct command_mail mail;
	struct command_error error;
	if (d->envelope.from)
		reply_put(out, 503, "5.5.0", "Sender already specified");
	else if (!command_parse_mail(c->rest, &mail, &error))
		put_error(out, &error);
	else if (mail.size > conf->max_message_size)
		refuse_size(d, mail.from.text, out);
	else if (!envelope_set_from(&d->envelope, &mail))
		refuse_sender(mail.from.text, out);
	else
		put_about(out, 250, "2.1.0", mail.from.text, "Sender ok");
	return DIALOGUE_COMMAND;
}

/* A line of the log for what was refused: what was answered is in out, from there on. `to` NULL: no recipient was the reason. */
static void report_refusal(const struct dialogue *d, const struct slice *to, const struct buf *out, size_t from)
{
	struct log_line l;
	if (!log_begin(&l, LOG_LEVEL_INFO))
		return;
	log_text(&l, "event", "rejected");
	put_who(&l, d);
	if (to)
		log_bytes(&l, "to", to->at, to->len);
	if (out->len >= from + 2)
		log_bytes(&l, "reply", out->at + from, out->len - from - 2);
	log_end(&l);
}

static void answer_recipient(const struct dialogue *d, struct slice path, enum envelope_answer answer, struct buf *out)
{
	int error = errno;
	size_t before = out->len;
	switch (answer) {
	case ENVELOPE_OK:
		put_about(out, 250, "2.1.5", path, "Recipient ok");
		return;
	case ENVELOPE_RELAY:
		put_about(out, 550, "5.7.1", path, "Relaying denied");
		break;
	case ENVELOPE_BAD:
		put_about(out, 553, "5.1.3", path, "Not a valid mailbox name");
		break;
	case ENVELOPE_UNKNOWN:
		put_about(out, 550, "5.1.1", path, "User unknown");
		break;
	case ENVELOPE_FULL:
		reply_put(out, 452, "4.5.3", "Too many recipients");
		break;
	case ENVELOPE_TEMPFAIL:
		reply_put(out, 451, "4.3.0", "Temporary system failure. Please try again later.");
		metrics_add(METRIC_delivery_failed, 1);
		log_event(LOG_LEVEL_ERROR, "recipient_failed", "recipient %.*s: %s", (int)path.len, path.at, strerror(error));
		return;
	}
	metrics_add(METRIC_recipients_denied, 1);
	report_refusal(d, &path, out, before);
}

static enum dialogue_next add_recipient(struct dialogue *d, const struct command *c, struct buf *out)
{
	struct command_path to;
	struct command_error error;
	if (!d->envelope.from)
		reply_put(out, 503, "5.0.0", "Need MAIL before RCPT");
	else if (!command_parse_rcpt(c->rest, &to, &error))
		put_error(out, &error);
	else if (to.utf8 && !d->envelope.smtputf8)
		reply_put(out, 553, "5.6.7", "Address beyond ASCII needs SMTPUTF8");
	else
		answer_recipient(d, to.text, envelope_add(&d->envelope, d->shared->conf, &to), out);
	return DIALOGUE_COMMAND;
}

/* May stand in a comment of a header as it is. */
static bool is_plain(const char *id)
{
	return id[0] && id[strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=@")] == '\0';
}

/* Return-Path and Received (RFC 5321 4.4). All of it comes from parsers that let no control character pass. */
static void put_trace(const struct dialogue *d, struct buf *out)
{
	const struct envelope *e = &d->envelope;
	char memory[PROXYHDR_NAME_MAX + ADDR_TEXT + 32], date[REPLY_DATE];
	struct reply_client client = client_of(d);
	struct buf who;
	buf_init_fixed(&who, memory, sizeof(memory));
	reply_client(&who, &client);
	buf_putf(out, "Return-Path: <%s>\nReceived: from %s (%s)\n", e->from, d->helo[0] ? d->helo : "unknown", d->local ? "local" : buf_text(&who));
	if (d->tls.ok)
		buf_putf(out, "\t(using %s with cipher %s)\n", d->tls.version[0] ? d->tls.version : "TLS", d->tls.cipher[0] ? d->tls.cipher : "unknown");
	/* RFC 3848, and RFC 6531 section 4.3. */
	buf_putf(out, "\tby %s (Tarry " TARRY_VERSION ") with %s%s id %s", d->shared->conf->hostname,
		e->smtputf8 ? "UTF8SMTP" : d->esmtp ? "ESMTP" : "SMTP", d->tls.ok && (d->esmtp || e->smtputf8) ? "S" : "", d->message_id);
	if (d->has_pause)
		buf_putf(out, " (paused %u ms)", (unsigned)d->pause_ms);
	if (is_plain(d->id))
		buf_putf(out, " (session %s)", d->id);
	if (e->recipients == 1) /* with more, one would learn of another (RFC 5321 7.2) */
		buf_putf(out, "\n\tfor <%s>", e->first);
	buf_putf(out, "; %s\n", reply_date(date, (int64_t)time(NULL)));
}

static void put_failure(struct buf *out, int error)
{
	if (error == -ENOSPC || error == -EDQUOT)
		reply_put(out, 452, "4.3.1", "Insufficient disk space; try again later");
	else
		reply_put(out, 451, "4.3.0", "Temporary system failure. Please try again later.");
}

static void report_failure(const struct dialogue *d, int error)
{
	struct log_line l;
	metrics_add(METRIC_delivery_failed, 1);
	if (!log_begin(&l, LOG_LEVEL_ERROR))
		return;
	log_text(&l, "event", "delivery_failed");
	log_text(&l, "id", d->message_id);
	log_text(&l, "maildir", d->envelope.paths[0]);
	log_int(&l, "recipients", (int64_t)d->envelope.recipients);
	log_text(&l, "error", strerror(-error));
	log_end(&l);
}

static enum dialogue_next begin_data(struct dialogue *d, const struct command *c, struct buf *out)
{
	char memory[TRACE];
	struct buf trace;
	(void)c;
	if (!d->envelope.from || d->envelope.recipients == 0) {
		reply_put(out, 503, "5.0.0", d->envelope.from ? "Need RCPT (recipient)" : "Need MAIL command");
		return DIALOGUE_COMMAND;
	}
	message_make_id(d->message_id);
	buf_init_fixed(&trace, memory, sizeof(memory));
	put_trace(d, &trace);
	int e = message_begin(&d->message, &d->shared->store, d->envelope.paths[0], buf_slice(&trace), !d->crlf);
	if (e < 0) {
		report_failure(d, e);
		put_failure(out, e);
		envelope_clear(&d->envelope);
		return DIALOGUE_COMMAND;
	}
	d->message.most = d->shared->conf->max_message_size;
	d->data_since = loop_now(d->shared->loop);
	reply_put(out, 354, NULL, "Enter mail, end with \".\" on a line by itself");
	return DIALOGUE_DATA;
}

static void report_stored(struct dialogue *d)
{
	struct log_line l;
	d->messages++;
	metrics_add(METRIC_messages, 1);
	metrics_add(METRIC_message_bytes, d->message.data.size);
	if (!log_begin(&l, LOG_LEVEL_INFO))
		return;
	log_text(&l, "event", "message");
	log_text(&l, "id", d->message_id);
	put_who(&l, d);
	log_text(&l, "to", d->envelope.first);
	log_int(&l, "size", d->message.data.size);
	log_int(&l, "recipients", (int64_t)d->envelope.recipients);
	log_ms(&l, "ms", loop_now(d->shared->loop) - d->data_since);
	log_end(&l);
}

static void end_message(struct dialogue *d, struct buf *out)
{
	const struct conf *conf = d->shared->conf;
	struct message *m = &d->message;
	size_t before = out->len;
	switch (message_commit(m, &d->shared->store, d->envelope.paths, d->envelope.paths_len, (unsigned)conf->hopcount_limit)) {
	case MESSAGE_STORED:
		report_stored(d);
		reply_put(out, 250, "2.0.0", "%s Message accepted for delivery", d->message_id);
		break;
	case MESSAGE_TOO_LARGE:
		reply_put(out, 552, "5.3.4", "Message is too large; %lld bytes max", (long long)conf->max_message_size);
		metrics_add(METRIC_messages_refused, 1);
		report_refusal(d, NULL, out, before);
		break;
	case MESSAGE_LOOPS:
		reply_put(out, 554, "5.4.6", "Too many hops %u (%lld max)", m->data.hops, (long long)conf->hopcount_limit);
		metrics_add(METRIC_messages_refused, 1);
		report_refusal(d, NULL, out, before);
		break;
	case MESSAGE_FAILED:
		report_failure(d, m->error);
		put_failure(out, m->error);
		break;
	}
	message_fini(m);
	envelope_clear(&d->envelope);
}

enum dialogue_next dialogue_data(struct dialogue *d, struct slice *in, struct buf *out)
{
	size_t n = message_take(&d->message, *in);
	in->at += n;
	in->len -= n;
	if (!message_ended(&d->message))
		return DIALOGUE_DATA;
	end_message(d, out);
	return DIALOGUE_COMMAND;
}

static enum dialogue_next reset(struct dialogue *d, const struct command *c, struct buf *out)
{
	(void)c;
	envelope_clear(&d->envelope);
	reply_put(out, 250, "2.0.0", "Reset state");
	return DIALOGUE_COMMAND;
}

static enum dialogue_next do_nothing(struct dialogue *d, const struct command *c, struct buf *out)
{
	(void)d;
	(void)c;
	reply_put(out, 250, "2.0.0", "OK");
	return DIALOGUE_COMMAND;
}

static enum dialogue_next quit(struct dialogue *d, const struct command *c, struct buf *out)
{
	(void)c;
	reply_closing(out, d->shared->conf->hostname);
	return DIALOGUE_CLOSE;
}

/* Who asks is not told who exists (RFC 5321 7.3). */
static enum dialogue_next verify(struct dialogue *d, const struct command *c, struct buf *out)
{
	(void)d;
	if (c->rest.len == 0)
		reply_put(out, 501, "5.5.2", "Argument required");
	else
		reply_put(out, 252, "2.5.2", "Cannot VRFY user; try RCPT to attempt delivery (or try finger)");
	return DIALOGUE_COMMAND;
}

static enum dialogue_next help(struct dialogue *d, const struct command *c, struct buf *out)
{
	(void)d;
	(void)c;
	reply_put_more(out, 214, "2.0.0 This is Tarry version " TARRY_VERSION);
	reply_put_more(out, 214, "2.0.0 Commands:");
	reply_put_more(out, 214, "2.0.0 \tHELO\tEHLO\tMAIL\tRCPT\tDATA");
	reply_put_more(out, 214, "2.0.0 \tRSET\tNOOP\tQUIT\tHELP\tVRFY");
	reply_put_more(out, 214, "2.0.0 For local information send email to Postmaster at your site.");
	reply_put(out, 214, "2.0.0", "End of HELP info");
	return DIALOGUE_COMMAND;
}

static enum dialogue_next decline(struct dialogue *d, const struct command *c, struct buf *out)
{
	d->bad_commands++;
	if (c->verb == COMMAND_VERB)
		reply_put(out, 502, "5.7.0", "Verbose unavailable");
	else
		reply_put(out, 502, "5.7.0", "Sorry, we do not allow this operation");
	return DIALOGUE_COMMAND;
}

static enum dialogue_next close_bad(struct dialogue *d, struct buf *out)
{
	reply_put(out, 421, "4.7.0", "%s Too many bad commands; closing connection", d->shared->conf->hostname);
	return DIALOGUE_CLOSE;
}

/* Room for one more bad command; the ones after that end the session, as in Sendmail. */
static bool may_be_bad(struct dialogue *d)
{
	return d->bad_commands < (unsigned)d->shared->conf->max_bad_commands;
}

/* "XTLS VERSION CIPHER", of the door (smtp/proxyhdr.h): the client speaks TLS from now on, and all that it has said before is forgotten. False: it is none. */
static bool take_tls(struct dialogue *d, const struct command *c, struct buf *out)
{
	const char *blank = c->rest.len > 0 ? memchr(c->rest.at, ' ', c->rest.len) : NULL;
	if (!d->xtls || !slice_is_nocase(c->word, "XTLS") || !blank)
		return false;
	size_t len = (size_t)(blank - c->rest.at);
	d->xtls = false;
	d->tls = (struct tlswire_facts){ .ok = 1 };
	tlswire_put(d->tls.version, sizeof(d->tls.version), c->rest.at, len);
	tlswire_put(d->tls.cipher, sizeof(d->tls.cipher), blank + 1, c->rest.len - len - 1);
	envelope_clear(&d->envelope);
	d->helo[0] = '\0';
	d->esmtp = false;
	reply_put(out, 250, "2.0.0", "Ok");
	return true;
}

/* What is no SMTP at all (the option forbidden_commands). */
static enum dialogue_next close_foreign(const struct dialogue *d, const char *foreign, struct slice said, struct buf *out)
{
	struct reply_client client = client_of(d);
	struct log_line l;
	foreign_put_reply(out, d->shared->conf->hostname, foreign, &client);
	metrics_add(METRIC_forbidden, 1);
	if (log_begin(&l, LOG_LEVEL_INFO)) {
		log_text(&l, "event", "forbidden");
		put_who(&l, d);
		log_text(&l, "kind", foreign);
		log_bytes(&l, "data", said.at, said.len);
		log_end(&l);
	}
	return DIALOGUE_CLOSE;
}

enum dialogue_next dialogue_opening(struct dialogue *d, struct slice bytes, struct buf *out)
{
	const char *foreign = d->commands == 0 && d->shared->conf->forbidden_commands[0] ? foreign_opening(bytes) : NULL;
	return foreign ? close_foreign(d, foreign, bytes, out) : DIALOGUE_COMMAND;
}

enum dialogue_next dialogue_long_line(struct dialogue *d, struct buf *out)
{
	d->commands++;
	if (!may_be_bad(d))
		return close_bad(d, out);
	d->bad_commands++;
	reply_put(out, 500, "5.5.2", "Line too long");
	return DIALOGUE_COMMAND;
}

static const struct verb {
	enum dialogue_next (*answer)(struct dialogue *d, const struct command *c, struct buf *out);
	bool raw;  /* its own parser judges bytes beyond ASCII */
	bool bad;  /* counts as a bad command */
} verbs[] = {
	[COMMAND_HELO] = { .answer = say_hello, .raw = true },
	[COMMAND_EHLO] = { .answer = say_hello, .raw = true },
	[COMMAND_MAIL] = { .answer = begin_mail, .raw = true },
	[COMMAND_RCPT] = { .answer = add_recipient, .raw = true },
	[COMMAND_DATA] = { .answer = begin_data },
	[COMMAND_RSET] = { .answer = reset },
	[COMMAND_NOOP] = { .answer = do_nothing },
	[COMMAND_QUIT] = { .answer = quit },
	[COMMAND_VRFY] = { .answer = verify },
	[COMMAND_EXPN] = { .answer = decline, .bad = true },
	[COMMAND_ETRN] = { .answer = decline, .bad = true },
	[COMMAND_VERB] = { .answer = decline, .bad = true },
	[COMMAND_HELP] = { .answer = help },
	[COMMAND_BDAT] = { .answer = NULL },
};

/* NULs and bytes beyond ASCII. */
static bool is_binary(struct slice line)
{
	for (size_t i = 0; i < line.len; i++)
		if (line.at[i] == '\0' || (unsigned char)line.at[i] >= 0x80)
			return true;
	return false;
}

enum dialogue_next dialogue_line(struct dialogue *d, struct slice line, bool crlf, struct buf *out)
{
	struct command c = command_parse(line);
	const struct verb *verb = &verbs[c.verb];
	d->crlf = d->crlf || crlf;
	d->commands++;
	if (c.verb == COMMAND_UNKNOWN && take_tls(d, &c, out))
		return DIALOGUE_COMMAND;
	const char *foreign = c.verb == COMMAND_UNKNOWN ? foreign_command(d->shared->conf->forbidden_commands, line, &c, false) : NULL;
	if (foreign)
		return close_foreign(d, foreign, line, out);
	if ((!verb->answer || verb->bad) && !may_be_bad(d))
		return close_bad(d, out);
	if (!verb->answer) {
		d->bad_commands++;
		reply_unrecognized(out, line);
		return DIALOGUE_COMMAND;
	}
	if (!verb->raw && is_binary(c.rest)) {
		reply_put(out, 501, "5.5.2", "Syntax error in parameters");
		return DIALOGUE_COMMAND;
	}
	return verb->answer(d, &c, out);
}
