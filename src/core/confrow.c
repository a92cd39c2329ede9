/* The tour, core: one value of the configuration. options.def and sections.def become one table of rows here; a value, from the defaults, the file or
 * -o, always takes the same way: confrow_set() parses it, holds it against the bounds of its row, and says what is wrong in one form. */
#include "core/confrow.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/confcheck.h"

#define SHOWN 100    /* bytes of a wrong value that a message shows */
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
	const char *why = confcheck(row->name, text);
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
		const char *why = confcheck(row->name, values[i].text);
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
