/* The tour, access: the access database, explained: what Sendmail reads where somebody meant something else. */
#include "access/access_warn.h"

#include "access/access.h"
#include "access/access_value.h"

#define VALUE_SHOWN 60 /* bytes of a value in a warning */

static bool begin_key(struct map_notes *notes, const struct map_line *line)
{
	if (!map_note_begin(notes, line->number))
		return false;
	map_note_bytes(notes, line->written);
	return true;
}

static bool begin_value(struct map_notes *notes, const struct map_line *line)
{
	struct slice value = access_key_trim(line->value);
	if (!begin_key(notes, line))
		return false;
	buf_put_char(notes->to, ' ');
	buf_put_escaped(notes->to, value.at, value.len, VALUE_SHOWN);
	buf_put_text(notes->to, ": ");
	return true;
}

static void end(struct map_notes *notes, const char *text)
{
	buf_put_text(notes->to, text);
	map_note_end(notes);
}

/* ---- numbers ---- */

/* "1s", "5m": what somebody who writes so has in mind, in milliseconds; 0 if it is not of this form. */
static int64_t meant_ms(struct slice rest, int64_t number, const char **unit)
{
	static const struct {
		const char *word, *name;
		int64_t ms;
	} units[] = { { "s", "second", 1000 }, { "sec", "second", 1000 }, { "m", "minute", 60000 }, { "min", "minute", 60000 }, { "h", "hour", 3600000 } };
	rest = slice_trim(access_key_trim(rest));
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (slice_is_nocase(rest, units[i].word)) {
			*unit = units[i].name;
			return number * units[i].ms;
		}
	return 0;
}

/* "300ms" and "300 # comment" say what they mean. */
static bool is_harmless(struct slice rest)
{
	struct slice r = slice_trim(access_key_trim(rest));
	return r.len == 0 || slice_is_nocase(r, "ms") || (r.at > rest.at && r.at[0] == '#');
}

static void warn_trailing(const struct map_line *line, struct access_number n, struct slice rest, struct map_notes *notes)
{
	const char *unit = NULL;
	int64_t capped = n.ms > ACCESS_PAUSE_MAX_MS ? ACCESS_PAUSE_MAX_MS : n.ms;
	int64_t meant = meant_ms(rest, n.ms, &unit);
	if (!begin_value(notes, line))
		return;
	buf_putf(notes->to, "read as %lld ms (as Sendmail does); ", (long long)capped);
	if (meant > ACCESS_PAUSE_MAX_MS)
		buf_putf(notes->to, "write %d for the longest pause there is, 300 seconds", ACCESS_PAUSE_MAX_MS);
	else if (meant > 0 && n.ms == 1)
		buf_putf(notes->to, "write %lld for one %s", (long long)meant, unit);
	else if (meant > 0)
		buf_putf(notes->to, "write %lld for %lld %ss", (long long)meant, (long long)n.ms, unit);
	else
		buf_putf(notes->to, "write %lld alone if that is meant", (long long)capped);
	map_note_end(notes);
}

static void warn_pause(const struct map_line *line, struct map_notes *notes)
{
	struct access_number n = access_key_number(line->value);
	struct slice rest = { line->value.at + n.digits, line->value.len - n.digits };
	if (n.digits == 0 || access_key_is_tempfail(line->value) || (n.ms == 0 && !is_harmless(rest))) {
		if (!begin_value(notes, line))
			return;
		buf_put_text(notes->to, line->value.len > 0 && line->value.at[0] == '-' ? "negative" : "not a number of milliseconds");
		end(notes, ", read as no pause (as Sendmail does); write 0 if that is meant");
	} else if (!is_harmless(rest)) {
		warn_trailing(line, n, rest, notes);
	} else if (n.ms > ACCESS_PAUSE_MAX_MS && begin_value(notes, line)) {
		buf_putf(notes->to, "cut to %d ms, the longest pause there is (as in Sendmail)", ACCESS_PAUSE_MAX_MS);
		map_note_end(notes);
	}
}

static void warn_limit(const struct map_line *line, struct map_notes *notes)
{
	struct access_number n = access_key_number(line->value);
	if (access_key_is_number(line->value) || !begin_value(notes, line))
		return;
	if (n.digits == 0)
		buf_put_text(notes->to, "not a number, read as no limit; write 0 if that is meant");
	else
		buf_putf(notes->to, "read as %lld (as Sendmail does); write that alone", (long long)n.ms);
	map_note_end(notes);
}

void access_warn_number(const struct map_line *line, enum access_tag tag, struct map_notes *notes)
{
	if (access_tag_is_pause(tag))
		warn_pause(line, notes);
	else
		warn_limit(line, notes);
}

/* ---- words ---- */

/* What Sendmail makes a refusal of, with the value as its text. */
static void warn_nonsense(const struct map_line *line, const struct access_reply *reply, struct map_notes *notes)
{
	if (!begin_value(notes, line))
		return;
	buf_put_text(notes->to, "no word that is known here, read as a refusal with 553 5.3.0 ");
	buf_put_escaped(notes->to, reply->text.at, reply->text.len, VALUE_SHOWN);
	end(notes, " (as Sendmail does); expected OK, RELAY, REJECT, DISCARD, OBSERVE, QUARANTINE:REASON, CODE TEXT or ERROR:D.S.N:CODE TEXT");
}

void access_warn_skip(const struct map_line *line, struct map_notes *notes)
{
	if (begin_value(notes, line))
		end(notes, "no word without access_skip = yes, read as a refusal with 553 5.3.0 SKIP (as Sendmail does without the argument skip of access_db)");
}

void access_warn_action(const struct map_line *line, enum access_tag tag, struct map_notes *notes)
{
	static const struct slice reject = { "550 5.7.1 -", 11 };
	struct slice value = access_key_trim(line->value);
	struct access_decision d = access_value_decide(value, reject, true);
	if (tag == ACCESS_TO && access_value_spam(value) == ACCESS_SPAM_OLD_FRIEND) {
		if (begin_value(notes, line))
			end(notes, "an old form that Sendmail 8.13 no longer reads; it counts as FRIEND here; write Spam: and FRIEND");
	} else if (d.reply.nonsense) {
		warn_nonsense(line, &d.reply, notes);
	} else if (d.action == ACCESS_OBSERVE && (tag == ACCESS_FROM || tag == ACCESS_TO)) {
		if (begin_value(notes, line))
			end(notes, "clients are observed, not senders or recipients; it counts as OK; write it with Connect:");
	} else if ((d.action == ACCESS_REFUSE || d.action == ACCESS_TEMPFAIL) && d.reply.dsn[0] != (char)('0' + d.reply.code / 100) && begin_value(notes, line)) {
		buf_putf(notes->to, "the reply %u says %s, which is of another class", d.reply.code, d.reply.dsn);
		map_note_end(notes);
	}
}

void access_warn_spam(const struct map_line *line, struct map_notes *notes)
{
	enum access_spam spam = access_value_spam(line->value);
	if (spam == ACCESS_SPAM_FRIEND || spam == ACCESS_SPAM_HATER || !begin_value(notes, line))
		return;
	end(notes, "means nothing here (as in Sendmail); expected FRIEND or HATER");
}

/* ---- keys ---- */

void access_warn_address(const struct map_line *line, const struct access_parsed *p, struct map_notes *notes)
{
	if (p->whole && begin_key(notes, line))
		end(notes, ": is one address, not a network; a network is written without the :: or as ADDRESS/BITS");
	if (p->cut && begin_key(notes, line)) {
		char text[ADDR_TEXT];
		buf_putf(notes->to, ": has bits set behind the first %u, read as %s/%u", p->bits, addr_format(&p->base, text), p->bits);
		map_note_end(notes);
	}
}

void access_warn_bare(const struct map_line *line, struct map_notes *notes)
{
	if (begin_value(notes, line))
		end(notes, "a tag alone is the default and takes a number alone, ignored; if a key was meant, take out the blank before it");
}

void access_warn_never(const struct map_line *line, const char *why, struct map_notes *notes)
{
	if (!begin_key(notes, line))
		return;
	buf_putf(notes->to, ": never matches, ignored%s", why);
	map_note_end(notes);
}
