/* The tour, smtp: what a client said. command_parse() finds the verb; MAIL and RCPT are read further, into an address and parameters.
 * A reader (struct slice) is eaten from the front by the functions called take_*; what they took is a slice of the same line. */
#include "smtp/command.h"

#include <string.h>
#include <strings.h>

#define COMMAND_SIZE_DIGITS 18 /* digits of SIZE= that surely fit an int64_t; RFC 1870 allows 20 */

/* A word of up to eight letters as one number, so that finding a verb is comparing numbers. */
#define WORD8(a, b, c, d, e, f, g, h) \
	((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | \
	 (uint64_t)(h) << 56)
#define WORD4(a, b, c, d) WORD8(a, b, c, d, 0, 0, 0, 0)

static const struct {
	uint64_t word;
	enum command_verb verb;
} verbs[] = {
	{ WORD4('H', 'E', 'L', 'O'), COMMAND_HELO }, { WORD4('E', 'H', 'L', 'O'), COMMAND_EHLO }, { WORD4('M', 'A', 'I', 'L'), COMMAND_MAIL },
	{ WORD4('R', 'C', 'P', 'T'), COMMAND_RCPT }, { WORD4('D', 'A', 'T', 'A'), COMMAND_DATA }, { WORD4('R', 'S', 'E', 'T'), COMMAND_RSET },
	{ WORD4('N', 'O', 'O', 'P'), COMMAND_NOOP }, { WORD4('Q', 'U', 'I', 'T'), COMMAND_QUIT }, { WORD4('V', 'R', 'F', 'Y'), COMMAND_VRFY },
	{ WORD4('E', 'X', 'P', 'N'), COMMAND_EXPN }, { WORD4('H', 'E', 'L', 'P'), COMMAND_HELP }, { WORD4('E', 'T', 'R', 'N'), COMMAND_ETRN },
	{ WORD4('V', 'E', 'R', 'B'), COMMAND_VERB }, { WORD4('S', 'E', 'N', 'D'), COMMAND_SEND }, { WORD4('S', 'A', 'M', 'L'), COMMAND_SAML },
	{ WORD4('S', 'O', 'M', 'L'), COMMAND_SOML }, { WORD4('T', 'U', 'R', 'N'), COMMAND_TURN }, { WORD4('W', 'I', 'Z', 0), COMMAND_WIZ },
	{ WORD8('D', 'E', 'B', 'U', 'G', 0, 0, 0), COMMAND_DEBUG }, { WORD8('S', 'H', 'O', 'W', 'Q', 0, 0, 0), COMMAND_SHOWQ },
	{ WORD8('S', 'T', 'A', 'R', 'T', 'T', 'L', 'S'), COMMAND_STARTTLS }, { WORD4('A', 'U', 'T', 'H'), COMMAND_AUTH },
	{ WORD4('B', 'D', 'A', 'T'), COMMAND_BDAT },
};

static enum command_verb find_verb(struct slice word)
{
	uint64_t folded = 0;
	if (word.len > 8)
		return COMMAND_UNKNOWN;
	for (size_t i = 0; i < word.len; i++) {
		uint8_t c = (uint8_t)word.at[i];
		if (c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 'a' + 'A');
		if (c < 'A' || c > 'Z')
			return COMMAND_UNKNOWN; /* no verb has another character */
		folded |= (uint64_t)c << (8 * i);
	}
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (verbs[i].word == folded)
			return verbs[i].verb;
	return COMMAND_UNKNOWN;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_one_of(char c, const char *set)
{
	return c != '\0' && strchr(set, c);
}

static bool is_high(char c)
{
	return (unsigned char)c >= 0x80;
}

/* n bytes off the front of *reader. */
static struct slice take(struct slice *reader, size_t n)
{
	struct slice taken = { reader->at, n };
	reader->at += n;
	reader->len -= n;
	return taken;
}

static void skip_space(struct slice *reader)
{
	while (reader->len > 0 && is_space(reader->at[0]))
		take(reader, 1);
}

static struct slice take_word(struct slice *reader)
{
	size_t n = 0;
	while (n < reader->len && !is_space(reader->at[n]))
		n++;
	return take(reader, n);
}

struct command command_parse(struct slice line)
{
	struct command c = { .verb = COMMAND_UNKNOWN };
	if (line.len == 0)
		line = slice_of(""); /* an empty buf's bytes are NULL */
	skip_space(&line);
	c.word = take_word(&line);
	skip_space(&line);
	while (line.len > 0 && is_space(line.at[line.len - 1]))
		line.len--;
	c.rest = line;
	c.verb = find_verb(c.word);
	return c;
}

static bool refuse(struct command_error *error, int code, const char *enhanced, const char *text)
{
	*error = (struct command_error){ code, enhanced, text };
	return false;
}

static bool refuse_syntax(struct command_error *error)
{
	return refuse(error, 501, "5.5.2", "Syntax error in parameters");
}

static bool refuse_address(struct command_error *error)
{
	return refuse(error, 553, "5.1.3", "Address syntax error");
}

bool command_parse_helo(const struct command *command, struct command_error *error)
{
	if (command->rest.len == 0)
		return refuse(error, 501, "5.0.0", command->verb == COMMAND_EHLO ? "EHLO requires domain address" : "HELO requires domain address");
	if (command->rest.len > COMMAND_DOMAIN)
		return refuse(error, 501, "5.0.0", "Invalid domain name");
	for (size_t i = 0; i < command->rest.len; i++) {
		char c = command->rest.at[i];
		if (!is_alnum(c) && !is_one_of(c, "[].-_#:"))
			return refuse(error, 501, "5.0.0", "Invalid domain name");
	}
	return true;
}

/* Bytes of the UTF-8 character at the front, 0 if there is none: no overlong forms, no surrogates, nothing above U+10FFFF (RFC 3629). */
static size_t utf8_length(struct slice s)
{
	const unsigned char *at = (const unsigned char *)s.at;
	unsigned char first_low = 0x80, first_high = 0xbf;
	size_t n;
	if (at[0] < 0x80)
		return 1;
	if (at[0] >= 0xc2 && at[0] <= 0xdf) {
		n = 2;
	} else if (at[0] >= 0xe0 && at[0] <= 0xef) {
		n = 3;
		if (at[0] == 0xe0)
			first_low = 0xa0;
		if (at[0] == 0xed)
			first_high = 0x9f;
	} else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
		n = 4;
		if (at[0] == 0xf0)
			first_low = 0x90;
		if (at[0] == 0xf4)
			first_high = 0x8f;
	} else {
		return 0;
	}
	if (s.len < n || at[1] < first_low || at[1] > first_high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (at[i] < 0x80 || at[i] > 0xbf)
			return 0;
	return n;
}

/* U+0080 to U+009F: among them line ends (NEL) and what terminals take for the beginning of an escape sequence (CSI). */
static bool is_c1_control(struct slice s)
{
	return s.len > 1 && (unsigned char)s.at[0] == 0xc2 && (unsigned char)s.at[1] < 0xa0;
}

/* Printable ASCII, tabs and UTF-8 only. What is let through here may be repeated in a reply and written to a header. */
static bool is_clean(struct slice s)
{
	while (s.len > 0) {
		unsigned char c = (unsigned char)s.at[0];
		size_t n = utf8_length(s);
		if (n == 0 || (c < 0x20 && c != '\t') || c == 0x7f || is_c1_control(s))
			return false;
		take(&s, n);
	}
	return true;
}

static bool has_high(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (is_high(s.at[i]))
			return true;
	return false;
}

/* A dot-string (RFC 5321 4.1.2), with dots anywhere: a sender's "foo..bar" is against the rules, and real. */
static size_t dot_string_length(struct slice s)
{
	size_t n = 0;
	while (n < s.len && (is_alnum(s.at[n]) || is_high(s.at[n]) || is_one_of(s.at[n], "!#$%&'*+-/=?^_`{|}~.")))
		n++;
	return n;
}

/* A quoted string with its quotes, 0 if it does not end. */
static size_t quoted_length(struct slice s)
{
	for (size_t i = 1; i < s.len; i++) {
		if (s.at[i] == '\\')
			i++;
		else if (s.at[i] == '"')
			return i + 1;
	}
	return 0;
}

static bool is_domain(struct slice s)
{
	if (s.len == 0 || s.len > COMMAND_DOMAIN)
		return false;
	if (s.at[0] == '[') {
		for (size_t i = 1; i + 1 < s.len; i++)
			if (!is_alnum(s.at[i]) && !is_one_of(s.at[i], ".:-"))
				return false;
		return s.len > 2 && s.at[s.len - 1] == ']';
	}
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] == '.' && (i == 0 || i + 1 == s.len || s.at[i + 1] == '.'))
			return false;
		if (!is_alnum(s.at[i]) && !is_high(s.at[i]) && !is_one_of(s.at[i], ".-_"))
			return false;
	}
	return true;
}

/* "@a,@b:" off the front; nothing when there is none. */
static bool skip_route(struct slice *reader)
{
	while (reader->len > 0 && reader->at[0] == '@') {
		size_t n = 1;
		while (n < reader->len && reader->at[n] != ',' && reader->at[n] != ':')
			n++;
		if (n == reader->len || !is_domain((struct slice){ reader->at + 1, n - 1 }))
			return false;
		bool last = reader->at[n] == ':';
		take(reader, n + 1);
		if (last)
			return true;
		if (reader->len == 0 || reader->at[0] != '@')
			return false;
	}
	return true;
}

/* What stands between < and >. */
static bool parse_mailbox(struct slice reader, struct command_path *out)
{
	if (reader.len == 0) {
		out->null = true;
		return true;
	}
	if (!skip_route(&reader) || reader.len == 0)
		return false;
	out->local = take(&reader, reader.at[0] == '"' ? quoted_length(reader) : dot_string_length(reader));
	if (out->local.len == 0)
		return false;
	if (reader.len > 0) {
		if (reader.at[0] != '@')
			return false;
		take(&reader, 1);
		if (!is_domain(reader))
			return false;
		out->domain = reader;
	}
	out->utf8 = has_high(out->local) || has_high(out->domain);
	return true;
}

/* How far a path reaches: to its '>', or without '<' to the next blank; quotes may hold either. 0: it does not end. */
static size_t path_length(struct slice s)
{
	bool angle = s.len > 0 && s.at[0] == '<';
	size_t i = 0;
	while (i < s.len) {
		if (s.at[i] == '"') {
			size_t n = quoted_length((struct slice){ s.at + i, s.len - i });
			if (n == 0)
				return 0;
			i += n;
		} else if (angle && s.at[i] == '>') {
			return i + 1;
		} else if (!angle && is_space(s.at[i])) {
			return i;
		} else {
			i++;
		}
	}
	return angle ? 0 : i;
}

/* "WORD:<path>" off the front. */
static bool take_path(struct slice *reader, const char *word, struct command_path *out, struct command_error *error)
{
	size_t n = strlen(word);
	*out = (struct command_path){ .null = false };
	if (reader->len == 0)
		return refuse(error, 501, "5.5.2", "Syntax error in parameters scanning \"\"");
	if (!is_clean(*reader) || reader->len < n || strncasecmp(reader->at, word, n) != 0)
		return refuse_syntax(error);
	take(reader, n);
	skip_space(reader);
	if (reader->len == 0 || reader->at[0] != ':')
		return refuse_syntax(error);
	take(reader, 1);
	skip_space(reader);
	out->text = take(reader, path_length(*reader));
	if (out->text.len == 0)
		return refuse_syntax(error);
	if (out->text.len > COMMAND_PATH || (reader->len > 0 && !is_space(reader->at[0])))
		return refuse_address(error);
	struct slice inner = out->text;
	if (inner.at[0] == '<') {
		inner.at++;
		inner.len -= 2;
	}
	return parse_mailbox(inner, out) || refuse_address(error);
}

/* "KEY=VALUE" or "KEY" off the front. */
static bool take_parameter(struct slice *reader, struct slice *key, struct slice *value)
{
	struct slice word = take_word(reader);
	skip_space(reader);
	const char *equals = memchr(word.at, '=', word.len);
	*key = word;
	*value = (struct slice){ word.at + word.len, 0 };
	if (equals) {
		key->len = (size_t)(equals - word.at);
		*value = (struct slice){ equals + 1, word.len - key->len - 1 };
	}
	return key->len > 0;
}

static bool parse_size(struct slice value, int64_t *out)
{
	int64_t n = 0;
	if (value.len == 0 || value.len > 20)
		return false;
	for (size_t i = 0; i < value.len; i++) {
		if (value.at[i] < '0' || value.at[i] > '9')
			return false;
		n = i < COMMAND_SIZE_DIGITS ? n * 10 + (value.at[i] - '0') : INT64_MAX;
	}
	*out = n;
	return true;
}

static bool parse_mail_parameter(struct slice key, struct slice value, struct command_mail *out, struct command_error *error)
{
	if (slice_is_nocase(key, "SIZE"))
		return parse_size(value, &out->size) || refuse(error, 501, "5.5.4", "SIZE requires a number");
	if (slice_is_nocase(key, "BODY")) {
		out->body8 = slice_is_nocase(value, "8BITMIME");
		return out->body8 || slice_is_nocase(value, "7BIT") || refuse(error, 501, "5.5.4", "BODY must be 7BIT or 8BITMIME");
	}
	if (slice_is_nocase(key, "SMTPUTF8") && value.len == 0) {
		out->smtputf8 = true;
		return true;
	}
	return refuse(error, 555, "5.5.4", "Parameter unrecognized");
}

bool command_parse_mail(struct slice rest, struct command_mail *out, struct command_error *error)
{
	struct command_mail mail = { .size = -1 };
	if (!take_path(&rest, "FROM", &mail.from, error))
		return false;
	skip_space(&rest);
	while (rest.len > 0) {
		struct slice key, value;
		if (!take_parameter(&rest, &key, &value))
			return refuse_syntax(error);
		if (!parse_mail_parameter(key, value, &mail, error))
			return false;
	}
	if (mail.from.utf8 && !mail.smtputf8)
		return refuse(error, 553, "5.6.7", "Address beyond ASCII needs SMTPUTF8");
	*out = mail;
	return true;
}

bool command_parse_rcpt(struct slice rest, struct command_path *out, struct command_error *error)
{
	struct command_path to;
	if (!take_path(&rest, "TO", &to, error))
		return false;
	if (to.null)
		return refuse(error, 553, "5.1.3", "User address required");
	skip_space(&rest);
	if (rest.len > 0)
		return refuse(error, 555, "5.5.4", "Parameter unrecognized");
	*out = to;
	return true;
}

/* Each of KEY or KEY=VALUE, KEY of letters, digits and hyphens (RFC 5321 4.1.1.11). */
static bool are_parameters(struct slice reader)
{
	struct slice key, value;
	while (reader.len > 0) {
		if (!take_parameter(&reader, &key, &value))
			return false;
		for (size_t i = 0; i < key.len; i++)
			if (!is_alnum(key.at[i]) && (key.at[i] != '-' || i == 0))
				return false;
	}
	return true;
}

bool command_parse_path(const struct command *command, struct command_path *out, struct slice *parameters, struct command_error *error)
{
	bool rcpt = command->verb == COMMAND_RCPT;
	struct slice rest = command->rest;
	struct command_path path;
	if (!take_path(&rest, rcpt ? "TO" : "FROM", &path, error))
		return false;
	if (rcpt && path.null)
		return refuse(error, 553, "5.1.3", "User address required");
	skip_space(&rest);
	if (!are_parameters(rest))
		return refuse(error, 501, "5.5.4", "Syntax error in parameters");
	*out = path;
	*parameters = rest;
	return true;
}

bool command_unquote(struct slice local, struct buf *out)
{
	size_t before = out->len;
	if (local.len < 2 || local.at[0] != '"')
		return buf_put_slice(out, local);
	for (size_t i = 1; i + 1 < local.len; i++) {
		if (local.at[i] == '\\')
			i++;
		if (!buf_put_char(out, local.at[i])) {
			out->len = before;
			return false;
		}
	}
	return true;
}
