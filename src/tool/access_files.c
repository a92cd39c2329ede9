/* The tour, tools: maps as files, for `tarry access`: makemap's job, and its reverse. */
#include "tool/access_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "tool/complain.h"
#include "tool/elsewhere.h"

#define TEXT_MAX (4 * 1024 * 1024)

static const char *path_of(const char *text)
{
	return strncmp(text, "text:", 5) == 0 ? text + 5 : text;
}

int access_files_build(const char *from, const char *to)
{
	struct buf errors, warnings;
	size_t entries = 0;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	bool read = complain_is_readable(path_of(from));
	bool done = access_write(path_of(from), to, &errors, &warnings, &entries);
	complain_lines(&warnings, "warning: ");
	complain_lines(&errors, "");
	buf_fini(&errors);
	buf_fini(&warnings);
	if (done)
		printf("%s: %zu entries\n", access_file(to), entries);
	return done ? EX_OK : read ? EX_DATAERR : EX_NOINPUT;
}

/* ---- dump ---- */

struct entry {
	uint32_t line;
	char *text;
};

struct entries {
	struct entry *at;
	size_t len, cap;
};

static int by_line(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return x->line != y->line ? (x->line > y->line) - (x->line < y->line) : strcmp(x->text, y->text);
}

/* Takes the text, which is malloc's, also on failure; NULL: there was no memory for it. */
static bool add(struct entries *e, uint32_t line, char *text)
{
	if (text && e->len == e->cap) {
		size_t cap = e->cap ? 2 * e->cap : 256;
		struct entry *more = realloc(e->at, cap * sizeof(*more));
		if (!more) {
			free(text);
			return false;
		}
		e->at = more;
		e->cap = cap;
	}
	if (text)
		e->at[e->len++] = (struct entry){ line, text };
	return text != NULL;
}

static bool take(void *context, struct slice key, const struct map_value *value)
{
	char *text = malloc(key.len + value->text.len + 2);
	if (text) {
		memcpy(text, key.at, key.len);
		text[key.len] = '\t';
		memcpy(text + key.len + 1, value->text.at, value->text.len);
		text[key.len + 1 + value->text.len] = '\0';
	}
	return add(context, value->line, text);
}

static bool take_elsewhere(void *context, const char *entry)
{
	return add(context, 0, strdup(entry));
}

/* In the order of their lines, where these are known, if there are all of them. */
static void print(struct entries *e, bool all)
{
	if (all && e->len > 0)
		qsort(e->at, e->len, sizeof(*e->at), by_line);
	for (size_t i = 0; i < e->len; i++) {
		if (all)
			puts(e->at[i].text);
		free(e->at[i].text);
	}
	free(e->at);
}

int access_files_print(const struct access *access, unsigned map)
{
	struct entries e = { .at = NULL };
	bool all = access_each(access, map, take, &e);
	print(&e, all);
	if (!all)
		fprintf(stderr, "tarry: no memory for the entries of the map\n");
	return all ? EX_OK : EX_OSERR;
}

int access_files_dump_elsewhere(const char *spec, const struct conf *conf)
{
	struct entries e = { .at = NULL };
	struct buf why;
	buf_init(&why, TEXT_MAX);
	bool all = elsewhere_dump(spec, conf, take_elsewhere, &e, &why);
	print(&e, all);
	if (!all)
		fprintf(stderr, "tarry: access: %s: %s\n", spec, buf_text(&why));
	buf_fini(&why);
	return all ? EX_OK : EX_UNAVAILABLE;
}

int access_files_dump(const char *spec)
{
	struct buf errors, warnings;
	size_t entries = 0;
	if (access_is_elsewhere(spec))
		return access_files_dump_elsewhere(spec, NULL);
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	int fd = access_build(spec, &errors, &warnings, &entries);
	complain_lines(&errors, "");
	buf_fini(&errors);
	buf_fini(&warnings);
	if (fd < 0)
		return EX_DATAERR;
	struct access *access = access_open(&fd, 1, &(struct access_rules){ false, false, false });
	int code = access ? access_files_print(access, 0) : EX_OSERR;
	access_close(access);
	return code;
}
