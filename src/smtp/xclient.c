/* The tour, smtp: XCLIENT. All attributes go in one command, the address last: a server that knows it may listen to no more of them. They always fit: of a client's two names the
 * second is left out when it would not. */
#include "smtp/xclient.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/answer.h"
#include "smtp/prelude.h"

#define CODE_GREETING 220
#define CODE_OK 250
#define NAME_MOST 255 /* bytes of a name as xtext; in a longer one there is something odd */

enum state { STATE_GREETING, STATE_EHLO, STATE_XCLIENT };

enum attribute { NAME = 1 << 0, REVERSE_NAME = 1 << 1, PORT = 1 << 2, DESTADDR = 1 << 3, DESTPORT = 1 << 4, ADDR = 1 << 5 };

static const struct {
	const char *word;
	unsigned bit;
} attributes[] = { { "NAME", NAME }, { "REVERSE_NAME", REVERSE_NAME }, { "PORT", PORT }, { "DESTADDR", DESTADDR }, { "DESTPORT", DESTPORT }, { "ADDR", ADDR } };

struct xclient {
	enum state state;
	struct prelude prelude; /* its reply is what may be the greeting */
	bool offered;     /* XCLIENT */
	unsigned offers;  /* with these attributes */
};

struct xclient *xclient_new(void)
{
	struct xclient *x = calloc(1, sizeof(*x));
	if (x)
		prelude_init(&x->prelude);
	return x;
}

void xclient_free(struct xclient *x)
{
	if (!x)
		return;
	prelude_fini(&x->prelude);
	free(x);
}

struct slice xclient_greeting(const struct xclient *x)
{
	return buf_slice(&x->prelude.reply);
}

const char *xclient_why(const struct xclient *x)
{
	return x->prelude.why;
}

bool xclient_put_xtext(struct buf *out, struct slice text)
{
	bool ok = true;
	for (size_t i = 0; i < text.len && ok; i++) {
		unsigned char c = (unsigned char)text.at[i];
		ok = c < '!' || c > '~' || c == '+' || c == '=' ? buf_putf(out, "+%02X", c) : buf_put_char(out, text.at[i]);
	}
	return ok;
}

static enum xclient_result fail(struct xclient *x, const char *why)
{
	x->prelude.why = why;
	return XCLIENT_FAILED;
}

/* ---- what we say ---- */

#define ADDRESS_MOST (sizeof(" DESTADDR=IPV6:") + ADDR_TEXT) /* bytes of an address and its attribute */

/* Or that there is none, or none that fits before the address. */
static void put_name(struct buf *line, const char *attribute, const struct xclient_about *about, bool has)
{
	char memory[NAME_MOST];
	struct buf name;
	buf_init_fixed(&name, memory, sizeof(memory));
	bool fits = has && about->name.len > 0 && xclient_put_xtext(&name, about->name) && line->len + strlen(attribute) + 2 + name.len + ADDRESS_MOST <= XCLIENT_LINE;
	buf_putf(line, " %s=", attribute);
	if (fits)
		buf_put_slice(line, buf_slice(&name));
	else
		buf_put_text(line, about->named == XCLIENT_UNKNOWN ? "[TEMPUNAVAIL]" : "[UNAVAILABLE]");
}

static void put_address(struct buf *out, const char *attribute, const struct addr *address)
{
	char text[ADDR_TEXT];
	buf_putf(out, " %s=%s%s", attribute, addr_is4(address) ? "" : "IPV6:", addr_format(address, text));
}

static void put_command(struct buf *out, const struct xclient_about *about, unsigned offers)
{
	char memory[XCLIENT_LINE];
	struct buf line;
	buf_init_fixed(&line, memory, sizeof(memory));
	buf_put_text(&line, "XCLIENT");
	if (offers & PORT)
		buf_putf(&line, " PORT=%u", (unsigned)about->client.port);
	if (offers & NAME)
		put_name(&line, "NAME", about, about->named == XCLIENT_NAMED);
	if (offers & DESTADDR)
		put_address(&line, "DESTADDR", &about->server);
	if (offers & DESTPORT)
		buf_putf(&line, " DESTPORT=%u", (unsigned)about->server.port);
	if (offers & REVERSE_NAME)
		put_name(&line, "REVERSE_NAME", about, about->named <= XCLIENT_FORGED);
	put_address(&line, "ADDR", &about->client);
	buf_put_text(&line, "\r\n");
	buf_put_slice(out, buf_slice(&line));
}

/* ---- what it says ---- */

static struct slice next_word(struct slice *rest)
{
	struct slice word;
	*rest = slice_trim(*rest);
	word = (struct slice){ rest->at, 0 };
	while (word.len < rest->len && word.at[word.len] != ' ' && word.at[word.len] != '\t')
		word.len++;
	rest->at += word.len;
	rest->len -= word.len;
	return word;
}

/* A line of the list of what it offers. */
static void take_offer(struct xclient *x, const struct answer *a)
{
	struct slice rest = a->text, word = next_word(&rest);
	if (x->prelude.lines == 1 || !slice_is_nocase(word, "XCLIENT"))
		return;
	x->offered = true;
	for (word = next_word(&rest); word.len > 0; word = next_word(&rest))
		for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
			x->offers |= slice_is_nocase(word, attributes[i].word) ? attributes[i].bit : 0;
}

static enum xclient_result enter(struct xclient *x, enum state state)
{
	x->state = state;
	prelude_again(&x->prelude);
	buf_clear(&x->prelude.reply);
	return XCLIENT_MORE;
}

/* The reply is whole. A refusal where there could be a greeting is the server's answer to the client; one that says that it does not understand us is not. */
static enum xclient_result end_reply(struct xclient *x, const struct xclient_about *about, struct buf *out)
{
	const int code = x->prelude.code;
	bool refusal = code >= 400, misunderstood = code >= 500 && code <= 504;
	switch (x->state) {
	case STATE_GREETING:
		if (refusal)
			return XCLIENT_GREETED;
		if (code != CODE_GREETING)
			return fail(x, "its greeting is none");
		buf_putf(out, "EHLO %s\r\n", about->host);
		return enter(x, STATE_EHLO);
	case STATE_EHLO:
		if (code != CODE_OK)
			return fail(x, "does not take our EHLO, and so not XCLIENT");
		if (!x->offered || !(x->offers & ADDR))
			return fail(x, x->offered ? "offers XCLIENT without ADDR" : "does not offer XCLIENT to us (Postfix: smtpd_authorized_xclient_hosts)");
		put_command(out, about, x->offers);
		return enter(x, STATE_XCLIENT);
	case STATE_XCLIENT:
		if (misunderstood)
			return fail(x, "does not understand our XCLIENT");
		if (!refusal && code != CODE_GREETING)
			return fail(x, "its answer to XCLIENT is no greeting");
		return XCLIENT_GREETED;
	}
	return XCLIENT_MORE;
}

enum xclient_result xclient_take(struct xclient *x, const struct xclient_about *about, struct slice in, struct buf *out)
{
	enum xclient_result result = XCLIENT_MORE;
	while (result == XCLIENT_MORE) {
		struct prelude_line l;
		enum prelude_result got = prelude_next(&x->prelude, &in, &l);
		if (got != PRELUDE_READY)
			return got == PRELUDE_MORE ? XCLIENT_MORE : XCLIENT_FAILED;
		if (x->state == STATE_EHLO)
			take_offer(x, &l.answer);
		bool last = !l.answer.more;
		if (!prelude_used(&x->prelude, &in, &l, x->state != STATE_EHLO))
			return XCLIENT_FAILED;
		if (!last)
			continue;
		result = end_reply(x, about, out);
		if (in.len > 0 && result != XCLIENT_FAILED && x->prelude.code < 400) /* who refuses may say more; nobody listens */
			return fail(x, "speaks before it is asked");
	}
	return result;
}
