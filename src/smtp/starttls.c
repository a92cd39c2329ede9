/* The tour, smtp: STARTTLS, said by the door to a server. */
#include "smtp/starttls.h"

#include <stdlib.h>

#include "smtp/prelude.h"

#define CODE_READY 220
#define CODE_OK 250

enum state { STATE_GREETING, STATE_EHLO, STATE_STARTTLS };

struct starttls {
	enum state state;
	struct prelude prelude;
	bool offered;
};

struct starttls *starttls_new(void)
{
	struct starttls *x = calloc(1, sizeof(*x));
	if (x)
		prelude_init(&x->prelude);
	return x;
}

void starttls_free(struct starttls *x)
{
	if (!x)
		return;
	prelude_fini(&x->prelude);
	free(x);
}

struct slice starttls_greeting(const struct starttls *x)
{
	return buf_slice(&x->prelude.reply);
}

const char *starttls_why(const struct starttls *x)
{
	return x->prelude.why;
}

static enum starttls_result fail(struct starttls *x, const char *why)
{
	x->prelude.why = why;
	return STARTTLS_FAILED;
}

static enum starttls_result end_greeting(struct starttls *x, const char *host, struct buf *out)
{
	if (x->prelude.code >= 400)
		return STARTTLS_REFUSED;
	if (x->prelude.code != CODE_READY)
		return fail(x, "its greeting is none");
	x->state = STATE_EHLO;
	return buf_putf(out, "EHLO %s\r\n", host) ? STARTTLS_MORE : fail(x, "out of memory");
}

static enum starttls_result end_reply(struct starttls *x, const char *host, struct buf *out)
{
	int code = x->prelude.code;
	prelude_again(&x->prelude);
	switch (x->state) {
	case STATE_GREETING:
		return end_greeting(x, host, out);
	case STATE_EHLO:
		if (code != CODE_OK)
			return fail(x, "does not take our EHLO, and so not STARTTLS");
		if (!x->offered)
			return fail(x, "does not offer STARTTLS");
		x->state = STATE_STARTTLS;
		return buf_put_text(out, "STARTTLS\r\n") ? STARTTLS_MORE : fail(x, "out of memory");
	case STATE_STARTTLS:
		break;
	}
	return code == CODE_READY ? STARTTLS_READY : fail(x, "refuses STARTTLS");
}

enum starttls_result starttls_take(struct starttls *x, const char *host, struct slice in, struct buf *out)
{
	enum starttls_result result = STARTTLS_MORE;
	while (result == STARTTLS_MORE) {
		struct prelude_line l;
		enum prelude_result got = prelude_next(&x->prelude, &in, &l);
		if (got != PRELUDE_READY)
			return got == PRELUDE_MORE ? STARTTLS_MORE : STARTTLS_FAILED;
		bool first = x->prelude.lines == 1, last = !l.answer.more;
		x->offered = x->offered || (x->state == STATE_EHLO && !first && slice_is_nocase(answer_keyword(&l.answer), "STARTTLS"));
		if (!prelude_used(&x->prelude, &in, &l, x->state == STATE_GREETING))
			return STARTTLS_FAILED;
		if (!last)
			continue;
		result = end_reply(x, host, out);
		if (in.len > 0 && result != STARTTLS_FAILED && result != STARTTLS_REFUSED) /* who refuses may say more; nobody listens */
			return fail(x, result == STARTTLS_READY ? "speaks between its reply to STARTTLS and TLS" : "speaks before it is asked");
	}
	return result;
}
