/* The tour, smtp: a server's replies to the door itself. It may take as many lines as it needs, but not more than anybody needs. */
#include "smtp/prelude.h"

void prelude_init(struct prelude *p)
{
	*p = (struct prelude){ .code = 0 };
	buf_init(&p->line, PRELUDE_LINE);
	buf_init(&p->reply, PRELUDE_GREETING);
}

void prelude_fini(struct prelude *p)
{
	buf_fini(&p->line);
	buf_fini(&p->reply);
}

static enum prelude_result fail(struct prelude *p, const char *why)
{
	p->why = why;
	return PRELUDE_FAILED;
}

enum prelude_result prelude_next(struct prelude *p, struct slice *in, struct prelude_line *out)
{
	bool crlf;
	out->line = (struct line){ .in_place = 0 };
	enum line_result got = line_next(&p->line, in, PRELUDE_LINE, false, &out->line);
	if (got == LINE_MORE)
		return PRELUDE_MORE;
	if (got == LINE_LONG)
		return fail(p, "its line has no end");
	if (!answer_parse(line_text(out->line.bytes, &crlf), &out->answer))
		return fail(p, "does not speak SMTP");
	if (p->lines > 0 && out->answer.code != p->code)
		return fail(p, "its reply has two codes");
	if (++p->lines > PRELUDE_LINES)
		return fail(p, "its reply has no end");
	p->code = out->answer.code;
	return PRELUDE_READY;
}

bool prelude_used(struct prelude *p, struct slice *in, const struct prelude_line *line, bool keep)
{
	bool ok = !keep || buf_put_slice(&p->reply, line->line.bytes);
	if (!ok)
		fail(p, "its greeting is too long");
	line_used(&p->line, in, &line->line);
	return ok;
}

void prelude_again(struct prelude *p)
{
	p->lines = 0;
}
