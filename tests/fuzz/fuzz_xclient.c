/* Fuzz target: the server's side of the dialogue in which it is told about the client. Whatever it says, and whatever the name: what goes out is one EHLO and one XCLIENT at most,
 * each a line that fits, and what comes out for the client is whole lines that begin as a greeting does. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "smtp/answer.h"
#include "smtp/line.h"
#include "smtp/xclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sent(const struct buf *sent)
{
	static const char *const begins[] = { "EHLO h\r\n", "XCLIENT " };
	struct slice rest = buf_slice(sent);
	for (size_t i = 0; rest.len > 0; i++) {
		check(i < 2);
		check(rest.len >= strlen(begins[i]) && memcmp(rest.at, begins[i], strlen(begins[i])) == 0);
		const char *end = memchr(rest.at, '\n', rest.len);
		check(end && end[-1] == '\r');
		size_t len = (size_t)(end - rest.at) + 1;
		check(len <= XCLIENT_LINE && !memchr(rest.at, '\r', len - 2));
		if (i == 1)
			check(memmem(rest.at, len, " ADDR=", 6));
		rest.at += len;
		rest.len -= len;
		if (i == 0 && rest.len == 0)
			break;
	}
}

static void check_greeting(struct slice text)
{
	const char *end = memchr(text.at, '\n', text.len);
	struct answer a;
	bool crlf;
	check(text.len > 0 && text.len <= XCLIENT_GREETING && end && text.at[text.len - 1] == '\n');
	check(answer_parse(line_text((struct slice){ text.at, (size_t)(end - text.at) + 1 }, &crlf), &a));
	check(a.code == 220 || a.code >= 400);
}

/* The first byte: kind of name and family; the second: how much comes at once; the third: bytes of the name; the name; what the server says. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	size_t name = data[2] < size - 3 ? data[2] : size - 3, step = data[1] ? data[1] : size;
	struct xclient_about about = { .host = "h", .named = (enum xclient_name)(data[0] & 3), .name = { (const char *)data + 3, name } };
	if (data[0] & 4)
		memcpy(about.client.ip + 10, "\xff\xff\x7f\x00\x00\x01", 6);
	struct slice rest = { (const char *)data + 3 + name, size - 3 - name };
	struct buf sent;
	buf_init(&sent, 4 * XCLIENT_LINE);
	struct xclient *x = xclient_new();
	check(x);
	enum xclient_result result = XCLIENT_MORE;
	while (rest.len > 0 && result == XCLIENT_MORE) {
		struct slice part = { rest.at, rest.len < step ? rest.len : step };
		result = xclient_take(x, &about, part, &sent);
		rest.at += part.len;
		rest.len -= part.len;
	}
	check_sent(&sent);
	if (result == XCLIENT_GREETED)
		check_greeting(xclient_greeting(x));
	if (result == XCLIENT_FAILED)
		check(xclient_why(x));
	xclient_free(x);
	buf_fini(&sent);
	return 0;
}
