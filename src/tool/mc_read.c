/* The tour, mc: what m4 printed becomes facts. First comes the file's own text, which in a sendmail.mc is text for sendmail.cf: of that, only the rules of
 * SLocal_greet_pause mean something here. Then come the frames that dist/m4/tarry.m4 makes. Anybody can write bytes that look like a frame into a
 * sendmail.mc, so nothing is believed but the form; what a value may be is checked where it is written. */
#include "tool/mc.h"

#include <ctype.h>
#include <string.h>

#include "core/addr.h"

#define MARK_BEGIN '\001'
#define MARK_MIDDLE '\002'
#define MARK_END '\003'

/* ---- frames ---- */

static const char *find(const char *at, const char *end, char c)
{
	const char *found = at < end ? memchr(at, c, (size_t)(end - at)) : NULL;
	return found ? found : end;
}

static struct slice between(const char *at, const char *end)
{
	return (struct slice){ at, (size_t)(end - at) };
}

bool mc_read_frame(struct slice *rest, struct mc_frame *frame)
{
	*frame = (struct mc_frame){ .before = *rest };
	if (rest->len == 0) /* and perhaps no bytes at all */
		return false;
	const char *at = rest->at, *end = at + rest->len;
	for (const char *begin = find(at, end, MARK_BEGIN); begin < end; begin = find(begin + 1, end, MARK_BEGIN)) {
		const char *middle = find(begin, end, MARK_MIDDLE), *next = find(begin + 1, end, MARK_BEGIN);
		if (middle >= next)
			continue;
		const char *close = find(middle, next, MARK_END);
		frame->before = between(at, begin);
		frame->kind = between(begin + 1, middle);
		frame->text = between(middle + 1, close);
		*rest = between(close < next ? close + 1 : next, end);
		return true;
	}
	*rest = between(end, end);
	return false;
}

bool mc_read_number(struct slice text, int64_t most, int64_t *out)
{
	int64_t value = 0;
	text = slice_trim(text);
	if (text.len == 0 || !isdigit((unsigned char)text.at[0]))
		return false;
	for (size_t i = 0; i < text.len && isdigit((unsigned char)text.at[i]); i++) {
		value = value * 10 + (text.at[i] - '0');
		if (value >= most)
			value = most; /* however many digits follow, it stays there */
	}
	*out = value;
	return true;
}

static struct slice trim_all(struct slice s)
{
	while (s.len > 0 && isspace((unsigned char)s.at[0])) {
		s.at++;
		s.len--;
	}
	while (s.len > 0 && isspace((unsigned char)s.at[s.len - 1]))
		s.len--;
	return s;
}

static bool same(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static void add_skip(struct mc_facts *f, struct slice what)
{
	for (size_t i = 0; i < f->skips_len; i++)
		if (same(f->skips[i], what))
			return;
	if (f->skips_len < MC_SKIPS)
		f->skips[f->skips_len++] = what;
	else
		f->too_many = true;
}

/* ---- the text: rules ---- */

static bool is_any(struct slice s)
{
	return slice_is(s, "$*") || slice_is(s, "$+");
}

static bool is_address(struct slice s)
{
	struct addr a;
	if (s.len > 5 && slice_is_nocase((struct slice){ s.at, 5 }, "IPv6:")) {
		s.at += 5;
		s.len -= 5;
	}
	return addr_parse(s, &a);
}

static bool is_name(struct slice s)
{
	bool letter = false;
	if (s.len == 0 || s.len > 255 || s.at[0] == '.' || s.at[s.len - 1] == '.')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if (!(c < 0x80 && isalnum(c)) && c != '-' && c != '.' && c != '_')
			return false;
		letter = letter || isalpha(c);
	}
	return letter;
}

/* "name $| address": one of the two may be given, the other is $*. */
static struct slice key_of(struct slice left)
{
	static const struct slice all = { "*", 1 }, none = { NULL, 0 };
	const char *bar = memmem(left.at, left.len, "$|", 2);
	left = trim_all(left);
	if (!bar)
		return is_any(left) ? all : none;
	const char *end = left.at + left.len;
	struct slice name = trim_all(between(left.at, bar)), address = trim_all(between(bar + 2, end));
	if (is_any(name) && is_any(address))
		return all;
	if (is_any(name) && is_address(address))
		return address;
	return is_any(address) && is_name(name) ? name : none;
}

/* A rule's sides are parted by tabs. An editor may have made blanks of them, which Sendmail would not take; here it is clear enough what is meant. */
static void add_rule(struct mc_facts *f, struct slice line)
{
	const char *at = line.at + 1, *end = line.at + line.len, *tab = find(at, end, '\t'), *arrow = memmem(at, (size_t)(end - at), "$#", 2);
	struct mc_rule rule = { .line = line };
	if (f->rules_len == MC_RULES) {
		f->too_many = true;
		return;
	}
	const char *right = tab;
	while (right < end && isspace((unsigned char)*right))
		right++;
	if (tab == end && arrow)
		tab = right = arrow;
	if (arrow && right == arrow && mc_read_number(trim_all(between(arrow + 2, end)), INT64_C(1000000000), &rule.ms))
		rule.key = key_of(between(at, tab));
	f->rules[f->rules_len++] = rule;
}

/* ---- the text: lines ---- */

enum ruleset { NONE, LOCAL_GREET_PAUSE, OTHER };

static enum ruleset ruleset_of(struct slice line)
{
	static const char name[] = "Local_greet_pause";
	size_t n = sizeof(name) - 1;
	if (line.len < n + 1 || memcmp(line.at + 1, name, n) != 0)
		return OTHER;
	return line.len == n + 1 || !(isalnum((unsigned char)line.at[n + 1]) || line.at[n + 1] == '_') ? LOCAL_GREET_PAUSE : OTHER;
}

/* A line of sendmail.cf goes on in the next one if that begins with a blank. */
static struct slice take_line(struct slice *rest)
{
	const char *at = rest->at, *end = at + rest->len, *eol = find(at, end, '\n');
	while (eol > at && end - eol > 1 && (eol[1] == ' ' || eol[1] == '\t'))
		eol = find(eol + 1, end, '\n');
	*rest = between(eol < end ? eol + 1 : end, end);
	return between(at, eol);
}

static void read_text(struct mc_facts *f, struct slice text, enum ruleset *now)
{
	while (text.len > 0) {
		struct slice line = take_line(&text), bare = trim_all(line);
		if (bare.len == 0 || bare.at[0] == '#')
			continue;
		if (line.at[0] == 'S') {
			*now = ruleset_of(line);
			if (*now == OTHER)
				add_skip(f, bare);
		} else if (line.at[0] == 'R' && *now == LOCAL_GREET_PAUSE) {
			add_rule(f, bare);
		} else if (line.at[0] != 'R' || *now == NONE) {
			f->text = f->text_lines++ == 0 ? bare : f->text;
		}
	}
}

/* ---- facts ---- */

static void set_control(struct mc_control *control, struct slice word)
{
	control->on = true;
	control->nodelay = control->nodelay || slice_is(word, "nodelay");
	control->terminate = control->terminate || slice_is(word, "terminate");
}

static enum mc_delay delay_of(struct slice word, enum mc_delay before)
{
	if (slice_is(word, "friend"))
		return before == MC_DELAY_HATER ? MC_DELAY_HATER : MC_DELAY_FRIEND;
	if (slice_is(word, "hater"))
		return MC_DELAY_HATER;
	return before == MC_DELAY_OFF ? MC_DELAY_ON : before;
}

static void set_flag(struct mc_facts *f, struct slice kind, struct slice text)
{
	if (slice_is(kind, "greet_pause_keys")) {
		f->has_keys = slice_is(text, "yes");
	} else if (slice_is(kind, "access_skip")) {
		f->access_skip = true;
	} else if (slice_is(kind, "lookup_dot_domain")) {
		f->lookup_dot_domain = true;
	} else if (slice_is(kind, "no_default_msa")) {
		f->no_default_msa = true;
	} else if (slice_is(kind, "delay_checks")) {
		f->delay_checks = delay_of(text, f->delay_checks);
	} else if (slice_is(kind, "ratecontrol")) {
		set_control(&f->ratecontrol, text);
	} else if (slice_is(kind, "conncontrol")) {
		set_control(&f->conncontrol, text);
	}
}

static void set_fact(struct mc_facts *f, struct slice kind, struct slice text)
{
	const struct {
		const char *kind;
		struct slice *to;
	} texts[] = {
		{ "hostname", &f->hostname }, { "smtp_login_msg", &f->smtp_login_msg }, { "reject_msg", &f->reject_msg }, { "rate_window", &f->rate_window },
		{ "max_children", &f->max_children }, { "to_command", &f->to_command }, { "ldap_spec", &f->ldap_spec }, { "bad_rcpts", &f->bad_rcpts },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (slice_is(kind, texts[i].kind)) {
			*texts[i].to = text;
			return;
		}
	if (slice_is(kind, "skip")) {
		add_skip(f, text);
	} else if (slice_is(kind, "greet_pause") && !f->has_pause) {
		f->has_pause = true;
		f->pause = text;
	} else if (slice_is(kind, "access_db") || slice_is(kind, "access_db_ldap")) {
		f->has_access = true;
		f->access_ldap = kind.len > 9;
		f->access = text;
	} else if (slice_is(kind, "daemon") && f->daemons_len == MC_DAEMONS) {
		f->too_many = true;
	} else if (slice_is(kind, "daemon")) {
		f->daemons[f->daemons_len++] = text;
	} else if (slice_is(kind, "local_domain") && f->domains_len == MC_DOMAINS) {
		f->too_many = true;
	} else if (slice_is(kind, "local_domain")) {
		f->domains[f->domains_len++] = text;
	} else {
		set_flag(f, kind, text);
	}
}

bool mc_read(struct slice output, struct mc_facts *facts)
{
	struct mc_frame frame;
	enum ruleset now = NONE;
	bool ended = false;
	memset(facts, 0, sizeof(*facts));
	while (mc_read_frame(&output, &frame)) {
		read_text(facts, frame.before, &now);
		if (slice_is(frame.kind, "section"))
			now = NONE;
		else
			set_fact(facts, frame.kind, trim_all(frame.text));
		ended = ended || slice_is(frame.kind, "end");
	}
	read_text(facts, frame.before, &now);
	return ended;
}
