/* The tour, lookup: how the name of a map is read. */
#include "lookup/url.h"

#include <string.h>

#define SHOWN 80 /* bytes of a name that a complaint shows */
#define OPTIONS_MAX 32

struct slice url_cut(struct slice *rest, char stop, bool *found)
{
	const char *at = rest->len > 0 ? memchr(rest->at, stop, rest->len) : NULL;
	struct slice before = { rest->at, at ? (size_t)(at - rest->at) : rest->len };
	size_t eaten = before.len + (at ? 1 : 0);
	rest->at += eaten;
	rest->len -= eaten;
	if (found)
		*found = at != NULL;
	return before;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte, eaten from the front of text; -1: none, or a bad one. */
static int next_byte(struct slice *text)
{
	unsigned char c = (unsigned char)text->at[0];
	size_t eaten = 1;
	int value = c;
	if (c == '%') {
		int high = text->len > 2 ? hex_digit(text->at[1]) : -1, low = text->len > 2 ? hex_digit(text->at[2]) : -1;
		value = high < 0 || low < 0 ? -1 : high << 4 | low;
		eaten = value < 0 ? 1 : 3;
	}
	text->at += eaten;
	text->len -= eaten;
	return value == 0 ? -1 : value;
}

bool url_decode(struct slice text, char *out, size_t size)
{
	size_t len = 0;
	for (struct slice left = text; left.len > 0; len++)
		if (next_byte(&left) < 0)
			return false;
	if (len >= size)
		return false;
	for (size_t i = 0; i < len; i++)
		out[i] = (char)next_byte(&text);
	out[len] = '\0';
	return true;
}

bool url_number(struct slice text, uint32_t most, uint32_t *out)
{
	uint64_t value = 0;
	if (text.len == 0 || text.len > 10)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text.at[i] - '0');
	}
	if (value > most)
		return false;
	*out = (uint32_t)value;
	return true;
}

bool url_host_port(struct slice text, char host[URL_HOST_MAX], uint16_t *port)
{
	bool bracket = text.len > 0 && text.at[0] == '[', colon = false;
	uint32_t number = *port;
	struct slice name = text, rest = text;
	if (bracket) {
		rest = (struct slice){ text.at + 1, text.len - 1 };
		name = url_cut(&rest, ']', &colon);
		if (!colon || (rest.len > 0 && rest.at[0] != ':'))
			return false;
		colon = rest.len > 0;
		rest.at += colon ? 1 : 0;
		rest.len -= colon ? 1 : 0;
	} else {
		name = url_cut(&rest, ':', &colon);
	}
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.at[i] <= ' ' || (unsigned char)name.at[i] >= 0x7f || strchr("/?#@%\\\"<>", name.at[i]))
			return false;
	if (name.len == 0 || name.len >= URL_HOST_MAX || (colon && (!url_number(rest, UINT16_MAX, &number) || number == 0)))
		return false;
	memcpy(host, name.at, name.len);
	host[name.len] = '\0';
	*port = (uint16_t)number;
	return true;
}

static bool bad_option(struct buf *why, struct slice pair, const char *what)
{
	buf_put_char(why, '"');
	buf_put_escaped(why, pair.at, pair.len, SHOWN);
	buf_putf(why, "\": %s", what);
	return false;
}

static bool set_option(const struct url_option *o, struct slice pair, struct slice value, bool has_value, struct buf *why)
{
	if (!o->text && has_value)
		return bad_option(why, pair, "takes no value");
	if (o->text && (!has_value || value.len == 0))
		return bad_option(why, pair, "needs a value");
	if (o->text && !url_decode(value, o->text, o->size))
		return bad_option(why, pair, "too long, or a bad %-escape");
	if (o->flag)
		*o->flag = true;
	return true;
}

bool url_options(struct slice text, char separator, const struct url_option *options, struct buf *why)
{
	uint32_t seen = 0;
	while (text.len > 0) {
		struct slice pair = url_cut(&text, separator, NULL), value = pair;
		bool has_value;
		struct slice name = url_cut(&value, '=', &has_value);
		unsigned i = 0;
		while (options[i].name && !slice_is(name, options[i].name))
			i++;
		if (!options[i].name || i >= OPTIONS_MAX)
			return bad_option(why, pair, "no such option");
		if (seen & UINT32_C(1) << i)
			return bad_option(why, pair, "stands twice");
		seen |= UINT32_C(1) << i;
		if (!set_option(&options[i], pair, value, has_value, why))
			return false;
	}
	return true;
}
