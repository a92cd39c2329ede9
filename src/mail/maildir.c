/* The tour, mail: the end of a message's way. Three parts: from a recipient to a path that cannot leave the template's folder; Maildirs that are kept open;
 * and a message that is written once, put into every recipient's tmp/ and then, when nothing can fail for want of space any more, renamed into new/. */
#include "mail/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/whole.h"

#define CLEAN_AGE (36 * 3600)  /* seconds after which a file in tmp/ is a left-over (the Maildir convention) */
#define MAILDIR_YOUNG 3600   /* seconds since something was last made in a Maildir's own folder, during which that may not be on disk yet */
#define CLEAN_EVERY 3600       /* seconds between two looks into one tmp/ */
#define CLEAN_MOST 1000        /* files looked at in one go */
#define COPY_STEP (64 * 1024)

/* Open, and how often it is referred to: by the store once, and by each message begun in it. */
struct maildir {
	unsigned refs;
	int tmp, new;   /* folders */
	dev_t dev;      /* of the Maildir itself */
	ino_t ino;
	time_t cleaned;
	uint64_t hash;
	char path[];
};

/* Part one: paths. */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Fit to be one component of a path, whatever it holds otherwise. */
static bool is_component(struct slice s, size_t most)
{
	if (s.len == 0 || s.len > most || s.at[0] == '.')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if (c == '/' || c < 0x20 || c == 0x7f)
			return false;
	}
	return true;
}

static bool put_lower(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!buf_put_char(out, lower(s.at[i])))
			return false;
	return true;
}

/* No component above what a file system takes. */
static bool components_fit(const char *path)
{
	size_t len = 0;
	for (; *path; path++) {
		len = *path == '/' ? 0 : len + 1;
		if (len > NAME_MAX)
			return false;
	}
	return true;
}

bool maildir_path(struct buf *out, const char *template, const char *delimiter, struct slice user, struct slice domain)
{
	size_t before = out->len;
	if (delimiter && delimiter[0]) {
		const char *cut = memchr(user.at, delimiter[0], user.len);
		if (cut)
			user.len = (size_t)(cut - user.at);
	}
	bool ok = is_component(user, MAILDIR_USER) && is_component(domain, MAILDIR_DOMAIN);
	for (const char *t = template; ok && *t; t++) {
		if (t[0] == '%' && (t[1] == 'u' || t[1] == 'd'))
			ok = put_lower(out, *++t == 'u' ? user : domain);
		else
			ok = buf_put_char(out, t[0] == '%' && t[1] == '%' ? *++t : *t);
	}
	ok = ok && out->len - before < MAILDIR_PATH && buf_put_char(out, '\0') && components_fit(out->at + before);
	out->len = ok ? out->len - 1 : before;
	return ok;
}

int maildir_exists(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOENT;
}

/* Part two: Maildirs that are kept open. */

/* What can fail with an errno that must reach the caller, close() notwithstanding. */
static int fail_close(int fd, int error)
{
	close(fd);
	return error;
}

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fail_close(fd, fsync(fd) < 0 ? -errno : 0);
}

static bool is_folder(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Make the folder and those above it. */
static int make_folders(const char *path)
{
	char part[MAILDIR_PATH];
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0700) == 0)
			continue;
		int e = -errno; /* EEXIST, or what a read-only or automounted folder says instead */
		if (!is_folder(part))
			return e == -EEXIST ? -ENOTDIR : e;
	}
	return 0;
}

/* The folders above a young Maildir: without their entries a message in it would be lost with it. Whoever made them may still be at syncing them, or may have died
 * of it, so it does not matter who that was. Those that only others may read were not made for mail. */
static int sync_above(const char *path)
{
	char part[MAILDIR_PATH];
	size_t len = strlen(path);
	memcpy(part, path, len + 1);
	while (len > 0) {
		while (len > 0 && part[len - 1] != '/')
			len--;
		while (len > 1 && part[len - 1] == '/')
			len--;
		part[len] = '\0';
		int e = sync_path(len > 0 ? part : ".");
		if (e < 0 && e != -EACCES)
			return e;
		if (len <= 1)
			break;
	}
	return 0;
}

/* tmp, new or cur within the Maildir; -errno, or a descriptor. */
static int open_folder(int root, const char *name)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(root, name, flags);
	if (fd < 0 && errno == ENOENT) {
		if (mkdirat(root, name, 0700) < 0 && errno != EEXIST)
			return -errno;
		fd = openat(root, name, flags);
	}
	return fd < 0 ? -errno : fd;
}

static void release(struct maildir *md)
{
	if (!md || --md->refs > 0)
		return;
	if (md->tmp >= 0)
		close(md->tmp);
	if (md->new >= 0)
		close(md->new);
	free(md);
}

static int open_parts(struct maildir *md, int root)
{
	struct stat st;
	md->tmp = open_folder(root, "tmp");
	if (md->tmp < 0)
		return md->tmp;
	md->new = open_folder(root, "new");
	if (md->new < 0)
		return md->new;
	int cur = open_folder(root, "cur");
	if (cur < 0)
		return cur;
	close(cur);
	if (fstat(root, &st) < 0)
		return -errno;
	md->dev = st.st_dev;
	md->ino = st.st_ino;
	time_t age = time(NULL) - st.st_mtime;
	if (age > MAILDIR_YOUNG) /* an older one has been on disk for long */
		return 0;
	return fsync(root) < 0 ? -errno : sync_above(md->path);
}

/* Left-overs of a process that died between writing and renaming. */
static void clean(struct maildir *md)
{
	time_t now = time(NULL);
	if (now - md->cleaned < CLEAN_EVERY)
		return;
	md->cleaned = now;
	int fd = openat(md->tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (int i = 0; i < CLEAN_MOST; i++) {
		struct stat st;
		const struct dirent *entry = readdir(folder);
		if (!entry)
			break;
		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && now - st.st_mtime > CLEAN_AGE)
			unlinkat(fd, entry->d_name, 0);
	}
	closedir(folder);
}

static int open_new(const struct maildir_store *store, const char *path, struct maildir **out)
{
	size_t len = strlen(path) + 1;
	int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 && errno == ENOENT && store->create) {
		int e = make_folders(path);
		if (e < 0)
			return e;
		root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (root < 0)
		return -errno;
	struct maildir *md = malloc(sizeof(*md) + len);
	if (!md)
		return fail_close(root, -ENOMEM);
	*md = (struct maildir){ .refs = 1, .tmp = -1, .new = -1 };
	memcpy(md->path, path, len);
	int e = open_parts(md, root);
	close(root);
	if (e < 0) {
		release(md);
		return e;
	}
	*out = md;
	return 0;
}

/* FNV-1a: only to tell most paths apart quickly; equality decides. */
static uint64_t hash_of(const char *path)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (; *path; path++)
		h = (h ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
	return h;
}

/* Is what the path names still what we hold? 1, 0, or -errno: that cannot be known at present. */
static int is_current(const struct maildir *md)
{
	struct stat st;
	if (stat(md->path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return st.st_dev == md->dev && st.st_ino == md->ino;
}

static void drop(struct maildir_store *store, unsigned i)
{
	release(store->open[i]);
	store->open[i] = NULL;
}

/* The Maildir at path, with a reference that the caller gives back with release(). */
static int get(struct maildir_store *store, const char *path, struct maildir **out)
{
	uint64_t hash = hash_of(path);
	unsigned slot = MAILDIR_OPEN;
	for (unsigned i = 0; i < MAILDIR_OPEN; i++) {
		struct maildir *md = store->open[i];
		if (!md) {
			slot = i;
		} else if (md->hash == hash && strcmp(md->path, path) == 0) {
			int current = is_current(md);
			if (current < 0)
				return current;
			if (current > 0) {
				md->refs++;
				*out = md;
				return 0;
			}
			drop(store, i);
			slot = i;
		}
	}
	int e = open_new(store, path, out);
	if (e < 0)
		return e;
	if (slot == MAILDIR_OPEN) {
		slot = store->hand++ % MAILDIR_OPEN;
		drop(store, slot);
	}
	(*out)->hash = hash;
	(*out)->refs++;
	store->open[slot] = *out;
	return 0;
}

/* What failed once is opened anew next time: somebody may have removed its folders under us. */
static void forget(struct maildir_store *store, const struct maildir *md)
{
	for (unsigned i = 0; i < MAILDIR_OPEN; i++)
		if (store->open[i] == md)
			drop(store, i);
}

void maildir_store_init(struct maildir_store *store, const char *host, bool create)
{
	*store = (struct maildir_store){ .create = create };
	size_t n = 0;
	/* A slash would be a folder, and what follows a colon is a reader's flags. */
	for (; *host && n < sizeof(store->host) - 1; host++)
		store->host[n++] = *host == '/' || *host == ':' || *host <= ' ' ? '_' : *host;
}

void maildir_store_fini(struct maildir_store *store)
{
	for (unsigned i = 0; i < MAILDIR_OPEN; i++)
		drop(store, i);
}

/* Part three: messages. */

int maildir_begin(struct maildir_store *store, const char *path, struct maildir_file *file)
{
	struct timespec now;
	struct maildir *md;
	*file = (struct maildir_file){ .fd = -1 };
	int e = get(store, path, &md);
	if (e < 0)
		return e;
	clean(md);
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(file->name, sizeof(file->name), "%lld.M%06ldP%ldQ%u.%s", (long long)now.tv_sec, now.tv_nsec / 1000, (long)getpid(),
		++store->serial, store->host);
	file->fd = openat(md->tmp, file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->fd < 0) {
		e = -errno;
		forget(store, md);
		release(md);
		return e;
	}
	file->home = md;
	return 0;
}

int maildir_write(struct maildir_file *file, const void *bytes, size_t len)
{
	return whole_write(file->fd, bytes, len);
}

/* Sync and close. */
static int finish(int fd)
{
	int e = fsync(fd) < 0 ? -errno : 0;
	return close(fd) < 0 && e == 0 ? -errno : e;
}

static int copy_bytes(int from, int to)
{
	static char block[COPY_STEP];
	for (;;) {
		ssize_t n = read(from, block, sizeof(block));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		int e = n > 0 ? whole_write(to, block, (size_t)n) : 0;
		if (e < 0)
			return e;
	}
}

/* On another file system: a copy of its own. */
static int copy_into(const struct maildir *from, const struct maildir *to, const char *name)
{
	int in = openat(from->tmp, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (in < 0)
		return -errno;
	int out = openat(to->tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return fail_close(in, -errno);
	int e = copy_bytes(in, out);
	close(in);
	int f = finish(out);
	return e < 0 ? e : f;
}

/* Into tmp/ of one more recipient. */
static int put_tmp(const struct maildir *from, const struct maildir *to, const char *name)
{
	if (linkat(from->tmp, name, to->tmp, name, 0) == 0)
		return 0;
	switch (errno) {
	case EEXIST: /* two paths to one Maildir: no other file has this name */
		return 0;
	case EXDEV:
	case EPERM:
	case EMLINK:
	case EOPNOTSUPP:
		return copy_into(from, to, name);
	default:
		return -errno;
	}
}

static int put_new(const struct maildir *from, const struct maildir *to, const char *name)
{
	(void)from;
	if (renameat2(to->tmp, name, to->new, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EINVAL && renameat(to->tmp, name, to->new, name) == 0) /* a file system without that flag */
		return 0;
	if (errno == ENOENT && faccessat(to->new, name, F_OK, 0) == 0) /* two paths to one Maildir */
		return 0;
	return -errno;
}

static int sync_new(const struct maildir *from, const struct maildir *to, const char *name)
{
	(void)from;
	(void)name;
	return fsync(to->new) < 0 ? -errno : 0;
}

typedef int step(const struct maildir *from, const struct maildir *to, const char *name);

/* As get(), but the Maildir that holds the file is taken as it is: the file would not follow if the path were another one by now. */
static int get_for(struct maildir_store *store, const struct maildir_file *file, const char *path, struct maildir **out)
{
	if (strcmp(path, file->home->path) != 0)
		return get(store, path, out);
	file->home->refs++;
	*out = file->home;
	return 0;
}

/* One step for each of the recipients, up to the first that fails. */
static int for_each(struct maildir_store *store, const struct maildir_file *file, char *const *paths, size_t len, step *do_step)
{
	for (size_t i = 0; i < len; i++) {
		struct maildir *md;
		int e = get_for(store, file, paths[i], &md);
		if (e < 0)
			return e;
		e = do_step(file->home, md, file->name);
		release(md);
		if (e < 0)
			return e;
	}
	return 0;
}

/* The one that is held, whatever its path names by now: what was put there is there. A disk that lets no Maildir be opened any more may still let go of what is in it. */
static struct maildir *take_held(struct maildir_store *store, const struct maildir_file *file, const char *path)
{
	struct maildir *found = strcmp(path, file->home->path) == 0 ? file->home : NULL;
	for (unsigned i = 0; i < MAILDIR_OPEN && !found; i++)
		if (store->open[i] && strcmp(store->open[i]->path, path) == 0)
			found = store->open[i];
	if (found)
		found->refs++;
	else if (get(store, path, &found) < 0)
		return NULL;
	return found;
}

/* From all of them, not up to the one that failed only: an unlink of what is not there costs nothing. */
static void take_back(struct maildir_store *store, const struct maildir_file *file, char *const *paths, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		struct maildir *md = take_held(store, file, paths[i]);
		if (!md)
			continue;
		unlinkat(md->tmp, file->name, 0);
		unlinkat(md->new, file->name, 0);
		forget(store, md);
		release(md);
	}
}

int maildir_commit(struct maildir_store *store, struct maildir_file *file, char *const *paths, size_t paths_len)
{
	int e = finish(file->fd);
	file->fd = -1;
	if (e == 0)
		e = for_each(store, file, paths + 1, paths_len - 1, put_tmp);
	if (e == 0)
		e = for_each(store, file, paths, paths_len, put_new);
	if (e == 0)
		e = for_each(store, file, paths, paths_len, sync_new);
	if (e < 0) {
		take_back(store, file, paths, paths_len);
		maildir_abort(file);
		return e;
	}
	release(file->home);
	file->home = NULL;
	return 0;
}

void maildir_abort(struct maildir_file *file)
{
	if (!file->home)
		return;
	if (file->fd >= 0)
		close(file->fd);
	unlinkat(file->home->tmp, file->name, 0);
	release(file->home);
	*file = (struct maildir_file){ .fd = -1 };
}
