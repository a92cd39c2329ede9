/* The tour, probe: the table of --all, for people and for programs; assembled in a buf, so that nothing is printed by halves. What the server said is escaped. */
#include "tool/probe_all.h"

#include <string.h>

#define SHOWN 60       /* bytes of a reply's text in the table for people */
#define TITLE_WIDTH 50 /* no title is longer */

static const char *way_words(enum probe_way way)
{
	static const char *const words[PROBE_WAYS] = { "in clear", "inside STARTTLS", "inside TLS" };
	return words[way];
}

/* What the server said first to the deed; NULL: nothing. */
static const struct probe_reply *first_reply(const struct probe_play *play)
{
	const struct probe_record *r = &play->record;
	for (size_t i = 0; i < r->replies_len; i++)
		if (r->replies[i].phase != PROBE_PHASE_LEAD)
			return &r->replies[i];
	return NULL;
}

/* Since the deed, if it was answered at all; -1: it was not. A greeting of several lines counts when it is whole. */
static int64_t answered_after(const struct probe_play *play)
{
	const struct probe_reply *reply = first_reply(play);
	if (!reply || play->record.talk_at < 0 || (reply->phase != PROBE_PHASE_DEED && play->deed[0]))
		return -1;
	return reply->at > play->record.talk_at ? reply->at - play->record.talk_at : 0;
}

static struct probe_weight weigh(const struct probe_round *round, const struct probe_play *play)
{
	return probe_weigh(play, probe_round_patient(round, play->way));
}

/* ---- for people ---- */

static void put_end(struct buf *out, const struct probe_play *play)
{
	const struct probe_record *r = &play->record;
	static const char *const words[] = {
		[PROBE_END_NONE] = "not begun", [PROBE_END_CLOSED] = "closed", [PROBE_END_RESET] = "reset", [PROBE_END_TIMEOUT] = "nothing more", [PROBE_END_NOT_SMTP] = "not SMTP",
		[PROBE_END_TOO_MUCH] = "too much", [PROBE_END_OPEN] = "left open", [PROBE_END_ERROR] = "broken",
	};
	buf_put_text(out, words[r->end]);
	if (r->junk_len > 0) {
		buf_put_text(out, ": \"");
		buf_put_escaped(out, r->junk, r->junk_len, SHOWN);
		buf_put_char(out, '"');
	} else if (r->end == PROBE_END_ERROR) {
		buf_putf(out, ": %s", r->error ? strerror(-r->error) : play->tls_words);
	}
}

static bool same(const struct probe_reply *a, const struct probe_reply *b)
{
	return a->to == b->to && a->code == b->code;
}

/* "EHLO 250, MAIL 550, …": neighbours that are the same are counted. */
static void put_rest(struct buf *out, const struct probe_play *play, const struct probe_reply *after)
{
	const struct probe_record *r = &play->record;
	const struct probe_reply *stop = r->replies + r->replies_len;
	for (const struct probe_reply *at = after ? after + 1 : stop; at < stop;) {
		size_t n = 1;
		while (at + n < stop && same(at, at + n))
			n++;
		buf_putf(out, "%s %d", probe_reply_step(at->to), at->code);
		if (n > 1)
			buf_putf(out, " (%zu times)", n);
		buf_put_text(out, at + n < stop ? ", " : "; ");
		at += n;
	}
}

static void put_said(struct buf *out, const struct probe_play *play, const struct probe_reply *reply)
{
	struct slice text = probe_reply_text(reply);
	buf_putf(out, "%d ", reply->code);
	buf_put_escaped(out, text.at, text.len, SHOWN);
	buf_put_text(out, "; ");
	put_rest(out, play, reply);
}

static void put_seen(struct buf *out, const struct probe_play *play, const struct probe_weight *weight)
{
	const struct probe_reply *first = first_reply(play);
	if (weight->word == PROBE_WORD_LEFT_OUT) {
		buf_put_text(out, play->left_out);
		return;
	}
	if (weight->word == PROBE_WORD_NO_CONNECTION) {
		buf_put_text(out, strerror(-play->record.error));
		return;
	}
	if (weight->word == PROBE_WORD_NOT_REACHED && weight->decisive) {
		buf_putf(out, "%s ", probe_reply_step(weight->decisive->to));
		put_said(out, play, weight->decisive);
	} else if (first && play->record.talk_at >= 0) {
		put_said(out, play, first);
	} else {
		buf_put_text(out, "no reply; ");
	}
	put_end(out, play);
}

static void put_row(struct buf *out, const struct probe_round *round, const struct probe_play *play)
{
	static const char marks[] = { [PROBE_MARK_NONE] = ' ', [PROBE_MARK_CAUGHT] = ' ', [PROBE_MARK_SERVED] = '!', [PROBE_MARK_GOOD] = ' ', [PROBE_MARK_PUNISHED] = '!' };
	struct probe_weight weight = weigh(round, play);
	int64_t ns = answered_after(play);
	char memory[32];
	struct buf after;
	buf_init_fixed(&after, memory, sizeof(memory));
	if (ns >= 0)
		probe_words_time(&after, ns);
	buf_putf(out, " %c %-*s %-16s %8s  ", marks[probe_weigh_mark(play->act, weight.word)], TITLE_WIDTH, play->act->title, probe_weigh_word(weight.word), buf_text(&after));
	put_seen(out, play, &weight);
	buf_put_char(out, '\n');
}

static void put_sum(struct buf *out, const struct probe_round *round)
{
	struct probe_sum sum = probe_weigh_all(round);
	if (round->gave_up)
		buf_putf(out, "given up: %s; ", round->gave_up);
	buf_putf(out, "of %u things that no good client does %u had consequences and %u had none; of %u that a good one does %u went well", sum.caught + sum.served, sum.caught, sum.served,
	         sum.good + sum.punished, sum.good);
	if (sum.punished > 0)
		buf_putf(out, " and %u did not", sum.punished);
	if (sum.unknown > 0)
		buf_putf(out, "; %u cannot be told", sum.unknown);
	if (sum.left_out > 0)
		buf_putf(out, "; %u left out", sum.left_out);
	buf_put_char(out, '\n');
}

/* Why all acts of a way were left out, if it is the same for all; NULL: it is not. */
static const char *way_left_out(const struct probe_round *round, enum probe_way way)
{
	const char *why = NULL;
	for (size_t i = 0; i < round->plays_len; i++) {
		const struct probe_play *play = round->plays[i];
		if (play->way != way || (play->act->needs & PROBE_NEEDS_TO))
			continue;
		if (!play->left_out || (why && strcmp(why, play->left_out) != 0))
			return NULL;
		why = play->left_out;
	}
	return why;
}

void probe_table_text(struct buf *out, const struct probe_round *round, const char *host, uint16_t port)
{
	char address[ADDR_TEXT];
	struct addr at = round->address;
	at.port = port;
	buf_put_escaped(out, host, strlen(host), PROBE_HOST);
	buf_putf(out, " (%s): ", addr_format_port(&at, address));
	put_sum(out, round);
	for (size_t i = 0; i < round->plays_len; i++) {
		const struct probe_play *play = round->plays[i];
		const char *why = way_left_out(round, play->way);
		if (i == 0 || round->plays[i - 1]->way != play->way)
			buf_putf(out, why ? "%s: left out: %s\n" : "%s:\n", way_words(play->way), why);
		if (!why)
			put_row(out, round, play);
	}
}

void probe_table_acts(struct buf *out)
{
	for (size_t i = 0; i < probe_acts_len; i++)
		buf_putf(out, "%-16s %s%s\n", probe_acts[i].name, probe_acts[i].title, probe_acts[i].needs & PROBE_NEEDS_TO ? " (only with --to)" : "");
}

/* ---- for programs ---- */

static void json_bool(struct buf *out, const char *key, bool value)
{
	buf_putf(out, ",\"%s\":%s", key, value ? "true" : "false");
}

static void json_record(struct buf *out, const struct probe_play *play)
{
	const struct probe_record *r = &play->record;
	static const char *const phases[] = { [PROBE_PHASE_LEAD] = "lead", [PROBE_PHASE_DEED] = "deed", [PROBE_PHASE_AFTER] = "after" };
	probe_report_key_ms(out, "talk_ms", r->talk_at);
	probe_report_key_ms(out, "after_ms", answered_after(play));
	buf_put_text(out, ",\"replies\":[");
	for (size_t i = 0; i < r->replies_len; i++) {
		buf_put_text(out, i > 0 ? "," : "");
		probe_report_reply(out, &r->replies[i]);
		out->len--; /* its brace */
		buf_putf(out, ",\"part\":\"%s\"}", phases[r->replies[i].phase]);
	}
	buf_putf(out, "],\"unanswered\":%u,\"end\":\"%s\"", play->unanswered, probe_report_end(r->end));
	probe_report_key_ms(out, "end_ms", r->end_at);
	if (r->junk_len > 0) {
		buf_put_text(out, ",\"junk\":");
		probe_report_string(out, (struct slice){ r->junk, r->junk_len });
	}
	if (play->tls_words[0])
		probe_report_key_text(out, "tls", play->tls_words);
}

static void json_play(struct buf *out, const struct probe_round *round, const struct probe_play *play)
{
	static const char *const marks[] = { "none", "caught", "served", "good", "punished" };
	struct probe_weight weight = weigh(round, play);
	buf_putf(out, "{\"act\":\"%s\",\"way\":\"%s\"", play->act->name, probe_act_way(play->way));
	probe_report_key_text(out, "title", play->act->title);
	json_bool(out, "legal", play->act->how & PROBE_LEGAL);
	probe_report_key_text(out, "word", probe_weigh_word(weight.word));
	probe_report_key_text(out, "mark", marks[probe_weigh_mark(play->act, weight.word)]);
	if (weight.decisive) {
		buf_putf(out, ",\"decisive\":{\"to\":\"%s\",\"code\":%d", probe_reply_step(weight.decisive->to), weight.decisive->code);
		probe_report_key_ms(out, "ms", weight.decisive->at);
		buf_put_char(out, '}');
	}
	json_bool(out, "again", play->again);
	if (play->left_out)
		probe_report_key_text(out, "why", play->left_out);
	else if (!play->record.connected)
		probe_report_key_text(out, "error", strerror(-play->record.error));
	else
		json_record(out, play);
	buf_put_char(out, '}');
}

void probe_table_json(struct buf *out, const struct probe_round *round, const char *host, uint16_t port)
{
	struct probe_sum sum = probe_weigh_all(round);
	char text[ADDR_TEXT];
	static const char *const proxies[] = { "no", "v1", "v2" };
	buf_put_text(out, "{\"host\":");
	probe_report_string(out, slice_of(host));
	buf_putf(out, ",\"port\":%u", (unsigned)port);
	probe_report_key_text(out, "address", addr_format(&round->address, text));
	probe_report_key_text(out, "proxy", proxies[round->plan->proxy]);
	buf_putf(out, ",\"exit\":%d,\"caught\":%u,\"served\":%u,\"good\":%u,\"punished\":%u,\"unknown\":%u,\"left_out\":%u", sum.exit, sum.caught, sum.served, sum.good, sum.punished, sum.unknown,
	         sum.left_out);
	if (round->gave_up)
		probe_report_key_text(out, "gave_up", round->gave_up);
	buf_put_text(out, ",\"acts\":[");
	for (size_t i = 0; i < round->plays_len; i++) {
		buf_put_text(out, i > 0 ? ",\n" : "");
		json_play(out, round, round->plays[i]);
	}
	buf_put_text(out, "]}\n");
}
