/* The tour, core: the log. A line is put together on the caller's stack by hand (no printf: a busy door writes a line for each client),
 * gathered with others, and written at the end of the turn in as few calls as there can be. Whoever reads the log may be slow, or gone: then
 * lines are lost and counted, and no client waits for it. */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/reach.h"

#define FLUSH_AT (16 * 1024)  /* bytes gathered before log_end() flushes by itself */
#define PIPE_ATOMIC 4096      /* PIPE_BUF: a write of so many bytes to a pipe that poll() calls writable does not block */
#define CUT_ROOM 16           /* of LOG_LINE, kept for " cut=yes" and the line end */
#define ROLE_MAX 32
#define BYTES_SHOWN 100       /* of log_bytes() */
#define SYSLOG_FACILITY 2     /* mail (RFC 3164 4.1.1) */
#define RECORD_MAX (LOG_LINE + 128) /* a line with what its target puts before it */

/* How the descriptor takes bytes. */
enum sink { SINK_FILE, SINK_PIPE, SINK_SOCKET, SINK_DATAGRAM };

static struct {
	enum log_target target;
	enum log_level least;
	enum sink sink;
	bool service;        /* stderr leads to the journal, which puts time and process before a line itself */
	int fd;              /* -1: none of our own yet, write to stderr */
	pid_t pid;
	char role[ROLE_MAX];
	uint64_t dropped;    /* lines lost since we last said so */
	struct buf *capture;
	size_t held;         /* bytes in memory below */
	time_t second;       /* that stamp shows */
	char stamp[40];      /* up to the second, in the form of the target */
	size_t stamp_len;
	char memory[LOG_HELD]; /* lines; with SINK_DATAGRAM each behind its length in two bytes */
} state = { .least = LOG_LEVEL_INFO, .sink = SINK_PIPE, .fd = -1, .second = -1 };

static const char *const level_names[] = { "error", "warning", "notice", "info", "debug" };
static const char severities[] = { 3, 4, 5, 6, 7 }; /* of syslog, by enum log_level */

/* --- opening ------------------------------------------------------------------------------------------------------ */

static int connect_to(const char *path)
{
	struct sockaddr_storage to;
	socklen_t len;
	if (!reach_unix_address(path, &to, &len))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int e = reach_connect(fd, &to, len);
	if (e == 0)
		return fd;
	close(fd);
	return e;
}

const char *log_socket(enum log_target target)
{
	return target == LOG_TO_SYSLOG ? "/dev/log" : "/run/systemd/journal/socket";
}

/* systemd tells a service which socket of the journal its stderr is, if it is one (systemd.exec(5), $JOURNAL_STREAM): whoever has put another file in its place since then is not taken for it. */
static bool is_journal(const struct stat *st)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char want[64];
	snprintf(want, sizeof(want), "%llu:%llu", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
	return stream && S_ISSOCK(st->st_mode) && strcmp(stream, want) == 0;
}

/* stderr is shared with whoever started us, so O_NONBLOCK must not be set on it; a pipe or terminal is opened anew, where the system lets us. */
static int open_stderr(enum sink *sink, bool *service)
{
	struct stat st;
	if (fstat(STDERR_FILENO, &st) < 0)
		return -errno;
	*service = is_journal(&st);
	*sink = S_ISREG(st.st_mode) ? SINK_FILE : S_ISSOCK(st.st_mode) ? SINK_SOCKET : SINK_PIPE;
	int fd = -1;
	if (*sink == SINK_PIPE)
		fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

int log_open(enum log_target target, enum log_level least)
{
	enum sink sink = SINK_DATAGRAM;
	bool service = false;
	int fd = target == LOG_TO_STDERR ? open_stderr(&sink, &service) : connect_to(log_socket(target));
	if (fd < 0)
		return fd;
	log_flush();
	tzset(); /* syslog wants local time; later, in a sandbox, the zone's file may be out of reach */
	if (state.fd >= 0)
		close(state.fd);
	state.fd = fd;
	state.target = target;
	state.sink = sink;
	state.service = service;
	state.least = least;
	state.held = 0; /* what could not be written stands there in the form of the old target */
	state.second = -1;
	return 0;
}

void log_role(const char *role)
{
	snprintf(state.role, sizeof(state.role), "%s", role);
	pid_t pid = getpid();
	if (state.pid != pid && state.pid != 0) {
		state.held = 0;
		state.dropped = 0;
	}
	state.pid = pid;
}

bool log_wants(enum log_level level)
{
	return level <= state.least;
}

void log_capture(struct buf *to)
{
	state.capture = to;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void forget(size_t n)
{
	state.held -= n;
	if (state.held > 0)
		memmove(state.memory, state.memory + n, state.held);
}

/* Lines among the first n bytes of what is held. */
static uint64_t count_lines(size_t n)
{
	uint64_t lines = 0;
	for (const char *p = state.memory; (p = memchr(p, '\n', n - (size_t)(p - state.memory))); p++)
		lines++;
	return lines;
}

/* As much as one write takes without cutting a line: other roles write to the same pipe. */
static size_t whole_lines(size_t from, size_t most)
{
	size_t left = state.held - from;
	if (left <= most)
		return left;
	const char *end = memrchr(state.memory + from, '\n', most);
	return end ? (size_t)(end + 1 - (state.memory + from)) : most;
}

static ssize_t write_stream(int fd, const char *at, size_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	if (state.sink == SINK_SOCKET)
		return send(fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (state.sink == SINK_PIPE && (poll(&p, 1, 0) != 1 || !(p.revents & (POLLOUT | POLLERR)))) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, at, len);
}

static void flush_stream(void)
{
	size_t done = 0;
	int fd = state.fd < 0 ? STDERR_FILENO : state.fd;
	while (done < state.held) {
		size_t len = state.sink == SINK_PIPE ? whole_lines(done, PIPE_ATOMIC) : state.held - done;
		ssize_t n = write_stream(fd, state.memory + done, len);
		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EAGAIN) {
			break;
		} else if (errno != EINTR) {
			/* The reader is gone or the disk is full: these lines will not get through later either. */
			forget(done);
			state.dropped += count_lines(state.held);
			done = state.held;
			break;
		}
	}
	forget(done);
}

/* False: it cannot be sent now. A daemon that was started again has a new socket at the old path. */
static bool send_record(const char *at, size_t len)
{
	for (unsigned tries = 0; tries < 2; tries++) {
		if (send(state.fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		if (errno == EMSGSIZE) {
			state.dropped++;
			return true;
		}
		if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
			return false;
		int fd = connect_to(log_socket(state.target));
		if (fd < 0)
			return false;
		close(state.fd);
		state.fd = fd;
	}
	return false;
}

static void flush_datagrams(void)
{
	size_t done = 0;
	while (done < state.held) {
		size_t len = (size_t)(unsigned char)state.memory[done] << 8 | (unsigned char)state.memory[done + 1];
		if (!send_record(state.memory + done + 2, len))
			break;
		done += 2 + len;
	}
	forget(done);
}

void log_flush(void)
{
	int e = errno; /* whoever logs an error may still want to look at it */
	if (state.held > 0 && state.sink == SINK_DATAGRAM)
		flush_datagrams();
	else if (state.held > 0)
		flush_stream();
	errno = e;
}

bool log_pending(void)
{
	return state.held > 0;
}

/* --- a line ------------------------------------------------------------------------------------------------------- */

static void put_uint(struct buf *b, uint64_t value, unsigned digits)
{
	char text[20];
	unsigned i = sizeof(text);
	do {
		text[--i] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0 || sizeof(text) - i < digits);
	buf_put(b, text + i, sizeof(text) - i);
}

/* Formatting the date costs more than all the rest of a line, so it is done once a second; by hand, for strftime() looks at the zone's file each time, which is out of reach in a sandbox. */
static void renew_stamp(time_t second)
{
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	struct tm tm;
	bool utc = state.target == LOG_TO_STDERR;
	state.second = second;
	if (!(utc ? gmtime_r(&second, &tm) : localtime_r(&second, &tm)))
		memset(&tm, 0, sizeof(tm));
	int n = utc ? snprintf(state.stamp, sizeof(state.stamp), "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec)
	            : snprintf(state.stamp, sizeof(state.stamp), "%s %2d %02d:%02d:%02d", months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	state.stamp_len = n < 0 ? 0 : (size_t)n < sizeof(state.stamp) ? (size_t)n : sizeof(state.stamp) - 1;
}

static void put_priority(struct buf *b, unsigned priority)
{
	buf_put_char(b, '<');
	put_uint(b, priority, 1);
	buf_put_char(b, '>');
}

static void put_head(struct buf *b, enum log_level level)
{
	struct timespec t;
	if (state.service) { /* sd-daemon(3) */
		put_priority(b, (unsigned)severities[level]);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &t);
	if (t.tv_sec != state.second)
		renew_stamp(t.tv_sec);
	switch (state.target) {
	case LOG_TO_STDERR:
		buf_put(b, state.stamp, state.stamp_len);
		buf_put_char(b, '.');
		put_uint(b, (uint64_t)t.tv_nsec / 1000000, 3);
		buf_put(b, "Z tarry[", 8);
		put_uint(b, (uint64_t)state.pid, 1);
		buf_put(b, "] ", 2);
		break;
	case LOG_TO_SYSLOG:
		put_priority(b, SYSLOG_FACILITY * 8 + (unsigned)severities[level]);
		buf_put(b, state.stamp, state.stamp_len);
		buf_put(b, " tarry[", 7);
		put_uint(b, (uint64_t)state.pid, 1);
		buf_put(b, "]: ", 3);
		break;
	case LOG_TO_JOURNAL:
		buf_put_text(b, "SYSLOG_IDENTIFIER=tarry\nSYSLOG_FACILITY=2\nPRIORITY=");
		put_uint(b, (uint64_t)severities[level], 1);
		buf_put_text(b, "\nMESSAGE=");
		break;
	}
}

/* The caller has seen that there is room. */
static void put_record(enum log_level level, struct slice text)
{
	struct buf b;
	size_t length = state.sink == SINK_DATAGRAM ? 2 : 0;
	buf_init_fixed(&b, state.memory + state.held, sizeof(state.memory) - state.held);
	b.len = length;
	put_head(&b, level);
	buf_put_slice(&b, text);
	if (state.target != LOG_TO_SYSLOG)
		buf_put_char(&b, '\n');
	if (length > 0) {
		b.at[0] = (char)((b.len - length) >> 8);
		b.at[1] = (char)(b.len - length);
	}
	state.held += b.len;
}

static void begin_text(struct buf *b, enum log_level level)
{
	if (state.role[0]) {
		buf_put_text(b, state.role);
		buf_put_char(b, ' ');
	}
	buf_put_text(b, level_names[level]);
}

static void commit(enum log_level level, struct slice text)
{
	size_t before = state.held;
	if (state.pid == 0)
		state.pid = getpid();
	if (state.held + 2 * RECORD_MAX > sizeof(state.memory)) { /* 2: the line about lost lines may have to come first */
		state.dropped++;
		return;
	}
	if (state.dropped > 0) {
		char memory[96];
		struct buf note;
		buf_init_fixed(&note, memory, sizeof(memory));
		begin_text(&note, LOG_LEVEL_WARNING);
		buf_put_text(&note, " log_lines_lost=");
		put_uint(&note, state.dropped, 1);
		state.dropped = 0;
		put_record(LOG_LEVEL_WARNING, buf_slice(&note));
	}
	put_record(level, text);
	/* At each step once, so that a reader who has stopped does not cost a system call for every line. */
	if (before / FLUSH_AT != state.held / FLUSH_AT)
		log_flush();
}

bool log_begin(struct log_line *l, enum log_level level)
{
	l->level = level;
	if (!log_wants(level)) {
		buf_init_fixed(&l->text, l->memory, 0);
		return false;
	}
	buf_init_fixed(&l->text, l->memory, sizeof(l->memory) - CUT_ROOM);
	begin_text(&l->text, level);
	return true;
}

/* False: this key is not written, the line is inert or full. */
static bool put_key(struct log_line *l, const char *key)
{
	if (l->text.cap == 0 || l->text.full)
		return false;
	size_t len = strlen(key);
	char *at = buf_reserve(&l->text, len + 2);
	if (!at)
		return false;
	*at = ' ';
	memcpy(at + 1, key, len);
	at[len + 1] = '=';
	l->text.len += len + 2;
	return true;
}

/* A pair that has not got in as a whole is taken back. */
static void keep_whole(struct log_line *l, size_t before)
{
	if (l->text.full)
		l->text.len = before;
}

/* Of a value too long for the line as much as fits, rather than nothing. */
static void put_quoted(struct log_line *l, const char *at, size_t len, size_t most)
{
	struct buf *b = &l->text;
	size_t before = b->len;
	for (; most > 0; most /= 2) {
		b->full = false;
		if (buf_put_char(b, '"') && buf_put_escaped(b, at, len, most) && buf_put_char(b, '"'))
			return;
		b->len = before;
		if (most > len)
			most = len;
	}
}

void log_text(struct log_line *l, const char *key, const char *value)
{
	size_t before = l->text.len, plain = 0;
	if (!put_key(l, key))
		return;
	while (value[plain] > ' ' && value[plain] < 0x7f && value[plain] != '"' && value[plain] != '\\' && value[plain] != '=')
		plain++;
	if (value[plain] != '\0' || plain == 0 || plain > LOG_LINE / 2)
		put_quoted(l, value, strlen(value), LOG_LINE);
	else
		buf_put(&l->text, value, plain);
	keep_whole(l, before);
}

void log_bytes(struct log_line *l, const char *key, const void *at, size_t len)
{
	size_t before = l->text.len;
	if (!put_key(l, key))
		return;
	put_quoted(l, at, len, BYTES_SHOWN);
	keep_whole(l, before);
}

static void put_int(struct buf *b, int64_t value)
{
	if (value < 0)
		buf_put_char(b, '-');
	put_uint(b, value < 0 ? -(uint64_t)value : (uint64_t)value, 1);
}

void log_int(struct log_line *l, const char *key, int64_t value)
{
	size_t before = l->text.len;
	if (!put_key(l, key))
		return;
	put_int(&l->text, value);
	keep_whole(l, before);
}

void log_ms(struct log_line *l, const char *key, int64_t ns)
{
	size_t before = l->text.len;
	if (!put_key(l, key))
		return;
	uint64_t us = (ns < 0 ? -(uint64_t)ns : (uint64_t)ns) / 1000;
	if (ns < 0 && us > 0)
		buf_put_char(&l->text, '-');
	put_uint(&l->text, us / 1000, 1);
	buf_put_char(&l->text, '.');
	put_uint(&l->text, us % 1000, 3);
	keep_whole(l, before);
}

void log_addr(struct log_line *l, const char *key, const struct addr *a)
{
	char text[ADDR_TEXT];
	size_t before = l->text.len;
	if (!put_key(l, key))
		return;
	if (addr_is4(a)) {
		for (unsigned i = 12; i < 16; i++) {
			if (i > 12)
				buf_put_char(&l->text, '.');
			put_uint(&l->text, a->ip[i], 1);
		}
	} else {
		buf_put_text(&l->text, addr_format(a, text)); /* the rules of RFC 5952 are not worth a second copy */
	}
	keep_whole(l, before);
}

void log_end(struct log_line *l)
{
	if (l->text.cap == 0)
		return;
	l->text.max = l->text.cap = sizeof(l->memory);
	if (l->text.full)
		buf_put_text(&l->text, " cut=yes");
	if (state.capture) {
		buf_put_slice(state.capture, buf_slice(&l->text));
		buf_put_char(state.capture, '\n');
	} else {
		commit(l->level, buf_slice(&l->text));
	}
	l->text.cap = 0; /* ended: what is still added to it goes nowhere */
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	struct log_line l;
	char memory[LOG_LINE];
	int n = 0;
	if (!log_begin(&l, level))
		return;
	log_text(&l, "event", event);
	if (format) {
		va_list args;
		va_start(args, format);
		n = vsnprintf(memory, sizeof(memory), format, args);
		va_end(args);
	}
	if (format && put_key(&l, "msg"))
		put_quoted(&l, memory, n < 0 ? 0 : n < LOG_LINE ? (size_t)n : LOG_LINE - 1, LOG_LINE);
	log_end(&l);
}
