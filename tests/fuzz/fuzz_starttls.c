/* Fuzz target: a server that is asked for TLS. Whatever it says: what goes out is one EHLO and one STARTTLS at most, TLS begins only behind both, and what the client may hear is whole lines that
 * begin as a greeting does. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "smtp/answer.h"
#include "smtp/line.h"
#include "smtp/prelude.h"
#include "smtp/starttls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_greeting(struct slice text, bool refusal)
{
	const char *end = memchr(text.at, '\n', text.len);
	struct answer a;
	bool crlf;
	check(text.len > 0 && text.len <= PRELUDE_GREETING && end && text.at[text.len - 1] == '\n');
	check(answer_parse(line_text((struct slice){ text.at, (size_t)(end - text.at) + 1 }, &crlf), &a));
	check(refusal ? a.code >= 400 : a.code == 220);
}

/* The first byte: how much comes at once; then what the server says. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const says[] = { "", "EHLO h\r\n", "EHLO h\r\nSTARTTLS\r\n" };
	if (size < 1)
		return 0;
	size_t step = data[0] ? data[0] : size, said = 0;
	struct slice rest = { (const char *)data + 1, size - 1 };
	struct buf sent;
	buf_init(&sent, 64);
	struct starttls *x = starttls_new();
	check(x);
	enum starttls_result result = STARTTLS_MORE;
	while (rest.len > 0 && result == STARTTLS_MORE) {
		struct slice part = { rest.at, rest.len < step ? rest.len : step };
		result = starttls_take(x, "h", part, &sent);
		rest.at += part.len;
		rest.len -= part.len;
	}
	while (said < 3 && strcmp(buf_text(&sent), says[said]) != 0)
		said++;
	check(said < 3);
	if (result == STARTTLS_READY || result == STARTTLS_REFUSED)
		check_greeting(starttls_greeting(x), result == STARTTLS_REFUSED);
	if (result == STARTTLS_READY)
		check(said == 2);
	if (result == STARTTLS_REFUSED)
		check(said == 0);
	if (result == STARTTLS_FAILED)
		check(starttls_why(x));
	starttls_free(x);
	buf_fini(&sent);
	return 0;
}
