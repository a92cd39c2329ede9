/* Fuzz target: the null server. The first byte says how the rest is cut into pieces.
 *
 * Whatever comes in: what goes out are whole lines of at most 512 bytes (RFC 5321 4.5.3.1.5), printable, each with its code; it does not depend on
 * the pieces; it ends after the limit of bad commands; and replies that wait stay below their ceiling. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/log.h"
#include "gate/refuse.h"
#include "check.h"

#define OUT_MAX (4 * 1024 * 1024)
#define REPLY_LINE 512
#define MOST_BAD 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct addr client = { .ip = { 0x20, 0x01, 0x0d, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, .port = 4711 };
static const struct refuse_rules rules = { "a-rather-long-host-name.with-some-labels.mail.example.org", { .addr = &client }, "", MOST_BAD, { "", 0 }, NULL, { "", 0 } };

struct said {
	struct buf out;
	unsigned slow; /* the sum of the slow-downs, seconds */
	bool ended;
};

static void flush(struct refuse *r, struct said *s)
{
	check(r->out.len <= REFUSE_OUT && !r->out.full);
	check(buf_put_slice(&s->out, buf_slice(&r->out)));
	buf_clear(&r->out);
}

static void run(struct refuse *r, struct said *s, bool last, bool lazy)
{
	for (;;) {
		enum refuse_result result = refuse_run(r, &rules, last);
		bool was_full = r->out.len + COMMAND_LINE >= REFUSE_OUT;
		if (!lazy || was_full || last || result == REFUSE_END)
			flush(r, s);
		s->ended = result == REFUSE_END;
		check(result != REFUSE_SLOW || (r->slow_s > 0 && r->slow_s <= SLOWDOWN_MOST));
		if (result == REFUSE_SLOW)
			s->slow += r->slow_s;
		else if (s->ended || !was_full)
			return;
	}
}

/* piece 0: as much as fits. lazy: the replies are read as late as possible. */
static void feed(const uint8_t *in, size_t len, size_t piece, bool lazy, struct said *s)
{
	char in_memory[REFUSE_LINE];
	struct refuse r = { .in = in_memory };
	size_t at = 0;
	*s = (struct said){ .ended = false };
	buf_init(&s->out, OUT_MAX);
	refuse_init(&r, &rules);
	while (at < len && !s->ended) {
		size_t room = REFUSE_LINE - r.in_len;
		size_t n = piece && piece < room ? piece : room;
		n = n < len - at ? n : len - at;
		check(n > 0);
		memcpy(r.in + r.in_len, in + at, n);
		r.in_len += n;
		at += n;
		run(&r, s, false, lazy);
	}
	if (!s->ended)
		run(&r, s, true, lazy);
	check(s->ended || r.in_len == 0);
	refuse_fini(&r);
}

static void check_lines(const struct buf *out)
{
	size_t at = 0, bad = 0;
	while (at < out->len) {
		const char *line = out->at + at, *lf = memchr(line, '\n', out->len - at);
		check(lf != NULL);
		size_t len = (size_t)(lf - line) + 1;
		check(len >= 6 && len <= REPLY_LINE);
		check(line[len - 2] == '\r');
		for (size_t i = 0; i < len - 2; i++)
			check((line[i] >= 0x20 && line[i] <= 0x7e) || line[i] == '\t');
		check(strchr("245", line[0]) && line[1] >= '0' && line[1] <= '5' && line[2] >= '0' && line[2] <= '9');
		check(line[3] == ' ' || line[3] == '-');
		bad += memcmp(line, "500 ", 4) == 0 || memcmp(line, "550 ", 4) == 0;
		/* 421 and 221 are the last words. */
		check((memcmp(line, "421 ", 4) != 0 && memcmp(line, "221 ", 4) != 0) || at + len == out->len);
		at += len;
	}
	check(bad <= MOST_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char log_memory[4096];
	struct buf log;
	struct said whole, pieces;
	size_t piece = size > 0 ? data[0] % 128 : 0;
	bool lazy = size > 0 && data[0] >= 128;
	data += size > 0;
	size -= size > 0;
	buf_init_fixed(&log, log_memory, sizeof(log_memory));
	log_capture(&log);
	feed(data, size, 0, false, &whole);
	feed(data, size, piece, lazy, &pieces);
	check_lines(&whole.out);
	check(whole.out.len > 4 && memcmp(whole.out.at, "554 ", 4) == 0);
	check(whole.out.len == pieces.out.len && memcmp(whole.out.at, pieces.out.at, whole.out.len) == 0);
	check(whole.ended == pieces.ended && whole.slow == pieces.slow);
	buf_fini(&whole.out);
	buf_fini(&pieces.out);
	log_capture(NULL);
	return 0;
}
