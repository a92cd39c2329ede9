/* The tour, access: how Sendmail reads a key and a value of GreetPause:, and what we take beyond it. */
#include "access/access_key.h"

#include <endian.h>
#include <string.h>
#include <strings.h>

#include "access/access.h"

static const struct {
	const char *text, *name;
} tags[ACCESS_TAGS] = {
	[ACCESS_UNTAGGED] = { "", "" },
	[ACCESS_GREETPAUSE] = { "greetpause:", "GreetPause:" },
	[ACCESS_CONNECT] = { "connect:", "Connect:" },
	[ACCESS_FROM] = { "from:", "From:" },
	[ACCESS_TO] = { "to:", "To:" },
	[ACCESS_SPAM] = { "spam:", "Spam:" },
	[ACCESS_CLIENTRATE] = { "clientrate:", "ClientRate:" },
	[ACCESS_CLIENTCONN] = { "clientconn:", "ClientConn:" },
	[ACCESS_HELOPAUSE] = { "helopause:", "HeloPause:" },
	[ACCESS_MAILPAUSE] = { "mailpause:", "MailPause:" },
	[ACCESS_RCPTPAUSE] = { "rcptpause:", "RcptPause:" },
	[ACCESS_DATAPAUSE] = { "datapause:", "DataPause:" },
	[ACCESS_EOMPAUSE] = { "eompause:", "EomPause:" },
};

bool access_tag_is_pause(enum access_tag tag)
{
	return tag == ACCESS_GREETPAUSE || (tag >= ACCESS_HELOPAUSE && tag <= ACCESS_EOMPAUSE);
}

const char *access_tag_text(enum access_tag tag)
{
	return tags[tag].text;
}

static bool is_tag(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!((s.at[i] >= 'a' && s.at[i] <= 'z') || s.at[i] == '_'))
			return false;
	return s.len > 0;
}

enum access_tag access_key_tag(struct slice key, struct slice *rest)
{
	const char *colon = memchr(key.at, ':', key.len);
	*rest = key;
	if (!colon || !is_tag((struct slice){ key.at, (size_t)(colon - key.at) })) /* "ipv6" has a digit and is no tag */
		return ACCESS_UNTAGGED;
	size_t len = (size_t)(colon - key.at) + 1;
	*rest = (struct slice){ key.at + len, key.len - len };
	for (unsigned t = ACCESS_UNTAGGED + 1; t < ACCESS_TAGS; t++)
		if (strlen(tags[t].text) == len && memcmp(key.at, tags[t].text, len) == 0)
			return (enum access_tag)t;
	return ACCESS_TAGS;
}

struct access_ip access_key_ip(const struct addr *a)
{
	struct access_ip ip = { .is4 = addr_is4(a) };
	uint8_t bytes[16] = { 0 };
	memcpy(bytes, ip.is4 ? a->ip + 12 : a->ip, ip.is4 ? 4 : 16);
	memcpy(&ip.high, bytes, 8);
	memcpy(&ip.low, bytes + 8, 8);
	ip.high = be64toh(ip.high);
	ip.low = be64toh(ip.low);
	return ip;
}

struct addr access_key_addr(const struct access_ip *ip)
{
	struct addr a = { .ip = { [10] = 0xff, [11] = 0xff } };
	uint64_t high = htobe64(ip->high), low = htobe64(ip->low);
	if (ip->is4) {
		memcpy(a.ip + 12, &high, 4);
	} else {
		memcpy(a.ip, &high, 8);
		memcpy(a.ip + 8, &low, 8);
	}
	return a;
}

static uint64_t upper_bits(unsigned n)
{
	return n == 0 ? 0 : n >= 64 ? UINT64_MAX : UINT64_MAX << (64 - n);
}

struct slice access_key_write(struct access_key *key, struct access_spot spot, const struct access_ip *ip)
{
	unsigned bits = spot.bits;
	*key = (struct access_key){ .tag = (uint8_t)spot.tag, .form = (uint8_t)spot.form, .bits = (uint8_t)bits };
	size_t len = offsetof(struct access_key, ip);
	if (ip) {
		uint64_t high = htobe64(ip->high & upper_bits(bits));
		uint64_t low = htobe64(ip->low & upper_bits(bits > 64 ? bits - 64 : 0));
		memcpy(key->ip, &high, 8);
		memcpy(key->ip + 8, &low, 8);
		len += ip->is4 ? 4 : 16;
	}
	return (struct slice){ (const char *)key, len };
}

/* That is when its longest run of two or more zero groups is the first thing in it. */
bool access_key_begins_zero(const struct access_ip *ip)
{
	unsigned first = 0, run = 0;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t half = i < 4 ? ip->high : ip->low;
		run = (half >> (48 - i % 4 * 16) & 0xffff) == 0 ? run + 1 : 0;
		if (run == i + 1)
			first = run;
		else if (run > first)
			return false;
	}
	return !ip->is4 && first >= 2;
}

/* An address's leading octets or groups. */
static void format_prefix(const struct access_key *key, size_t len, struct buf *out)
{
	bool is4 = len == offsetof(struct access_key, ip) + 4;
	if (!is4)
		buf_put_text(out, key->bits > 0 ? "IPv6:" : "IPv6");
	for (unsigned i = 0; is4 && i < key->bits / 8; i++)
		buf_putf(out, i ? ".%u" : "%u", key->ip[i]);
	for (unsigned i = 0; !is4 && i < key->bits / 16; i++)
		buf_putf(out, i ? ":%x" : "%x", (unsigned)key->ip[2 * i] << 8 | key->ip[2 * i + 1]);
}

static void format_network(const struct access_key *key, size_t len, struct buf *out)
{
	char text[ADDR_TEXT];
	struct addr a = { .port = 0 };
	bool is4 = len == offsetof(struct access_key, ip) + 4;
	if (is4)
		a.ip[10] = a.ip[11] = 0xff;
	memcpy(a.ip + (is4 ? 12 : 0), key->ip, is4 ? 4 : 16);
	buf_putf(out, "%s%s/%u", is4 ? "" : "IPv6:", addr_format(&a, text), key->bits);
}

bool access_key_format(struct slice text, struct buf *out)
{
	struct access_key key = { .tag = 0 };
	size_t before = out->len;
	if (text.len > 0 && text.at[0] != '\0') {
		struct slice rest;
		enum access_tag tag = access_key_tag(text, &rest);
		return tag == ACCESS_TAGS ? buf_put_slice(out, text) : buf_put_text(out, tags[tag].name) && buf_put_slice(out, rest);
	}
	if (text.len < offsetof(struct access_key, ip) || text.len > sizeof(key))
		return false;
	memcpy(&key, text.at, text.len);
	if (key.tag >= ACCESS_TAGS)
		return false;
	bool brackets = key.form == ACCESS_FORM_BRACKET || (key.form == ACCESS_FORM_ZERO && key.bits == 1);
	buf_put_text(out, tags[key.tag].name);
	buf_put_text(out, brackets ? "[" : "");
	if (key.form == ACCESS_FORM_ZERO)
		buf_put_text(out, "IPv6:");
	else if (key.form == ACCESS_FORM_CIDR)
		format_network(&key, text.len, out);
	else if (key.form != ACCESS_FORM_DEFAULT)
		format_prefix(&key, text.len, out);
	buf_put_text(out, brackets ? "]" : "");
	if (!out->full)
		return true;
	out->len = before;
	return false;
}

/* Values. */

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct slice access_key_trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.at[s.len - 1]))
		s.len--;
	return s;
}

struct access_number access_key_number(struct slice value)
{
	struct access_number n = { 0 };
	for (; n.digits < value.len && value.at[n.digits] >= '0' && value.at[n.digits] <= '9'; n.digits++)
		if (n.ms <= ACCESS_PAUSE_MAX_MS)
			n.ms = n.ms * 10 + (value.at[n.digits] - '0');
	if (n.ms > ACCESS_PAUSE_MAX_MS)
		n.ms = ACCESS_PAUSE_MAX_MS + 1;
	return n;
}

/* A value that ends so is a temporary failure to Sendmail, and that is no pause. */
bool access_key_is_tempfail(struct slice value)
{
	static const char word[] = "<TMPF>";
	value = access_key_trim(value);
	size_t len = sizeof(word) - 1;
	return value.len >= len && strncasecmp(value.at + value.len - len, word, len) == 0;
}

/* No test for '-', '+', '.' or '"' is needed: what begins so has no digits in its first token, or is negative. */
int64_t access_key_pause(struct slice value)
{
	int64_t ms = access_key_is_tempfail(value) ? 0 : access_key_number(value).ms;
	return ms > ACCESS_PAUSE_MAX_MS ? ACCESS_PAUSE_MAX_MS : ms;
}

/* The bare tag takes nothing but a number: "GreetPause: 127.0.0.2 300" is a slip of the pen. */
bool access_key_is_number(struct slice value)
{
	value = access_key_trim(value);
	return value.len > 0 && access_key_number(value).digits == value.len;
}

/* Reading keys. */

static const char hint_octets[] = "; IPv4 keys are one to four numbers from 0 to 255 with a dot between two, and no leading zeros";
static const char hint_groups[] = "; IPv6 keys are IPv6:ADDRESS, or IPv6: and one to seven groups without a colon at the end";
static const char hint_network[] = "; a network is ADDRESS/BITS, with all of the address written, as in 192.168.4.0/22 or IPv6:2001:db8::/32";
static const char hint_bracket[] = "; in brackets stands an address or the beginning of one, as in [127.0.0]";
static const char hint_mapped[] = "; an IPv4 client is IPv4 on every listener, write its address as 127.0.0.2";

static bool parse_octets(struct slice s, struct access_parsed *out)
{
	struct addr a = { .ip = { [10] = 0xff, [11] = 0xff } };
	unsigned octets = 0;
	size_t i = 0;
	for (;;) {
		size_t start = i;
		unsigned n = 0;
		for (; i < s.len && i < start + 3 && s.at[i] >= '0' && s.at[i] <= '9'; i++)
			n = n * 10 + (unsigned)(s.at[i] - '0');
		if (i == start || n > 255 || (i - start > 1 && s.at[start] == '0'))
			return false;
		a.ip[12 + octets++] = (uint8_t)n;
		if (i == s.len)
			break;
		if (s.at[i++] != '.' || octets == 4)
			return false;
	}
	out->base = a;
	out->bits = octets * 8;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to eight groups, no "::". */
static bool parse_groups(struct slice s, struct access_parsed *out)
{
	struct addr a = { .port = 0 };
	unsigned groups = 0;
	size_t i = 0;
	for (;;) {
		size_t start = i;
		unsigned n = 0;
		for (; i < s.len && i < start + 4 && hex_digit(s.at[i]) >= 0; i++)
			n = n * 16 + (unsigned)hex_digit(s.at[i]);
		if (i == start)
			return false;
		a.ip[2 * groups] = (uint8_t)(n >> 8);
		a.ip[2 * groups++ + 1] = (uint8_t)n;
		if (i == s.len)
			break;
		if (s.at[i++] != ':' || groups == 8)
			return false;
	}
	out->base = a;
	out->bits = groups * 16;
	return true;
}

static enum access_sort never(struct access_parsed *out, const char *hint)
{
	out->hint = hint;
	return ACCESS_SORT_NEVER;
}

/* With "ipv6:" in front of it, or (tagged false) without: then only a whole address is one. */
static enum access_sort parse_six(struct slice s, bool tagged, struct access_parsed *out)
{
	if (tagged && s.len == 0) {
		out->form = ACCESS_FORM_ZERO;
		out->bits = 0;
		return ACCESS_SORT_ADDRESS;
	}
	bool whole = addr_parse(s, &out->base);
	if (whole && memchr(s.at, ':', s.len)) {
		out->bits = ACCESS_KEY_ALL6;
		out->whole = s.at[s.len - 1] == ':';
	} else if (!tagged || !parse_groups(s, out)) {
		return never(out, hint_groups);
	}
	return addr_is4(&out->base) ? never(out, hint_mapped) : ACCESS_SORT_ADDRESS;
}

static enum access_sort parse_network(struct slice s, bool tagged, struct access_parsed *out)
{
	struct prefix p;
	struct slice ip = { s.at, (size_t)((const char *)memchr(s.at, '/', s.len) - s.at) };
	bool six = memchr(ip.at, ':', ip.len) != NULL;
	if (!addr_parse_prefix(s, &p) || (tagged && !six))
		return never(out, hint_network);
	if (addr_is4(&p.base) == six)
		return never(out, hint_mapped);
	struct addr written;
	out->cut = addr_parse(ip, &written) && !addr_same_ip(&written, &p.base);
	out->form = ACCESS_FORM_CIDR;
	out->base = p.base;
	out->bits = p.bits;
	return ACCESS_SORT_ADDRESS;
}

static bool only_digits_and_dots(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.at[i] != '.' && (s.at[i] < '0' || s.at[i] > '9'))
			return false;
	return true;
}

static bool cut_six(struct slice *s)
{
	if (s->len < 5 || memcmp(s->at, "ipv6:", 5) != 0)
		return false;
	s->at += 5;
	s->len -= 5;
	return true;
}

/* What stands between the brackets, or a key without them. */
static enum access_sort parse_address(struct slice s, bool brackets, struct access_parsed *out)
{
	if (slice_is(s, "ipv6")) {
		out->base = (struct addr){ .port = 0 };
		out->bits = 0;
		return ACCESS_SORT_ADDRESS;
	}
	bool tagged = cut_six(&s);
	if (memchr(s.at, '/', s.len))
		return brackets ? never(out, hint_bracket) : parse_network(s, tagged, out);
	if (tagged || memchr(s.at, ':', s.len))
		return parse_six(s, tagged, out);
	if (only_digits_and_dots(s))
		return parse_octets(s, out) ? ACCESS_SORT_ADDRESS : never(out, hint_octets);
	if (brackets)
		return never(out, hint_bracket);
	return memchr(s.at, '@', s.len) ? ACCESS_SORT_USER : ACCESS_SORT_NAME;
}

/* The part of a key behind its tag, in lower case. */
enum access_sort access_key_parse(struct slice s, struct access_parsed *out)
{
	*out = (struct access_parsed){ .form = ACCESS_FORM_PLAIN };
	if (s.len == 0)
		return ACCESS_SORT_DEFAULT;
	if (s.at[0] != '[')
		return parse_address(s, false, out);
	if (s.len < 3 || s.at[s.len - 1] != ']')
		return never(out, hint_bracket);
	enum access_sort sort = parse_address((struct slice){ s.at + 1, s.len - 2 }, true, out);
	if (out->form == ACCESS_FORM_ZERO)
		out->bits = 1;
	else
		out->form = ACCESS_FORM_BRACKET;
	return sort;
}
