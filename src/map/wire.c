/* The tour, map: the messages between a front and those who ask slow maps for it. A reader is a slice that is eaten from the front; once it has come up short
 * it stays bad, so that the code that reads says what a message is, and asks but once whether it was one. */
#include "map/wire.h"

#include <string.h>

struct reader {
	struct slice left;
	bool bad;
};

static const char *take(struct reader *r, size_t n)
{
	if (r->bad || n > r->left.len) {
		r->bad = true;
		return NULL;
	}
	const char *at = r->left.at;
	r->left.at += n;
	r->left.len -= n;
	return at;
}

static uint64_t take_number(struct reader *r, unsigned bytes)
{
	const char *at = take(r, bytes);
	uint64_t value = 0;
	for (unsigned i = 0; at && i < bytes; i++)
		value = value << 8 | (unsigned char)at[i];
	return value;
}

/* A length and so many bytes. */
static struct slice take_text(struct reader *r, size_t least, size_t most)
{
	size_t len = (size_t)take_number(r, 2);
	if (len < least || len > most)
		r->bad = true;
	const char *at = take(r, len);
	return (struct slice){ at, at ? len : 0 };
}

static void take_head(struct reader *r, char kind)
{
	const char *at = take(r, 1);
	if (!at || *at != kind || take_number(r, 1) != WIRE_VERSION)
		r->bad = true;
}

static void put_number(struct buf *out, uint64_t value, unsigned bytes)
{
	char text[8];
	for (unsigned i = bytes; i > 0; i--, value >>= 8)
		text[i - 1] = (char)(value & 0xff);
	buf_put(out, text, bytes);
}

static void put_text(struct buf *out, struct slice text)
{
	put_number(out, text.len, 2);
	buf_put_slice(out, text);
}

/* Takes back what was written since, if not all of it was. */
static bool keep_whole(struct buf *out, size_t before, size_t most)
{
	if (!out->full && out->len - before <= most)
		return true;
	out->len = before;
	out->full = true;
	return false;
}

static bool within_bounds(const struct wire_question *q)
{
	size_t keys = 0;
	if (q->searches < 1 || q->searches > WIRE_SEARCHES)
		return false;
	for (unsigned s = 0; s < q->searches; s++) {
		if (q->counts[s] < 1 || q->counts[s] > WIRE_KEYS - keys)
			return false;
		keys += q->counts[s];
	}
	for (size_t k = 0; k < keys; k++)
		if (q->keys[k].len < 1 || q->keys[k].len > WIRE_KEY_MAX)
			return false;
	return true;
}

bool wire_put_question(struct buf *out, const struct wire_question *q)
{
	size_t before = out->len;
	const struct slice *key = q->keys;
	if (!within_bounds(q))
		return false;
	buf_put(out, "Q", 1);
	put_number(out, WIRE_VERSION, 1);
	put_number(out, q->front, 2);
	put_number(out, q->id, 8);
	put_number(out, (uint64_t)q->deadline, 8);
	put_number(out, q->map, 2);
	put_number(out, q->searches, 1);
	for (unsigned s = 0; s < q->searches; s++) {
		put_number(out, q->counts[s], 2);
		for (unsigned k = 0; k < q->counts[s]; k++)
			put_text(out, *key++);
	}
	return keep_whole(out, before, WIRE_QUESTION_MAX);
}

bool wire_get_question(struct slice message, struct wire_question *out)
{
	struct wire_question q;
	struct reader r = { message, message.len > WIRE_QUESTION_MAX };
	size_t keys = 0;
	memset(&q, 0, sizeof(q));
	take_head(&r, 'Q');
	q.front = (uint16_t)take_number(&r, 2);
	q.id = take_number(&r, 8);
	q.deadline = (int64_t)take_number(&r, 8);
	q.map = (uint16_t)take_number(&r, 2);
	q.searches = (uint16_t)take_number(&r, 1);
	if (r.bad || q.searches < 1 || q.searches > WIRE_SEARCHES)
		return false;
	for (unsigned s = 0; s < q.searches; s++) {
		q.counts[s] = (uint16_t)take_number(&r, 2);
		if (r.bad || q.counts[s] < 1 || q.counts[s] > WIRE_KEYS - keys)
			return false;
		for (unsigned k = 0; k < q.counts[s]; k++)
			q.keys[keys++] = take_text(&r, 1, WIRE_KEY_MAX);
	}
	if (r.bad || r.left.len > 0)
		return false;
	*out = q;
	return true;
}

static struct slice at_most(struct slice text, size_t most)
{
	return (struct slice){ text.at, text.len < most ? text.len : most };
}

bool wire_put_answer(struct buf *out, const struct wire_answer *a)
{
	size_t before = out->len;
	if (a->searches < 1 || a->searches > WIRE_SEARCHES)
		return false;
	buf_put(out, "A", 1);
	put_number(out, WIRE_VERSION, 1);
	put_number(out, a->id, 8);
	put_number(out, a->searches, 1);
	for (unsigned s = 0; s < a->searches; s++) {
		const struct wire_found *f = &a->found[s];
		put_number(out, f->result, 1);
		if (f->result == WIRE_FOUND) {
			put_number(out, f->key, 2);
			put_number(out, f->cut || f->text.len > WIRE_VALUE_MAX, 1);
			put_text(out, at_most(f->text, WIRE_VALUE_MAX));
		} else if (f->result == WIRE_FAILED) {
			put_text(out, at_most(f->text, WIRE_REASON_MAX));
		}
	}
	return keep_whole(out, before, WIRE_ANSWER_MAX);
}

static void take_found(struct reader *r, struct wire_found *f)
{
	uint64_t result = take_number(r, 1), cut = 0;
	switch (result) {
	case WIRE_FOUND:
		f->key = (uint16_t)take_number(r, 2);
		cut = take_number(r, 1);
		f->text = take_text(r, 0, WIRE_VALUE_MAX);
		break;
	case WIRE_FAILED:
		f->text = take_text(r, 0, WIRE_REASON_MAX);
		break;
	case WIRE_NONE:
		break;
	default:
		r->bad = true;
		return;
	}
	f->result = (enum wire_result)result;
	f->cut = cut == 1;
	if (f->key >= WIRE_KEYS || cut > 1)
		r->bad = true;
}

bool wire_get_answer(struct slice message, struct wire_answer *out)
{
	struct wire_answer a;
	struct reader r = { message, message.len > WIRE_ANSWER_MAX };
	memset(&a, 0, sizeof(a));
	take_head(&r, 'A');
	a.id = take_number(&r, 8);
	a.searches = (uint16_t)take_number(&r, 1);
	if (r.bad || a.searches < 1 || a.searches > WIRE_SEARCHES)
		return false;
	for (unsigned s = 0; s < a.searches && !r.bad; s++)
		take_found(&r, &a.found[s]);
	if (r.bad || r.left.len > 0)
		return false;
	*out = a;
	return true;
}
