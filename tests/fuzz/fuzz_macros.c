/* Fuzz target: the text of a refusal, and behind the first line feed a client's name. What comes out is one line; what is said to be unknown is of the text, in its order. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "access/macros.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char memory[65536];
	const uint8_t *lf = size > 0 ? memchr(data, '\n', size) : NULL;
	struct slice text = { (const char *)data, lf ? (size_t)(lf - data) : size }, macro;
	struct slice name = lf ? (struct slice){ (const char *)lf + 1, size - text.len - 1 } : (struct slice){ "", 0 };
	struct addr addr;
	struct buf out;
	if (!addr_parse(slice_of("2001:db8::1"), &addr))
		__builtin_trap();
	buf_init_fixed(&out, memory, sizeof(memory));
	bool fits = macros_put(&out, text, &(struct macros){ "mx.example.org", &addr, name, (enum macros_resolve)(size % 4) });
	if (!fits && size < 100)
		__builtin_trap();
	for (size_t i = 0; i < out.len; i++)
		if ((unsigned char)memory[i] < ' ' || memory[i] == 0x7f)
			__builtin_trap();
	macros_want_name(text);
	const char *before = text.at;
	while (macros_unknown(&text, &macro)) {
		if (macro.len == 0 || macro.at[0] != '$' || macro.at < before || macro.at + macro.len != text.at)
			__builtin_trap();
		before = text.at;
	}
	return 0;
}
