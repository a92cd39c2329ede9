/* The tour, map: lmdb and cdb files, taken in. The file is copied, the copy checked by a child; only then does the library run in this process,
 * on the copy, to put every key into the filter and to tell the rules of it. */
#include "map/map_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "map/map_child.h"
#include "map/map_file_image.h"

#define COPY_TRIES 10                /* of a file that changes while it is copied */
#define COPY_PAUSE_NS (20 * 1000000) /* between them */
#define COPY_CHUNK ((size_t)1 << 20)
#define PARTS_WORTH 50000            /* entries: fewer are checked sooner than a second process has begun */
#define FILTER_AHEAD 16              /* keys whose words are on their way from memory at a time */
#define ENTRY_LEAST 10 /* bytes that an entry takes in any file that tells how many it has */

struct build {
	const struct map_file_kind *kind;
	const char *path;
	const struct map_rules *rules;
	struct map_report *report;
	struct map_notes warnings;
	int fd;     /* the file */
	int image;  /* its copy */
	struct map_file_tail tail;
	uint64_t claimed; /* entries, 0: not known before the check */
	unsigned parts;   /* of the check */
	uint64_t *filter; /* memory that the children share: one for each part, all in the first when it is done */
	uint64_t waiting[FILTER_AHEAD]; /* hashes of keys that are still to be put into it */
	unsigned next;
	bool filtered;    /* the check has put every key into the filter */
	size_t long_values, longest;
};

static bool fail(const struct build *b, const char *what)
{
	buf_putf(b->report->errors, "%s: %s\n", b->path, what);
	return false;
}

static bool fail_errno(const struct build *b, const char *what, int e)
{
	buf_putf(b->report->errors, "%s: %s: %s\n", b->path, what, strerror(-e));
	return false;
}

static bool fail_unreadable(const struct build *b, struct buf *why)
{
	buf_putf(b->report->errors, "%s: is not a readable %s (%s)\n", b->path, b->kind->what, buf_text(why));
	return false;
}

/* Copying. */

static ssize_t read_at(int fd, char *at, size_t want, off_t from)
{
	size_t got = 0;
	while (got < want) {
		ssize_t n = pread(fd, at + got, want - got, from + (off_t)got);
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

/* As much as the kernel copies by itself: from one file's pages to the other's, once. Where it does not (EINVAL: a filesystem without pages), bytes go by way of this process. */
static uint64_t copy_pages(const struct build *b)
{
	off_t at = 0;
	while ((uint64_t)at < b->tail.size) {
		ssize_t n = sendfile(b->image, b->fd, &at, (size_t)(b->tail.size - (uint64_t)at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
	}
	return (uint64_t)at;
}

/* 0, -EAGAIN when the file is shorter by now, or -errno. */
static int copy_bytes(struct build *b, char *chunk)
{
	if (ftruncate(b->image, 0) < 0 || lseek(b->image, 0, SEEK_SET) < 0)
		return -errno;
	for (uint64_t at = copy_pages(b); at < b->tail.size;) {
		size_t want = b->tail.size - at < COPY_CHUNK ? (size_t)(b->tail.size - at) : COPY_CHUNK;
		ssize_t got = read_at(b->fd, chunk, want, (off_t)at);
		int e = got < 0 ? (int)got : (size_t)got != want ? -EAGAIN : map_sealed_write(b->image, chunk, want);
		if (e < 0)
			return e;
		at += want;
	}
	return 0;
}

static bool same_state(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
		a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

struct copier {
	char before[MAP_FILE_HEAD], after[MAP_FILE_HEAD];
	char chunk[COPY_CHUNK];
};

/* One try. 0, -EAGAIN, or -errno; -EBADMSG with *why when it is no file of this kind. */
static int copy_once(struct build *b, struct copier *c, struct buf *why)
{
	struct stat before, after;
	ssize_t head = read_at(b->fd, c->before, sizeof(c->before), 0);
	if (head < 0)
		return (int)head;
	/* The size comes second: a file that grows has its new end before its beginning tells of it. */
	if (fstat(b->fd, &before) < 0)
		return -errno;
	buf_clear(why);
	if (!b->kind->extent((struct slice){ c->before, (size_t)head }, (uint64_t)before.st_size, &b->tail.size, why))
		return -EBADMSG;
	if (b->tail.size > MAP_FILE_MAX)
		return -EFBIG;
	b->claimed = b->kind->claimed ? b->kind->claimed((struct slice){ c->before, (size_t)head }) : 0;
	int e = copy_bytes(b, c->chunk);
	ssize_t again = e < 0 ? e : read_at(b->fd, c->after, sizeof(c->after), 0);
	if (again < 0)
		return (int)again;
	if (fstat(b->fd, &after) < 0)
		return -errno;
	if (same_state(&before, &after))
		return 0;
	return b->kind->same && b->kind->same((struct slice){ c->before, (size_t)head }, (struct slice){ c->after, (size_t)again }) ? 0 : -EAGAIN;
}

static bool copy_file(struct build *b)
{
	char memory[400];
	struct buf why;
	struct copier *c = malloc(sizeof(*c));
	int e = c ? -EAGAIN : -ENOMEM;
	buf_init_fixed(&why, memory, sizeof(memory));
	for (int i = 0; e == -EAGAIN && i < COPY_TRIES; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){ .tv_nsec = COPY_PAUSE_NS }, NULL);
		e = copy_once(b, c, &why);
	}
	free(c);
	if (e == 0)
		return true;
	if (e == -EBADMSG)
		return fail_unreadable(b, &why);
	if (e == -EFBIG)
		return fail(b, "is larger than 2 GB, the most that a map may have");
	if (e == -EAGAIN)
		return fail(b, "changes all the while it is read; write it anew and rename it into place");
	return fail_errno(b, "cannot be read", e);
}

static bool open_file(struct build *b)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO is told to be one rather than waited for. */
	b->fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (b->fd < 0 || fstat(b->fd, &st) < 0)
		return fail_errno(b, "cannot be read", -errno);
	if (!S_ISREG(st.st_mode))
		return fail(b, S_ISDIR(st.st_mode) ? "is a directory; expected a file" : "is no regular file");
	b->image = map_sealed_new();
	return b->image >= 0 || fail_errno(b, "no memory file for it", b->image);
}

/* The filter. */

static uint64_t *word_of(const struct build *b, uint64_t hash)
{
	return &b->filter[map_filter_word(hash, b->tail.slots - 1)];
}

/* Its word is asked for now and written some keys later: to wait for memory would be half of the check's time. A place that no key has taken yet counts as hash 0, whose bits do no harm. */
static void filter_key(void *context, struct slice key)
{
	struct build *b = context;
	uint64_t hash = map_filter_hash(b->tail.seed, key), *waiting = &b->waiting[b->next++ % FILTER_AHEAD];
	__builtin_prefetch(word_of(b, hash), 1);
	*word_of(b, *waiting) |= map_filter_bits(*waiting);
	*waiting = hash;
}

static void filter_rest(struct build *b)
{
	for (unsigned i = 0; i < FILTER_AHEAD; i++)
		*word_of(b, b->waiting[i]) |= map_filter_bits(b->waiting[i]);
}

/* For so many entries. 0, or -errno. */
static int prepare_filter(struct build *b, uint64_t entries)
{
	memcpy(b->tail.magic, MAP_FILE_IMAGE_MAGIC, sizeof(b->tail.magic));
	strncpy(b->tail.scheme, b->kind->driver->scheme, sizeof(b->tail.scheme) - 1);
	b->tail.slots = MAP_FILTER_SLOTS_LEAST;
	while (b->tail.slots < MAP_FILE_SLOTS_MOST && b->tail.slots < entries + entries / 2)
		b->tail.slots *= 2;
	if (getrandom(&b->tail.seed, sizeof(b->tail.seed), 0) != sizeof(b->tail.seed))
		return errno ? -errno : -EIO;
	b->filter = mmap(NULL, b->parts * map_file_filter_size(b->tail.slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b->filter != MAP_FAILED)
		return 0;
	b->filter = NULL;
	return -ENOMEM;
}

static void drop_filter(struct build *b)
{
	if (b->filter)
		munmap(b->filter, b->parts * map_file_filter_size(b->tail.slots));
	b->filter = NULL;
}

/* Checking. */

static size_t filter_words(const struct build *b)
{
	return map_file_filter_size(b->tail.slots) / sizeof(*b->filter);
}

static bool check_image(void *context, unsigned part, uint64_t *entries, struct buf *why)
{
	struct build b = *(const struct build *)context;
	const uint8_t *at = mmap(NULL, b.tail.size, PROT_READ, MAP_SHARED, b.image, 0);
	if (at == MAP_FAILED) {
		buf_putf(why, "cannot be mapped: %s", strerror(errno));
		return false;
	}
	if (b.filter)
		b.filter += part * filter_words(&b);
	bool good = b.kind->check(&(struct map_file_part){ at, b.tail.size, b.image, part, b.parts }, b.filter ? filter_key : NULL, &b, entries, why);
	if (b.filter)
		filter_rest(&b);
	munmap((void *)(uintptr_t)at, b.tail.size);
	return good;
}

/* Two halves take half the time, where there is a processor for each. */
static unsigned parts_of(const struct build *b)
{
	if (b->kind->parts < 2 || b->claimed < PARTS_WORTH)
		return 1;
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	return processors < 2 ? 1 : processors < (long)b->kind->parts ? (unsigned)processors : b->kind->parts;
}

static void join_filters(struct build *b)
{
	size_t words = filter_words(b);
	for (size_t i = words; i < words * b->parts; i++)
		b->filter[i % words] |= b->filter[i];
}

/* A file that says more of itself than fits into it is found out by the check, and gets no memory before. */
static bool check(struct build *b)
{
	char memory[600];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	b->parts = parts_of(b);
	if (b->claimed > 0 && b->claimed <= b->tail.size / ENTRY_LEAST && prepare_filter(b, b->claimed) < 0)
		drop_filter(b);
	bool good = map_child_run(check_image, b, b->parts, MAP_CHILD_SECONDS, &b->tail.entries, &why);
	if (good && b->parts > 1 && b->tail.entries != b->claimed) {
		buf_put_text(&why, "it has more or fewer entries than it says");
		good = false;
	}
	if (!good)
		return fail_unreadable(b, &why);
	b->filtered = b->filter;
	if (b->filtered)
		join_filters(b);
	return true;
}

/* Reading. */

static void take_plain(struct build *b, struct slice key, struct slice value)
{
	if (key.len > 0 && key.at[key.len - 1] == '\0')
		b->tail.with_nul = 1;
	else
		b->tail.without_nul = 1;
	value = map_file_without_nul(value);
	if (value.len > MAP_VALUE_MAX) {
		b->long_values++;
		if (value.len > b->longest)
			b->longest = value.len;
		value.len = MAP_VALUE_MAX;
	}
	if (b->rules->plain)
		b->rules->plain(b->rules->context, map_file_without_nul(key), value, &b->warnings);
}

static bool take_entry(void *context, struct slice key, struct slice value)
{
	struct build *b = context;
	if (b->tail.canonical && map_file_is_meta(key))
		return true;
	if (!b->tail.canonical)
		take_plain(b, key, value);
	filter_key(b, b->tail.canonical ? key : map_file_without_nul(key));
	return true;
}

static void read_meta(struct build *b, struct map_file *map)
{
	struct slice meta;
	if (!b->kind->get(map, (struct slice){ MAP_META_KEY, MAP_META_KEY_LEN }, &meta) || meta.len != MAP_META)
		return;
	memcpy(b->tail.meta, meta.at, MAP_META);
	b->tail.canonical = b->tail.without_nul = 1;
	b->tail.entries--;
}

static void warn_long_values(struct build *b)
{
	if (b->long_values == 0 || !map_note_begin(&b->warnings, 0))
		return;
	buf_putf(b->warnings.to, "%zu of its values are longer than %d bytes (the longest: %zu), the rest of them is not read", b->long_values,
		MAP_VALUE_MAX, b->longest);
	map_note_end(&b->warnings);
}

/* Every entry, for the rules and the filter. Where the keys are the filter's as they stand, and there are no rules for them, the check has been all that is needed. */
static bool walk(struct build *b, struct map_file *map)
{
	if (b->tail.canonical && b->filtered)
		return true;
	if (b->filtered)
		memset(b->filter, 0, map_file_filter_size(b->tail.slots));
	bool whole = b->kind->walk(map, take_entry, b);
	filter_rest(b);
	warn_long_values(b);
	if (!b->tail.canonical && b->rules->finish)
		b->rules->finish(b->rules->context, b->tail.meta, &b->warnings);
	map_notes_finish(&b->warnings);
	return whole;
}

/* The library, on what was checked. */
static bool read_entries(struct build *b)
{
	struct map_file *map = calloc(1, b->kind->struct_size);
	int e = !map ? -ENOMEM : b->filter ? 0 : prepare_filter(b, b->tail.entries);
	if (e == 0 && !b->kind->attach(map, b->image, b->tail.size))
		e = -ENOMEM;
	if (e == 0) {
		read_meta(b, map);
		e = walk(b, map) ? 0 : -EIO;
		b->kind->detach(map);
	}
	free(map);
	return e == 0 || fail_errno(b, "no table can be made of it", e);
}

/* A sealed memfd, or -1. */
static int seal(struct build *b)
{
	size_t at = map_file_filter_at(b->tail.size);
	int e = ftruncate(b->image, (off_t)at) < 0 || lseek(b->image, 0, SEEK_END) < 0 ? -errno : 0;
	if (e == 0)
		e = map_sealed_write(b->image, b->filter, map_file_filter_size(b->tail.slots));
	if (e == 0)
		e = map_sealed_write(b->image, &b->tail, sizeof(b->tail));
	if (e == 0) {
		int fd = map_sealed_finish(b->image);
		b->image = -1;
		if (fd >= 0)
			return fd;
		e = fd;
	}
	fail_errno(b, "no table can be made of it", e);
	return -1;
}

int map_file_build(const struct map_file_kind *kind, const char *path, const struct map_rules *rules, struct map_report *report)
{
	struct build b = { .kind = kind, .path = path, .rules = rules, .report = report, .fd = -1, .image = -1, .parts = 1 };
	map_notes_init(&b.warnings, report->warnings, path);
	int fd = open_file(&b) && copy_file(&b) && check(&b) && read_entries(&b) ? seal(&b) : -1;
	if (fd >= 0)
		report->entries = (size_t)b.tail.entries;
	drop_filter(&b);
	if (b.fd >= 0)
		close(b.fd);
	if (b.image >= 0)
		close(b.image);
	return fd;
}
