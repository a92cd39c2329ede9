/* The tour, core: the configuration file. libconfuse parses it; before it sees a byte, scan() takes the comments out and refuses
 * what its lexer would swallow or trip over: an open string leaves that lexer in the middle of a string for the next file too, a
 * C comment shifts its line numbers by one, a stray '*' or '+' vanishes. For the same reason includes are not nested within the lexer: a file is
 * parsed to its end first, then what it includes is read and put in its place. */
#include "core/conffile.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/confapart.h"
#include "core/confshape.h"

#define NAME_MAX_LEN 40   /* longer names are not compared for a suggestion */
#define SUGGEST_DISTANCE 2 /* letters that a suggested name may differ in */
#define SHOWN 200         /* bytes of libconfuse's message at most */

/* The file that libconfuse is in now: its callbacks carry no context. */
struct reading {
	struct conffile local; /* items only */
	const char *file;
	struct buf *errors;
	struct conffile_item pending; /* values of the option that is being read */
	bool failed;
};
static struct reading *now;
static bool apart;

/* Which file is being included by which, to see a circle. */
struct chain {
	const struct chain *up;
	dev_t dev;
	ino_t ino;
};

static bool read_one(struct conffile *f, const char *path, const struct conffile_item *from, const struct chain *up, struct buf *errors);

static void put_place(struct buf *out, const char *file, unsigned line)
{
	buf_put_escaped(out, file, strlen(file), SHOWN);
	if (line > 0)
		buf_putf(out, ":%u", line);
	buf_put_text(out, ": ");
}

/* --- the list ------------------------------------------------------------------------------------------------ */

static void item_fini(struct conffile_item *item)
{
	for (size_t i = 0; i < item->values_len; i++)
		free(item->values[i].text);
	free(item->values);
	free(item->name);
	free(item->title);
	*item = (struct conffile_item){ 0 };
}

/* Takes what the item holds; false: no memory, the item is the caller's still. */
static bool push(struct conffile *f, const struct conffile_item *item)
{
	if (f->len == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 32;
		struct conffile_item *items = realloc(f->items, cap * sizeof(*items));
		if (!items)
			return false;
		f->items = items;
		f->cap = cap;
	}
	f->items[f->len++] = *item;
	return true;
}

static bool add_value(struct conffile_item *item, const char *text, unsigned line)
{
	/* Room doubles at each power of two. */
	if ((item->values_len & (item->values_len - 1)) == 0) {
		size_t cap = item->values_len ? item->values_len * 2 : 1;
		struct conffile_value *values = realloc(item->values, cap * sizeof(*values));
		if (!values)
			return false;
		item->values = values;
	}
	char *copy = strdup(text);
	if (!copy)
		return false;
	item->values[item->values_len++] = (struct conffile_value){ copy, line };
	return true;
}

void conffile_fini(struct conffile *f)
{
	for (size_t i = 0; i < f->len; i++)
		item_fini(&f->items[i]);
	free(f->items);
	for (size_t i = 0; i < f->files_len; i++)
		free(f->files[i]);
	*f = (struct conffile){ 0 };
}

/* --- names ---------------------------------------------------------------------------------------------------- */

static const char *const root_names[] = {
#define OPTION(name, type, initial, least, most, sentence) #name,
#include "options.def"
#undef OPTION
	"listen", "backend", "include", NULL
};
#define NAME_LISTEN_LISTEN(text) text
#define NAME_LISTEN_BACKEND(text)
#define NAME_BACKEND_LISTEN(text)
#define NAME_BACKEND_BACKEND(text) text
static const char *const listen_names[] = {
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) NAME_LISTEN_##section(#name COMMA)
#define COMMA ,
#include "sections.def"
#undef SECTION_OPTION
	NULL
};
static const char *const backend_names[] = {
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) NAME_BACKEND_##section(#name COMMA)
#include "sections.def"
#undef SECTION_OPTION
	NULL
};

/* Levenshtein's distance, in one row. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[NAME_MAX_LEN + 1];
	size_t b_len = strlen(b);
	for (size_t j = 0; j <= b_len; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1]; i++) {
		unsigned corner = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned swap = corner + (a[i - 1] != b[j - 1]);
			corner = row[j];
			unsigned step = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
			row[j] = swap < step ? swap : step;
		}
	}
	return row[b_len];
}

void conffile_unknown(struct buf *out, enum conffile_section section, const char *name)
{
	static const char *const *const names_of[] = {
		[CONFFILE_ROOT] = root_names, [CONFFILE_LISTEN] = listen_names, [CONFFILE_BACKEND] = backend_names,
	};
	const char *nearest = NULL;
	unsigned least = SUGGEST_DISTANCE + 1;
	for (const char *const *n = names_of[section]; *n && strlen(name) <= NAME_MAX_LEN; n++) {
		unsigned d = distance(name, *n);
		if (d > 0 && d < least && 2 * d <= strlen(name)) {
			least = d;
			nearest = *n;
		}
	}
	buf_put_text(out, "no such option '");
	buf_put_escaped(out, name, strlen(name), NAME_MAX_LEN);
	buf_put_text(out, "'");
	if (nearest)
		buf_putf(out, "; did you mean '%s'?", nearest);
}

/* --- what libconfuse calls -------------------------------------------------------------------------------------- */

static enum conffile_section section_of(cfg_t *cfg)
{
	const char *name = cfg_name(cfg);
	if (name && strcmp(name, "listen") == 0)
		return CONFFILE_LISTEN;
	return name && strcmp(name, "backend") == 0 ? CONFFILE_BACKEND : CONFFILE_ROOT;
}

static unsigned line_of(const cfg_t *cfg)
{
	return cfg->line > 0 ? (unsigned)cfg->line : 1;
}

static int no_memory(cfg_t *cfg)
{
	cfg_error(cfg, "out of memory");
	return -1;
}

/* libconfuse has something to say: our form, and only the first, for it often says the same thing twice. */
static void on_error(cfg_t *cfg, const char *format, va_list args)
{
	static const char unknown[] = "no such option '";
	char memory[1024];
	struct buf text;
	if (now->failed)
		return;
	now->failed = true;
	buf_init_fixed(&text, memory, sizeof(memory));
	if (!buf_vputf(&text, format, args))
		buf_put_text(&text, "syntax error");
	put_place(now->errors, now->file, line_of(cfg));
	if (text.len > sizeof(unknown) && memcmp(text.at, unknown, sizeof(unknown) - 1) == 0) {
		text.len--; /* the quote at the end */
		conffile_unknown(now->errors, section_of(cfg), buf_text(&text) + sizeof(unknown) - 1);
	} else {
		buf_put_escaped(now->errors, text.at, text.len, SHOWN);
	}
	buf_put_char(now->errors, '\n');
}

/* One value of an option has been read: this is the moment at which its line is known. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	(void)opt;
	if (!add_value(&now->pending, value, line_of(cfg)))
		return no_memory(cfg);
	*(const char **)result = value;
	return 0;
}

static int emit(cfg_t *cfg, enum conffile_kind kind, cfg_t *section, const char *name)
{
	struct conffile_item item = now->pending;
	now->pending = (struct conffile_item){ 0 };
	item.kind = kind;
	item.section = section_of(section);
	item.file = now->file;
	item.line = line_of(cfg);
	const char *title = cfg_title(section);
	item.name = name ? strdup(name) : NULL;
	item.title = title ? strdup(title) : NULL;
	if ((name && !item.name) || (title && !item.title) || !push(&now->local, &item)) {
		item_fini(&item);
		return no_memory(cfg);
	}
	return 0;
}

/* An option has a value. For a list this comes after each value, with the number of those so far, and again at the closing brace;
 * "{ }" comes not at all, and so changes nothing. */
static int on_option(cfg_t *cfg, cfg_opt_t *opt)
{
	if (now->pending.values_len == 0)
		return 0;
	if (!(opt->flags & CFGF_LIST) || cfg_opt_size(opt) == 1)
		return emit(cfg, CONFFILE_VALUE, cfg, cfg_opt_name(opt));
	const struct conffile_value *last = &now->pending.values[0];
	bool ok = add_value(&now->local.items[now->local.len - 1], last->text, last->line);
	item_fini(&now->pending);
	return ok ? 0 : no_memory(cfg);
}

static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *section = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	return section ? emit(cfg, CONFFILE_SECTION, section, NULL) : no_memory(cfg);
}

static int on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	if (argc != 1 || argv[0][0] == '\0') {
		cfg_error(cfg, "include: %d files; expected one, as include(FILE)", argc);
		return -1;
	}
	if (!add_value(&now->pending, argv[0], line_of(cfg)))
		return no_memory(cfg);
	return emit(cfg, CONFFILE_INCLUDE, cfg, cfg_opt_name(opt));
}

/* --- before libconfuse ------------------------------------------------------------------------------------------ */

struct scan {
	char *at;
	size_t len, i;
	unsigned line;
	const char *file;
	struct buf *errors;
};

__attribute__((format(printf, 3, 4)))
static bool wrong(struct scan *s, unsigned line, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	put_place(s->errors, s->file, line);
	buf_vputf(s->errors, format, args);
	buf_put_char(s->errors, '\n');
	va_end(args);
	return false;
}

static bool scan_is(const struct scan *s, const char *two)
{
	return s->i + 1 < s->len && s->at[s->i] == two[0] && s->at[s->i + 1] == two[1];
}

/* At the opening quote; leaves i at the closing one. */
static bool scan_string(struct scan *s)
{
	char quote = s->at[s->i];
	for (s->i++; s->i < s->len && s->at[s->i] != '\n'; s->i++) {
		if (s->at[s->i] == quote)
			return true;
		if (s->at[s->i] == '\\' && s->i + 1 < s->len) {
			char next = s->at[++s->i];
			if (next != '\\' && next != quote)
				return wrong(s, s->line, "backslash in a string; only \\\\ and \\%c are known", quote);
		} else if (quote == '"' && scan_is(s, "${")) {
			return wrong(s, s->line, "\"${\": the environment is not read; put the string in single quotes if it is meant");
		}
	}
	return wrong(s, s->line, "string without an end; expected %c before the end of the line", quote);
}

/* Blanks it, but for its line ends; leaves i behind it. */
static bool scan_comment(struct scan *s)
{
	bool block = scan_is(s, "/*");
	unsigned begin = s->line;
	for (; s->i < s->len; s->i++) {
		if (block && scan_is(s, "*/")) {
			s->at[s->i] = s->at[s->i + 1] = ' ';
			s->i += 2;
			return true;
		}
		if (s->at[s->i] != '\n')
			s->at[s->i] = ' ';
		else if (!block)
			return true;
		else
			s->line++;
	}
	return !block || wrong(s, begin, "comment without an end; expected */");
}

static bool scan_bytes(struct scan *s)
{
	static const char mark[] = "\xef\xbb\xbf"; /* of an editor that means UTF-8 by it */
	unsigned line = 1;
	if (s->len >= sizeof(mark) - 1 && memcmp(s->at, mark, sizeof(mark) - 1) == 0)
		memset(s->at, ' ', sizeof(mark) - 1);
	for (size_t i = 0; i < s->len; i++) {
		unsigned char c = (unsigned char)s->at[i];
		if (c == '\n')
			line++;
		else if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
			return wrong(s, line, "byte 0x%02x; expected a text file", c);
	}
	return true;
}

static bool scan(struct scan *s)
{
	unsigned opened = 0, depth = 0;
	bool word = false; /* within an unquoted word "//" is two slashes */
	for (; s->i < s->len; s->i++) {
		char c = s->at[s->i];
		if (c == '#' || (!word && (scan_is(s, "//") || scan_is(s, "/*")))) {
			if (!scan_comment(s))
				return false;
			s->i--;
			word = false;
			continue;
		}
		if ((c == '"' || c == '\'') && !scan_string(s))
			return false;
		if (c == '+' || c == '*' || scan_is(s, "${"))
			return wrong(s, s->line, "'%c' outside of a string; expected quotes around what it belongs to", c);
		if (c == '{' && depth++ == 0)
			opened = s->line;
		if (c == '}' && depth-- == 0)
			return wrong(s, s->line, "'}' closes nothing");
		if (c == '\n')
			s->line++;
		word = !strchr(" \t\r\n={}(),\"'", c);
	}
	return depth == 0 || wrong(s, opened, "'{' is never closed; expected '}'");
}

static bool check_shape(struct scan *s)
{
	char memory[512];
	struct buf why;
	unsigned line = 0;
	buf_init_fixed(&why, memory, sizeof(memory));
	return confshape_check((struct slice){ s->at, s->len }, &line, &why) || wrong(s, line, "%s", buf_text(&why));
}

/* --- files ------------------------------------------------------------------------------------------------------ */

/* The whole file, with a line end behind it. 0 or -errno; -EFBIG: above CONFFILE_BYTES. */
static int slurp(const char *path, struct buf *bytes, struct stat *st)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO without a writer must not hang us */
	if (fd < 0)
		return -errno;
	int e = fstat(fd, st) < 0 || fcntl(fd, F_SETFL, 0) < 0 ? -errno : 0;
	while (e == 0) {
		char *at = buf_reserve(bytes, 4096);
		ssize_t n = at ? read(fd, at, 4096) : 0;
		if (n == 0) {
			if (!at || bytes->len > CONFFILE_BYTES || !buf_put_char(bytes, '\n'))
				e = -EFBIG;
			break;
		}
		if (n > 0)
			bytes->len += (size_t)n;
		else if (errno != EINTR)
			e = -errno;
	}
	close(fd);
	return e;
}

static void init_options(cfg_opt_t *options)
{
	for (cfg_opt_t *o = options; o->name; o++) {
		if (o->type == CFGT_STR) {
			o->parsecb = on_value;
			o->validcb = on_option;
		} else if (o->type == CFGT_SEC) {
			o->validcb = on_section;
		}
	}
}

#define LIST_FLAG_TEXT 0
#define LIST_FLAG_WORD 0
#define LIST_FLAG_INT 0
#define LIST_FLAG_SIZE 0
#define LIST_FLAG_DURATION 0
#define LIST_FLAG_PERCENT 0
#define LIST_FLAG_BOOL 0
#define LIST_FLAG_LIST CFGF_LIST

/* The bytes through libconfuse into now->local. */
static bool parse(struct buf *bytes)
{
	cfg_opt_t in_listen[] = {
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) NAME_LISTEN_##section(CFG_STR(#name, NULL, CFGF_NODEFAULT | LIST_FLAG_##type) COMMA)
#include "sections.def"
#undef SECTION_OPTION
		CFG_END()
	};
	cfg_opt_t in_backend[] = {
#define SECTION_OPTION(section, name, type, initial, least, most, sentence) NAME_BACKEND_##section(CFG_STR(#name, NULL, CFGF_NODEFAULT | LIST_FLAG_##type) COMMA)
#include "sections.def"
#undef SECTION_OPTION
		CFG_END()
	};
	cfg_opt_t options[] = {
#define OPTION(name, type, initial, least, most, sentence) CFG_STR(#name, NULL, CFGF_NODEFAULT | LIST_FLAG_##type),
#include "options.def"
#undef OPTION
		CFG_SEC("listen", in_listen, CFGF_MULTI | CFGF_TITLE),
		CFG_SEC("backend", in_backend, CFGF_MULTI | CFGF_TITLE),
		CFG_FUNC("include", on_include),
		CFG_END()
	};
	init_options(in_listen);
	init_options(in_backend);
	init_options(options);
	cfg_t *cfg = cfg_init(options, CFGF_NONE);
	FILE *fp = fmemopen(bytes->at, bytes->len, "r");
	bool ok = cfg && fp;
	if (ok) {
		cfg_set_error_function(cfg, on_error);
		cfg->filename = strdup(now->file);
		ok = cfg->filename && cfg_parse_fp(cfg, fp) == CFG_SUCCESS && !now->failed;
	}
	if (!ok && !now->failed) {
		put_place(now->errors, now->file, 0);
		buf_put_text(now->errors, "syntax error, or out of memory\n");
	}
	if (fp)
		fclose(fp);
	if (cfg)
		cfg_free(cfg);
	item_fini(&now->pending);
	return ok;
}

/* Puts what the file holds into the list, each include in its place. */
static bool splice_items(struct conffile *f, struct conffile *local, const struct chain *chain, struct buf *errors)
{
	bool ok = true;
	for (size_t i = 0; i < local->len && ok; i++) {
		struct conffile_item *item = &local->items[i];
		if (item->kind != CONFFILE_INCLUDE) {
			ok = push(f, item);
			if (ok)
				*item = (struct conffile_item){ 0 };
			continue;
		}
		char *folder = strdup(item->file), *path = NULL;
		const char *name = item->values[0].text, *under = folder ? dirname(folder) : NULL;
		/* Relative to the file it stands in, so that a folder can be moved and checked anywhere. */
		bool bare = name[0] == '/' || (under && strcmp(under, ".") == 0);
		if (!under || asprintf(&path, "%s%s%s", bare ? "" : under, bare ? "" : "/", name) < 0)
			path = NULL;
		ok = path && read_one(f, path, item, chain, errors);
		free(folder);
		free(path);
	}
	return ok;
}

/* Where to complain about a file that cannot be read: at the include, or at the file itself. */
static bool cannot(const char *path, const struct conffile_item *from, const char *why, struct buf *errors)
{
	if (from) {
		put_place(errors, from->file, from->line);
		buf_put_text(errors, "include: ");
	}
	put_place(errors, path, 0);
	buf_putf(errors, "%s\n", why);
	return false;
}

static bool parse_and_splice(struct conffile *f, const char *file, struct buf *bytes, const struct chain *chain, struct buf *errors)
{
	struct scan s = { .at = bytes->at, .len = bytes->len, .line = 1, .file = file, .errors = errors };
	if (!scan_bytes(&s) || !scan(&s) || !check_shape(&s))
		return false;
	struct reading reading = { .file = file, .errors = errors };
	now = &reading;
	bool ok = apart ? confapart_run(parse, bytes, &reading.local, file, errors) : parse(bytes);
	now = NULL;
	ok = ok && splice_items(f, &reading.local, chain, errors);
	conffile_fini(&reading.local);
	return ok;
}

static bool read_one(struct conffile *f, const char *path, const struct conffile_item *from, const struct chain *up, struct buf *errors)
{
	struct stat st;
	struct buf bytes;
	unsigned depth = 0;
	buf_init(&bytes, CONFFILE_BYTES + 8192);
	int e = slurp(path, &bytes, &st);
	const char *why = e == -EFBIG ? "larger than 1 MB, which no configuration is" : e < 0 ? strerror(-e) : NULL;
	for (const struct chain *c = up; c && !why; c = c->up, depth++)
		if (c->dev == st.st_dev && c->ino == st.st_ino)
			why = "includes itself";
	if (!why && depth > CONFFILE_DEPTH)
		why = "included too deeply; expected 8 levels at most";
	if (!why && f->files_len == CONFFILE_FILES)
		why = "one file too many; expected 64 at most";
	char *file = why ? NULL : strdup(path);
	if (!why && !file)
		why = strerror(ENOMEM);
	if (why) {
		buf_fini(&bytes);
		return cannot(path, from, why, errors);
	}
	f->files[f->files_len++] = file;
	struct chain chain = { up, st.st_dev, st.st_ino };
	bool ok = parse_and_splice(f, file, &bytes, &chain, errors);
	buf_fini(&bytes);
	return ok;
}

void conffile_apart(bool set)
{
	apart = set;
}

bool conffile_read(struct conffile *f, const char *path, struct buf *errors)
{
	*f = (struct conffile){ 0 };
	return read_one(f, path, NULL, NULL, errors);
}

bool conffile_read_text(struct conffile *f, const char *name, struct slice text, struct buf *errors)
{
	struct buf bytes;
	struct chain chain = { .up = NULL };
	*f = (struct conffile){ 0 };
	buf_init(&bytes, CONFFILE_BYTES + 8192);
	char *file = strdup(name);
	bool ok = file && buf_put_slice(&bytes, text) && buf_put_char(&bytes, '\n');
	if (file)
		f->files[f->files_len++] = file;
	if (!ok)
		cannot(name, NULL, "larger than 1 MB, which no configuration is; or out of memory", errors);
	ok = ok && parse_and_splice(f, file, &bytes, &chain, errors);
	buf_fini(&bytes);
	return ok;
}
