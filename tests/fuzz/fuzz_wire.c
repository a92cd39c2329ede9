/* Fuzz target: the messages between front and lookup process. What is accepted lies within the message and within the bounds, and written again it is the
 * same message. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "map/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct slice part, struct slice whole)
{
	return part.len == 0 || (part.at >= whole.at && part.at + part.len <= whole.at + whole.len);
}

static void check_question(struct slice message)
{
	static struct wire_question q;
	static char memory[WIRE_QUESTION_MAX];
	struct buf out;
	size_t keys = 0;
	if (!wire_get_question(message, &q))
		return;
	check(q.searches >= 1 && q.searches <= WIRE_SEARCHES);
	for (unsigned s = 0; s < q.searches; s++)
		keys += q.counts[s];
	check(keys <= WIRE_KEYS);
	for (size_t i = 0; i < keys; i++)
		check(q.keys[i].len >= 1 && q.keys[i].len <= WIRE_KEY_MAX && inside(q.keys[i], message));
	buf_init_fixed(&out, memory, sizeof(memory));
	check(wire_put_question(&out, &q));
	check(out.len == message.len && memcmp(out.at, message.at, out.len) == 0);
}

static void check_answer(struct slice message)
{
	struct wire_answer a;
	char memory[WIRE_ANSWER_MAX];
	struct buf out;
	if (!wire_get_answer(message, &a))
		return;
	check(a.searches >= 1 && a.searches <= WIRE_SEARCHES);
	for (unsigned s = 0; s < a.searches; s++) {
		check(a.found[s].result <= WIRE_FOUND && a.found[s].key < WIRE_KEYS);
		check(a.found[s].text.len <= WIRE_VALUE_MAX && inside(a.found[s].text, message));
	}
	buf_init_fixed(&out, memory, sizeof(memory));
	check(wire_put_answer(&out, &a));
	check(out.len == message.len && memcmp(out.at, message.at, out.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice message = { (const char *)data, size };
	check_question(message);
	check_answer(message);
	return 0;
}
