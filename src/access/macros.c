/* The tour, access: macros in the text of a refusal. */
#include "access/macros.h"

#include <ctype.h>
#include <string.h>

enum macro { UNKNOWN, HOSTNAME, DOLLAR, CLIENT_ADDR, CLIENT_NAME, CLIENT_PTR, CLIENT_RESOLVE };

static enum macro named(struct slice name)
{
	static const struct {
		const char *name;
		enum macro macro;
	} known[] = { { "j", HOSTNAME }, { "client_addr", CLIENT_ADDR }, { "client_name", CLIENT_NAME }, { "client_ptr", CLIENT_PTR }, { "client_resolve", CLIENT_RESOLVE } };
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (slice_is(name, known[i].name))
			return known[i].macro;
	return UNKNOWN;
}

/* What stands up to the next macro, and that macro as it is written. False: there is none, and *plain is all of the text. */
static bool next(struct slice *text, struct slice *plain, struct slice *written, enum macro *macro)
{
	const char *dollar = text->len > 0 ? memchr(text->at, '$', text->len) : NULL;
	*plain = (struct slice){ text->at, dollar ? (size_t)(dollar - text->at) : text->len };
	text->at += plain->len;
	text->len -= plain->len;
	if (!dollar)
		return false;
	bool condition = text->len > 2 && text->at[1] == '?' && isgraph((unsigned char)text->at[2]);
	size_t n = condition || (text->len > 1 && text->at[1] == '&') ? 2 : 1; /* behind "$", "$&" or "$?" */
	size_t begin = n, end = n < text->len ? n + 1 : n;
	if (n < text->len && text->at[n] == '{') {
		const char *brace = memchr(text->at + n, '}', text->len - n);
		begin = n + 1;
		end = brace ? (size_t)(brace - text->at) + 1 : text->len;
		*macro = brace ? named((struct slice){ text->at + begin, end - 1 - begin }) : UNKNOWN;
	} else {
		*macro = n == 1 && end > n && text->at[n] == '$' ? DOLLAR : named((struct slice){ text->at + begin, end - begin });
	}
	if (condition)
		*macro = UNKNOWN;
	*written = (struct slice){ text->at, end };
	text->at += end;
	text->len -= end;
	return true;
}

static bool put_plain(struct buf *out, struct slice text)
{
	bool ok = true;
	for (size_t i = 0; i < text.len && ok; i++)
		ok = buf_put_char(out, (unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f ? ' ' : text.at[i]);
	return ok;
}

/* A stranger's: nothing in it may end the line, or mean something to a terminal. */
static bool put_strange(struct buf *out, struct slice text)
{
	bool ok = true;
	for (size_t i = 0; i < text.len && ok; i++)
		ok = buf_put_char(out, (unsigned char)text.at[i] <= ' ' || (unsigned char)text.at[i] >= 0x7f ? '?' : text.at[i]);
	return ok;
}

/* A client without a name of its own is called by its address in brackets. */
static bool put_name(struct buf *out, struct slice name, const struct addr *addr)
{
	char literal[ADDR_TEXT];
	return name.len > 0 ? put_strange(out, name) : buf_put_text(out, addr_format_literal(addr, literal));
}

static bool put_macro(struct buf *out, enum macro macro, const struct macros *who)
{
	static const char *const words[] = { "OK", "FAIL", "FORGED", "TEMP" };
	static const struct slice none = { "", 0 };
	char literal[ADDR_TEXT];
	switch (macro) {
	case HOSTNAME:
		return buf_put_text(out, who->hostname);
	case DOLLAR:
		return buf_put_char(out, '$');
	case CLIENT_ADDR: /* "[IPv6:2001:db8::1]" without its brackets */
		addr_format_literal(who->addr, literal);
		return buf_put(out, literal + 1, strlen(literal) - 2);
	case CLIENT_NAME:
		return put_name(out, who->resolve == MACROS_OK ? who->ptr : none, who->addr);
	case CLIENT_PTR:
		return put_name(out, who->ptr, who->addr);
	case CLIENT_RESOLVE:
		return buf_put_text(out, words[who->resolve]);
	default:
		return true;
	}
}

bool macros_put(struct buf *out, struct slice text, const struct macros *who)
{
	struct slice plain, written;
	enum macro macro;
	bool ok = true;
	while (ok && next(&text, &plain, &written, &macro))
		ok = put_plain(out, plain) && put_macro(out, macro, who);
	return ok && put_plain(out, plain);
}

bool macros_unknown(struct slice *text, struct slice *written)
{
	struct slice plain;
	enum macro macro;
	while (next(text, &plain, written, &macro))
		if (macro == UNKNOWN)
			return true;
	return false;
}

bool macros_want_name(struct slice text)
{
	struct slice plain, written;
	enum macro macro;
	while (next(&text, &plain, &written, &macro))
		if (macro == CLIENT_NAME || macro == CLIENT_PTR || macro == CLIENT_RESOLVE)
			return true;
	return false;
}
