/* The tour, smtp: who the client is, said by whoever accepted it for us. Version 1 is a line of text, version 2 is binary with room for
 * more; the door writes both for its backends, and the mail server inside reads version 2 to learn its client. */
#include "smtp/proxyhdr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V2_FIXED 16 /* signature, version and command, family, length */
#define V2_ADDRESSES4 12
#define V2_ADDRESSES6 36

static const char signature[12] = { '\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

/* Whatever the family: in a line that says TCP6 an IPv4 address is written ::ffff:a.b.c.d. */
static bool put_address(struct buf *out, const struct addr *a, bool as4)
{
	char text[ADDR_TEXT];
	if (!inet_ntop(as4 ? AF_INET : AF_INET6, as4 ? a->ip + 12 : a->ip, text, sizeof(text)))
		return false;
	return buf_put_text(out, text);
}

bool proxyhdr_write_v1(struct buf *out, const struct addr *client, const struct addr *server)
{
	size_t before = out->len;
	bool as4 = addr_is4(client) && addr_is4(server);
	bool ok = buf_put_text(out, as4 ? "PROXY TCP4 " : "PROXY TCP6 ") && put_address(out, client, as4) && buf_put_char(out, ' ') &&
		put_address(out, server, as4) && buf_putf(out, " %u %u\r\n", (unsigned)client->port, (unsigned)server->port);
	if (!ok)
		out->len = before;
	return ok;
}

static size_t put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return 2;
}

static size_t put_bytes(uint8_t *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return len;
}

static size_t put_tlv(uint8_t *at, uint8_t type, const void *value, size_t len)
{
	at[0] = type;
	put16(at + 1, (uint32_t)len);
	memcpy(at + 3, value, len);
	return 3 + len;
}

/* PP2_TYPE_SSL: what the client has done, whether its certificate is good (0), and what is known of TLS. */
#define SSL_CLIENT 0x01
#define SSL_CERTIFICATE (0x02 | 0x04)
#define SSL_HEAD 5
#define SSL_VERSION 0x21
#define SSL_COMMON_NAME 0x22
#define SSL_CIPHER 0x23
#define SSL_MOST (SSL_HEAD + 3 * 3 + sizeof(((struct tlswire_facts *)0)->version) + sizeof(((struct tlswire_facts *)0)->common_name) + sizeof(((struct tlswire_facts *)0)->cipher))

static size_t put_text(uint8_t *at, uint8_t type, const char *text, size_t most)
{
	size_t len = strnlen(text, most);
	return len > 0 ? put_tlv(at, type, text, len) : 0;
}

static size_t put_tls(uint8_t *at, const struct tlswire_facts *tls)
{
	uint8_t value[SSL_MOST] = { tls->certificate ? (SSL_CLIENT | SSL_CERTIFICATE) : SSL_CLIENT, 0, 0, 0, tls->certificate && tls->verified ? 0 : 1 };
	size_t n = SSL_HEAD;
	n += put_text(value + n, SSL_VERSION, tls->version, sizeof(tls->version) - 1);
	n += put_text(value + n, SSL_CIPHER, tls->cipher, sizeof(tls->cipher) - 1);
	if (tls->certificate)
		n += put_text(value + n, SSL_COMMON_NAME, tls->common_name, sizeof(tls->common_name) - 1);
	return put_tlv(at, PROXYHDR_TLV_SSL, value, n);
}

bool proxyhdr_write_v2(struct buf *out, const struct proxyhdr *header)
{
	uint8_t bytes[PROXYHDR_V2_WRITTEN];
	size_t n = put_bytes(bytes, signature, sizeof(signature));
	bool as4 = addr_is4(&header->client) && addr_is4(&header->server);
	bytes[n++] = header->local ? 0x20 : 0x21;
	bytes[n++] = header->local ? 0x00 : as4 ? 0x11 : 0x21;
	n += 2; /* the length, written last */
	if (!header->local) {
		size_t skip = as4 ? 12 : 0;
		n += put_bytes(bytes + n, header->client.ip + skip, 16 - skip);
		n += put_bytes(bytes + n, header->server.ip + skip, 16 - skip);
		n += put16(bytes + n, header->client.port);
		n += put16(bytes + n, header->server.port);
		if (header->has_pause) {
			uint8_t value[4];
			put16(value, header->pause_ms >> 16);
			put16(value + 2, header->pause_ms & 0xffff);
			n += put_tlv(bytes + n, PROXYHDR_TLV_PAUSE, value, sizeof(value));
		}
		if (header->xtls)
			n += put_tlv(bytes + n, PROXYHDR_TLV_XTLS, "", 0);
		if (header->tls.ok)
			n += put_tls(bytes + n, &header->tls);
		size_t id = strnlen(header->id, PROXYHDR_ID_MAX), name = strnlen(header->name, PROXYHDR_NAME_MAX);
		if (id > 0)
			n += put_tlv(bytes + n, PROXYHDR_TLV_UNIQUE_ID, header->id, id);
		if (name > 0 && n + 3 + 1 + name <= sizeof(bytes)) {
			uint8_t value[1 + PROXYHDR_NAME_MAX] = { header->forged };
			memcpy(value + 1, header->name, name);
			n += put_tlv(bytes + n, PROXYHDR_TLV_NAME, value, 1 + name);
		}
		size_t asked = header->tls.ok ? strnlen(header->tls.name, sizeof(header->tls.name) - 1) : 0;
		if (asked > 0 && n + 3 + asked <= sizeof(bytes))
			n += put_tlv(bytes + n, PROXYHDR_TLV_AUTHORITY, header->tls.name, asked);
	}
	_Static_assert(V2_FIXED + V2_ADDRESSES6 + 3 + 4 + 3 + 3 + SSL_MOST + 3 + PROXYHDR_ID_MAX <= PROXYHDR_V2_WRITTEN, "what is always written fits");
	put16(bytes + 14, (uint32_t)(n - V2_FIXED));
	return buf_put(out, bytes, n);
}

static int bad(const char **why, const char *text)
{
	*why = text;
	return -1;
}

/* The next field up to a single blank; false: there is none, or it is empty. */
static bool take_field(struct slice *rest, struct slice *field)
{
	const char *blank = memchr(rest->at, ' ', rest->len);
	size_t n = blank ? (size_t)(blank - rest->at) : rest->len;
	*field = (struct slice){ rest->at, n };
	rest->at += blank ? n + 1 : n;
	rest->len -= blank ? n + 1 : n;
	return n > 0;
}

static bool parse_port(struct slice text, uint16_t *out)
{
	uint32_t n = 0;
	if (text.len == 0 || text.len > 5 || (text.len > 1 && text.at[0] == '0'))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return false;
		n = n * 10 + (uint32_t)(text.at[i] - '0');
	}
	if (n > 65535)
		return false;
	*out = (uint16_t)n;
	return true;
}

static bool parse_v1_address(struct slice text, bool as4, struct addr *out)
{
	return (memchr(text.at, ':', text.len) == NULL) == as4 && addr_parse(text, out);
}

/* rest: what follows "PROXY ", without CRLF. */
static bool parse_v1(struct slice rest, struct proxyhdr *out)
{
	struct slice family, client, server, client_port, server_port;
	if (!take_field(&rest, &family))
		return false;
	if (slice_is(family, "UNKNOWN")) {
		out->local = out->unknown = true;
		return true;
	}
	bool as4 = slice_is(family, "TCP4");
	if (!as4 && !slice_is(family, "TCP6"))
		return false;
	if (!take_field(&rest, &client) || !take_field(&rest, &server) || !take_field(&rest, &client_port))
		return false;
	server_port = rest; /* the last one: a blank in it is an error */
	return parse_v1_address(client, as4, &out->client) && parse_v1_address(server, as4, &out->server) &&
		parse_port(client_port, &out->client.port) && parse_port(server_port, &out->server.port);
}

int proxyhdr_read_v1(struct slice bytes, struct proxyhdr *out, const char **why)
{
	static const char start[] = "PROXY ";
	size_t prefix = bytes.len < sizeof(start) - 1 ? bytes.len : sizeof(start) - 1;
	struct proxyhdr header = { .local = false };
	if (bytes.len == 0)
		return 0;
	if (memcmp(bytes.at, start, prefix) != 0)
		return bad(why, "not a PROXY version 1 header");
	size_t most = bytes.len < PROXYHDR_V1_MAX ? bytes.len : PROXYHDR_V1_MAX;
	const char *end = memchr(bytes.at, '\n', most);
	if (!end)
		return bytes.len >= PROXYHDR_V1_MAX ? bad(why, "PROXY version 1 header without end") : 0;
	size_t len = (size_t)(end - bytes.at) + 1;
	if (len < sizeof(start) + 1 || end[-1] != '\r')
		return bad(why, "PROXY version 1 header does not end in CRLF");
	if (!parse_v1((struct slice){ bytes.at + sizeof(start) - 1, len - 2 - (sizeof(start) - 1) }, &header))
		return bad(why, "bad PROXY version 1 header");
	*out = header;
	return (int)len;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) << 16 | get16(at + 2);
}

/* CRC32C (RFC 3720 B.4), bit by bit: a header is short and seldom has one. The four bytes from `hole` count as zero. */
static uint32_t crc32c(const uint8_t *at, size_t len, size_t hole)
{
	uint32_t crc = UINT32_MAX;
	for (size_t i = 0; i < len; i++) {
		crc ^= i >= hole && i < hole + 4 ? 0 : at[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static bool is_name(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!(at[i] >= 'a' && at[i] <= 'z') && !(at[i] >= 'A' && at[i] <= 'Z') && !(at[i] >= '0' && at[i] <= '9') && !(at[i] && strchr("-_.", at[i])))
			return false;
	return true;
}

static void get_text(char *field, size_t size, const uint8_t *value, size_t len)
{
	tlswire_put(field, size, (const char *)value, len);
}

/* False: its TLVs are cut. What is in none of them is not known. */
static bool read_tls(const uint8_t *value, size_t len, struct tlswire_facts *tls)
{
	if (len < SSL_HEAD)
		return false;
	tls->ok = value[0] & SSL_CLIENT;
	tls->certificate = (value[0] & SSL_CERTIFICATE) != 0;
	tls->verified = tls->certificate && get32(value + 1) == 0;
	for (size_t at = SSL_HEAD; at < len; at += 3 + get16(value + at + 1)) {
		if (len - at < 3 || len - at - 3 < get16(value + at + 1))
			return false;
		size_t n = get16(value + at + 1);
		if (value[at] == SSL_VERSION)
			get_text(tls->version, sizeof(tls->version), value + at + 3, n);
		else if (value[at] == SSL_CIPHER)
			get_text(tls->cipher, sizeof(tls->cipher), value + at + 3, n);
		else if (value[at] == SSL_COMMON_NAME)
			get_text(tls->common_name, sizeof(tls->common_name), value + at + 3, n);
	}
	return true;
}

/* NULL, or what is wrong. */
static const char *read_tlv(const uint8_t *header, size_t header_len, size_t at, struct proxyhdr *out)
{
	size_t len = get16(header + at + 1);
	const uint8_t *value = header + at + 3;
	switch (header[at]) {
	case PROXYHDR_TLV_CRC32C:
		if (len != 4 || crc32c(header, header_len, at + 3) != get32(value))
			return "bad checksum in PROXY version 2 header";
		break;
	case PROXYHDR_TLV_UNIQUE_ID:
		if (len > PROXYHDR_ID_MAX)
			return "unique id too long in PROXY version 2 header";
		for (size_t i = 0; i < len; i++)
			if (value[i] < 0x21 || value[i] > 0x7e)
				return NULL;
		memcpy(out->id, value, len);
		out->id[len] = '\0';
		break;
	case PROXYHDR_TLV_PAUSE:
		/* The range is anybody's: another length is another sender's meaning. */
		if (len == 4) {
			out->pause_ms = get32(value);
			out->has_pause = true;
		}
		break;
	case PROXYHDR_TLV_SSL:
		if (!read_tls(value, len, &out->tls))
			return "bad TLS extension in PROXY version 2 header";
		break;
	case PROXYHDR_TLV_XTLS:
		out->xtls = true;
		break;
	case PROXYHDR_TLV_AUTHORITY:
		get_text(out->tls.name, sizeof(out->tls.name), value, len);
		break;
	case PROXYHDR_TLV_NAME:
		if (len >= 2 && len <= 1 + PROXYHDR_NAME_MAX && value[0] <= 1 && is_name(value + 1, len - 1)) {
			out->forged = value[0];
			memcpy(out->name, value + 1, len - 1);
			out->name[len - 1] = '\0';
		}
		break;
	default:
		break;
	}
	return NULL;
}

/* Bytes that the addresses take; -1: a family that SMTP does not run over. */
static int read_addresses(const uint8_t *header, size_t len, struct proxyhdr *out)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *at = header + V2_FIXED;
	switch (header[13]) {
	case 0x00: /* UNSPEC: what follows cannot be known */
	case 0x31: /* UNIX */
		out->local = out->unknown = true;
		return (int)len;
	case 0x11:
		if (len < V2_ADDRESSES4)
			return -1;
		memcpy(out->client.ip, mapped, sizeof(mapped));
		memcpy(out->server.ip, mapped, sizeof(mapped));
		memcpy(out->client.ip + 12, at, 4);
		memcpy(out->server.ip + 12, at + 4, 4);
		out->client.port = (uint16_t)get16(at + 8);
		out->server.port = (uint16_t)get16(at + 10);
		return V2_ADDRESSES4;
	case 0x21:
		if (len < V2_ADDRESSES6)
			return -1;
		memcpy(out->client.ip, at, 16);
		memcpy(out->server.ip, at + 16, 16);
		out->client.port = (uint16_t)get16(at + 32);
		out->server.port = (uint16_t)get16(at + 34);
		return V2_ADDRESSES6;
	default:
		return -1;
	}
}

/* header is complete: V2_FIXED + len bytes. NULL, or what is wrong. */
static const char *parse_v2(const uint8_t *header, size_t len, struct proxyhdr *out)
{
	if (header[12] == 0x20) { /* LOCAL: the rest is to be skipped */
		out->local = true;
		return NULL;
	}
	int addresses = read_addresses(header, len, out);
	if (addresses < 0)
		return "bad addresses in PROXY version 2 header";
	size_t at = V2_FIXED + (size_t)addresses, end = V2_FIXED + len;
	while (at < end) {
		if (end - at < 3 || end - at - 3 < get16(header + at + 1))
			return "bad extension in PROXY version 2 header";
		const char *wrong = read_tlv(header, end, at, out);
		if (wrong)
			return wrong;
		at += 3 + get16(header + at + 1);
	}
	return NULL;
}

int proxyhdr_read_v2(struct slice bytes, struct proxyhdr *out, const char **why)
{
	const uint8_t *header = (const uint8_t *)bytes.at;
	size_t prefix = bytes.len < sizeof(signature) ? bytes.len : sizeof(signature);
	struct proxyhdr parsed = { .local = false };
	if (bytes.len == 0)
		return 0;
	if (memcmp(bytes.at, signature, prefix) != 0)
		return bad(why, "not a PROXY version 2 header");
	if (bytes.len > 12 && header[12] != 0x20 && header[12] != 0x21)
		return bad(why, "unknown version or command in PROXY version 2 header");
	if (bytes.len < V2_FIXED)
		return 0;
	size_t len = get16(header + 14);
	if (V2_FIXED + len > PROXYHDR_V2_MAX)
		return bad(why, "PROXY version 2 header too long");
	if (bytes.len < V2_FIXED + len)
		return 0;
	const char *wrong = parse_v2(header, len, &parsed);
	if (wrong)
		return bad(why, wrong);
	*out = parsed;
	return (int)(V2_FIXED + len);
}

int proxyhdr_read(struct slice bytes, struct proxyhdr *out, const char **why)
{
	if (bytes.len > 0 && bytes.at[0] != 'P' && bytes.at[0] != signature[0])
		return bad(why, "not a PROXY header");
	return bytes.len > 0 && bytes.at[0] == 'P' ? proxyhdr_read_v1(bytes, out, why) : proxyhdr_read_v2(bytes, out, why);
}
