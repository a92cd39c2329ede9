/* The PROXY header: what is written is read back, every prefix is "incomplete", and what is wrong is said to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/proxyhdr.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static struct addr addr_of(const char *text, uint16_t port)
{
	struct addr a;
	assert_true(addr_parse(slice_of(text), &a));
	a.port = port;
	return a;
}

/* Through memory of exactly that size, so that ASan sees a read past the end. */
static int read_v2(const void *bytes, size_t len, struct proxyhdr *out, const char **why)
{
	char *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	int n = proxyhdr_read_v2((struct slice){ copy, len }, out, why);
	free(copy);
	return n;
}

static int read_v1(const void *bytes, size_t len, struct proxyhdr *out, const char **why)
{
	char *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	int n = proxyhdr_read_v1((struct slice){ copy, len }, out, why);
	free(copy);
	return n;
}

static void assert_same(const struct addr *a, const struct addr *b)
{
	assert_true(addr_same_ip(a, b));
	assert_int_equal(a->port, b->port);
}

static void v1_text(void **state)
{
	char memory[PROXYHDR_V1_MAX + 1];
	struct buf out;
	struct addr c4 = addr_of("192.0.2.1", 56324), s4 = addr_of("192.0.2.25", 25), s6 = addr_of("2001:db8::19", 65535);
	(void)state;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(proxyhdr_write_v1(&out, &c4, &s4));
	assert_string_equal(buf_text(&out), "PROXY TCP4 192.0.2.1 192.0.2.25 56324 25\r\n");
	buf_clear(&out);
	assert_true(proxyhdr_write_v1(&out, &c4, &s6));
	assert_string_equal(buf_text(&out), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::19 56324 65535\r\n");
	struct buf small;
	buf_init_fixed(&small, memory, 20);
	assert_false(proxyhdr_write_v1(&small, &c4, &s4));
	assert_int_equal(small.len, 0);
}

static void v1_round_trip(void **state)
{
	static const char *const pairs[][2] = {
		{ "192.0.2.1", "127.0.0.1" }, { "2001:db8::1", "::1" }, { "192.0.2.1", "::1" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char memory[PROXYHDR_V1_MAX + 4];
		struct buf out;
		struct proxyhdr got;
		const char *why = NULL;
		struct addr client = addr_of(pairs[i][0], 65535), server = addr_of(pairs[i][1], 65534);
		buf_init_fixed(&out, memory, sizeof(memory));
		assert_true(proxyhdr_write_v1(&out, &client, &server));
		assert_true(out.len <= PROXYHDR_V1_MAX);
		size_t len = out.len;
		for (size_t n = 0; n < len; n++)
			assert_int_equal(read_v1(out.at, n, &got, &why), 0);
		assert_true(buf_put_text(&out, "EHL"));
		assert_int_equal(read_v1(out.at, out.len, &got, &why), len);
		assert_same(&got.client, &client);
		assert_same(&got.server, &server);
		assert_false(got.local);
	}
}

static void v1_unknown(void **state)
{
	static const char *const lines[] = { "PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 x y z and more\r\n" };
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct proxyhdr got;
		const char *why = NULL;
		assert_int_equal(read_v1(lines[i], strlen(lines[i]), &got, &why), strlen(lines[i]));
		assert_true(got.local && got.unknown);
	}
}

/* The first byte tells the version; LOCAL is the peer itself, and no unknown client. */
static void either(void **state)
{
	static const struct {
		const char *at;
		size_t len;
		int want;
		bool local, unknown;
	} rows[] = {
		{ "", 0, 0, false, false }, { "P", 1, 0, false, false }, { "\r", 1, 0, false, false }, { "X", 1, -1, false, false }, { "\n", 1, -1, false, false }, { "p", 1, -1, false, false },
		{ "PROXY UNKNOWN\r\n", 15, 15, true, true },
		{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 36, 36, false, false },
		{ SIGNATURE "\x20\x00\x00\x00", 16, 16, true, false },
		{ SIGNATURE "\x20\x11\x00\x00", 16, 16, true, false },
		{ SIGNATURE "\x21\x00\x00\x00", 16, 16, true, true },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct proxyhdr got = { .local = false };
		const char *why = NULL;
		assert_int_equal(proxyhdr_read((struct slice){ rows[i].at, rows[i].len }, &got, &why), rows[i].want);
		assert_int_equal(why != NULL, rows[i].want < 0);
		assert_int_equal(got.local, rows[i].local);
		assert_int_equal(got.unknown, rows[i].unknown);
	}
}

static void v1_bad(void **state)
{
	static const char *const lines[] = {
		"EHLO x\r\n", "PROX", "PROXYTCP4", "proxy TCP4 ", "\r\n",
		"PROXY \r\n", "PROXY\r\n", "PROXY TCP4\r\n", "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
		"PROXY TCP4 ::1 ::2 1 2\r\n", "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
		"PROXY UNKNOWN\n", "PROXY UNKNOWNX\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r \r\n",
	};
	char longest[PROXYHDR_V1_MAX + 3];
	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct proxyhdr got = { .pause_ms = 77 };
		const char *why = NULL;
		int n = read_v1(lines[i], strlen(lines[i]), &got, &why);
		if (strcmp(lines[i], "PROX") == 0) {
			assert_int_equal(n, 0);
			continue;
		}
		if (n != -1)
			fail_msg("taken: %s", lines[i]);
		assert_non_null(why);
		assert_int_equal(got.pause_ms, 77);
	}
	struct proxyhdr got;
	const char *why = NULL;
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "PROXY UNKNOWN ", 14);
	assert_int_equal(read_v1(longest, PROXYHDR_V1_MAX - 1, &got, &why), 0);
	assert_int_equal(read_v1(longest, PROXYHDR_V1_MAX, &got, &why), -1);
	memcpy(longest + PROXYHDR_V1_MAX - 2, "\r\n", 2);
	assert_int_equal(read_v1(longest, sizeof(longest), &got, &why), PROXYHDR_V1_MAX);
	memcpy(longest + PROXYHDR_V1_MAX - 2, "x\r\n", 3);
	assert_int_equal(read_v1(longest, sizeof(longest), &got, &why), -1);
}

static void v2_bytes(void **state)
{
	static const char want[] = SIGNATURE "\x21\x11\x00\x19" "\xc0\x00\x02\x01" "\xc0\x00\x02\x19" "\xdc\x04" "\x00\x19"
		"\xe1\x00\x04\x00\x00\x03\xe8" "\x05\x00\x03" "abc";
	char memory[PROXYHDR_V2_MAX];
	struct buf out;
	struct proxyhdr h = { .client = addr_of("192.0.2.1", 56324), .server = addr_of("192.0.2.25", 25), .pause_ms = 1000, .has_pause = true, .id = "abc" };
	(void)state;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&out, &h));
	assert_int_equal(out.len, sizeof(want) - 1);
	assert_memory_equal(out.at, want, sizeof(want) - 1);
	buf_init_fixed(&out, memory, sizeof(want) - 2);
	assert_false(proxyhdr_write_v2(&out, &h));
	assert_int_equal(out.len, 0);
}

static void v2_round_trip(void **state)
{
	struct proxyhdr rows[] = {
		{ .client = addr_of("192.0.2.1", 1), .server = addr_of("127.0.0.1", 25) },
		{ .client = addr_of("2001:db8::1", 65535), .server = addr_of("::1", 25), .pause_ms = UINT32_MAX, .has_pause = true },
		{ .client = addr_of("192.0.2.1", 2), .server = addr_of("::1", 25), .has_pause = true },
		{ .client = addr_of("::", 0), .server = addr_of("::1", 0) },
		{ .local = true },
	};
	(void)state;
	memset(rows[3].id, 'i', PROXYHDR_ID_MAX);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char memory[PROXYHDR_V2_MAX];
		struct buf out;
		struct proxyhdr got;
		const char *why = NULL;
		buf_init_fixed(&out, memory, sizeof(memory));
		assert_true(proxyhdr_write_v2(&out, &rows[i]));
		size_t len = out.len;
		for (size_t n = 0; n < len; n++)
			assert_int_equal(read_v2(out.at, n, &got, &why), 0);
		assert_true(buf_put_text(&out, "QUIT\r\n"));
		assert_int_equal(read_v2(out.at, out.len, &got, &why), len);
		assert_same(&got.client, &rows[i].client);
		assert_same(&got.server, &rows[i].server);
		assert_int_equal(got.local, rows[i].local);
		assert_int_equal(got.has_pause, rows[i].has_pause);
		assert_int_equal(got.pause_ms, rows[i].pause_ms);
		assert_string_equal(got.id, rows[i].id);
	}
}

struct bytes {
	const char *at;
	size_t len;
	int want; /* -1, or the length */
};
#define BYTES(text, want) { text, sizeof(text) - 1, want }
#define TCP4 "\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x02"

static void v2_others(void **state)
{
	static const struct bytes rows[] = {
		BYTES("EHLO x\r\n", -1),
		BYTES("\r\n\r\n\0\r\nQUIX", -1),
		BYTES(SIGNATURE "\x11\x11\x00\x0c" TCP4, -1),                     /* version 1 */
		BYTES(SIGNATURE "\x22", -1),                                      /* command 2 */
		BYTES(SIGNATURE "\x21\x12\x00\x0c" TCP4, -1),                     /* UDP */
		BYTES(SIGNATURE "\x21\x41\x00\x0c" TCP4, -1),                     /* no such family */
		BYTES(SIGNATURE "\x21\x11\x00\x0b" TCP4, -1),                     /* addresses cut */
		BYTES(SIGNATURE "\x21\x21\x00\x0c" TCP4, -1),                     /* addresses cut, IPv6 */
		BYTES(SIGNATURE "\x21\x11\x0f\xf1", -1),                          /* above PROXYHDR_V2_MAX */
		BYTES(SIGNATURE "\x21\x11\xff\xff", -1),
		BYTES(SIGNATURE "\x21\x11\x00\x0c" TCP4, 28),
		BYTES(SIGNATURE "\x21\x11\x00\x0d" TCP4 "\x04", -1),              /* extension cut */
		BYTES(SIGNATURE "\x21\x11\x00\x0f" TCP4 "\x04\x00\x01", -1),      /* its value cut */
		BYTES(SIGNATURE "\x21\x11\x00\x0f" TCP4 "\x04\x00\x00", 31),      /* NOOP */
		BYTES(SIGNATURE "\x21\x11\x00\x11" TCP4 "\xe1\x00\x02\x00\x01", 33), /* somebody else's 0xE1 */
		BYTES(SIGNATURE "\x21\x11\x00\x13" TCP4 "\x03\x00\x04\x00\x00\x00\x00", -1), /* checksum wrong */
		BYTES(SIGNATURE "\x21\x11\x00\x12" TCP4 "\x03\x00\x03\x00\x00\x00", -1),     /* checksum short */
		BYTES(SIGNATURE "\x21\x00\x00\x02\xff\xff", 18),                  /* UNSPEC */
		BYTES(SIGNATURE "\x20\x00\x00\x00", 16),                          /* LOCAL */
		BYTES(SIGNATURE "\x20\xff\x00\x03\x05\xff\xff", 19),              /* LOCAL, rest unread */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct proxyhdr got = { .pause_ms = 77 };
		const char *why = NULL;
		int n = read_v2(rows[i].at, rows[i].len, &got, &why);
		if (n != rows[i].want)
			fail_msg("row %zu: %d, not %d (%s)", i, n, rows[i].want, why ? why : "");
		assert_int_equal(why != NULL, n == -1);
		if (n < 0)
			assert_int_equal(got.pause_ms, 77);
		else
			assert_int_equal(got.has_pause, false);
	}
	struct proxyhdr got;
	const char *why = NULL;
	assert_int_equal(read_v2(rows[17].at, rows[17].len, &got, &why), 18);
	assert_true(got.local);
}

static void v2_checksum(void **state)
{
	/* The sum was computed by a table-driven CRC32C that gives e3069283 for "123456789" (RFC 3720's check value). */
	static const char good[] = SIGNATURE "\x21\x11\x00\x13" TCP4 "\x03\x00\x04" "\x4f\xff\xf3\x3d";
	struct proxyhdr got;
	const char *why = NULL;
	char copy[sizeof(good)];
	(void)state;
	assert_int_equal(read_v2(good, sizeof(good) - 1, &got, &why), sizeof(good) - 1);
	for (size_t i = 12; i < sizeof(good) - 1; i++) {
		memcpy(copy, good, sizeof(good));
		copy[i] = (char)(copy[i] ^ 1);
		int n = read_v2(copy, sizeof(good) - 1, &got, &why);
		/* A flipped LOCAL bit, family or length is answered otherwise; any other flip must be seen by the sum. */
		if (i >= 16)
			assert_int_equal(n, i == 28 ? (int)sizeof(good) - 1 : -1);
	}
}

static void v2_id(void **state)
{
	static const char odd[] = SIGNATURE "\x21\x11\x00\x12" TCP4 "\x05\x00\x03" "a\nb";
	char longest[16 + 12 + 3 + PROXYHDR_ID_MAX + 1] = SIGNATURE "\x21\x11\x00\x90" TCP4 "\x05\x00\x81";
	struct proxyhdr got;
	const char *why = NULL;
	(void)state;
	assert_int_equal(read_v2(odd, sizeof(odd) - 1, &got, &why), sizeof(odd) - 1);
	assert_string_equal(got.id, "");
	memset(longest + 31, 'x', PROXYHDR_ID_MAX + 1);
	assert_int_equal(read_v2(longest, sizeof(longest), &got, &why), -1);
	longest[15] = (char)0x8f;
	longest[30] = (char)0x80;
	assert_int_equal(read_v2(longest, sizeof(longest), &got, &why), sizeof(longest) - 1);
	assert_int_equal(strlen(got.id), PROXYHDR_ID_MAX);
}

/* As haproxy's specification has it (PP2_TYPE_SSL, PP2_TYPE_AUTHORITY). */
static void v2_tls_bytes(void **state)
{
	static const char want[] = SIGNATURE "\x21\x11\x00\x3b" "\xc0\x00\x02\x01" "\xc0\x00\x02\x19" "\xdc\x04" "\x00\x19"
		"\x20\x00\x25" "\x07" "\x00\x00\x00\x00" "\x21\x00\x07" "TLSv1.2" "\x23\x00\x0b" "AES256-GCM1" "\x22\x00\x05" "alice"
		"\x02\x00\x04" "a.bc";
	char memory[PROXYHDR_V2_MAX];
	struct buf out;
	struct proxyhdr got, h = { .client = addr_of("192.0.2.1", 56324), .server = addr_of("192.0.2.25", 25),
		.tls = { .ok = 1, .certificate = 1, .verified = 1, .version = "TLSv1.2", .cipher = "AES256-GCM1", .common_name = "alice", .name = "a.bc" } };
	const char *why = NULL;
	(void)state;
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&out, &h));
	assert_int_equal(out.len, sizeof(want) - 1);
	assert_memory_equal(out.at, want, sizeof(want) - 1);
	assert_int_equal(read_v2(out.at, out.len, &got, &why), out.len);
	assert_int_equal(got.tls.ok, 1);
	assert_int_equal(got.tls.certificate, 1);
	assert_int_equal(got.tls.verified, 1);
	assert_string_equal(got.tls.version, "TLSv1.2");
	assert_string_equal(got.tls.cipher, "AES256-GCM1");
	assert_string_equal(got.tls.common_name, "alice");
	assert_string_equal(got.tls.name, "a.bc");
	assert_false(got.xtls);
	h.xtls = true;
	/* A certificate that nobody vouches for; and none. */
	h.tls.verified = 0;
	buf_clear(&out);
	assert_true(proxyhdr_write_v2(&out, &h));
	assert_int_equal(read_v2(out.at, out.len, &got, &why), out.len);
	assert_int_equal(got.tls.certificate, 1);
	assert_int_equal(got.tls.verified, 0);
	assert_true(got.xtls);
	h.tls.certificate = 0;
	buf_clear(&out);
	assert_true(proxyhdr_write_v2(&out, &h));
	assert_int_equal(read_v2(out.at, out.len, &got, &why), out.len);
	assert_int_equal(got.tls.certificate, 0);
	assert_string_equal(got.tls.common_name, "");
}

/* Postfix takes no header longer than 536 bytes: names go first. */
static void v2_tls_most(void **state)
{
	char memory[2 * PROXYHDR_V2_MAX];
	struct buf out;
	struct proxyhdr got, h = { .client = addr_of("2001:db8::1", 1), .server = addr_of("::1", 25), .has_pause = true, .tls = { .ok = 1, .certificate = 1 } };
	const char *why = NULL;
	(void)state;
	memset(h.tls.version, 'v', sizeof(h.tls.version) - 1);
	memset(h.tls.cipher, 'c', sizeof(h.tls.cipher) - 1);
	memset(h.tls.common_name, 'n', sizeof(h.tls.common_name) - 1);
	memset(h.tls.name, 's', sizeof(h.tls.name) - 1);
	memset(h.id, 'i', PROXYHDR_ID_MAX);
	memset(h.name, 'h', PROXYHDR_NAME_MAX);
	buf_init_fixed(&out, memory, sizeof(memory));
	assert_true(proxyhdr_write_v2(&out, &h));
	assert_true(out.len <= PROXYHDR_V2_WRITTEN);
	assert_int_equal(read_v2(out.at, out.len, &got, &why), out.len);
	assert_string_equal(got.id, h.id);
	assert_string_equal(got.tls.cipher, h.tls.cipher);
	assert_string_equal(got.tls.common_name, h.tls.common_name);
	assert_string_equal(got.name, "");
}

static void v2_tls_bad(void **state)
{
	static const struct bytes rows[] = {
		BYTES(SIGNATURE "\x21\x11\x00\x13" TCP4 "\x20\x00\x04\x01\x00\x00\x00", -1),                 /* shorter than its head */
		BYTES(SIGNATURE "\x21\x11\x00\x16" TCP4 "\x20\x00\x07\x01\x00\x00\x00\x00\x21\x00", -1),     /* TLV cut */
		BYTES(SIGNATURE "\x21\x11\x00\x17" TCP4 "\x20\x00\x08\x01\x00\x00\x00\x00\x21\x00\x01", -1), /* its value cut */
		BYTES(SIGNATURE "\x21\x11\x00\x18" TCP4 "\x20\x00\x09\x01\x00\x00\x00\x00\x21\x00\x01\n", 40),
		BYTES(SIGNATURE "\x21\x11\x00\x14" TCP4 "\x20\x00\x05\x00\x00\x00\x00\x00", 36),              /* no TLS */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct proxyhdr got;
		const char *why = NULL;
		assert_int_equal(read_v2(rows[i].at, rows[i].len, &got, &why), rows[i].want);
		if (i == 3)
			assert_string_equal(got.tls.version, "?");
		if (i == 4)
			assert_int_equal(got.tls.ok, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v1_text),
		cmocka_unit_test(v1_round_trip),
		cmocka_unit_test(v1_unknown), cmocka_unit_test(either),
		cmocka_unit_test(v1_bad),
		cmocka_unit_test(v2_bytes),
		cmocka_unit_test(v2_round_trip),
		cmocka_unit_test(v2_others),
		cmocka_unit_test(v2_checksum),
		cmocka_unit_test(v2_id),
		cmocka_unit_test(v2_tls_bytes),
		cmocka_unit_test(v2_tls_most),
		cmocka_unit_test(v2_tls_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
