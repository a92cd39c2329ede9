/* The tour, access: a value of the access database, as Sendmail's check_relay and check_mail read it. */
#include "access/access_value.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "access/access_key.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool begins(struct slice s, const char *word)
{
	size_t len = strlen(word);
	return s.len >= len && strncasecmp(s.at, word, len) == 0;
}

static struct slice after(struct slice s, size_t n)
{
	return (struct slice){ s.at + n, s.len - n };
}

/* "5.7.1": its bytes, 0 if there is none. RFC 3463: a class of 2, 4 or 5, then two numbers of at most three digits. */
static size_t dsn_length(struct slice s)
{
	size_t i = 1;
	if (s.len < 5 || !strchr("245", s.at[0]))
		return 0;
	for (unsigned part = 0; part < 2; part++) {
		if (i >= s.len || s.at[i] != '.')
			return 0;
		size_t begin = ++i;
		while (i < s.len && i < begin + 3 && is_digit(s.at[i]))
			i++;
		if (i == begin)
			return 0;
	}
	return i;
}

/* "550", and then a blank or nothing: the code, 0 if there is none. */
static unsigned code_of(struct slice s)
{
	if (s.len < 3 || (s.at[0] != '4' && s.at[0] != '5') || !is_digit(s.at[1]) || !is_digit(s.at[2]) || (s.len > 3 && s.at[3] != ' ' && s.at[3] != '\t'))
		return 0;
	return (unsigned)(s.at[0] - '0') * 100 + (unsigned)(s.at[1] - '0') * 10 + (unsigned)(s.at[2] - '0');
}

static void put_dsn(struct access_reply *r, struct slice dsn)
{
	memcpy(r->dsn, dsn.at, dsn.len);
	r->dsn[dsn.len] = '\0';
}

/* CODE [D.S.N] text. A code without an enhanced one gets D.0.0. */
static bool read_reply(struct slice s, struct slice given, struct access_reply *r)
{
	unsigned code = code_of(s);
	if (code == 0)
		return false;
	struct slice text = slice_trim(after(s, 3));
	size_t own = given.len == 0 ? dsn_length(text) : 0;
	if (own > 0 && own < text.len && text.at[own] != ' ' && text.at[own] != '\t')
		own = 0;
	r->code = code;
	if (given.len > 0)
		put_dsn(r, given);
	else if (own > 0)
		put_dsn(r, (struct slice){ text.at, own });
	else
		snprintf(r->dsn, sizeof(r->dsn), "%u.0.0", code / 100);
	r->text = slice_trim(after(text, own));
	return true;
}

/* Sendmail's answer to what is no reply: that it is the text of one. */
static struct access_reply nonsense(struct slice text)
{
	return (struct access_reply){ .code = 553, .dsn = "5.3.0", .nonsense = true, .text = text };
}

/* In double quotes as a whole: they are not part of the text. */
static struct slice unquote(struct slice s)
{
	return s.len >= 2 && s.at[0] == '"' && s.at[s.len - 1] == '"' ? (struct slice){ s.at + 1, s.len - 2 } : s;
}

/* Behind "ERROR:": [D.S.N:]CODE text, or "CODE text" in quotes. */
static struct access_reply read_error(struct slice s)
{
	struct access_reply r = { .code = 0 };
	size_t dsn = dsn_length(s);
	struct slice given = { s.at, dsn };
	if (dsn > 0 && dsn < s.len && s.at[dsn] == ':')
		s = after(s, dsn + 1);
	else
		given.len = 0;
	s = unquote(slice_trim(s));
	if (!read_reply(s, given, &r))
		r = nonsense(s);
	return r;
}

struct access_decision access_value_tempfail(void)
{
	return (struct access_decision){ ACCESS_TEMPFAIL, { .code = 451, .dsn = "4.3.0", .text = slice_of("Temporary system failure. Please try again later.") } };
}

struct access_decision access_value_decide(struct slice value, struct slice reject, bool skip)
{
	struct access_decision d = { .action = ACCESS_REFUSE };
	struct slice none = { "", 0 };
	value = access_key_trim(value);
	if (access_key_is_tempfail(value))
		return access_value_tempfail();
	if (slice_is_nocase(value, "OK"))
		d.action = ACCESS_OK;
	else if (slice_is_nocase(value, "RELAY"))
		d.action = ACCESS_RELAY;
	else if (skip && slice_is_nocase(value, "SKIP"))
		d.action = ACCESS_SKIP;
	else if (slice_is_nocase(value, "OBSERVE"))
		d.action = ACCESS_OBSERVE;
	else if (slice_is_nocase(value, "DISCARD"))
		d.action = ACCESS_DISCARD;
	else if (begins(value, "QUARANTINE:"))
		d = (struct access_decision){ ACCESS_QUARANTINE, { .text = slice_trim(after(value, strlen("QUARANTINE:"))) } };
	else if (slice_is_nocase(value, "REJECT")) {
		d.reply = read_reply(reject, none, &d.reply) ? d.reply : nonsense(reject);
		d.reply.macros = true;
	} else if (begins(value, "ERROR:"))
		d.reply = read_error(after(value, strlen("ERROR:")));
	else if (!read_reply(unquote(value), none, &d.reply))
		d.reply = nonsense(value);
	return d;
}

enum access_spam access_value_spam(struct slice value)
{
	value = access_key_trim(value);
	if (slice_is_nocase(value, "FRIEND"))
		return ACCESS_SPAM_FRIEND;
	if (slice_is_nocase(value, "HATER"))
		return ACCESS_SPAM_HATER;
	return slice_is_nocase(value, "SPAMFRIEND") ? ACCESS_SPAM_OLD_FRIEND : ACCESS_SPAM_NONE;
}
