/* The tour, main: what a parent leaves to the program after it, written and read. */
#include "takeover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define READ_TRIES 50
#define READ_AGAIN_NS 100000000 /* between them */
#define WORDS (TAKEOVER_KEEPER_FDS + 4) /* of a line at most; more are not looked at */

/* Descriptors that stand alone; behind two of them is a number more. */
static const struct {
	const char *kind;
	size_t at;
} fds[] = {
#define FD(name) { #name, offsetof(struct takeover, name) }
	FD(metrics), FD(pulse), FD(recent), FD(desk), FD(desk_memory), FD(tickets), FD(backends), FD(asker), FD(said),
#undef FD
};
#define FDS (sizeof(fds) / sizeof(fds[0]))

static int *fd_of(struct takeover *t, size_t i)
{
	return (int *)(void *)((char *)t + fds[i].at);
}

static int fd_at(const struct takeover *t, size_t i)
{
	return *(const int *)(const void *)((const char *)t + fds[i].at);
}

struct takeover *takeover_new(void)
{
	struct takeover *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	for (size_t i = 0; i < FDS; i++)
		*fd_of(t, i) = -1;
	for (unsigned i = 0; i < TAKEOVER_CONTROLS; i++)
		t->controls[i] = -1;
	return t;
}

void takeover_free(struct takeover *t)
{
	free(t);
}

/* ---- written ---- */

static void put_fds(const struct takeover *t, struct buf *out)
{
	for (size_t i = 0; i < FDS; i++) {
		if (fd_at(t, i) < 0)
			continue;
		buf_putf(out, "%s %d", fds[i].kind, fd_at(t, i));
		if (fds[i].at == offsetof(struct takeover, tickets))
			buf_putf(out, " %" PRId64, t->tickets_rotate);
		if (fds[i].at == offsetof(struct takeover, backends))
			buf_putf(out, " %" PRIu64, t->backends_key);
		buf_put_char(out, '\n');
	}
}

static void put_keeper(struct buf *out, const char *kind, uint64_t key, const int list[], unsigned len)
{
	if (key == 0)
		return;
	buf_putf(out, "%s %" PRIu64, kind, key);
	for (unsigned i = 0; i < len; i++)
		buf_putf(out, " %d", list[i]);
	buf_put_char(out, '\n');
}

/* Most buckets are empty. */
static void put_times(const struct takeover_times *times, struct buf *out)
{
	const char *before = " ";
	if (times->of.count == 0)
		return;
	buf_putf(out, "times %s %d %" PRId64, times->name, METRICS_BUCKETS, times->of.sum);
	for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
		if (times->of.buckets[b] == 0)
			continue;
		buf_putf(out, "%s%u:%" PRIu64, before, b, times->of.buckets[b]);
		before = ",";
	}
	buf_put_char(out, '\n');
}

static void put_lists(const struct takeover *t, struct buf *out)
{
	char wanted[ADDR_TEXT], at[ADDR_TEXT];
	for (unsigned i = 0; i < TAKEOVER_CONTROLS; i++)
		if (t->controls[i] >= 0)
			buf_putf(out, "control %u %d\n", i, t->controls[i]);
	for (unsigned i = 0; i < t->sockets_len; i++) {
		const struct takeover_socket *s = &t->sockets[i];
		buf_putf(out, "socket %s %s %u %d %d\n", addr_format_port(&s->wanted, wanted), addr_format_port(&s->at, at), s->index, s->shared, s->fd);
	}
	for (unsigned i = 0; i < t->children_len; i++) {
		const struct takeover_child *c = &t->children[i];
		buf_putf(out, "child %s %u %u %d %d %" PRIu64 " %" PRId64 " %d\n", c->role, c->index, c->row, (int)c->pid, c->fd, c->generation, c->retired_at, c->ready);
	}
	for (unsigned i = 0; i < t->counts_len; i++)
		buf_putf(out, "count %s %" PRId64 "\n", t->counts[i].name, t->counts[i].value);
	for (unsigned i = 0; i < t->times_len; i++)
		put_times(&t->times[i], out);
	put_keeper(out, "keeper", t->keeper_key, t->keeper, t->keeper_len);
	put_keeper(out, "bans", t->bans_key, t->bans, t->bans_len);
}

bool takeover_put(const struct takeover *t, struct buf *out)
{
	buf_putf(out, "tarry-takeover %d\n", TAKEOVER_VERSION);
	buf_putf(out, "generation %" PRIu64 "\nstarted %" PRId64 "\nnofile %" PRIu64 " %" PRIu64 "\nhandoff %u\nupgrade %d\n", t->generation, t->started, t->nofile[0], t->nofile[1], t->handoff, t->upgrade);
	put_fds(t, out);
	if (t->draw[0] != 0 || t->draw[1] != 0)
		buf_putf(out, "draw %" PRIu64 " %" PRIu64 "\n", t->draw[0], t->draw[1]);
	put_lists(t, out);
	return buf_put_text(out, "end\n") && !out->full; /* what was cut has none; and no line is missing in between */
}

/* ---- read ---- */

struct line {
	unsigned len;
	struct slice words[WORDS];
};

static struct slice cut(struct slice *rest, char at)
{
	const char *end = rest->len > 0 ? memchr(rest->at, at, rest->len) : NULL;
	struct slice part = { rest->at, end ? (size_t)(end - rest->at) : rest->len };
	size_t used = part.len + (end ? 1 : 0);
	rest->at += used;
	rest->len -= used;
	return part;
}

static bool signed_number(struct slice text, int64_t least, int64_t most, int64_t *out)
{
	uint64_t n = 0;
	bool minus = text.len > 0 && text.at[0] == '-';
	size_t i = minus;
	if (i == text.len)
		return false;
	for (; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.at[i] - '0';
		if (digit > 9 || n > (uint64_t)INT64_MAX / 10 || n * 10 > (uint64_t)INT64_MAX - digit)
			return false;
		n = n * 10 + digit;
	}
	*out = minus ? -(int64_t)n : (int64_t)n;
	return *out >= least && *out <= most;
}

static bool unsigned_number(struct slice text, uint64_t *out)
{
	uint64_t n = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.at[i] - '0';
		if (digit > 9 || n > UINT64_MAX / 10 || n * 10 > UINT64_MAX - digit)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return text.len > 0;
}

static bool small(struct slice text, unsigned most, unsigned *out)
{
	int64_t n;
	bool ok = signed_number(text, 0, most, &n);
	*out = ok ? (unsigned)n : 0;
	return ok;
}

static bool descriptor(struct slice text, int *out)
{
	int64_t n;
	bool ok = signed_number(text, 3, INT32_MAX, &n);
	*out = ok ? (int)n : -1;
	return ok;
}

static bool flag(struct slice text, bool *out)
{
	*out = slice_is(text, "1");
	return *out || slice_is(text, "0");
}

static bool copy(struct slice text, char *out, size_t size)
{
	if (text.len == 0 || text.len >= size || memchr(text.at, '\0', text.len))
		return false;
	memcpy(out, text.at, text.len);
	out[text.len] = '\0';
	return true;
}

static bool take_socket(const struct line *l, struct takeover *t)
{
	struct takeover_socket *s = &t->sockets[t->sockets_len];
	if (l->len < 6 || t->sockets_len == TAKEOVER_SOCKETS || !addr_parse_port(l->words[1], &s->wanted) || !addr_parse_port(l->words[2], &s->at) || !small(l->words[3], TAKEOVER_SOCKETS - 1, &s->index)
	    || !flag(l->words[4], &s->shared) || !descriptor(l->words[5], &s->fd))
		return false;
	t->sockets_len++;
	return true;
}

static bool take_child(const struct line *l, struct takeover *t)
{
	struct takeover_child *c = &t->children[t->children_len];
	int64_t pid;
	if (l->len < 9 || t->children_len == TAKEOVER_CHILDREN || !copy(l->words[1], c->role, sizeof(c->role)) || !small(l->words[2], UINT16_MAX, &c->index) || !small(l->words[3], UINT16_MAX, &c->row)
	    || !signed_number(l->words[4], 2, INT32_MAX, &pid) || !descriptor(l->words[5], &c->fd) || !unsigned_number(l->words[6], &c->generation) || !signed_number(l->words[7], 0, INT64_MAX, &c->retired_at)
	    || !flag(l->words[8], &c->ready))
		return false;
	c->pid = (pid_t)pid;
	t->children_len++;
	return true;
}

static bool take_fds(const struct line *l, uint64_t *key, int list[], unsigned most, unsigned *len)
{
	if (l->len < 2 || !unsigned_number(l->words[1], key) || *key == 0)
		return false;
	for (*len = 0; *len + 2 < l->len && *len < most; ++*len) {
		int64_t n;
		if (!signed_number(l->words[*len + 2], -1, INT32_MAX, &n) || (n >= 0 && n < 3))
			return false;
		list[*len] = (int)n;
	}
	return true;
}

static bool take_keeper(const struct line *l, struct takeover *t)
{
	return take_fds(l, &t->keeper_key, t->keeper, TAKEOVER_KEEPER_FDS, &t->keeper_len);
}

static bool take_bans(const struct line *l, struct takeover *t)
{
	return take_fds(l, &t->bans_key, t->bans, TAKEOVER_BAN_FDS, &t->bans_len);
}

static bool take_count(const struct line *l, struct takeover *t)
{
	struct takeover_count *c = &t->counts[t->counts_len];
	if (l->len < 3 || t->counts_len == TAKEOVER_COUNTS || !copy(l->words[1], c->name, sizeof(c->name)) || !signed_number(l->words[2], INT64_MIN + 1, INT64_MAX, &c->value))
		return false;
	t->counts_len++;
	return true;
}

/* In order, each once. */
static bool take_buckets(struct slice list, struct metrics_times *out)
{
	for (unsigned least = 0; list.len > 0;) {
		struct slice rest = cut(&list, ','), number = cut(&rest, ':');
		unsigned b;
		int64_t n;
		if (!small(number, METRICS_BUCKETS - 1, &b) || b < least || !signed_number(rest, 1, INT64_MAX / METRICS_BUCKETS, &n))
			return false;
		out->buckets[b] = (uint64_t)n;
		out->count += (uint64_t)n;
		least = b + 1;
	}
	return out->count > 0;
}

/* Buckets that are others cannot be made ours. */
static bool take_times(const struct line *l, struct takeover *t)
{
	struct takeover_times *times = &t->times[t->times_len];
	unsigned buckets;
	if (l->len < 5 || t->times_len == TAKEOVER_TIMES || !small(l->words[2], UINT16_MAX, &buckets))
		return false;
	if (buckets != METRICS_BUCKETS)
		return true;
	memset(&times->of, 0, sizeof(times->of));
	if (!copy(l->words[1], times->name, sizeof(times->name)) || !signed_number(l->words[3], 0, INT64_MAX, &times->of.sum) || !take_buckets(l->words[4], &times->of))
		return false;
	t->times_len++;
	return true;
}

static bool take_control(const struct line *l, struct takeover *t)
{
	unsigned question;
	int fd;
	if (l->len < 3 || !small(l->words[1], UINT16_MAX, &question) || !descriptor(l->words[2], &fd))
		return false;
	if (question < TAKEOVER_CONTROLS)
		t->controls[question] = fd;
	return true;
}

static bool take_fd(const struct line *l, struct takeover *t, size_t i)
{
	if (l->len < 2 || !descriptor(l->words[1], fd_of(t, i)))
		return false;
	if (fds[i].at == offsetof(struct takeover, tickets))
		return l->len > 2 && signed_number(l->words[2], 0, INT64_MAX, &t->tickets_rotate);
	return fds[i].at != offsetof(struct takeover, backends) || (l->len > 2 && unsigned_number(l->words[2], &t->backends_key));
}

static bool take_number(const struct line *l, struct takeover *t)
{
	const struct slice kind = l->words[0];
	if (l->len < 2)
		return false;
	if (slice_is(kind, "generation"))
		return unsigned_number(l->words[1], &t->generation) && t->generation > 0 && t->generation < UINT64_MAX;
	if (slice_is(kind, "started"))
		return signed_number(l->words[1], 0, INT64_MAX, &t->started);
	if (slice_is(kind, "nofile"))
		return l->len > 2 && unsigned_number(l->words[1], &t->nofile[0]) && unsigned_number(l->words[2], &t->nofile[1]);
	if (slice_is(kind, "draw"))
		return l->len > 2 && unsigned_number(l->words[1], &t->draw[0]) && unsigned_number(l->words[2], &t->draw[1]);
	if (slice_is(kind, "handoff"))
		return small(l->words[1], UINT16_MAX, &t->handoff);
	return flag(l->words[1], &t->upgrade);
}

static const struct {
	const char *kind;
	bool (*take)(const struct line *l, struct takeover *t);
} kinds[] = {
	{ "socket", take_socket }, { "child", take_child }, { "keeper", take_keeper }, { "bans", take_bans }, { "count", take_count }, { "times", take_times }, { "control", take_control },
	{ "generation", take_number }, { "started", take_number }, { "nofile", take_number }, { "draw", take_number }, { "handoff", take_number }, { "upgrade", take_number },
};

static bool take_line(const struct line *l, struct takeover *t)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (l->len > 0 && slice_is(l->words[0], kinds[i].kind))
			return kinds[i].take(l, t);
	for (size_t i = 0; i < FDS; i++)
		if (l->len > 0 && slice_is(l->words[0], fds[i].kind))
			return take_fd(l, t, i);
	return true;
}

static void split(struct slice text, struct line *l)
{
	for (l->len = 0; text.len > 0 && l->len < WORDS; l->len++)
		l->words[l->len] = cut(&text, ' ');
}

bool takeover_parse(struct slice text, struct takeover *out, struct buf *why)
{
	struct line l;
	unsigned version;
	bool ended = false;
	split(cut(&text, '\n'), &l);
	if (l.len < 2 || !slice_is(l.words[0], "tarry-takeover") || !small(l.words[1], INT32_MAX, &version)) {
		buf_put_text(why, "what the program before this one has left is no description of a door");
		return false;
	}
	if (version != TAKEOVER_VERSION) {
		buf_putf(why, "the program before this one speaks version %u of the hand-over, this one %d: restart the door instead", version, TAKEOVER_VERSION);
		return false;
	}
	for (unsigned n = 2; text.len > 0 && !ended; n++) {
		split(cut(&text, '\n'), &l);
		ended = l.len == 1 && slice_is(l.words[0], "end");
		if (!take_line(&l, out)) {
			buf_putf(why, "line %u of what the program before this one has left cannot be understood", n);
			return false;
		}
	}
	if (!ended || out->generation == 0) {
		buf_put_text(why, "what the program before this one has left is not whole");
		return false;
	}
	return true;
}

/* ---- handed on ---- */

int takeover_seal(struct slice text)
{
	int fd = memfd_create("tarry-takeover", MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < text.len;) {
		ssize_t n = write(fd, text.at + done, text.len - done);
		if (n <= 0) {
			close(fd);
			return -EIO;
		}
		done += (size_t)n;
	}
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	return fd;
}

static void each_fd(const struct takeover *t, void (*call)(int fd, void *context), void *context)
{
	for (size_t i = 0; i < FDS; i++)
		call(fd_at(t, i), context);
	for (unsigned i = 0; i < TAKEOVER_CONTROLS; i++)
		call(t->controls[i], context);
	for (unsigned i = 0; i < t->keeper_len; i++)
		call(t->keeper[i], context);
	for (unsigned i = 0; i < t->bans_len; i++)
		call(t->bans[i], context);
	for (unsigned i = 0; i < t->sockets_len; i++)
		call(t->sockets[i].fd, context);
	for (unsigned i = 0; i < t->children_len; i++)
		call(t->children[i].fd, context);
}

struct keeping {
	int flags, error;
};

static void keep_one(int fd, void *context)
{
	struct keeping *k = context;
	if (fd >= 0 && fcntl(fd, F_SETFD, k->flags) < 0)
		k->error = -errno;
}

int takeover_keep(const struct takeover *t, bool keep)
{
	struct keeping k = { keep ? 0 : FD_CLOEXEC, 0 };
	each_fd(t, keep_one, &k);
	return k.error;
}

/* Only that one answer says that it is not: what is forgotten by mistake is somebody's listening socket. */
static bool is_open(int fd)
{
	return fd >= 0 && (fcntl(fd, F_GETFD) >= 0 || errno != EBADF);
}

static void look_at(int fd, void *context)
{
	if (fd >= 0 && !is_open(fd))
		*(int *)context = fd;
}

/* *read: it could be, whatever is in it. */
static struct takeover *read_from(int fd, struct buf *why, bool *read)
{
	struct takeover *t = takeover_new();
	off_t size = lseek(fd, 0, SEEK_END);
	char *text = size > 0 && size <= TAKEOVER_TEXT ? malloc((size_t)size) : NULL;
	int missing = -1;
	bool ok = t && text && pread(fd, text, (size_t)size, 0) == (ssize_t)size;
	*read = ok;
	if (!ok)
		buf_putf(why, "what the program before this one has left cannot be read: %s", strerror(errno));
	ok = ok && takeover_parse((struct slice){ text, (size_t)size }, t, why);
	free(text);
	if (ok)
		each_fd(t, look_at, &missing);
	if (missing >= 0)
		buf_putf(why, "descriptor %d, of which the program before this one says that it has left it, is not open", missing);
	if (ok && missing < 0)
		return t;
	takeover_free(t);
	return NULL;
}

static void prune_one(int *fd)
{
	if (!is_open(*fd))
		*fd = -1;
}

/* It is whole, or of no use. */
static void prune_keeper(uint64_t *key, const int list[], unsigned *len)
{
	for (unsigned i = 0; i < *len; i++)
		if (list[i] >= 0 && !is_open(list[i]))
			*key = 0;
	if (*key == 0)
		*len = 0;
}

void takeover_prune(struct takeover *t)
{
	unsigned left = 0;
	for (size_t i = 0; i < FDS; i++)
		prune_one(fd_of(t, i));
	for (unsigned i = 0; i < TAKEOVER_CONTROLS; i++)
		prune_one(&t->controls[i]);
	prune_keeper(&t->keeper_key, t->keeper, &t->keeper_len);
	prune_keeper(&t->bans_key, t->bans, &t->bans_len);
	for (unsigned i = 0; i < t->sockets_len; i++)
		if (is_open(t->sockets[i].fd))
			t->sockets[left++] = t->sockets[i];
	t->sockets_len = left;
	left = 0;
	for (unsigned i = 0; i < t->children_len; i++)
		if (t->children[i].pid > 0 && is_open(t->children[i].fd))
			t->children[left++] = t->children[i];
	t->children_len = left;
}

/* The description as a descriptor, or -errno. */
static int put_sealed(const struct takeover *t)
{
	struct buf text;
	buf_init(&text, TAKEOVER_TEXT);
	int fd = takeover_put(t, &text) ? takeover_seal(buf_slice(&text)) : -EMSGSIZE;
	buf_fini(&text);
	return fd;
}

int takeover_exec(const struct takeover *t, const char *program, const char *command, int argc, char **argv)
{
	char number[16];
	char **args = calloc((size_t)argc + 2, sizeof(*args));
	int fd = args ? put_sealed(t) : -ENOMEM;
	if (fd < 0) {
		free(args);
		return fd;
	}
	args[0] = argv[-1];
	args[1] = (char *)(uintptr_t)command;
	for (int i = 1; i < argc; i++)
		args[i + 1] = argv[i];
	snprintf(number, sizeof(number), "%d", fd);
	int e = takeover_keep(t, true); /* of one that it would miss the new program could not go on, nor could this one any more */
	if (e == 0 && setenv(TAKEOVER_VARIABLE, number, 1) == 0) /* without it a program would begin anew, and find its ports in use */
		execv(program, args);
	e = e < 0 ? e : -errno;
	takeover_keep(t, false);
	unsetenv(TAKEOVER_VARIABLE);
	close(fd);
	free(args);
	return e;
}

struct takeover *takeover_receive(struct buf *why)
{
	const char *text = getenv(TAKEOVER_VARIABLE);
	int fd;
	if (!text)
		return NULL;
	bool ok = descriptor(slice_of(text), &fd);
	unsetenv(TAKEOVER_VARIABLE); /* not for those that are started later */
	if (!ok) {
		buf_putf(why, TAKEOVER_VARIABLE " is no descriptor");
		return NULL;
	}
	bool read = false;
	struct takeover *t = NULL;
	/* There is no way back from here: whoever cannot read it for want of memory waits for some. */
	for (unsigned tries = 0; !read && tries < READ_TRIES; tries++) {
		if (tries > 0)
			nanosleep(&(struct timespec){ .tv_nsec = READ_AGAIN_NS }, NULL);
		buf_clear(why);
		t = read_from(fd, why, &read);
	}
	if (t)
		takeover_keep(t, false);
	close(fd);
	return t;
}
