/* The tour, lookup: Sendmail's own access.db. libdb trusts what it reads, and makemap empties the file and writes it anew in place; so neither meets the other.
 * The file is copied into memory, a child with little to lose verifies the copy and walks through it, and only then is that same copy opened. A table
 * that is refused, or gone, costs nothing: the one before stays. */
#include "lookup/map_hash.h"

#include <db.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "core/loop.h"
#include "lookup/driver.h"

#define LOOK LOOP_SECOND            /* how often the file is looked at; one that was the same at two looks is taken */
#define LOOK_CHILD (20 * LOOP_MS)   /* while a child verifies */
#define AGAIN_MOST (300 * LOOP_SECOND) /* a file that could not be read for want of memory or descriptors, or where there is no table before it, is tried again: after LOOK, then after twice as long each time, up to this */
#define VERIFY_MOST (60 * LOOP_SECOND)
#define VERIFY_CPU 30               /* seconds */
#define VERIFY_MEMORY (256u << 20)  /* bytes beside the file */
#define WHY_MAX 200

/* What a file looked like. */
struct look {
	bool there;
	int error;
	struct stat st;
};

/* What the child says of the copy. */
struct verdict {
	bool good;
	bool damaged; /* a database, and not in order */
	int error;    /* the errno for which it says nothing of the file; 0: it does */
	size_t entries;
	char why[WHY_MAX];
};

struct map_hash {
	char path[MAP_HASH_PATH_MAX];
	DB *db; /* NULL: none yet */
	int fd; /* the copy under db */
	size_t entries;
	bool tried;        /* at least once */
	struct look seen;  /* at the last look */
	struct look taken; /* of the file that was last taken or refused */
	int64_t again;     /* when the file is tried again as it is; 0: it is not */
	int64_t patience;  /* before that */
	pid_t child;       /* 0: none */
	int child_pipe, child_copy;
	int64_t child_end;
	char why[WHY_MAX]; /* there is no table */
	bool damaged;      /* for there is a database that is not in order, or one of which nothing is known yet: that is not a missing one */
};

static char db_said[WHY_MAX]; /* the first complaint of libdb; it has no place for a context without an environment of its own */

bool map_hash_path(const char *spec, char out[MAP_HASH_PATH_MAX], struct buf *why)
{
	static const char scheme[] = "hash:", ending[] = ".db";
	const char *path = strncmp(spec, scheme, sizeof(scheme) - 1) == 0 ? spec + sizeof(scheme) - 1 : "";
	size_t len = strlen(path), end = sizeof(ending) - 1;
	if (path[0] != '/' || len + end >= MAP_HASH_PATH_MAX) {
		buf_putf(why, "expected hash:/path/to/file, of less than %d bytes", MAP_HASH_PATH_MAX);
		return false;
	}
	bool has = len > end && strcmp(path + len - end, ending) == 0;
	snprintf(out, MAP_HASH_PATH_MAX, "%s%s", path, has ? "" : ending);
	return true;
}

/* ---- libdb ---- */

static void keep_complaint(const DB_ENV *env, const char *prefix, const char *message)
{
	(void)env;
	(void)prefix;
	if (db_said[0] == '\0')
		snprintf(db_said, sizeof(db_said), "%s", message);
}

/* Pages that are out of order would be printed. */
static void keep_quiet(const DB_ENV *env, const char *message)
{
	(void)env;
	(void)message;
}

static DB *new_db(void)
{
	DB *db;
	db_said[0] = '\0';
	if (db_create(&db, NULL, 0) != 0)
		return NULL;
	db->set_errcall(db, keep_complaint);
	db->set_msgcall(db, keep_quiet);
	return db;
}

/* libdb opens paths only; this one leads to the copy, whatever has become of the file. */
static void copy_path(int fd, char out[32])
{
	snprintf(out, 32, "/proc/self/fd/%d", fd);
}

/* It may be over in a moment, whatever is in the file. Not EIO, which libdb says of a file that is too short. */
static bool is_passing(int error)
{
	return error == ENOMEM || error == EMFILE || error == ENFILE || error == EAGAIN || error == EINTR || error == ENOSPC || error == ENOBUFS;
}

/* The same of what libdb has said, as an errno; 0: it has spoken of the file. Without memory it may find that nothing can go on. */
static int passing_error(int e)
{
	return is_passing(e) ? e : e == DB_RUNRECOVERY ? ENOMEM : 0;
}

/* An open database over the copy, or NULL with the reason. */
static DB *open_copy(int fd, char why[WHY_MAX], int *error)
{
	char path[32];
	DBTYPE type = DB_UNKNOWN;
	DB *db = new_db();
	copy_path(fd, path);
	int e = db ? db->open(db, NULL, path, NULL, DB_UNKNOWN, DB_RDONLY, 0) : ENOMEM;
	if (e == 0)
		e = db->get_type(db, &type);
	if (e == 0 && (type == DB_HASH || type == DB_BTREE))
		return db;
	*error = passing_error(e);
	snprintf(why, WHY_MAX, "%s", e == 0 ? "it is neither a hash nor a btree" : e == EINVAL ? "it is no Berkeley database" : db_strerror(e));
	if (db)
		db->close(db, DB_NOSYNC);
	return NULL;
}

/* ---- the child ---- */

static void be_poor(off_t file_size)
{
	struct rlimit cpu = { VERIFY_CPU, VERIFY_CPU }, none = { 0, 0 };
	setrlimit(RLIMIT_CPU, &cpu);
	setrlimit(RLIMIT_CORE, &none);
#if defined(__SANITIZE_ADDRESS__)
	(void)file_size; /* the sanitizer's shadow is larger than any limit */
#elif defined(__has_feature)
#if !__has_feature(address_sanitizer)
	struct rlimit memory = { VERIFY_MEMORY + 2 * (rlim_t)file_size, VERIFY_MEMORY + 2 * (rlim_t)file_size };
	setrlimit(RLIMIT_AS, &memory);
#else
	(void)file_size;
#endif
#else
	struct rlimit memory = { VERIFY_MEMORY + 2 * (rlim_t)file_size, VERIFY_MEMORY + 2 * (rlim_t)file_size };
	setrlimit(RLIMIT_AS, &memory);
#endif
}

/* Every key and value, as a look-up would read them. */
static int walk(DB *db, size_t *entries)
{
	DBC *cursor;
	int e = db->cursor(db, NULL, &cursor, 0);
	*entries = 0;
	while (e == 0) {
		DBT key = { 0 }, value = { 0 };
		e = cursor->get(cursor, &key, &value, DB_NEXT);
		*entries += e == 0 ? 1 : 0;
	}
	return e == DB_NOTFOUND ? 0 : e;
}

/* By the magic number of a hash or a btree, in either byte order, in the first page (Berkeley DB's db_page.h). */
static bool is_database(int copy)
{
	uint32_t magic = 0;
	if (pread(copy, &magic, sizeof(magic), 12) != (ssize_t)sizeof(magic))
		return false;
	return magic == 0x061561 || magic == 0x053162 || magic == __builtin_bswap32(0x061561) || magic == __builtin_bswap32(0x053162);
}

static void verify(int copy, struct verdict *v)
{
	char path[32];
	copy_path(copy, path);
	DB *db = new_db();
	int e = db ? db->verify(db, path, NULL, NULL, 0) : ENOMEM;
	v->damaged = is_database(copy);
	if (e != 0) {
		v->error = passing_error(e);
		if (is_passing(e))
			snprintf(v->why, sizeof(v->why), "it cannot be verified: %s", strerror(e));
		else if (!v->damaged)
			snprintf(v->why, sizeof(v->why), "it is no Berkeley database");
		else
			snprintf(v->why, sizeof(v->why), "it is damaged, or not all there: %.80s%s%.80s", db_strerror(e), db_said[0] ? ": " : "", db_said);
		return;
	}
	db = open_copy(copy, v->why, &v->error);
	if (!db)
		return;
	e = walk(db, &v->entries);
	v->good = e == 0;
	v->error = passing_error(e);
	if (e != 0)
		snprintf(v->why, sizeof(v->why), "%s", db_strerror(e));
}

_Noreturn static void child(int copy, int pipe_end)
{
	struct verdict v;
	struct stat st;
	memset(&v, 0, sizeof(v));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	be_poor(fstat(copy, &st) == 0 ? st.st_size : 0);
	signal(SIGXCPU, SIG_DFL);
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (nowhere >= 0) { /* what it says while it dies is no line of the log */
		dup2(nowhere, STDOUT_FILENO);
		dup2(nowhere, STDERR_FILENO);
	}
	verify(copy, &v);
	ssize_t n = write(pipe_end, &v, sizeof(v)); /* less than PIPE_BUF: all of it or nothing */
	_exit(n == (ssize_t)sizeof(v) ? 0 : 1);
}

/* ---- the copy ---- */

static struct look look_at(const char *path)
{
	struct look l = { .there = false };
	l.there = stat(path, &l.st) == 0;
	l.error = l.there ? 0 : errno;
	return l;
}

static bool same_look(const struct look *a, const struct look *b)
{
	if (!a->there || !b->there)
		return a->there == b->there && a->error == b->error;
	return a->st.st_ino == b->st.st_ino && a->st.st_dev == b->st.st_dev && a->st.st_size == b->st.st_size
	       && memcmp(&a->st.st_mtim, &b->st.st_mtim, sizeof(a->st.st_mtim)) == 0 && memcmp(&a->st.st_ctim, &b->st.st_ctim, sizeof(a->st.st_ctim)) == 0;
}

/* A sealed memory file with the first size bytes of fd, or -1. */
static int copy_of(int fd, off_t size, char why[WHY_MAX], int *error)
{
	int copy = memfd_create("access.db", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t done = 0;
	while (copy >= 0 && done < size) {
		ssize_t n = sendfile(copy, fd, NULL, (size_t)(size - done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*error = n < 0 ? errno : 0;
			snprintf(why, WHY_MAX, "%s", n == 0 ? "it has become shorter while it was read" : strerror(errno));
			close(copy);
			return -1;
		}
		done += n;
	}
	*error = copy < 0 ? errno : 0;
	if (copy < 0)
		snprintf(why, WHY_MAX, "memory for it: %s", strerror(errno));
	else
		fcntl(copy, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
	return copy;
}

static int take_copy(struct map_hash *m, char why[WHY_MAX], int *error)
{
	int copy = -1, fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct look l = { .there = true };
	*error = fd < 0 || fstat(fd, &l.st) < 0 ? errno : 0;
	if (*error != 0)
		snprintf(why, WHY_MAX, "%s", strerror(*error));
	else if (!S_ISREG(l.st.st_mode))
		snprintf(why, WHY_MAX, "it is no regular file");
	else if (l.st.st_size == 0)
		snprintf(why, WHY_MAX, "it is empty: not finished, or never begun");
	else if (l.st.st_size > (off_t)MAP_HASH_FILE_MAX)
		snprintf(why, WHY_MAX, "it has more than %u MB", MAP_HASH_FILE_MAX >> 20);
	else
		copy = copy_of(fd, l.st.st_size, why, error);
	if (fd >= 0)
		close(fd);
	return copy;
}

/* ---- taking and refusing ---- */

static void log_table(const struct map_hash *m, enum log_level level, const char *event, const char *why, size_t before)
{
	struct log_line l;
	if (!log_begin(&l, level))
		return;
	log_text(&l, "event", event);
	log_text(&l, "map", m->path);
	log_int(&l, "entries", (int64_t)m->entries);
	if (why)
		log_text(&l, "why", why);
	else
		log_int(&l, "before", (int64_t)before);
	log_end(&l);
}

/* With a table before, that one stays, and this is the line that says so; without one, who asks hears it, and it is tried again whatever the reason. error: a passing one says nothing of the file. */
static void refuse(struct map_hash *m, const char *why, int error)
{
	bool passing = is_passing(error), again = passing || !m->db;
	m->patience = !again ? 0 : m->patience == 0 ? LOOK : m->patience < AGAIN_MOST / 2 ? 2 * m->patience : AGAIN_MOST;
	m->again = again ? driver_now() + m->patience : 0;
	if (m->db)
		log_table(m, LOG_LEVEL_ERROR, "map_kept", why, 0);
	else
		snprintf(m->why, sizeof(m->why), "%s", why);
	m->damaged = passing;
}

static void use(struct map_hash *m, int copy, size_t entries)
{
	char why[WHY_MAX] = "";
	int error = 0;
	DB *db = open_copy(copy, why, &error);
	size_t before = m->entries;
	if (!db) {
		close(copy);
		refuse(m, why, error);
		return;
	}
	m->patience = 0;
	if (m->db) {
		m->db->close(m->db, DB_NOSYNC);
		close(m->fd);
	}
	m->db = db;
	m->fd = copy;
	m->entries = entries;
	log_table(m, LOG_LEVEL_NOTICE, "map_loaded", NULL, before);
}

static void start_child(struct map_hash *m)
{
	char why[WHY_MAX] = "";
	int ends[2] = { -1, -1 }, error;
	m->tried = true;
	m->taken = m->seen;
	m->again = 0;
	int copy = take_copy(m, why, &error);
	if (copy < 0) {
		refuse(m, why, error);
		return;
	}
	pid_t pid = pipe2(ends, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid == 0)
		child(copy, ends[1]);
	if (pid < 0) {
		error = errno;
		snprintf(why, sizeof(why), "no process to verify it: %s", strerror(error));
		close(copy);
		if (ends[0] >= 0)
			close(ends[0]);
		if (ends[1] >= 0)
			close(ends[1]);
		refuse(m, why, error);
		return;
	}
	close(ends[1]);
	m->child = pid;
	m->child_pipe = ends[0];
	m->child_copy = copy;
	m->child_end = driver_now() + VERIFY_MOST;
}

static void end_child(struct map_hash *m, int *status)
{
	close(m->child_pipe);
	while (waitpid(m->child, status, 0) < 0 && errno == EINTR)
		;
	m->child = 0;
}

/* Before its time was over. The file may have brought it to that, or a short moment without memory: libdb crashes where it has none. Which of them, the next time tells. */
static bool ended_early(const struct map_hash *m, int status)
{
	return WIFEXITED(status) || (WTERMSIG(status) != SIGXCPU && driver_now() < m->child_end);
}

static bool hear(const struct map_hash *m, struct verdict *v)
{
	ssize_t n;
	while ((n = read(m->child_pipe, v, sizeof(*v))) < 0 && errno == EINTR)
		;
	return n == (ssize_t)sizeof(*v);
}

/* The child has spoken, or has died. */
static void take_verdict(struct map_hash *m)
{
	struct verdict v;
	int status = 0;
	bool spoke = hear(m, &v);
	end_child(m, &status);
	if (spoke && v.good) {
		use(m, m->child_copy, v.entries);
		return;
	}
	if (!spoke)
		snprintf(v.why, sizeof(v.why), "whoever read it %s", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "found no memory");
	v.why[sizeof(v.why) - 1] = '\0';
	close(m->child_copy);
	refuse(m, v.why, spoke ? v.error : ended_early(m, status) ? ENOMEM : 0);
	m->damaged = m->damaged || !spoke || v.damaged;
}

static void wait_child(struct map_hash *m, int timeout_ms)
{
	struct pollfd p = { .fd = m->child_pipe, .events = POLLIN };
	if (poll(&p, 1, timeout_ms) > 0)
		take_verdict(m);
	else if (driver_now() >= m->child_end)
		kill(m->child, SIGKILL); /* and the next look finds the pipe at its end */
}

static int64_t hash_tend(void *map)
{
	struct map_hash *m = map;
	if (m->child != 0)
		wait_child(m, 0);
	if (m->child != 0)
		return driver_now() + LOOK_CHILD;
	struct look now = look_at(m->path);
	bool quiet = same_look(&now, &m->seen);
	m->seen = now;
	bool again = m->again > 0 && driver_now() >= m->again, other = !same_look(&now, &m->taken);
	m->patience = other ? 0 : m->patience;
	if (!m->tried || (quiet && (again || other)))
		start_child(m);
	return driver_now() + (m->child != 0 ? LOOK_CHILD : LOOK);
}

/* ---- the driver ---- */

static void hash_needs(const void *map, struct sandbox_needs *needs)
{
	const struct map_hash *m = map;
	sandbox_need_folder_of(needs, m->path, LANDLOCK_READ);
	sandbox_need_path(needs, "/dev/null", LANDLOCK_WRITE);
}

static void *hash_open(const char *spec, struct buf *why)
{
	struct map_hash *m = calloc(1, sizeof(*m));
	if (!m) {
		buf_put_text(why, "no memory");
		return NULL;
	}
	m->fd = m->child_pipe = m->child_copy = -1;
	if (map_hash_path(spec, m->path, why))
		return m;
	free(m);
	return NULL;
}

static void hash_close(void *map)
{
	struct map_hash *m = map;
	int status;
	if (m->child != 0) {
		kill(m->child, SIGKILL);
		end_child(m, &status);
		close(m->child_copy);
	}
	if (m->db) {
		m->db->close(m->db, DB_NOSYNC);
		close(m->fd);
	}
	free(m);
}

/* makemap -N puts a NUL behind keys and values; a table has the one kind or the other. */
static int get(struct map_hash *m, struct slice key, size_t nul, char value[WIRE_VALUE_MAX + 2], struct slice *out)
{
	char text[WIRE_KEY_MAX + 1];
	DBT k = { .data = text, .size = (u_int32_t)(key.len + nul) };
	DBT v = { .data = value, .ulen = WIRE_VALUE_MAX + 2, .dlen = WIRE_VALUE_MAX + 2, .flags = DB_DBT_USERMEM | DB_DBT_PARTIAL };
	memcpy(text, key.at, key.len);
	text[key.len] = '\0';
	int e = m->db->get(m->db, NULL, &k, &v, 0);
	if (e == 0)
		*out = (struct slice){ value, v.size > 0 && nul && value[v.size - 1] == '\0' ? v.size - 1 : v.size };
	return e;
}

static bool missing_is_empty;

static void ignore_missing(void)
{
	missing_is_empty = true;
}

/* Whether there is a table, or may be none; *why then says so. */
static bool has_table(struct map_hash *m, int64_t deadline, struct buf *why)
{
	if (!m->tried)
		hash_tend(m);
	if (!m->db && m->child != 0)
		wait_child(m, driver_left_ms(deadline));
	if (m->db || (m->child == 0 && missing_is_empty && !m->damaged))
		return true;
	buf_putf(why, "%s: %s", m->path, m->child != 0 ? "it is still being verified" : m->why);
	return false;
}

static bool hash_ask(void *map, struct driver_hits *hits, int64_t deadline, struct buf *why)
{
	struct map_hash *m = map;
	char value[WIRE_VALUE_MAX + 2];
	struct slice found;
	if (!has_table(m, deadline, why))
		return false;
	for (size_t i = 0, n = m->db ? driver_keys(hits->question) : 0; i < n; i++) {
		struct slice key = hits->question->keys[i];
		if (!driver_wanted(hits, i))
			continue;
		int e = get(m, key, 0, value, &found);
		if (e == DB_NOTFOUND)
			e = get(m, key, 1, value, &found);
		if (e == 0) {
			driver_hit(hits, i, found);
		} else if (e != DB_NOTFOUND) {
			buf_putf(why, "%s: %s", m->path, db_strerror(e));
			return false;
		}
	}
	return true;
}

/* Without the NUL that makemap -N puts behind. */
static struct slice bytes_of(const DBT *t)
{
	const char *at = t->data;
	return (struct slice){ at, t->size > 0 && at[t->size - 1] == '\0' ? t->size - 1 : t->size };
}

static bool hash_each(void *map, driver_take *take, void *context, int64_t deadline, struct buf *why)
{
	struct map_hash *m = map;
	DBC *cursor = NULL;
	bool more = true;
	if (!has_table(m, deadline, why))
		return false;
	int e = m->db ? m->db->cursor(m->db, NULL, &cursor, 0) : DB_NOTFOUND;
	while (e == 0 && more) {
		DBT key = { 0 }, value = { 0 };
		e = cursor->get(cursor, &key, &value, DB_NEXT);
		if (e == 0)
			more = take(context, bytes_of(&key), bytes_of(&value));
	}
	if (cursor)
		cursor->close(cursor);
	if (e != 0 && e != DB_NOTFOUND)
		buf_putf(why, "%s: %s", m->path, db_strerror(e));
	return more && (e == 0 || e == DB_NOTFOUND);
}

const struct driver map_hash = { .scheme = "hash:", .remote = false, .open = hash_open, .close = hash_close, .ask = hash_ask,
	.each = hash_each, .tend = hash_tend, .needs = hash_needs, .ignore_missing = ignore_missing };
