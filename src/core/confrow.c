/* The tour, core: one value of the configuration. options.def and sections.def become one table of rows here; a value, from the defaults, the file or
 * -o, always takes the same way: confrow_set() parses it, holds it against the bounds of its row, and says what is wrong in one form. */
#include "core/confrow.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/confreaction.h"

#define SHOWN 100    /* bytes of a wrong value that a message shows */
#define HOST_MAX 255 /* RFC 5321 4.5.3.1.2 */
#define NS_PER_MS INT64_C(1000000)

enum type { TYPE_TEXT, TYPE_WORD, TYPE_INT, TYPE_SIZE, TYPE_DURATION, TYPE_PERCENT, TYPE_BOOL, TYPE_LIST };

struct confrow {
	const char *name;
	enum type type;
	const char *initial;
	int64_t least, most;
	size_t offset;
	enum conffile_section section;
};

#define OFFSET_LISTEN(name) offsetof(struct conf_listen, name)
#define OFFSET_BACKEND(name) offsetof(struct conf_backend, name)

static const struct confrow rows[] = {
#define OPTION(name, type, initial, least, most, sentence) { #name, TYPE_##type, initial, least, most, offsetof(struct conf, name), CONFFILE_ROOT },
#include "options.def"
#undef OPTION
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) { #name, TYPE_##type, initial, least, most, OFFSET_##section(name), CONFFILE_##section },
#include "sections.def"
#undef SECTION_OPTION
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* --- messages --------------------------------------------------------------------------------------------------- */

void confrow_put_place(struct buf *out, struct conf_place place)
{
	buf_put_escaped(out, place.file, strlen(place.file), 4096);
	if (place.line > 0)
		buf_putf(out, ":%u", place.line);
	buf_put_text(out, ": ");
}

char *confrow_place_text(struct conf_place place)
{
	char *text;
	int n = place.line > 0 ? asprintf(&text, "%s:%u", place.file, place.line) : asprintf(&text, "%s", place.file);
	return n < 0 ? NULL : text;
}

/* PLACE: name = "value": why; expected what */
void confrow_wrong(struct confrow_load *l, struct conf_place place, const char *name, const char *value, const char *why)
{
	struct buf *out = l->errors;
	l->wrong++;
	confrow_put_place(out, place);
	buf_putf(out, "%s = \"", name);
	buf_put_escaped(out, value, strlen(value), SHOWN);
	buf_putf(out, "\": %s\n", why);
}

void confrow_wrong_bare(struct confrow_load *l, struct conf_place place, const char *why)
{
	l->wrong++;
	confrow_put_place(l->errors, place);
	buf_putf(l->errors, "%s\n", why);
}

bool confrow_no_memory(struct confrow_load *l, struct conf_place place)
{
	confrow_wrong_bare(l, place, "out of memory");
	return false;
}

/* --- checks of single options ------------------------------------------------------------------------------------- */

bool confrow_is_host(const char *text, bool utf8)
{
	size_t label = 0, len = strlen(text);
	if (len == 0 || len > HOST_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '.') {
			if (label == 0 || text[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		bool letter = (c < 0x80 && isalnum(c)) || (utf8 && (c >= 0x80 || c == '_'));
		if ((!letter && (c != '-' || label == 0)) || ++label > 63)
			return false;
	}
	return label > 0 && text[len - 1] != '-';
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
static bool is_literal(const char *text)
{
	struct slice s = slice_of(text);
	struct addr a;
	if (s.len < 3 || s.at[0] != '[' || s.at[s.len - 1] != ']')
		return false;
	s.at++;
	s.len -= 2;
	if (s.len > 5 && slice_is_nocase((struct slice){ s.at, 5 }, "IPv6:"))
		return addr_parse((struct slice){ s.at + 5, s.len - 5 }, &a) && memchr(s.at + 5, ':', s.len - 5);
	return addr_parse(s, &a) && addr_is4(&a) && !memchr(s.at, ':', s.len);
}

static const char *check_hostname(const char *text)
{
	return *text == '\0' || confrow_is_host(text, false) || is_literal(text) ? NULL
		: "not a host name; expected letters, digits, hyphens and dots, or an address in brackets";
}

static const char *check_domain(const char *text)
{
	return confrow_is_host(text, true) || is_literal(text) ? NULL : "not a domain; expected one like example.org, or an address in brackets";
}

static const char *check_access(const char *text)
{
	const char *colon = strchr(text, ':');
	return colon && colon > text && colon[1] ? NULL : "no access database; expected text:/path/to/file";
}

static const char *check_user(const char *text)
{
	return !strpbrk(text, " \t:/,") ? NULL : "not the name of an account";
}

static const char *check_delimiter(const char *text)
{
	return *text == '\0' || (ispunct((unsigned char)*text) && !strchr("@/%\"", *text)) ? NULL
		: "cannot part a user from an extension; expected a sign like + or -";
}

static const char *check_maildir(const char *text)
{
	bool user = false;
	for (const char *p = strchr(text, '%'); p; p = strchr(p + 2, '%')) {
		if (!p[1] || !strchr("du%", p[1]))
			return "'%' before something else than d, u or %; expected %d, %u or %%";
		user = user || p[1] == 'u';
	}
	return user ? NULL : "all users would share one Maildir; expected a path with %u in it, like /var/mail/tarry/%d/%u";
}

static const char *check_local_pause(const char *text)
{
	const char *blank = strpbrk(text, " \t");
	const char *digits = blank ? blank + strspn(blank, " \t") : "";
	return blank && blank > text && *digits && digits[strspn(digits, "0123456789")] == '\0' && strlen(digits) <= 9 ? NULL
		: "not a local pause; expected KEY MILLISECONDS, KEY an address, a host name or *";
}

static const char *check_failure(const char *text)
{
	return strcmp(text, "tempfail") == 0 || strcmp(text, "open") == 0 || strcmp(text, "closed") == 0 ? NULL : "not what a failure can mean; expected tempfail, open or closed";
}

static const char *check_prefix(const char *text)
{
	struct prefix prefix;
	return addr_parse_prefix(slice_of(text), &prefix) ? NULL : "not an address or network; expected one like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
}

static const char *check_tls_name(const char *text)
{
	return *text == '\0' || confrow_is_host(text, false) ? NULL : "not the name of a host; expected letters, digits, hyphens and dots";
}

static const char *check_reaction(const char *text)
{
	struct conf_reaction reaction;
	const char *why = NULL;
	return conf_reaction_parse(text, &reaction, &why) ? NULL : why;
}

/* Words as a client could say them. */
static const char *check_forbidden(const char *text)
{
	return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ ")] == '\0' ? NULL
		: "not a list of commands; expected words with blanks between them, such as CONNECT GET POST";
}

/* Somebody who is banned is not listened to. */
static const char *check_ban_reply(const char *text)
{
	struct conf_reaction reaction;
	const char *why = NULL;
	if (!conf_reaction_parse(text, &reaction, &why))
		return why;
	return reaction.kind != CONF_REACTION_REFUSE ? NULL : "not what a banned client can get; expected tempfail or drop, perhaps with a reply, or close";
}

static const char *check_offences(const char *text)
{
	static const char *const words[] = { "early", "later", "refused", "limited", "forbidden", "smtp", "session", "tls", "http", "proxy", "ssh", "text", "binary" };
	for (const char *p = text + strspn(text, " \t"); *p;) {
		size_t n = strcspn(p, " \t"), i = 0;
		while (i < sizeof(words) / sizeof(words[0]) && (strlen(words[i]) != n || strncmp(words[i], p, n) != 0))
			i++;
		if (i == sizeof(words) / sizeof(words[0]))
			return "has a word in it that is no offence; expected early, later, refused, limited, forbidden, or kinds of early talk: smtp, session, tls, http, proxy, ssh, text, binary";
		p += n + strspn(p + n, " \t");
	}
	return NULL;
}

static const char *check_kernel(const char *text)
{
	char family[16], table[40], set[40], more;
	bool ok = *text == '\0' || (sscanf(text, "nftables %15s %39s %39s %c", family, table, set, &more) == 3 && strlen(table) < 32 && strlen(set) < 31
		&& (strcmp(family, "inet") == 0 || strcmp(family, "ip") == 0 || strcmp(family, "ip6") == 0));
	return ok ? NULL : "names no sets; expected nftables FAMILY TABLE NAME, FAMILY inet, ip or ip6: nftables inet tarry banned";
}

static const struct check {
	const char *name;
	const char *(*why)(const char *text); /* NULL: it is fine */
} checks[] = {
	{ "hostname", check_hostname }, { "user", check_user }, { "access_db", check_access }, { "access_failure", check_failure }, { "accept_domains", check_domain },
	{ "local_greet_pause", check_local_pause }, { "maildir", check_maildir }, { "recipient_delimiter", check_delimiter }, { "trust", check_prefix }, { "health", check_prefix },
	{ "ban_never", check_prefix }, { "ban_reply", check_ban_reply }, { "ban_offences", check_offences }, { "ban_kernel", check_kernel },
	{ "tls_name", check_tls_name }, { "forbidden_commands", check_forbidden },
	{ "early_smtp", check_reaction }, { "early_session", check_reaction }, { "early_tls", check_reaction }, { "early_http", check_reaction }, { "early_proxy", check_reaction },
	{ "early_ssh", check_reaction }, { "early_text", check_reaction }, { "early_binary", check_reaction },
};

static const char *check(const struct confrow *row, const char *text)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return "has a control character in it";
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (strcmp(checks[i].name, row->name) == 0)
			return checks[i].why(text);
	return NULL;
}

/* --- one value into its field ----------------------------------------------------------------------------------- */

const struct confrow *confrow_find(enum conffile_section section, struct slice name)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].section == section && slice_is(name, rows[i].name))
			return &rows[i];
	return NULL;
}

static uint64_t bit_of(const struct confrow *row)
{
	return UINT64_C(1) << (row - rows) % 64;
}

bool confrow_given(const struct confrow_load *l, enum conffile_section section, const char *name)
{
	const struct confrow *row = confrow_find(section, slice_of(name));
	return row && (l->given & bit_of(row)) != 0;
}

/* fields: of the configuration, or of a section of it. */
static void *row_field(const struct confrow *row, const void *fields)
{
	return (char *)fields + row->offset;
}

static void *field_of(const struct confrow_load *l, const struct confrow *row)
{
	return row_field(row, row->section == CONFFILE_ROOT ? (void *)l->conf : l->section);
}

static void put_amount(struct buf *out, const struct confrow *row, int64_t n)
{
	if (row->type == TYPE_DURATION)
		conf_put_duration(out, n * NS_PER_MS);
	else if (row->type == TYPE_SIZE)
		conf_put_size(out, n);
	else if (row->type == TYPE_PERCENT)
		conf_put_percent(out, n);
	else
		buf_putf(out, "%lld", (long long)n);
}

static void put_expected(struct buf *out, const struct confrow *row)
{
	static const char *const what[] = {
		[TYPE_TEXT] = "bytes of text", [TYPE_INT] = "a number", [TYPE_SIZE] = "bytes, or a number with K, M or G",
		[TYPE_DURATION] = "milliseconds or a number with ms, s, m, h or d", [TYPE_PERCENT] = "a number with %, at most four decimals", [TYPE_BOOL] = "yes or no",
		[TYPE_LIST] = "entries",
	};
	buf_put_text(out, "; expected ");
	if (row->type == TYPE_WORD) {
		const char *const *words = conf_words(row->name);
		for (size_t i = 0; words[i]; i++)
			buf_putf(out, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
		return;
	}
	if (row->type == TYPE_BOOL) {
		buf_put_text(out, what[row->type]);
		return;
	}
	bool counts = row->type == TYPE_TEXT || row->type == TYPE_LIST;
	if (!counts)
		buf_putf(out, "%s, ", what[row->type]);
	put_amount(out, row, row->least);
	buf_put_text(out, " to ");
	put_amount(out, row, row->most);
	if (counts)
		buf_putf(out, " %s", what[row->type]);
}

static bool wrong_value(struct confrow_load *l, struct conf_place place, const struct confrow *row, const char *text, const char *what)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	buf_put_text(&why, what);
	put_expected(&why, row);
	confrow_wrong(l, place, row->name, text, buf_text(&why));
	return false;
}

static bool digits(const char *text)
{
	return text[strspn(text, "0123456789")] == '\0';
}

/* greet_pause, helo_pause and so on. */
static bool is_pause(const char *name)
{
	size_t len = strlen(name);
	return len > 6 && strcmp(name + len - 6, "_pause") == 0;
}

static bool set_number(struct confrow_load *l, struct conf_place place, const struct confrow *row, const char *text)
{
	static const char *const nots[] = { [TYPE_INT] = "not a number", [TYPE_SIZE] = "not a size", [TYPE_DURATION] = "not a duration", [TYPE_PERCENT] = "not a percentage" };
	int64_t scale = row->type == TYPE_DURATION ? NS_PER_MS : 1, value;
	bool ok = row->type == TYPE_DURATION ? conf_duration(slice_of(text), &value) : row->type == TYPE_PERCENT ? conf_percent(slice_of(text), &value)
		: (row->type == TYPE_SIZE || digits(text)) && conf_size(slice_of(text), &value);
	if (!ok)
		return wrong_value(l, place, row, text, nots[row->type]);
	if (value > row->most * scale && is_pause(row->name)) {
		confrow_put_place(l->warnings, place);
		buf_putf(l->warnings, "%s = %.*s: cut to 300 s, as Sendmail does\n", row->name, SHOWN, text);
		value = row->most * scale;
	}
	if (value < row->least * scale || value > row->most * scale)
		return wrong_value(l, place, row, text, value < row->least * scale ? "too small" : "too large");
	*(int64_t *)field_of(l, row) = value;
	return true;
}

static bool set_text(struct confrow_load *l, struct conf_place place, const struct confrow *row, const char *text)
{
	int64_t len = (int64_t)strlen(text);
	const char *why = check(row, text);
	if (len < row->least || len > row->most)
		return wrong_value(l, place, row, text, len < row->least ? "too short" : "too long");
	if (why) {
		confrow_wrong(l, place, row->name, text, why);
		return false;
	}
	char **field = field_of(l, row), *copy = strdup(text);
	if (!copy)
		return confrow_no_memory(l, place);
	free(*field);
	*field = copy;
	return true;
}

/* A value of any type but LIST. */
static bool set_one(struct confrow_load *l, struct conf_place place, const struct confrow *row, const char *text)
{
	if (row->type == TYPE_TEXT)
		return set_text(l, place, row, text);
	if (row->type == TYPE_BOOL) {
		bool yes = strcmp(text, "yes") == 0;
		if (!yes && strcmp(text, "no") != 0)
			return wrong_value(l, place, row, text, "neither yes nor no");
		*(bool *)field_of(l, row) = yes;
		return true;
	}
	if (row->type != TYPE_WORD)
		return set_number(l, place, row, text);
	const char *const *words = conf_words(row->name);
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], text) == 0) {
			*(int *)field_of(l, row) = i;
			return true;
		}
	return wrong_value(l, place, row, text, "not one of its words");
}

static void list_fini(struct conf_list *list)
{
	for (size_t i = 0; i < list->len; i++)
		free(list->at[i]);
	free(list->at);
	*list = (struct conf_list){ 0 };
}

/* Domains are compared in lower case, so they are kept so. */
static char *copy_entry(const struct confrow *row, const char *text)
{
	char *copy = strdup(text);
	if (copy && strcmp(row->name, "accept_domains") == 0)
		for (char *p = copy; *p; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p = (char)(*p - 'A' + 'a');
	return copy;
}

static bool set_list(struct confrow_load *l, struct conf_place place, const struct confrow *row, const struct conffile_value *values, size_t len)
{
	struct conf_list list = { calloc(len ? len : 1, sizeof(char *)), 0 };
	bool ok = list.at || confrow_no_memory(l, place);
	if (ok && ((int64_t)len < row->least || (int64_t)len > row->most))
		ok = wrong_value(l, place, row, len ? values[len - 1].text : "", (int64_t)len < row->least ? "too few entries" : "too many entries");
	for (size_t i = 0; i < len && ok; i++) {
		struct conf_place at = { place.file, values[i].line };
		const char *why = check(row, values[i].text);
		if (why) {
			confrow_wrong(l, at, row->name, values[i].text, why);
			ok = false;
		} else if ((list.at[i] = copy_entry(row, values[i].text))) {
			list.len++;
		} else {
			ok = confrow_no_memory(l, at);
		}
	}
	if (!ok) {
		list_fini(&list);
		return false;
	}
	struct conf_list *field = field_of(l, row);
	list_fini(field);
	*field = list;
	return true;
}

bool confrow_is_list(const struct confrow *row)
{
	return row->type == TYPE_LIST;
}

const char *confrow_separators(const struct confrow *row)
{
	return strcmp(row->name, "local_greet_pause") == 0 ? "," : ", \t"; /* "KEY MILLISECONDS" */
}

/* Where the row's value came from; without memory the configuration is not taken. */
static bool remember(struct confrow_load *l, struct conf_place place, const struct confrow *row)
{
	struct conf *conf = l->conf;
	if (row->section != CONFFILE_ROOT) {
		l->given |= bit_of(row);
		return true;
	}
	char *text = confrow_place_text(place);
	if (!conf->wheres)
		conf->wheres = calloc(ROWS, sizeof(*conf->wheres));
	if (!text || !conf->wheres) {
		free(text);
		return confrow_no_memory(l, place);
	}
	free(conf->wheres[row - rows]);
	conf->wheres[row - rows] = text;
	return true;
}

bool confrow_set(struct confrow_load *l, struct conf_place place, const struct confrow *row, const struct conffile_value *values, size_t len)
{
	if (!(row->type == TYPE_LIST ? set_list(l, place, row, values, len) : set_one(l, place, row, values[0].text)))
		return false;
	return remember(l, place, row);
}

const char *conf_where(const struct conf *conf, const char *option)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].section == CONFFILE_ROOT && strcmp(rows[i].name, option) == 0 && conf->wheres && conf->wheres[i])
			return conf->wheres[i];
	return "default";
}

void confrow_set_defaults(struct confrow_load *l, enum conffile_section section)
{
	l->given = 0;
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].section == section && rows[i].type != TYPE_LIST && (section == CONFFILE_ROOT || rows[i].initial[0] != '\0'))
			set_one(l, (struct conf_place){ "default", 0 }, &rows[i], rows[i].initial);
}

/* --- shown ------------------------------------------------------------------------------------------------------ */

void confrow_show_text(struct buf *out, const char *text)
{
	buf_put_char(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_put_char(out, '\\');
		buf_put_char(out, *text);
	}
	buf_put_char(out, '"');
}

static void show_list(struct buf *out, const struct conf_list *list)
{
	buf_put_text(out, "{");
	for (size_t i = 0; i < list->len; i++) {
		buf_put_text(out, i ? ", " : " ");
		confrow_show_text(out, list->at[i]);
	}
	buf_put_text(out, " }");
}

static void show_value(const struct confrow *row, const void *field, struct buf *out)
{
	switch (row->type) {
	case TYPE_TEXT:
		confrow_show_text(out, *(char *const *)field ? *(char *const *)field : "");
		break;
	case TYPE_LIST:
		show_list(out, field);
		break;
	case TYPE_WORD:
		buf_put_text(out, conf_words(row->name)[*(const int *)field]);
		break;
	case TYPE_BOOL:
		buf_put_text(out, *(const bool *)field ? "yes" : "no");
		break;
	case TYPE_DURATION:
		conf_put_duration(out, *(const int64_t *)field);
		break;
	case TYPE_SIZE:
		conf_put_size(out, *(const int64_t *)field);
		break;
	case TYPE_PERCENT:
		conf_put_percent(out, *(const int64_t *)field);
		break;
	case TYPE_INT:
		buf_putf(out, "%lld", (long long)*(const int64_t *)field);
		break;
	}
}

void confrow_show(const struct conf *conf, struct buf *out)
{
	for (const struct confrow *row = rows; row < rows + ROWS && row->section == CONFFILE_ROOT; row++) {
		buf_putf(out, "%s = ", row->name);
		show_value(row, row_field(row, conf), out);
		buf_put_char(out, '\n');
	}
}

void confrow_show_section(enum conffile_section section, const void *fields, struct buf *out)
{
	char memory[512];
	buf_put_text(out, "{");
	for (const struct confrow *row = rows; row < rows + ROWS; row++) {
		struct buf value, initial;
		if (row->section != section)
			continue;
		buf_init_fixed(&initial, memory, sizeof(memory));
		if (row->type == TYPE_TEXT)
			confrow_show_text(&initial, row->initial);
		else
			buf_put_text(&initial, row->type == TYPE_LIST ? "{ }" : row->initial);
		buf_init(&value, CONFFILE_BYTES);
		show_value(row, row_field(row, fields), &value);
		if (!slice_is(buf_slice(&value), buf_text(&initial)))
			buf_putf(out, " %s = %s", row->name, buf_text(&value));
		buf_fini(&value);
	}
	buf_put_text(out, " }");
}

static void fini_row(const struct confrow *row, void *fields)
{
	if (row->type == TYPE_TEXT)
		free(*(char **)row_field(row, fields));
	else if (row->type == TYPE_LIST)
		list_fini(row_field(row, fields));
}

void confrow_fini_section(enum conffile_section section, void *fields)
{
	for (const struct confrow *row = rows; row < rows + ROWS; row++)
		if (row->section == section)
			fini_row(row, fields);
}

void confrow_fini(struct conf *conf)
{
	for (const struct confrow *row = rows; row < rows + ROWS && row->section == CONFFILE_ROOT; row++) {
		fini_row(row, conf);
		if (conf->wheres)
			free(conf->wheres[row - rows]);
	}
	free(conf->wheres);
}
