/* The tour, mc: m4 at work. It is a child process that gets our macro file on its standard input and then the user's file by name, so that its complaints
 * name file and line. A sendmail.mc is a program, and may be anybody's: it gets little time, memory and room to print, can run nothing, and includes only
 * what was found to be a file before. For the latter m4 is run again: a run names the includes it meets, they are looked at, and the next run may read
 * the good ones. */
#include "tool/mc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define TEXT_OF(number) TEXT_AS_IS(number)
#define TEXT_AS_IS(number) #number
#define RUNS 16            /* of m4: so deep may includes be within includes */
#define SHOWN 300          /* bytes of a name or message of m4 */
#define NOT_FOUND 127      /* exit status of a child that could not become m4 */
#define READ_BYTES 65536

/* What an include was found to be. */
struct file {
	char *path;
	const char *wrong; /* NULL: it may be read */
	bool missing;
};

struct run {
	const char *path;
	const struct mc_said *said;
	struct file files[MC_FILES];
	size_t files_len;
	char *names[MC_SKIPS]; /* that the files may define, each once */
	size_t names_len;
	struct buf *out;
	struct buf err;
};

/* ---- files ---- */

/* The whole text file, or what is wrong with it. */
static const char *read_file(const char *path, struct buf *text, bool *missing)
{
	struct stat st;
	const char *wrong = NULL;
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* a FIFO must not hang us */
	*missing = fd < 0 && (errno == ENOENT || errno == ENOTDIR);
	if (fd < 0)
		return strerror(errno);
	if (fstat(fd, &st) < 0)
		wrong = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		wrong = S_ISDIR(st.st_mode) ? strerror(EISDIR) : "not a plain file; expected one";
	while (!wrong) {
		char *at = buf_reserve(text, 4096);
		n = at ? read(fd, at, 4096) : 0;
		if (n == 0 || (n < 0 && errno != EINTR)) {
			wrong = !at || text->len > MC_FILE_BYTES ? "larger than 1 MB, which no sendmail.mc is" : n < 0 ? strerror(errno) : NULL;
			break;
		}
		text->len += n > 0 ? (size_t)n : 0;
	}
	close(fd);
	for (size_t i = 0; !wrong && i < text->len; i++)
		if ((unsigned char)text->at[i] < ' ' && !memchr("\t\n\v\f\r", text->at[i], 5))
			wrong = text->at[i] == '\0' ? "has a NUL byte; expected a text file" : "has a control byte; expected a text file";
	return wrong;
}

/* Sendmail's own names: confSOMETHING, SOME_THING. */
static bool is_option(struct slice name)
{
	bool conf = name.len > 4 && memcmp(name.at, "conf", 4) == 0 && isupper((unsigned char)name.at[4]);
	for (size_t i = conf ? 4 : 0; i < name.len; i++)
		if (!isupper((unsigned char)name.at[i]) && !isdigit((unsigned char)name.at[i]) && name.at[i] != '_')
			return false;
	return conf || (name.len > 2 && name.len < 100 && isupper((unsigned char)name.at[0]) && memchr(name.at, '_', name.len));
}

/* What the text may define: whether it does, m4 will say. */
static void find_names(struct run *r, struct slice text)
{
	static const char define[] = "define(";
	while (r->names_len < MC_SKIPS && text.len > 0) {
		const char *end = text.at + text.len, *at = memmem(text.at, text.len, define, sizeof(define) - 1);
		if (!at)
			return;
		for (at += sizeof(define) - 1; at < end && strchr(" \t\n`", *at) && *at; at++)
			;
		struct slice name = { at, 0 };
		while (at + name.len < end && (isalnum((unsigned char)at[name.len]) || at[name.len] == '_'))
			name.len++;
		text = (struct slice){ at + name.len, (size_t)(end - at - (ptrdiff_t)name.len) };
		bool known = !is_option(name);
		for (size_t i = 0; i < r->names_len && !known; i++)
			known = slice_is(name, r->names[i]);
		if (!known && (r->names[r->names_len] = strndup(name.at, name.len)))
			r->names_len++;
	}
}

static const char *look_at(struct run *r, const char *path, bool *missing)
{
	struct buf text;
	buf_init(&text, MC_FILE_BYTES + 8192);
	const char *wrong = read_file(path, &text, missing);
	if (!wrong)
		find_names(r, buf_slice(&text));
	buf_fini(&text);
	return wrong;
}

static struct file *find_file(struct run *r, struct slice path)
{
	for (size_t i = 0; i < r->files_len; i++)
		if (slice_is(path, r->files[i].path))
			return &r->files[i];
	return NULL;
}

/* True: a file that the next run may read. */
static bool add_file(struct run *r, struct slice path)
{
	if (find_file(r, path) || r->files_len == MC_FILES)
		return false;
	struct file f = { .path = strndup(path.at, path.len) };
	if (!f.path)
		return false;
	f.wrong = path.len == 0 || path.len >= PATH_MAX ? "not the name of a file" : look_at(r, f.path, &f.missing);
	for (size_t i = 0; i < path.len; i++)
		if (strchr("`'\n", path.at[i])) /* could not be told to m4 */
			f.wrong = "not a name that can be included";
	r->files[r->files_len++] = f;
	return !f.wrong;
}

/* ---- m4 ---- */

/* The macros, what may be read, and the end of the silence. */
static int macro_file(const struct run *r)
{
	int fd = memfd_create("tarry.m4", MFD_CLOEXEC), copy = fd < 0 ? -1 : dup(fd);
	FILE *f = copy < 0 ? NULL : fdopen(copy, "w");
	if (!f) {
		if (copy >= 0)
			close(copy);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	for (const char *const *line = mc_macros; *line; line++)
		fputs(*line, f);
	for (size_t i = 0; i < r->files_len; i++)
		if (!r->files[i].wrong)
			fprintf(f, "tarry_define(`tarry_file:%s')\n", r->files[i].path);
	for (size_t i = 0; i < r->names_len; i++)
		fprintf(f, "tarry_candidate(`%s')\n", r->names[i]);
	fputs("tarry_divert(0)dnl\n", f);
	bool bad = ferror(f) != 0;
	bad = fclose(f) != 0 || bad;
	if (bad || lseek(fd, 0, SEEK_SET) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void limit(int resource, rlim_t most)
{
	struct rlimit r = { most, most };
	setrlimit(resource, &r);
}

/* In the child: m4, and nothing of what the parent has. */
static void become_m4(const char *path, int in, int out, int err)
{
	char *arguments[] = { (char *)(uintptr_t)"m4", (char *)(uintptr_t)"-L1000", (char *)(uintptr_t)"-", (char *)(uintptr_t)path, NULL };
	char *environment[] = { (char *)(uintptr_t)"LC_ALL=C", NULL };
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(EX_OSERR);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_CPU, MC_CPU_SECONDS);
	limit(RLIMIT_AS, MC_MEMORY);
	limit(RLIMIT_FSIZE, 2 * MC_OUTPUT_BYTES);
	limit(RLIMIT_NOFILE, 64);
	execvpe("m4", arguments, environment);
	_exit(NOT_FOUND);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* One read. 1: more may come, 0: the end, -1: more than there is room for. */
static int take(int fd, struct buf *to)
{
	size_t room = to->max - to->len < READ_BYTES ? to->max - to->len : READ_BYTES;
	char *at = room > 0 ? buf_reserve(to, room) : NULL;
	if (!at)
		return -1;
	ssize_t n = read(fd, at, room);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : 0;
	to->len += (size_t)n;
	return n > 0;
}

/* Reads both streams until they end. NULL, or why m4 has to be stopped. */
static const char *collect(struct run *r, int fds[2])
{
	struct pollfd polls[2] = { { .fd = fds[0], .events = POLLIN }, { .fd = fds[1], .events = POLLIN } };
	int64_t end = now_ms() + MC_WALL_SECONDS * 1000;
	while (polls[0].fd >= 0 || polls[1].fd >= 0) {
		int64_t left = end - now_ms();
		if (left <= 0)
			return "m4 is not done with it after " TEXT_OF(MC_WALL_SECONDS) " seconds; does it loop, or wait for something?";
		if (poll(polls, 2, (int)left) < 0 && errno != EINTR)
			return strerror(errno);
		for (int i = 0; i < 2; i++) {
			int more = polls[i].fd >= 0 && polls[i].revents ? take(polls[i].fd, i == 0 ? r->out : &r->err) : 1;
			if (more < 0)
				return "m4 printed more than 4 MB; does it loop?";
			if (more == 0)
				polls[i].fd = -1;
		}
	}
	return NULL;
}

static pid_t start_m4(struct run *r, int fds[2])
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, in = macro_file(r);
	pid_t pid = -1;
	if (in >= 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0)
		pid = fork();
	if (pid == 0)
		become_m4(r->path, in, out[1], err[1]);
	int e = errno, all[] = { in, out[1], err[1], pid < 0 ? out[0] : -1, pid < 0 ? err[0] : -1 };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] >= 0)
			close(all[i]);
	fds[0] = out[0];
	fds[1] = err[0];
	errno = e;
	return pid;
}

__attribute__((format(printf, 3, 4)))
static int wrong(struct run *r, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	buf_put_escaped(r->said->errors, r->path, strlen(r->path), SHOWN);
	buf_put_text(r->said->errors, ": ");
	buf_vputf(r->said->errors, format, args);
	buf_put_char(r->said->errors, '\n');
	va_end(args);
	return code;
}

/* One run. EX_OK, also when m4 found the file faulty (*status tells); else the exit code, and why is in said->errors. */
static int run_once(struct run *r, int *status)
{
	int fds[2];
	pid_t pid = start_m4(r, fds);
	if (pid < 0)
		return wrong(r, EX_OSERR, "m4 cannot be started: %s", strerror(errno));
	buf_clear(r->out);
	buf_clear(&r->err);
	const char *stop = collect(r, fds);
	close(fds[0]);
	close(fds[1]);
	if (stop)
		kill(pid, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	if (stop)
		return wrong(r, EX_DATAERR, "%s", stop);
	if (WIFEXITED(*status) && WEXITSTATUS(*status) == NOT_FOUND)
		return wrong(r, EX_UNAVAILABLE, "m4 is needed to read it, and is not there; install GNU m4 (the package m4)");
	if (!WIFSIGNALED(*status))
		return EX_OK;
	int sig = WTERMSIG(*status);
	if (sig == SIGKILL || sig == SIGXCPU)
		return wrong(r, EX_DATAERR, "m4 is not done with it after %d seconds of work; does it loop?", MC_CPU_SECONDS);
	if (sig == SIGXFSZ)
		return wrong(r, EX_DATAERR, "m4 printed more than 4 MB; does it loop?");
	return wrong(r, EX_DATAERR, "m4 died of signal %d (%s) while reading it", sig, strsignal(sig));
}

/* ---- what m4 says ---- */

void mc_begin_line(const struct mc_said *said, struct buf *to)
{
	if (to->len > 0 && to->at[to->len - 1] != '\n')
		buf_put_char(to, '\n');
	if (said->bytes && to == said->warnings)
		buf_put_text(to, "tarry: ");
}

/* Each line that m4 itself printed: "m4:FILE:LINE: …", or "m4: …". */
static void tell_m4(const struct run *r, struct buf *to, struct slice text)
{
	while (text.len > 0) {
		const char *lf = memchr(text.at, '\n', text.len);
		struct slice line = { text.at, lf ? (size_t)(lf - text.at) : text.len };
		text.at += line.len + (lf != NULL);
		text.len -= line.len + (lf != NULL);
		if (line.len == 0)
			continue;
		mc_begin_line(r->said, to);
		if (line.len > 3 && memcmp(line.at, "m4: ", 4) == 0) {
			buf_put_escaped(to, r->path, strlen(r->path), SHOWN);
			buf_put_text(to, ": ");
		} else if (line.len > 3 && memcmp(line.at, "m4:", 3) == 0) {
			line.at += 3;
			line.len -= 3;
		}
		buf_put_escaped(to, line.at, line.len, SHOWN);
		buf_put_char(to, '\n');
	}
}

/* One of Sendmail's messages: as it is, or as one line. */
static void tell_sendmail(const struct mc_said *said, struct slice text)
{
	struct buf *to = said->warnings;
	if (said->bytes) {
		buf_put_slice(to, text);
		return;
	}
	mc_begin_line(said, to);
	while (text.len > 0 && text.at[text.len - 1] == '\n')
		text.len--;
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] == '\n')
			buf_put_text(to, " --");
		else if (text.at[i] == '\t')
			buf_put_char(to, ' ');
		else
			buf_put_escaped(to, text.at + i, 1, 1);
	}
	buf_put_char(to, '\n');
}

/* A "want": which macro, where, for what. */
struct want {
	struct slice macro, place, path;
};

static bool read_want(const struct mc_frame *frame, struct want *w)
{
	const char *at = frame->text.at, *end = at + frame->text.len;
	const char *lf = slice_is(frame->kind, "want") ? memchr(at, '\n', frame->text.len) : NULL;
	const char *lf2 = lf ? memchr(lf + 1, '\n', (size_t)(end - lf - 1)) : NULL;
	if (!lf2)
		return false;
	w->macro = (struct slice){ at, (size_t)(lf - at) };
	w->place = (struct slice){ lf + 1, (size_t)(lf2 - lf - 1) };
	w->path = (struct slice){ lf2 + 1, (size_t)(end - lf2 - 1) };
	return true;
}

static void tell_want(struct run *r, const struct want *w)
{
	const struct file *f = find_file(r, w->path);
	struct buf *to = r->said->warnings;
	if (f && f->missing && slice_is(w->macro, "sinclude"))
		return;
	mc_begin_line(r->said, to);
	buf_put_escaped(to, w->place.at, w->place.len, SHOWN);
	buf_put_text(to, ": ");
	buf_put_escaped(to, w->macro.at, w->macro.len, SHOWN);
	buf_put_text(to, ": ");
	buf_put_escaped(to, w->path.at, w->path.len, SHOWN);
	buf_putf(to, ": %s; skipped\n", f && f->wrong ? f->wrong : "one file too many; expected 64 at most");
}

/* What the last run said, in its order. */
static void tell(struct run *r, bool good)
{
	struct slice rest = buf_slice(&r->err);
	struct mc_frame frame;
	struct want want;
	struct buf *to = good ? r->said->warnings : r->said->errors;
	while (mc_read_frame(&rest, &frame)) {
		tell_m4(r, to, frame.before);
		if (slice_is(frame.kind, "say"))
			tell_sendmail(r->said, frame.text);
		else if (read_want(&frame, &want))
			tell_want(r, &want);
		else
			tell_m4(r, slice_is(frame.kind, "fatal") ? r->said->errors : r->said->warnings, frame.text);
	}
	tell_m4(r, to, frame.before);
}

/* Looks at each include that a run met and might not read. True: another run is worth it. */
static bool look_at_wants(struct run *r)
{
	struct slice rest = buf_slice(&r->err);
	struct mc_frame frame;
	struct want want;
	bool again = false;
	while (mc_read_frame(&rest, &frame))
		again = (read_want(&frame, &want) && add_file(r, want.path)) || again;
	return again;
}

static int run_all(struct run *r)
{
	int status = 0, code;
	for (int n = 0; n < RUNS; n++) {
		code = run_once(r, &status);
		if (code != EX_OK)
			break;
		if (!look_at_wants(r))
			break;
		if (n == RUNS - 1)
			return wrong(r, EX_DATAERR, "files are included too deeply; expected %d levels at most", RUNS - 1);
	}
	bool good = code == EX_OK && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (code != EX_OK)
		return code; /* what a stopped m4 printed may be megabytes of the same */
	size_t before = r->said->errors->len;
	tell(r, good);
	if (good)
		return EX_OK;
	if (r->said->errors->len == before)
		wrong(r, EX_DATAERR, "m4 ended with exit status %d", WEXITSTATUS(status));
	return EX_DATAERR;
}

int mc_run(const char *path, struct buf *out, const struct mc_said *said)
{
	char *safe = NULL;
	bool missing;
	struct run *r = calloc(1, sizeof(*r));
	if (!r || asprintf(&safe, "%s%s", path[0] == '-' ? "./" : "", path) < 0) { /* not an option of m4 */
		free(r);
		buf_put_text(said->errors, "out of memory\n");
		return EX_OSERR;
	}
	*r = (struct run){ .path = safe, .said = said, .out = out };
	buf_init(&r->err, MC_OUTPUT_BYTES);
	const char *why = look_at(r, safe, &missing);
	int code = why ? wrong(r, access(safe, R_OK) < 0 ? EX_NOINPUT : EX_DATAERR, "%s", why) : run_all(r);
	for (size_t i = 0; i < r->files_len; i++)
		free(r->files[i].path);
	for (size_t i = 0; i < r->names_len; i++)
		free(r->names[i]);
	buf_fini(&r->err);
	free(r);
	free(safe);
	return code;
}
