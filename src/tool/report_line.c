/* The tour, tools: a line of the door's log, taken apart. Whatever stands before it (the journal's, syslog's or a container's stamps) is left to report_time.c, once it is clear that
 * it is a line of the door's; bytes of clients stand behind that only, and between quotes. */
#include "tool/report.h"

#include <string.h>

struct pair {
	struct slice key, value;
	bool open; /* quotes that are not closed */
};

static bool is_key(char c)
{
	return (c >= 'a' && c <= 'z') || c == '_';
}

/* The next key=value, or false. What is none is passed over. */
static bool next_pair(struct slice *rest, struct pair *out)
{
	const char *at = rest->at, *end = at + rest->len;
	for (;;) {
		while (at < end && *at == ' ')
			at++;
		const char *key = at;
		while (at < end && is_key(*at))
			at++;
		if (at < end && *at == '=' && at > key) {
			out->key = (struct slice){ key, (size_t)(at - key) };
			break;
		}
		at = memchr(at, ' ', (size_t)(end - at));
		if (!at)
			return false;
	}
	const char *value = ++at;
	out->open = false;
	if (at < end && *at == '"') {
		value = ++at;
		while (at < end && *at != '"')
			at += *at == '\\' && at + 1 < end ? 2 : 1;
		out->open = at >= end;
		out->value = (struct slice){ value, (size_t)(at - value) };
		at += at < end;
	} else {
		const char *blank = memchr(at, ' ', (size_t)(end - at));
		at = blank ? blank : end;
		out->value = (struct slice){ value, (size_t)(at - value) };
	}
	*rest = (struct slice){ at, (size_t)(end - at) };
	return true;
}

/* ---- whose line it is ---- */

static bool strip(struct slice *s, const char *end)
{
	size_t len = strlen(end);
	if (s->len < len || memcmp(s->at + s->len - len, end, len) != 0)
		return false;
	s->len -= len;
	return true;
}

/* The last word and the blank behind it. False: there is no blank. */
static bool strip_word(struct slice *s, struct slice *word)
{
	struct slice rest = *s;
	if (!strip(&rest, " "))
		return false;
	size_t end = rest.len;
	while (rest.len > 0 && rest.at[rest.len - 1] != ' ')
		rest.len--;
	*word = (struct slice){ rest.at + rest.len, end - rest.len };
	*s = rest;
	return true;
}

static bool consists_of(struct slice s, const char *bytes)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.at[i] == '\0' || !strchr(bytes, s.at[i]))
			return false;
	return s.len > 0;
}

#define DIGITS "0123456789"

/* "tarry[4711]" */
static bool is_program(struct slice s)
{
	static const char begin[] = "tarry[";
	const size_t len = sizeof(begin) - 1;
	return s.len > len + 1 && memcmp(s.at, begin, len) == 0 && s.at[s.len - 1] == ']' && consists_of((struct slice){ s.at + len, s.len - len - 1 }, DIGITS);
}

/* What carriers put before: stamps, a host, a container. Never what a client has said. */
static bool is_head(struct slice s)
{
	return !memmem(s.at, s.len, ": ", 2) && !memchr(s.at, '=', s.len) && !memchr(s.at, '"', s.len);
}

/* Other programs write into the same file, and what their clients say may look like a line of the door's, were it not for what stands before. So that is looked at as a whole:
 * "STAMP HOST tarry[1]: front/0 info ", the same with "STAMP tarry[1] " of the door's own behind it, or any part of that from some word on. */
static bool is_ours(struct slice before)
{
	static const char *const levels[] = { "info", "debug", "notice", "warning", "error" };
	struct slice word, rest;
	bool level = false;
	if (before.len == 0)
		return true; /* an example that was kept */
	if (!strip_word(&before, &word))
		return false;
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		level = level || slice_is(word, levels[i]);
	if (!level || before.len == 0)
		return level;
	if (!strip_word(&before, &word) || !consists_of(word, "abcdefghijklmnopqrstuvwxyz/" DIGITS)) /* the role */
		return false;
	if (before.len == 0)
		return true;
	rest = before;
	if (!strip_word(&rest, &word))
		return false;
	if (strip(&word, ":")) /* of syslog and the journal */
		return (is_program(word) || slice_is(word, "tarry")) && is_head(rest);
	if (!is_program(word))
		return false;
	before = rest;
	if (strip_word(&rest, &word) && consists_of(word, DIGITS "-:.+TZ"))
		before = rest;
	strip(&before, ": "); /* of whoever keeps the door's standard error */
	return is_head(before);
}

/* Where the door's part begins. NULL: it is none of its lines. */
static const char *find(struct slice line)
{
	static const char first[] = "verdict=";
	const char *at = memmem(line.at, line.len, first, sizeof(first) - 1);
	return at && is_ours((struct slice){ line.at, (size_t)(at - line.at) }) ? at : NULL;
}

static int64_t number(struct slice s)
{
	int64_t n = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < '0' || s.at[i] > '9' || i > 9)
			return REPORT_UNKNOWN;
		n = n * 10 + (s.at[i] - '0');
	}
	return s.len > 0 ? n : REPORT_UNKNOWN;
}

static enum report_deed deed(struct slice word)
{
	static const struct { const char *word; enum report_deed deed; } table[] = { { "early", REPORT_EARLY }, { "refused", REPORT_REFUSED }, { "limited", REPORT_LIMITED },
		{ "tempfail", REPORT_TEMPFAIL } };
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (slice_is(word, table[i].word))
			return table[i].deed;
	return REPORT_NOTHING;
}

/* What names are where there is none. */
static bool is_no_name(struct slice s)
{
	return slice_is(s, "none") || slice_is(s, "failed") || slice_is(s, "timeout");
}

static void take(struct report_line *l, const struct pair *p, bool *forged)
{
#define SLICE(key, field) { key, sizeof(key) - 1, false, offsetof(struct report_line, field) }
#define COUNT(key) { #key, sizeof(#key) - 1, true, offsetof(struct report_line, key) }
	static const struct { const char *key; size_t len; bool count; size_t at; } table[] = {
		SLICE("name", name), SLICE("stage", stage), SLICE("would_stage", stage), SLICE("kind", kind), SLICE("reason", reason), SLICE("reply", reply), SLICE("would_reply", reply),
		SLICE("after_ms", after_ms), SLICE("talked_ms", talked_ms), SLICE("would_after_ms", would_after_ms), SLICE("explored", explored), SLICE("pause_by", pause_by), COUNT(pause_ms),
		COUNT(messages), COUNT(rejected), COUNT(would_reject), COUNT(access_line),
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (p->key.len != table[i].len || memcmp(p->key.at, table[i].key, table[i].len) != 0)
			continue;
		if (table[i].count)
			*(int64_t *)((char *)l + table[i].at) = number(p->value);
		else
			*(struct slice *)((char *)l + table[i].at) = p->value;
		return;
	}
#undef SLICE
#undef COUNT
	if (slice_is(p->key, "would"))
		l->would = deed(p->value);
	else if (slice_is(p->key, "forged"))
		*forged = true;
}

bool report_line_parse(struct slice line, struct report_line *out)
{
	const char *at = find(line);
	if (!at)
		return false;
	struct report_line l = { .before = { line.at, (size_t)(at - line.at) }, .text = { at, (size_t)(line.at + line.len - at) },
		.messages = REPORT_UNKNOWN, .rejected = REPORT_UNKNOWN, .would_reject = REPORT_UNKNOWN, .access_line = REPORT_UNKNOWN, .pause_ms = REPORT_UNKNOWN };
	struct slice rest = l.text;
	struct pair p;
	bool forged = false;
	while (l.text.len > 0 && (l.text.at[l.text.len - 1] == '\r' || l.text.at[l.text.len - 1] == ' '))
		l.text.len--;
	rest = l.text;
	/* The first two are always these. */
	if (!next_pair(&rest, &p) || !slice_is(p.key, "verdict"))
		return false;
	l.verdict = p.value;
	l.did = deed(p.value);
	l.relayed = slice_is(p.value, "patient") || slice_is(p.value, "exempt") || slice_is(p.value, "known");
	if (l.did == REPORT_TEMPFAIL) /* the door shut down: that is no refusal */
		l.did = REPORT_NOTHING;
	if (!next_pair(&rest, &p) || !slice_is(p.key, "client") || !addr_parse(p.value, &l.client))
		return false;
	while (next_pair(&rest, &p)) {
		l.cut = l.cut || p.open || slice_is(p.key, "cut");
		take(&l, &p, &forged);
	}
	if (forged || is_no_name(l.name))
		l.name = (struct slice){ "", 0 };
	l.own = !slice_is(l.reason, "max_connections") && !slice_is(l.reason, "descriptors");
	*out = l;
	return true;
}

/* ---- what it is called ---- */

static void put_word(struct buf *out, const char *before, struct slice word)
{
	buf_put_text(out, before);
	for (size_t i = 0; i < word.len && i < 16; i++)
		buf_put_char(out, word.at[i] >= ' ' && word.at[i] < 0x7f ? word.at[i] : '?');
}

static bool is_at_greeting(struct slice stage)
{
	return stage.len == 0 || slice_is(stage, "greet");
}

void report_line_label(const struct report_line *l, bool did, struct buf *out)
{
	enum report_deed deed = did ? l->did : l->would;
	static const char *const words[] = { [REPORT_NOTHING] = "refused", [REPORT_EARLY] = "early", [REPORT_REFUSED] = "refused", [REPORT_LIMITED] = "over a limit", [REPORT_TEMPFAIL] = "put off" };
	buf_put_text(out, words[deed]);
	if (deed == REPORT_EARLY) {
		if (l->kind.len > 0)
			put_word(out, ", ", l->kind);
		if (!is_at_greeting(l->stage))
			put_word(out, ", at ", l->stage);
	} else if (deed == REPORT_NOTHING || slice_is(l->stage, "mail") || slice_is(l->stage, "rcpt")) {
		buf_put_text(out, ", at mail or rcpt");
	} else if (l->reason.len > 0) {
		put_word(out, ", ", l->reason);
	} else {
		put_word(out, ", at ", l->stage.len > 0 ? l->stage : slice_of("connect"));
	}
}
