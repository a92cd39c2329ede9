/* The tour, core: who a client is. Everything else compares, counts and prints clients through these functions. */
#include "core/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

bool addr_is4(const struct addr *a)
{
	return memcmp(a->ip, mapped, sizeof(mapped)) == 0;
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 };
	return addr_is4(a) ? a->ip[12] == 127 : memcmp(a->ip, one, sizeof(one)) == 0;
}

bool addr_is_private(const struct addr *a)
{
	const uint8_t *ip = addr_is4(a) ? a->ip + 12 : a->ip;
	if (addr_is_loopback(a))
		return true;
	if (!addr_is4(a))
		return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
	return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) || (ip[0] == 192 && ip[1] == 168) || (ip[0] == 100 && (ip[1] & 0xc0) == 64)
	       || (ip[0] == 169 && ip[1] == 254);
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
	return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool addr_from_sockaddr(struct addr *out, const struct sockaddr *sa)
{
	memset(out, 0, sizeof(*out));
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
		memcpy(out->ip, mapped, sizeof(mapped));
		memcpy(out->ip + 12, &in->sin_addr, 4);
		out->port = ntohs(in->sin_port);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
		memcpy(out->ip, &in6->sin6_addr, 16);
		out->port = ntohs(in6->sin6_port);
		return true;
	}
	return false;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof(*out));
	if (addr_is4(a)) {
		struct sockaddr_in *in = (struct sockaddr_in *)out;
		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip + 12, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(a->port);
	memcpy(&in6->sin6_addr, a->ip, 16);
	return sizeof(*in6);
}

/* By hand, not by inet_ntop(): it is on the way of every refused client. Returns the end. */
static char *put_ipv4(char *out, const uint8_t octet[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*out++ = '.';
		if (octet[i] >= 100)
			*out++ = (char)('0' + octet[i] / 100);
		if (octet[i] >= 10)
			*out++ = (char)('0' + octet[i] / 10 % 10);
		*out++ = (char)('0' + octet[i] % 10);
	}
	return out;
}

const char *addr_format(const struct addr *a, char out[ADDR_TEXT])
{
	if (addr_is4(a))
		*put_ipv4(out, a->ip + 12) = '\0';
	else
		inet_ntop(AF_INET6, a->ip, out, ADDR_TEXT);
	return out;
}

const char *addr_format_port(const struct addr *a, char out[ADDR_TEXT])
{
	char ip[ADDR_TEXT];
	addr_format(a, ip);
	int n = snprintf(out, ADDR_TEXT, addr_is4(a) ? "%.45s:%u" : "[%.45s]:%u", ip, (unsigned)a->port);
	if (n < 0)
		out[0] = '\0';
	return out;
}

const char *addr_format_literal(const struct addr *a, char out[ADDR_TEXT])
{
	char *end = out;
	*end++ = '[';
	if (addr_is4(a)) {
		end = put_ipv4(end, a->ip + 12);
	} else {
		memcpy(end, "IPv6:", 5);
		inet_ntop(AF_INET6, a->ip, end + 5, ADDR_TEXT - 8);
		end += strlen(end);
	}
	end[0] = ']';
	end[1] = '\0';
	return out;
}

bool addr_parse(struct slice text, struct addr *out)
{
	char copy[ADDR_TEXT];
	struct addr a = { .port = 0 };
	if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.at, '\0', text.len))
		return false;
	memcpy(copy, text.at, text.len);
	copy[text.len] = '\0';
	/* glibc's inet_pton refuses leading zeros ("127.0.0.01"), which some read as octal. */
	if (inet_pton(AF_INET, copy, a.ip + 12) == 1) {
		memcpy(a.ip, mapped, sizeof(mapped));
	} else if (inet_pton(AF_INET6, copy, a.ip) != 1) {
		return false;
	}
	*out = a;
	return true;
}

/* A decimal number without sign, at most `max`. */
static bool parse_number(struct slice text, unsigned max, unsigned *out)
{
	unsigned n = 0;
	if (text.len == 0 || text.len > 5)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		n = n * 10 + (unsigned)(text.at[i] - '0');
	}
	if (n > max)
		return false;
	*out = n;
	return true;
}

/* Splits "HOST:PORT" at the last colon and takes the brackets off the host. */
static bool split_port(struct slice text, struct slice *host, unsigned *port)
{
	size_t colon = text.len;
	while (colon > 0 && text.at[colon - 1] != ':')
		colon--;
	if (colon == 0)
		return false;
	if (!parse_number((struct slice){ text.at + colon, text.len - colon }, 65535, port))
		return false;
	*host = (struct slice){ text.at, colon - 1 };
	if (host->len >= 2 && host->at[0] == '[' && host->at[host->len - 1] == ']') {
		host->at++;
		host->len -= 2;
	} else if (memchr(host->at, ':', host->len)) {
		return false; /* a bare IPv6 address: where it ends and the port begins is anyone's guess */
	}
	return host->len > 0;
}

bool addr_parse_port(struct slice text, struct addr *out)
{
	struct slice host;
	unsigned port;
	struct addr a;
	if (!split_port(text, &host, &port))
		return false;
	if (slice_is(host, "*"))
		host = slice_of("::");
	if (!addr_parse(host, &a))
		return false;
	a.port = (uint16_t)port;
	*out = a;
	return true;
}

bool addr_parse_prefix(struct slice text, struct prefix *out)
{
	const char *slash = memchr(text.at, '/', text.len);
	struct slice ip = text;
	struct prefix p;
	unsigned bits;
	if (slash)
		ip.len = (size_t)(slash - text.at);
	if (!addr_parse(ip, &p.base))
		return false;
	unsigned most = addr_is4(&p.base) ? 32 : 128;
	if (!slash)
		bits = most;
	else if (!parse_number((struct slice){ slash + 1, text.len - ip.len - 1 }, most, &bits))
		return false;
	p.base = addr_mask(&p.base, bits);
	p.bits = (uint8_t)bits;
	*out = p;
	return true;
}

struct addr addr_mask(const struct addr *a, unsigned bits)
{
	struct addr m = *a;
	unsigned keep = addr_is4(a) ? 96 + bits : bits;
	for (unsigned i = 0; i < 16; i++) {
		unsigned left = keep > i * 8 ? keep - i * 8 : 0;
		if (left < 8)
			m.ip[i] &= (uint8_t)(0xff00 >> left);
	}
	m.port = 0;
	return m;
}

bool addr_in_prefix(const struct addr *a, const struct prefix *p)
{
	if (addr_is4(a) != addr_is4(&p->base))
		return false;
	struct addr m = addr_mask(a, p->bits);
	return addr_same_ip(&m, &p->base);
}

uint64_t addr_client_key(const struct addr *a)
{
	uint64_t key = 0;
	/* An IPv4 client becomes a /64 within ::/16, which is not routed, so that it cannot meet an IPv6 one. */
	if (addr_is4(a)) {
		memcpy((uint8_t *)&key + 2, a->ip + 10, 6);
	} else {
		memcpy(&key, a->ip, 8);
	}
	return key;
}

bool addr_resolve(struct slice text, struct addr *out, struct buf *why)
{
	struct slice host;
	unsigned port;
	char name[256];
	if (!split_port(text, &host, &port) || host.len >= sizeof(name)) {
		buf_putf(why, "\"%.*s\" is not HOST:PORT", (int)text.len, text.at);
		return false;
	}
	memcpy(name, host.at, host.len);
	name[host.len] = '\0';
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int e = getaddrinfo(name, NULL, &hints, &list);
	if (e != 0) {
		buf_putf(why, "\"%s\": %s", name, gai_strerror(e));
		return false;
	}
	bool ok = false;
	for (struct addrinfo *i = list; i && !ok; i = i->ai_next)
		ok = addr_from_sockaddr(out, i->ai_addr);
	freeaddrinfo(list);
	if (!ok)
		buf_putf(why, "\"%s\" has no IP address", name);
	else
		out->port = (uint16_t)port;
	return ok;
}
