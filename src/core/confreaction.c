/* The tour, core: a word and a reply, of the options early_smtp, early_tls and their like. */
#include "core/confreaction.h"

#include <string.h>

static const struct {
	const char *name;
	int code;          /* of the reply that is given where the option has none */
	char least, most;  /* the first digit of one that it may have */
	const char *wrong; /* another one */
} reactions[CONF_REACTIONS] = {
	[CONF_REACTION_REFUSE] = { "refuse", 554, '5', '5', "refuse with a reply that is no refusal; expected a code of the class 5, such as 554" },
	[CONF_REACTION_DROP] = { "drop", 521, '4', '5', "drop with a reply that is no refusal; expected a code of the class 4 or 5, such as 521" },
	[CONF_REACTION_TEMPFAIL] = { "tempfail", 421, '4', '4', "tempfail with a reply that is for good; expected a code of the class 4, such as 421" },
	[CONF_REACTION_CLOSE] = { "close", 0, '0', '0', "close says nothing; expected no reply behind it" },
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct slice take_word(struct slice *rest)
{
	size_t n = 0;
	while (n < rest->len && rest->at[n] != ' ' && rest->at[n] != '\t')
		n++;
	struct slice word = { rest->at, n };
	*rest = slice_trim((struct slice){ rest->at + n, rest->len - n });
	return word;
}

/* "5.7.1": a class, a dot, up to three digits, a dot, up to three digits (RFC 3463 section 2). */
static bool is_dsn(struct slice word)
{
	size_t digits = 0, dots = 0;
	for (size_t i = 0; i < word.len; i++) {
		bool dot = word.at[i] == '.';
		if ((!dot && !is_digit(word.at[i])) || (dot && digits == 0) || (!dot && digits == (dots == 0 ? 1 : 3)))
			return false;
		dots += dot;
		digits = dot ? 0 : digits + 1;
	}
	return dots == 2 && digits > 0;
}

static bool parse_reply(struct slice reply, struct conf_reaction *out, const char **why)
{
	struct slice code = take_word(&reply);
	if (out->kind == CONF_REACTION_CLOSE) {
		*why = reactions[out->kind].wrong;
		return false;
	}
	if (code.len != 3 || !is_digit(code.at[0]) || code.at[1] < '0' || code.at[1] > '5' || !is_digit(code.at[2])) {
		*why = "no reply behind the word; expected none, or a code, perhaps an enhanced one, and a text: drop 521 5.5.1 $j Not here";
		return false;
	}
	if (code.at[0] < reactions[out->kind].least || code.at[0] > reactions[out->kind].most) {
		*why = reactions[out->kind].wrong;
		return false;
	}
	struct slice rest = reply, dsn = take_word(&rest);
	if (is_dsn(dsn)) {
		if (dsn.at[0] != code.at[0]) {
			*why = "the enhanced code is of another class than the code; expected both to begin with the same digit";
			return false;
		}
		out->dsn = dsn;
		reply = rest;
	}
	if (reply.len == 0) {
		*why = "a reply without a text; expected one behind the code";
		return false;
	}
	out->code = (code.at[0] - '0') * 100 + (code.at[1] - '0') * 10 + (code.at[2] - '0');
	out->text = reply;
	return true;
}

bool conf_reaction_parse(const char *text, struct conf_reaction *out, const char **why)
{
	struct slice rest = slice_trim(slice_of(text)), word = take_word(&rest);
	for (unsigned i = 0; i < CONF_REACTIONS; i++)
		if (slice_is(word, reactions[i].name)) {
			struct conf_reaction found = { (enum conf_reaction_kind)i, reactions[i].code, { "", 0 }, { "", 0 } };
			if (rest.len > 0 && !parse_reply(rest, &found, why))
				return false;
			*out = found;
			return true;
		}
	*why = "not one of its words; expected refuse, drop, tempfail or close, and perhaps a reply: drop 521 5.5.1 $j Not here";
	return false;
}

const char *conf_reaction_name(enum conf_reaction_kind kind)
{
	return reactions[kind].name;
}
