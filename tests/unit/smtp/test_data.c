/* Where a message ends: every short sequence of CR, LF, dot and letter, at every cut, against a second implementation that does it in the plainest way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/data.h"

#define TEXT 256 /* bytes of a test's input and output at most */

struct result {
	char text[TEXT];
	size_t len;
	size_t taken;
	bool ended;
	int64_t size;
	unsigned hops;
};

/* Feed in pieces of `first` bytes and then `step` bytes each; who asks for the end only finds the same one. */
static void take(struct result *r, bool lf, const char *in, size_t len, size_t first, size_t step)
{
	struct data d, only;
	struct buf out;
	buf_init_fixed(&out, r->text, sizeof(r->text));
	data_init(&d, lf);
	data_init(&only, lf);
	r->taken = 0;
	for (size_t n = first; r->taken < len && d.state != DATA_END; n = step) {
		if (n > len - r->taken)
			n = len - r->taken;
		size_t got = data_take(&d, (struct slice){ in + r->taken, n }, &out);
		assert_int_equal(data_take(&only, (struct slice){ in + r->taken, n }, NULL), got);
		assert_int_equal(only.state, d.state);
		if (d.state != DATA_END)
			assert_int_equal(got, n);
		r->taken += got;
		assert_true(out.len <= r->taken + DATA_SLACK);
	}
	assert_false(out.full);
	r->len = out.len;
	r->ended = d.state == DATA_END;
	r->size = d.size;
	r->hops = d.hops;
}

/* The rules as data.h states them, line by line. */
static void plain(struct result *r, bool lf, const char *in, size_t len)
{
	size_t at = 0;
	*r = (struct result){ .len = 0 };
	while (at < len) {
		size_t end = at;
		while (end < len && !(in[end] == '\n' && (lf || (end > at && in[end - 1] == '\r'))))
			end++;
		if (end == len)
			return; /* a line without end: what is left of it is not compared */
		size_t text = end > at && in[end - 1] == '\r' ? end - 1 : end;
		size_t from = at;
		at = end + 1;
		if (text - from == 1 && in[from] == '.') {
			r->ended = true;
			r->taken = at;
			return;
		}
		from += text > from && in[from] == '.';
		memcpy(r->text + r->len, in + from, text - from);
		r->len += text - from;
		r->text[r->len++] = '\n';
		r->size += (int64_t)(text - from) + 2;
	}
}

static void every_sequence(void **state)
{
	static const char letters[] = "\r\n.a";
	(void)state;
	for (unsigned length = 0; length <= 8; length++)
		for (unsigned number = 0; number < 1u << (2 * length); number++)
			for (int lf = 0; lf <= 1; lf++) {
				char in[TEXT];
				struct result want, got;
				size_t len = length;
				for (unsigned i = 0; i < length; i++)
					in[i] = letters[number >> (2 * i) & 3];
				/* A tail that surely ends it: whatever state the sequence leaves, "x" is text. */
				memcpy(in + len, "x\r\n.\r\nQUIT\r\n", 12);
				len += 12;
				plain(&want, lf, in, len);
				assert_true(want.ended);
				for (size_t first = 1; first <= len; first++) {
					take(&got, lf, in, len, first, len);
					if (!got.ended || got.taken != want.taken || got.len != want.len || memcmp(got.text, want.text, want.len) != 0)
						fail_msg("length %u number %u lf %d cut at %zu", length, number, lf, first);
					assert_int_equal(got.size, want.size);
				}
				take(&got, lf, in, len, 1, 1);
				assert_true(got.ended && got.taken == want.taken && got.len == want.len);
				assert_memory_equal(got.text, want.text, want.len);
			}
}

/* What smuggled mail past other servers: none of it may end the message of a client that speaks CRLF. */
static void smuggling(void **state)
{
	static const struct {
		const char *in, *text;
	} rows[] = {
		{ "a\n.\nb\r\n.\r\n", "a\n.\nb\n" },
		{ "a\n.\r\nb\r\n.\r\n", "a\n.\nb\n" },
		{ "a\r\n.\nb\r\n.\r\n", "a\n\nb\n" },
		{ "a\r.\rb\r\n.\r\n", "a\r.\rb\n" },
		{ "a\r\n.\rb\r\n.\r\n", "a\n\rb\n" },
		{ "a\r.\r\nb\r\n.\r\n", "a\r.\nb\n" },
		{ "a\r\r\n.\r\r\nb\r\n.\r\n", "a\r\n\r\nb\n" },
		{ "a\r\n.\r\r\nb\r\n.\r\n", "a\n\r\nb\n" },
		{ "a\n\r.\r\nb\r\n.\r\n", "a\n\r.\nb\n" },
		{ "a\n\n.\n\nb\r\n.\r\n", "a\n\n.\n\nb\n" },
		{ "a\n..\r\n.\r\n", "a\n..\n" },
		{ "\n.\nMAIL FROM:<x@y>\r\n.\r\n", "\n.\nMAIL FROM:<x@y>\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step < 40; step++) {
			struct result got;
			take(&got, false, rows[i].in, strlen(rows[i].in), step, step);
			assert_true(got.ended);
			assert_int_equal(got.taken, strlen(rows[i].in));
			if (got.len != strlen(rows[i].text) || memcmp(got.text, rows[i].text, got.len) != 0)
				fail_msg("row %zu step %zu: %.*s", i, step, (int)got.len, got.text);
		}
}

static void zero_bytes_and_high_ones(void **state)
{
	static const char in[] = "a\0b\xff\r\n.\r\n";
	struct result got;
	(void)state;
	take(&got, false, in, sizeof(in) - 1, 100, 100);
	assert_true(got.ended);
	assert_int_equal(got.len, 5);
	assert_memory_equal(got.text, "a\0b\xff\n", 5);
}

static void hops(void **state)
{
	static const struct {
		const char *in;
		unsigned hops;
	} rows[] = {
		{ "Received: a\r\nSubject: b\r\nRECEIVED:c\r\n\r\n.\r\n", 2 },
		{ "Received: a\r\n\tReceived: folded\r\n\r\nReceived: body\r\n.\r\n", 1 },
		{ "X-Received: a\r\nReceived : b\r\nReceive: c\r\nReceivedx: d\r\n\r\n.\r\n", 0 },
		{ "\r\nReceived: body\r\n.\r\n", 0 },
		{ "Rece\nReceived:\nreceived:x\r\n.\r\n", 2 }, /* a reader of the file sees those lines too */
		{ ".\r\n", 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t step = 1; step < 20; step++) {
			struct result got;
			take(&got, false, rows[i].in, strlen(rows[i].in), step, step);
			assert_true(got.ended);
			if (got.hops != rows[i].hops)
				fail_msg("row %zu: %u hops", i, got.hops);
		}
}

/* From one server to the next: what arrives there is the same text, and its end where the first one saw it, whoever reads it. */
static void over_the_wire_again(void **state)
{
	static const char letters[] = "\r\n.a";
	(void)state;
	for (unsigned number = 0; number < 1u << 17; number++) {
		char in[TEXT], wire[2 * TEXT];
		struct result first, second;
		struct buf out;
		bool start = true;
		for (unsigned i = 0; i < 8; i++)
			in[i] = letters[number >> (2 * i) & 3];
		memcpy(in + 8, "x\r\n.\r\n", 6);
		take(&first, number >> 16, in, 14, 14, 14);
		buf_init_fixed(&out, wire, sizeof(wire));
		size_t cut = number % (first.len + 1);
		assert_true(data_stuff(&start, (struct slice){ first.text, cut }, &out));
		assert_true(data_stuff(&start, (struct slice){ first.text + cut, first.len - cut }, &out));
		assert_true(start && out.len <= DATA_STUFFED * first.len);
		for (size_t i = 0; i < out.len; i++)
			assert_true(wire[i] != '\r' ? wire[i] != '\n' || (i > 0 && wire[i - 1] == '\r') : i + 1 < out.len && wire[i + 1] == '\n');
		assert_null(memmem(wire, out.len, "\n.\r", 3));
		assert_true(buf_put(&out, ".\r\n", 3));
		for (size_t i = 0; i < first.len; i++)
			first.text[i] = first.text[i] == '\r' ? ' ' : first.text[i];
		for (int lf = 0; lf <= 1; lf++) {
			take(&second, lf, wire, out.len, out.len, 1);
			assert_true(second.ended && second.taken == out.len && second.len == first.len);
			assert_memory_equal(second.text, first.text, first.len);
		}
	}
}

static void stuffing(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *wire;
	} rows[] = {
		{ "a\n.\n..b\n", 8, "a\r\n..\r\n...b\r\n" },
		{ "a\rb\r\n\r", 6, "a b \r\n " },
		{ "\0.\n", 3, " .\r\n" },
		{ "a\n\0", 3, "a\r\n " },
		{ "\n\n", 2, "\r\n\r\n" },
		{ "", 0, "" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char memory[TEXT];
		struct buf out;
		bool start = true;
		buf_init_fixed(&out, memory, sizeof(memory));
		assert_true(data_stuff(&start, (struct slice){ rows[i].in, rows[i].len }, &out));
		if (!slice_is(buf_slice(&out), rows[i].wire))
			fail_msg("row %zu: %.*s", i, (int)out.len, out.at);
	}
	char small[5];
	struct buf out;
	bool start = true;
	buf_init_fixed(&out, small, sizeof(small));
	assert_false(data_stuff(&start, slice_of("abc"), &out));
	assert_int_equal(out.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_the_wire_again),
		cmocka_unit_test(stuffing),
		cmocka_unit_test(every_sequence),
		cmocka_unit_test(smuggling),
		cmocka_unit_test(zero_bytes_and_high_ones),
		cmocka_unit_test(hops),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
