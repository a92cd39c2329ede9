/* Fuzz target: PROXY headers. A header that is accepted is shorter than what came, is not accepted when cut, and survives writing and reading again. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "smtp/proxyhdr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct proxyhdr *a, const struct proxyhdr *b)
{
	return addr_same_ip(&a->client, &b->client) && addr_same_ip(&a->server, &b->server) && a->client.port == b->client.port &&
		a->server.port == b->server.port && a->has_pause == b->has_pause && a->pause_ms == b->pause_ms && strcmp(a->id, b->id) == 0;
}

static void check(struct slice bytes, int (*read)(struct slice bytes, struct proxyhdr *out, const char **why))
{
	struct proxyhdr h, again;
	const char *why = NULL;
	char memory[PROXYHDR_V2_MAX];
	struct buf out;
	int n = read(bytes, &h, &why);
	if (n < 0 && !why)
		__builtin_trap();
	if (n <= 0)
		return;
	if ((size_t)n > bytes.len || read((struct slice){ bytes.at, (size_t)n - 1 }, &again, &why) != 0)
		__builtin_trap();
	buf_init_fixed(&out, memory, sizeof(memory));
	if (h.local)
		return;
	if (!proxyhdr_write_v2(&out, &h) || proxyhdr_read_v2(buf_slice(&out), &again, &why) != (int)out.len || !same(&h, &again))
		__builtin_trap();
	buf_clear(&out);
	if (!proxyhdr_write_v1(&out, &h.client, &h.server) || proxyhdr_read_v1(buf_slice(&out), &again, &why) != (int)out.len)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice bytes = { (const char *)data, size };
	check(bytes, proxyhdr_read_v1);
	check(bytes, proxyhdr_read_v2);
	check(bytes, proxyhdr_read);
	return 0;
}
