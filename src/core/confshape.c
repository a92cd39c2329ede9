/* The tour, core: the shape of a configuration file: statements of the form NAME = VALUE or NAME = { VALUE, … }, the sections listen and backend, which hold
 * such statements, and include(FILE). One token is looked at after the other, and the first that does not fit is told with what should stand there. */
#include "core/confshape.h"

#include <string.h>

#define SHOWN 40 /* bytes of a word that are shown */

enum kind { END, WORD, STRING, SIGN };

struct token {
	enum kind kind;
	struct slice text; /* of a STRING without its quotes */
	unsigned line;
};

struct shape {
	struct slice rest;
	unsigned line;      /* where rest begins */
	struct token token; /* the one that is looked at */
	unsigned *wrong;
	struct buf *why;
};

static void skip_blanks(struct shape *s)
{
	while (s->rest.len > 0 && strchr(" \t\r\n", s->rest.at[0])) {
		s->line += s->rest.at[0] == '\n';
		s->rest.at++;
		s->rest.len--;
	}
}

/* Bytes of the string that begins with a quote; quotes included. */
static size_t string_length(struct slice s)
{
	size_t n = 1;
	while (n < s.len && s.at[n] != s.at[0])
		n += s.at[n] == '\\' ? 2 : 1;
	return n + 1 < s.len ? n + 1 : s.len;
}

static void next(struct shape *s)
{
	skip_blanks(s);
	struct token *t = &s->token;
	*t = (struct token){ END, { s->rest.at, 0 }, s->line };
	if (s->rest.len == 0)
		return;
	size_t n = 1;
	if (strchr("\"'", s->rest.at[0])) {
		n = string_length(s->rest);
		t->kind = STRING;
		t->text = (struct slice){ s->rest.at + 1, n > 1 ? n - 2 : 0 };
	} else {
		bool sign = strchr("={}(),", s->rest.at[0]) != NULL;
		while (!sign && n < s->rest.len && !strchr(" \t\r\n={}(),\"'", s->rest.at[n]))
			n++;
		t->kind = sign ? SIGN : WORD;
		t->text = (struct slice){ s->rest.at, n };
	}
	s->rest.at += n;
	s->rest.len -= n;
}

static bool is_sign(const struct shape *s, char c)
{
	return s->token.kind == SIGN && s->token.text.at[0] == c;
}

static bool is_value(const struct shape *s)
{
	return s->token.kind == WORD || s->token.kind == STRING;
}

/* What stands there instead; at the end of the file that is told for the line where the statement began. */
static bool wrong(struct shape *s, const struct token *begin, const char *expected)
{
	bool end = s->token.kind == END;
	*s->wrong = end ? begin->line : s->token.line;
	buf_put_char(s->why, '"');
	buf_put_escaped(s->why, begin->text.at, begin->text.len, SHOWN);
	buf_put_text(s->why, end ? "\" is followed by the end of the file" : "\" is followed by \"");
	if (!end) {
		buf_put_escaped(s->why, s->token.text.at, s->token.text.len, SHOWN);
		buf_put_char(s->why, '"');
	}
	buf_putf(s->why, "; expected %s", expected);
	return false;
}

/* Behind the '='. */
static bool value(struct shape *s, const struct token *name)
{
	if (is_value(s)) {
		struct token last = s->token;
		next(s);
		if (is_sign(s, '=')) { /* what was taken for the value is the next statement's name */
			s->token = last;
			s->token.line = name->line;
			return wrong(s, name, "a value behind the =");
		}
		return !is_sign(s, ',') || wrong(s, &last, "no comma behind a value: the next option begins in a new line, and a number has no commas in it");
	}
	if (!is_sign(s, '{'))
		return wrong(s, name, "a value behind the =");
	struct token last = s->token;
	for (next(s); is_value(s); next(s)) {
		last = s->token;
		next(s);
		if (!is_sign(s, ','))
			break;
	}
	if (!is_sign(s, '}'))
		return wrong(s, &last, "a value, a comma or the } that ends the list");
	next(s);
	return true;
}

/* NAME = …, with the name read. */
static bool option(struct shape *s, const struct token *name)
{
	/* In another line it is the next statement, and this one was cut short. */
	if (!is_sign(s, '='))
		return wrong(s, name, name->kind == WORD ? "NAME = VALUE (a value with a blank in it stands in quotes)" : "NAME = VALUE, the name without quotes");
	next(s);
	return value(s, name);
}

static bool section(struct shape *s, const struct token *name, const char *form)
{
	if (!is_value(s))
		return wrong(s, name, form);
	struct token last = s->token;
	next(s);
	if (!is_sign(s, '{'))
		return wrong(s, &last, form);
	next(s);
	while (!is_sign(s, '}')) {
		if (!is_value(s))
			return wrong(s, &last, "NAME = VALUE, or the } that ends the section");
		last = s->token;
		next(s);
		if (!option(s, &last))
			return false;
	}
	next(s);
	return true;
}

static bool include(struct shape *s, const struct token *name)
{
	static const char form[] = "include(\"FILE\")";
	if (!is_sign(s, '('))
		return wrong(s, name, form);
	next(s);
	if (!is_value(s))
		return wrong(s, name, form);
	next(s);
	if (!is_sign(s, ')'))
		return wrong(s, name, form);
	next(s);
	return true;
}

static bool statement(struct shape *s)
{
	struct token name = s->token;
	if (!is_value(s)) {
		*s->wrong = name.line;
		buf_putf(s->why, "\"%c\" begins nothing; expected NAME = VALUE, a section or include(\"FILE\")", name.text.at[0]);
		return false;
	}
	next(s);
	if (name.kind == WORD && slice_is(name.text, "listen"))
		return section(s, &name, "listen \"ADDRESS:PORT\" { }");
	if (name.kind == WORD && slice_is(name.text, "backend"))
		return section(s, &name, "backend \"NAME\" { address = \"smtp:HOST:PORT\" }");
	if (name.kind == WORD && slice_is(name.text, "include"))
		return include(s, &name);
	return option(s, &name);
}

bool confshape_check(struct slice bytes, unsigned *line, struct buf *why)
{
	struct shape s = { .rest = bytes, .line = 1, .wrong = line, .why = why };
	next(&s);
	while (s.token.kind != END)
		if (!statement(&s))
			return false;
	return true;
}
