/* The tour, map: a text file as a table, built. The file is read as a whole, each line taken as makemap would take it, and the table made
 * in plain memory, so that want of memory is an error and not a signal; then it is written to a memory file and sealed. */
#include "map/map_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "map/map_sealed.h"
#include "map/map_text_image.h"

#define READ_TRIES 10                /* of a file that changes while it is read */
#define READ_PAUSE_NS (20 * 1000000) /* between them */
#define POOL_MAX ((size_t)1 << 30)

/* Reading the file. */

struct source {
	char *at;
	size_t len;
};

static bool same_state(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
		a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Up to want bytes; less only at the end of the file. Returns how many, or -errno. */
static ssize_t read_all(int fd, char *at, size_t want)
{
	size_t got = 0;
	while (got < want) {
		ssize_t n = pread(fd, at + got, want - got, (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* One try. 0, -EAGAIN when the file changed meanwhile, or -errno; a reason that errno has no words for goes to *why. */
static int read_once(int fd, struct source *out, const char **why)
{
	struct stat before, after;
	if (fstat(fd, &before) < 0)
		return -errno;
	if (!S_ISREG(before.st_mode)) {
		*why = S_ISDIR(before.st_mode) ? "is a directory; expected a text file" : "is no regular file; expected a text file";
		return -EINVAL;
	}
	if (before.st_size > (off_t)MAP_TEXT_FILE_MAX) {
		*why = "is larger than 256 MB, the most that a text map may have";
		return -EFBIG;
	}
	size_t size = (size_t)before.st_size;
	char *at = malloc(size + 1); /* one byte more than there is, to see it grow */
	if (!at)
		return -ENOMEM;
	ssize_t got = read_all(fd, at, size + 1);
	int e = got < 0 ? (int)got : fstat(fd, &after) < 0 ? -errno : (size_t)got != size || !same_state(&before, &after) ? -EAGAIN : 0;
	if (e < 0) {
		free(at);
		return e;
	}
	*out = (struct source){ at, size };
	return 0;
}

static bool read_file(const char *path, struct source *out, struct buf *errors)
{
	const char *why = NULL;
	/* O_NONBLOCK: a FIFO is told to be one rather than waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int e = fd < 0 ? -errno : -EAGAIN;
	for (int i = 0; e == -EAGAIN && i < READ_TRIES; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = READ_PAUSE_NS }, NULL);
		e = read_once(fd, out, &why);
	}
	if (fd >= 0)
		close(fd);
	if (e == 0)
		return true;
	if (e == -EAGAIN)
		why = "changes all the while it is read; write it anew and rename it into place";
	if (why)
		buf_putf(errors, "%s: %s\n", path, why);
	else
		buf_putf(errors, "%s: cannot be read: %s\n", path, strerror(-e));
	return false;
}

/* Building. */

struct build {
	const struct map_rules *rules;
	struct map_notes errors;
	struct map_notes warnings;
	struct source source;
	uint32_t *starts; /* where each line begins in the source */
	struct map_text_header header;
	struct map_text_slot *slots;
	uint64_t *filter;
	struct buf pool;
	bool crlf; /* a value ended in CR, and that was said */
	bool no_memory;
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool same_nocase(struct slice a, struct slice b)
{
	return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

/* ASCII only, whatever the locale. */
static struct slice lower_case(struct slice s, char out[MAP_TEXT_LINE_MAX])
{
	for (size_t i = 0; i < s.len; i++)
		out[i] = (char)(s.at[i] >= 'A' && s.at[i] <= 'Z' ? s.at[i] + ('a' - 'A') : s.at[i]);
	return (struct slice){ out, s.len };
}

/* The word a line begins with: its key. */
static struct slice first_word(struct slice line)
{
	size_t n = 0;
	while (n < line.len && !is_space(line.at[n]))
		n++;
	return (struct slice){ line.at, n };
}

static struct slice source_line(const struct build *b, uint32_t number)
{
	size_t start = b->starts[number - 1];
	const char *at = b->source.at + start;
	const char *end = memchr(at, '\n', b->source.len - start);
	return (struct slice){ at, end ? (size_t)(end - at) : b->source.len - start };
}

/* Puts key and value into the table and returns 0, or the line of the one that has the key already. */
static uint32_t insert(struct build *b, struct slice key, struct slice value, uint32_t line)
{
	uint64_t hash = map_filter_hash(b->header.seed, key);
	uint32_t tag = (uint32_t)(hash >> 32);
	uint32_t mask = b->header.slots - 1;
	uint32_t at = (uint32_t)hash & mask;
	uint32_t steps = 0;
	for (; b->slots[at].place != 0; at = (at + 1) & mask, steps++) {
		if (b->slots[at].tag != tag)
			continue;
		const char *bytes = b->pool.at + (size_t)b->slots[at].place * MAP_TEXT_POOL_UNIT;
		struct map_text_record r;
		memcpy(&r, bytes, sizeof(r));
		if (r.key_len == key.len && memcmp(bytes + sizeof(r), key.at, key.len) == 0)
			return r.line;
	}
	struct map_text_record r = { .line = line, .key_len = (uint16_t)key.len, .value_len = (uint16_t)value.len };
	size_t start = b->pool.len;
	size_t size = sizeof(r) + key.len + value.len;
	size_t padded = (size + MAP_TEXT_POOL_UNIT - 1) / MAP_TEXT_POOL_UNIT * MAP_TEXT_POOL_UNIT;
	char *to = buf_reserve(&b->pool, padded);
	if (!to) {
		b->no_memory = true;
		return 0;
	}
	memcpy(to, &r, sizeof(r));
	memcpy(to + sizeof(r), key.at, key.len);
	memcpy(to + sizeof(r) + key.len, value.at, value.len);
	memset(to + size, 0, padded - size);
	b->pool.len += padded;
	b->filter[map_filter_word(hash, mask)] |= map_filter_bits(hash);
	b->slots[at] = (struct map_text_slot){ .tag = tag, .place = (uint32_t)(start / MAP_TEXT_POOL_UNIT) };
	if (steps > b->header.reach)
		b->header.reach = steps;
	return 0;
}

static void note_duplicate(struct build *b, const struct map_line *line)
{
	if (!map_note_begin(&b->errors, line->number))
		return;
	buf_put_text(b->errors.to, "key ");
	map_note_bytes(&b->errors, line->key);
	buf_put_text(b->errors.to, ": duplicate key");
	map_note_end(&b->errors);
}

/* The rules know this line's key from line `first`, maybe in another spelling; in that case makemap takes both, and the first counts. */
static void take_again(struct build *b, const struct map_line *line, uint32_t first)
{
	struct slice before = source_line(b, first);
	struct slice written = first_word(before);
	/* The spelling goes into the table too, so that its own second coming is seen. */
	if (same_nocase(written, line->written) || insert(b, line->key, line->value, line->number) != 0) {
		note_duplicate(b, line);
		return;
	}
	size_t skip = written.len;
	while (skip < before.len && is_space(before.at[skip]))
		skip++;
	struct slice value = { before.at + skip, before.len - skip };
	if (value.len == line->value.len && memcmp(value.at, line->value.at, value.len) == 0)
		return;
	if (!map_note_begin(&b->warnings, line->number))
		return;
	map_note_bytes(&b->warnings, line->written);
	buf_putf(b->warnings.to, ": the same as line %u in another spelling, ignored; line %u counts", first, first);
	map_note_end(&b->warnings);
}

/* Once for a file. */
static void warn_crlf(struct build *b, uint32_t number)
{
	if (b->crlf || !map_note_begin(&b->warnings, number))
		return;
	b->crlf = true;
	buf_put_text(b->warnings.to, "the line ends in CR LF: the CR is part of the value, as it is with makemap; write the file with LF line ends");
	map_note_end(&b->warnings);
}

static void take_entry(struct build *b, uint32_t number, struct slice written, struct slice value)
{
	char lower[MAP_TEXT_LINE_MAX], own_memory[MAP_OWN_KEY];
	struct buf own;
	struct map_line entry = { number, written, lower_case(written, lower), value };
	buf_init_fixed(&own, own_memory, sizeof(own_memory));
	if (value.at[value.len - 1] == '\r')
		warn_crlf(b, number);
	if (b->rules->entry)
		b->rules->entry(b->rules->context, &entry, &own, &b->warnings);
	uint32_t first = insert(b, own.len > 0 ? buf_slice(&own) : entry.key, value, number);
	if (first == 0)
		b->header.entries++;
	else if (own.len > 0)
		take_again(b, &entry, first);
	else
		note_duplicate(b, &entry);
}

static void note_line(struct build *b, uint32_t number, const char *what)
{
	if (!map_note_begin(&b->errors, number))
		return;
	buf_put_text(b->errors.to, what);
	map_note_end(&b->errors);
}

/* What makemap does with a line, and in its words where it refuses one. */
static void take_line(struct build *b, uint32_t number, struct slice line)
{
	if (line.len > MAP_TEXT_LINE_MAX) {
		note_line(b, number, "line too long (1024 bytes max)");
		return;
	}
	if (memchr(line.at, '\0', line.len)) {
		note_line(b, number, "line too long (1024 bytes max): there is a NUL byte in it");
		return;
	}
	if (line.len == 0 || line.at[0] == '#')
		return;
	if (is_space(line.at[0])) {
		note_line(b, number, line.at[0] == '\r' ? "syntax error (leading space): the line ends in CR LF, so it is not empty" :
			"syntax error (leading space)");
		return;
	}
	struct slice written = first_word(line);
	size_t skip = written.len;
	while (skip < line.len && is_space(line.at[skip]))
		skip++;
	if (skip < line.len) {
		take_entry(b, number, written, (struct slice){ line.at + skip, line.len - skip });
		return;
	}
	if (!map_note_begin(&b->errors, number))
		return;
	buf_put_text(b->errors.to, "no RHS for LHS ");
	char lower[MAP_TEXT_LINE_MAX];
	map_note_bytes(&b->errors, lower_case(written, lower));
	map_note_end(&b->errors);
}

static uint32_t count_lines(const struct source *source)
{
	uint32_t n = 0;
	const char *at = source->at, *end = source->at + source->len;
	while (at < end) {
		const char *next = memchr(at, '\n', (size_t)(end - at));
		n++;
		at = next ? next + 1 : end;
	}
	return n;
}

static void take_lines(struct build *b)
{
	const char *at = b->source.at, *end = b->source.at + b->source.len;
	for (uint32_t number = 1; at < end && !b->no_memory; number++) {
		b->starts[number - 1] = (uint32_t)(at - b->source.at);
		struct slice line = source_line(b, number);
		take_line(b, number, line);
		at = line.at + line.len + 1;
	}
}

/* The image as a sealed memfd, or -errno. */
static int seal(struct build *b)
{
	b->header.pool_size = b->pool.len;
	int fd = map_sealed_new();
	if (fd < 0)
		return fd;
	int e = map_sealed_write(fd, &b->header, sizeof(b->header));
	if (e == 0)
		e = map_sealed_write(fd, b->slots, b->header.slots * sizeof(*b->slots));
	if (e == 0)
		e = map_sealed_write(fd, b->filter, b->header.slots / MAP_TEXT_FILTER_SLOTS * sizeof(*b->filter));
	if (e == 0)
		e = map_sealed_write(fd, b->pool.at, b->pool.len);
	if (e == 0)
		return map_sealed_finish(fd);
	close(fd);
	return e;
}

/* 0, or -errno. Half-made, the rest is freed by build_fini(). */
static int build_init(struct build *b, const char *path, struct buf *errors, struct buf *warnings)
{
	uint32_t lines = count_lines(&b->source);
	map_notes_init(&b->errors, errors, path);
	map_notes_init(&b->warnings, warnings, path);
	memcpy(b->header.magic, MAP_TEXT_IMAGE_MAGIC, 8);
	b->header.version = MAP_TEXT_IMAGE_VERSION;
	if (getrandom(&b->header.seed, sizeof(b->header.seed), 0) != sizeof(b->header.seed))
		return errno ? -errno : -EIO;
	/* A line makes at most one record. Half to two thirds full at most: a key is found in its first cache line. */
	b->header.slots = MAP_TEXT_SLOTS_LEAST;
	while (b->header.slots < lines + lines / 2)
		b->header.slots *= 2;
	b->slots = calloc(b->header.slots, sizeof(*b->slots));
	b->filter = calloc(b->header.slots / MAP_TEXT_FILTER_SLOTS, sizeof(*b->filter));
	b->starts = calloc(lines > 0 ? lines : 1, sizeof(*b->starts));
	buf_init(&b->pool, POOL_MAX);
	/* Place 0 means an empty slot, so no record may have it. */
	if (!b->slots || !b->filter || !b->starts || !buf_put(&b->pool, (char[MAP_TEXT_POOL_UNIT]){ 0 }, MAP_TEXT_POOL_UNIT))
		return -ENOMEM;
	return 0;
}

static void build_fini(struct build *b)
{
	free(b->slots);
	free(b->filter);
	free(b->starts);
	free(b->source.at);
	buf_fini(&b->pool);
}

int map_text_build(const char *path, const struct map_rules *rules, struct buf *errors, struct buf *warnings, size_t *entries)
{
	struct build b = { .rules = rules };
	int fd = -1;
	if (!read_file(path, &b.source, errors))
		return -1;
	if (count_lines(&b.source) > MAP_TEXT_LINES_MAX) {
		buf_putf(errors, "%s: has more than %u lines, the most that a text map may have\n", path, MAP_TEXT_LINES_MAX);
		free(b.source.at);
		return -1;
	}
	int e = build_init(&b, path, errors, warnings);
	if (e == 0) {
		take_lines(&b);
		if (rules->finish)
			rules->finish(rules->context, b.header.meta, &b.warnings);
		map_notes_finish(&b.errors);
		map_notes_finish(&b.warnings);
		e = b.no_memory ? -ENOMEM : 0;
	}
	if (e == 0 && b.errors.shown == 0) {
		fd = seal(&b);
		e = fd < 0 ? fd : 0;
	}
	if (e < 0)
		buf_putf(errors, "%s: no table can be made of it: %s\n", path, strerror(-e));
	else if (fd >= 0)
		*entries = b.header.entries;
	build_fini(&b);
	return fd;
}
