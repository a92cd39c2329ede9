/* Fuzz target: what a parent leaves to the program after it. What is accepted is written so that it is read again as the same, and the same text. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "takeover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_text(struct slice text, struct takeover *t)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	bool ok = takeover_parse(text, t, &why);
	check(ok || why.len > 0);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct takeover *t = takeover_new(), *again = takeover_new();
	struct buf first, second;
	buf_init(&first, TAKEOVER_TEXT);
	buf_init(&second, TAKEOVER_TEXT);
	if (t && again && read_text((struct slice){ (const char *)data, size }, t)) {
		check(t->sockets_len <= TAKEOVER_SOCKETS && t->children_len <= TAKEOVER_CHILDREN && t->counts_len <= TAKEOVER_COUNTS && t->times_len <= TAKEOVER_TIMES && t->keeper_len <= TAKEOVER_KEEPER_FDS);
		check(takeover_put(t, &first));
		check(read_text(buf_slice(&first), again));
		check(takeover_put(again, &second));
		check(first.len == second.len && memcmp(first.at, second.at, first.len) == 0);
	}
	buf_fini(&first);
	buf_fini(&second);
	takeover_free(t);
	takeover_free(again);
	return 0;
}
