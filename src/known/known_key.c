/* The tour, known: keys, and which domain a host's name stands for. There is no knowing where the names of one owner end; what is in doubt is left out: then each host is known by
 * its address alone, and waits once. */
#include "known/known_key.h"

#include <string.h>
#include <strings.h>

#define IPV4_LEN 6
#define IPV6_LEN 9
#define NET6_LEN 10
#define LEAST4 8   /* bits of a network that is one offender's, and no slip */
#define LEAST6 16
#define LABEL_MAX 63
#define RUNS 32 /* numbers of a name that are looked at */

void known_key_address(struct known_key *out, const struct addr *client, unsigned bits)
{
	if (addr_is4(client)) {
		struct addr net = addr_mask(client, bits);
		out->len = IPV4_LEN;
		out->at[0] = KNOWN_IPV4;
		out->at[1] = (uint8_t)bits;
		memcpy(out->at + 2, net.ip + 12, 4);
	} else {
		out->len = IPV6_LEN;
		out->at[0] = KNOWN_IPV6;
		memcpy(out->at + 1, client->ip, 8);
	}
}

void known_key_network(struct known_key *out, const struct addr *client, unsigned bits)
{
	if (addr_is4(client)) {
		known_key_address(out, client, bits);
		return;
	}
	struct addr net = addr_mask(client, bits);
	out->len = NET6_LEN;
	out->at[0] = KNOWN_NET6;
	out->at[1] = (uint8_t)bits;
	memcpy(out->at + 2, net.ip, 8);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return c >= 'a' && c <= 'z';
}

/* Two labels at least of letters, digits, '-' and '_', the last one with a letter: it cannot be taken for an address. */
static bool is_domain(const char *at, size_t len)
{
	size_t label = 0, labels = 1;
	bool letter = false;
	for (size_t i = 0; i < len; i++) {
		char c = at[i];
		if (c == '.' && label == 0)
			return false;
		if (c != '.' && !is_alpha(c) && !is_digit(c) && c != '-' && c != '_')
			return false;
		letter = c == '.' ? false : letter || is_alpha(c);
		labels += c == '.';
		label = c == '.' ? 0 : label + 1;
		if (label > LABEL_MAX)
			return false;
	}
	return label > 0 && letter && labels >= 2 && len < KNOWN_DOMAIN;
}

bool known_key_domain(struct known_key *out, struct slice domain)
{
	struct known_key key = { .at = { KNOWN_NAME } };
	if (domain.len >= KNOWN_DOMAIN)
		return false;
	for (size_t i = 0; i < domain.len; i++)
		key.at[1 + i] = (uint8_t)lower(domain.at[i]);
	key.len = (uint8_t)(1 + domain.len);
	if (!is_domain((const char *)key.at + 1, domain.len))
		return false;
	*out = key;
	return true;
}

bool known_key_parse(struct slice text, struct known_key *out)
{
	struct prefix p;
	if (!addr_parse_prefix(text, &p))
		return known_key_domain(out, text);
	bool cut = memchr(text.at, '/', text.len) != NULL;
	if (addr_is4(&p.base) ? p.bits == 0 : cut && p.bits != KNOWN_IPV6_BITS)
		return false;
	known_key_address(out, &p.base, p.bits);
	return true;
}

bool known_key_parse_network(struct slice text, struct known_key *out)
{
	struct prefix p;
	if (!addr_parse_prefix(text, &p))
		return false;
	bool four = addr_is4(&p.base);
	if (!four && !memchr(text.at, '/', text.len))
		p.bits = KNOWN_IPV6_BITS;
	if (p.bits < (four ? LEAST4 : LEAST6) || p.bits > (four ? 32 : KNOWN_IPV6_BITS))
		return false;
	known_key_network(out, &p.base, p.bits);
	return true;
}

bool known_key_prefix(const struct known_key *key, struct prefix *out)
{
	struct prefix p = { .bits = KNOWN_IPV6_BITS };
	if (key->at[0] == KNOWN_NAME)
		return false;
	if (key->at[0] == KNOWN_IPV4) {
		p.base.ip[10] = p.base.ip[11] = 0xff;
		memcpy(p.base.ip + 12, key->at + 2, 4);
		p.bits = key->at[1];
	} else if (key->at[0] == KNOWN_NET6) {
		memcpy(p.base.ip, key->at + 2, 8);
		p.bits = key->at[1];
	} else {
		memcpy(p.base.ip, key->at + 1, 8);
	}
	*out = p;
	return true;
}

static bool is_network(const uint8_t *at, size_t len)
{
	struct known_key key = { .len = (uint8_t)len };
	struct prefix p;
	memcpy(key.at, at, len);
	known_key_prefix(&key, &p);
	struct addr net = addr_mask(&p.base, p.bits);
	return addr_same_ip(&p.base, &net);
}

bool known_key_ok(const uint8_t *at, size_t len)
{
	if (len == IPV4_LEN && at[0] == KNOWN_IPV4)
		return at[1] >= 1 && at[1] <= 32 && is_network(at, len);
	if (len == IPV6_LEN && at[0] == KNOWN_IPV6)
		return true;
	return len > 1 && len <= KNOWN_KEY_MAX && at[0] == KNOWN_NAME && is_domain((const char *)at + 1, len - 1);
}

bool known_key_ok_network(const uint8_t *at, size_t len)
{
	if (len == NET6_LEN && at[0] == KNOWN_NET6)
		return at[1] >= LEAST6 && at[1] <= KNOWN_IPV6_BITS && is_network(at, len);
	return len == IPV4_LEN && at[0] == KNOWN_IPV4 && at[1] >= LEAST4 && known_key_ok(at, len);
}

bool known_key_put(struct buf *out, const struct known_key *key)
{
	struct prefix p;
	char text[ADDR_TEXT];
	if (!known_key_prefix(key, &p))
		return buf_put(out, key->at + 1, key->len - 1u);
	bool whole = addr_is4(&p.base) && p.bits == 32;
	return whole ? buf_put_text(out, addr_format(&p.base, text)) : buf_putf(out, "%s/%u", addr_format(&p.base, text), p.bits);
}

/* ---- names that carry an address ---- */

static unsigned hex_value(char c)
{
	return is_digit(c) ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f');
}

/* Whether the bytes stand in it as hexadecimal digits, with or without something between them. */
static bool has_hex(const char *name, const uint8_t *bytes, size_t len)
{
	char digits[KNOWN_DOMAIN];
	size_t n = 0;
	for (const char *p = name; *p; p++)
		if (is_hex(*p))
			digits[n++] = *p;
	for (size_t i = 0; i + 2 * len <= n; i++) {
		size_t k = 0;
		while (k < len && (hex_value(digits[i + 2 * k]) << 4 | hex_value(digits[i + 2 * k + 1])) == bytes[k])
			k++;
		if (k == len)
			return true;
	}
	return false;
}

/* The numbers in a name: "host-192-0-2-1" has four. A longer one may be several octets with zeros in front, "192000002001". */
static size_t numbers(const char *name, unsigned out[RUNS])
{
	size_t n = 0;
	for (const char *p = name; *p && n < RUNS;) {
		size_t len = 0;
		while (is_digit(p[len]))
			len++;
		bool several = len > 3 && len % 3 == 0;
		for (size_t i = 0; i < len && n < RUNS; i += several ? 3 : len) {
			unsigned value = 0;
			for (size_t k = i; k < i + (several ? 3 : len); k++)
				value = value < 100000 ? value * 10 + (unsigned)(p[k] - '0') : value;
			out[n++] = value;
		}
		p += len + (len == 0);
	}
	return n;
}

/* The last octet and another one, each in a number of its own. One alone may well be a coincidence: mail-f41 of 209.85.218.41. */
static bool has_octets(const char *name, const uint8_t octet[4])
{
	unsigned runs[RUNS], found = 0;
	size_t n = numbers(name, runs);
	for (int i = 3; i >= 0; i--) {
		size_t k = 0;
		while (k < n && runs[k] != octet[i])
			k++;
		if (k == n && i == 3)
			return false;
		if (k < n) {
			runs[k] = ~0u;
			found++;
		}
	}
	return found >= 2;
}

static bool has_decimal(const char *name, const uint8_t octet[4])
{
	char digits[16];
	struct buf text;
	buf_init_fixed(&text, digits, sizeof(digits));
	buf_putf(&text, "%u", (unsigned)octet[0] << 24 | (unsigned)octet[1] << 16 | (unsigned)octet[2] << 8 | octet[3]);
	return strstr(name, buf_text(&text)) != NULL;
}

static bool carries_address(const char *name, const struct addr *client)
{
	if (!addr_is4(client)) /* the half that tells hosts apart, or the end of it */
		return has_hex(name, client->ip + 8, 8) || has_hex(name, client->ip, 8) || (memcmp(client->ip + 12, "\0\0\0", 3) != 0 && has_hex(name, client->ip + 12, 4));
	const uint8_t *octet = client->ip + 12, back[4] = { octet[3], octet[2], octet[1], octet[0] };
	return has_octets(name, octet) || has_hex(name, octet, 4) || has_hex(name, back, 4) || has_decimal(name, octet);
}

/* Words by which providers call addresses that they lend to anybody. */
static bool is_lent(const char *name)
{
	static const char *const words[] = { "dyn", "dynamic", "dynip", "dhcp", "dsl", "adsl", "vdsl", "sdsl", "xdsl", "dial", "dialup", "dialin", "ppp", "pppoe", "pool", "pools", "cable", "catv", "cpe",
		"fiber", "ftth", "broadband", "bband", "client", "clients", "cust", "customer", "customers", "wireless", "wifi", "lte", "nat", "cgn", "cgnat", "unassigned", "rev", "reverse" };
	for (const char *p = name; *p;) {
		size_t len = 0;
		while (is_alpha(p[len]))
			len++;
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && len > 0; i++)
			if (strlen(words[i]) == len && memcmp(words[i], p, len) == 0)
				return true;
		p += len + (len == 0);
	}
	return false;
}

/* What many registries of countries give names out below: co.uk, com.br, gouv.fr; anything of three letters at most. Real domains that short are met, too, and lose by it. */
static bool is_registry(const char *domain)
{
	static const char *const below[] = { "arts", "asso", "firm", "gouv", "info", "muni", "name", "priv", "prof", "store", "sport" };
	const char *dot = strchr(domain, '.');
	if (strchr(dot + 1, '.') || strlen(dot + 1) != 2)
		return false;
	size_t len = (size_t)(dot - domain);
	bool found = len <= 3;
	for (size_t i = 0; i < sizeof(below) / sizeof(below[0]); i++)
		found = found || (strlen(below[i]) == len && memcmp(below[i], domain, len) == 0);
	return found;
}

bool known_domain(struct slice name, const struct addr *client, char out[KNOWN_DOMAIN])
{
	char whole[KNOWN_DOMAIN];
	out[0] = '\0';
	if (name.len >= sizeof(whole))
		return false;
	for (size_t i = 0; i < name.len; i++)
		whole[i] = lower(name.at[i]);
	whole[name.len] = '\0';
	const char *dot = strchr(whole, '.');
	if (!is_domain(whole, name.len) || !strchr(dot + 1, '.') || !is_domain(dot + 1, strlen(dot + 1)))
		return false;
	if (is_registry(dot + 1) || is_lent(whole) || carries_address(whole, client))
		return false;
	strcpy(out, dot + 1);
	return true;
}
