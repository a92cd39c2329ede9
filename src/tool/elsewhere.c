/* The tour, tools: maps that may block, asked as the door asks them, by the program tarry-lookup. */
#include "tool/elsewhere.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/proc.h"

#define FILE_PATIENCE_MS 70000 /* for a file, which is verified first: it may be large */
#define GRACE_MS 1500          /* the program's own deadline comes first */
#define ARGS_MAX (ACCESS_MAPS + 8)

bool elsewhere_program(char out[PATH_MAX])
{
	return proc_program("tarry-lookup", out);
}

unsigned elsewhere_count(const struct conf *conf)
{
	unsigned n = 0;
	for (size_t i = 0; i < conf->access_db.len && i < ACCESS_MAPS; i++)
		n += access_is_elsewhere(conf->access_db.at[i]);
	return n;
}

static bool is_file(const char *spec)
{
	return strncmp(spec, "hash:", 5) == 0;
}

/* Only root can be somebody else, and who is root would be that account when it starts the door. */
static bool become(const struct conf *conf)
{
	const struct passwd *account = conf && geteuid() == 0 ? getpwnam(conf->user) : NULL;
	return !account || (initgroups(account->pw_name, account->pw_gid) == 0 && setgid(account->pw_gid) == 0 && setuid(account->pw_uid) == 0);
}

pid_t elsewhere_spawn(const char *const args[], const struct conf *conf, int fd, int end)
{
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		if (become(conf) && (fd < 0 || dup2(fd, end) >= 0))
			execv(args[0], (char *const *)(uintptr_t)args);
		_exit(EX_OSERR);
	}
	if (pid < 0)
		fprintf(stderr, "tarry: no process for %s: %s\n", args[0], strerror(errno));
	return pid;
}

int elsewhere_wait(pid_t pid)
{
	int status = 0;
	pid_t gone;
	do
		gone = waitpid(pid, &status, 0);
	while (gone < 0 && errno == EINTR);
	return gone < 0 ? EX_OSERR : WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static bool find_program(char program[PATH_MAX], struct buf *why)
{
	if (elsewhere_program(program) && access(program, X_OK) == 0)
		return true;
	buf_putf(why, "the program that asks such maps is not there (%s): %s", program, strerror(errno));
	return false;
}

/* The program with an option and all maps that are its own. */
static void put_args(const char *args[ARGS_MAX], const struct conf *conf, const char *option)
{
	size_t n = 1;
	args[n++] = option;
	if (conf->access_missing == CONF_MISSING_IGNORE)
		args[n++] = "--ignore-missing";
	args[n++] = "--";
	for (size_t i = 0; i < conf->access_db.len && i < ACCESS_MAPS; i++)
		if (access_is_elsewhere(conf->access_db.at[i]))
			args[n++] = conf->access_db.at[i];
	args[n] = NULL;
}

int elsewhere_check_names(const struct conf *conf)
{
	char program[PATH_MAX] = "", memory[PATH_MAX + 256];
	const char *args[ARGS_MAX] = { program };
	struct buf why;
	size_t first = 0;
	if (elsewhere_count(conf) == 0)
		return EX_OK;
	buf_init_fixed(&why, memory, sizeof(memory));
	while (!access_is_elsewhere(conf->access_db.at[first]))
		first++;
	if (!find_program(program, &why)) {
		fprintf(stderr, "tarry: %s: access_db = \"%s\": %s\n", conf_where(conf, "access_db"), conf->access_db.at[first], buf_text(&why));
		return EX_UNAVAILABLE;
	}
	put_args(args, conf, "--check");
	pid_t pid = elsewhere_spawn(args, NULL, -1, -1);
	return pid < 0 ? EX_OSERR : elsewhere_wait(pid);
}

int elsewhere_check_share(const struct conf *conf, const char *option, const char *url)
{
	char program[PATH_MAX] = "";
	const char *args[] = { program, "--check", url, "--option", option, "--place", conf_where(conf, option), NULL };
	if (!url[0])
		return EX_OK;
	if (!proc_program("tarry-known", program) || access(program, X_OK) < 0) {
		fprintf(stderr, "tarry: %s: %s: the program that asks such a server is not there (%s)\n", conf_where(conf, option), option, program);
		return EX_UNAVAILABLE;
	}
	pid_t pid = elsewhere_spawn(args, NULL, -1, -1);
	return pid < 0 ? EX_OSERR : elsewhere_wait(pid);
}

int elsewhere_check_shares(const struct conf *conf)
{
	int code = conf->known_ttl > 0 ? elsewhere_check_share(conf, "known_share", conf->known_share) : EX_OK;
	return code == EX_OK && conf->ban_after > 0 ? elsewhere_check_share(conf, "ban_share", conf->ban_share) : code;
}

int elsewhere_start(struct elsewhere *e, const struct conf *conf)
{
	char program[PATH_MAX];
	const char *args[ARGS_MAX] = { program };
	int ends[2];
	e->conf = conf;
	e->pid = 0;
	e->fd = -1;
	e->silent = false;
	e->serial = 0;
	int code = elsewhere_check_names(conf);
	if (code != EX_OK || elsewhere_count(conf) == 0)
		return code;
	if (!elsewhere_program(program) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		fprintf(stderr, "tarry: a channel to tarry-lookup: %s\n", strerror(errno));
		return EX_OSERR;
	}
	put_args(args, conf, "--ask");
	pid_t pid = elsewhere_spawn(args, conf, ends[1], STDIN_FILENO);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return EX_OSERR;
	}
	e->pid = pid;
	e->fd = ends[0];
	return EX_OK;
}

/* ---- a question ---- */

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fail(const struct wire_question *q, const char *why, struct wire_answer *out)
{
	*out = (struct wire_answer){ .id = q->id, .searches = q->searches };
	for (unsigned s = 0; s < q->searches; s++)
		out->found[s] = (struct wire_found){ .result = WIRE_FAILED, .text = slice_of(why) };
}

/* NULL, or why there is no answer. */
static const char *exchange(struct elsewhere *e, const struct wire_question *q, int64_t timeout_ms, struct wire_answer *out)
{
	struct buf message;
	struct pollfd ready = { .fd = e->fd, .events = POLLIN };
	buf_init_fixed(&message, e->question, sizeof(e->question));
	if (!wire_put_question(&message, q))
		return "the keys are too many for one question";
	if (e->pid == 0 || e->silent || send(e->fd, message.at, message.len, MSG_NOSIGNAL) < 0)
		return "tarry-lookup takes no questions";
	int n;
	do
		n = poll(&ready, 1, (int)timeout_ms + GRACE_MS);
	while (n < 0 && errno == EINTR);
	ssize_t got = n > 0 ? recv(e->fd, e->answer, sizeof(e->answer), 0) : -1;
	if (n > 0 && got > 0 && wire_get_answer((struct slice){ e->answer, (size_t)got }, out) && out->id == q->id && out->searches == q->searches)
		return NULL;
	e->silent = true;
	return n > 0 ? "tarry-lookup has died of it" : "no answer in time";
}

void elsewhere_ask(struct elsewhere *e, unsigned map, struct wire_question *q, struct wire_answer *out)
{
	const struct conf *conf = e->conf;
	int64_t timeout_ms = is_file(conf->access_db.at[map]) ? FILE_PATIENCE_MS : conf->lookup_timeout / 1000000;
	q->id = ++e->serial;
	q->front = 0;
	q->map = 0;
	for (unsigned i = 0; i < map; i++)
		q->map = (uint16_t)(q->map + access_is_elsewhere(conf->access_db.at[i]));
	q->deadline = now_ns() + timeout_ms * 1000000;
	const char *why = exchange(e, q, timeout_ms, out);
	if (why)
		fail(q, why, out);
}

void elsewhere_stop(struct elsewhere *e)
{
	if (e->pid == 0)
		return;
	close(e->fd);
	if (e->silent)
		kill(e->pid, SIGKILL);
	elsewhere_wait(e->pid);
	e->pid = 0;
}

/* ---- all entries ---- */

/* Records end with a NUL. The last one, which has no tab, says what was wrong, or is empty. */
static bool read_entries(FILE *from, bool (*take)(void *context, const char *entry), void *context, struct buf *why)
{
	char *entry = NULL;
	size_t size = 0;
	bool taken = true, ended = false;
	while (taken && !ended && getdelim(&entry, &size, '\0', from) > 0) {
		ended = !strchr(entry, '\t');
		taken = ended || take(context, entry);
	}
	bool ok = taken && ended && entry[0] == '\0';
	if (!ok)
		buf_put_text(why, !taken ? "no memory for its entries" : ended ? entry : "tarry-lookup has died of it");
	free(entry);
	return ok;
}

bool elsewhere_dump(const char *spec, const struct conf *conf, bool (*take)(void *context, const char *entry), void *context, struct buf *why)
{
	char program[PATH_MAX] = "";
	const char *args[] = { program, "--dump", "--", spec, NULL };
	int ends[2];
	if (!find_program(program, why))
		return false;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		buf_putf(why, "a channel to tarry-lookup: %s", strerror(errno));
		return false;
	}
	FILE *from = fdopen(ends[0], "r");
	pid_t pid = from ? elsewhere_spawn(args, conf, ends[1], STDOUT_FILENO) : -1;
	close(ends[1]);
	bool ok = pid > 0 && read_entries(from, take, context, why);
	if (from)
		fclose(from);
	else
		close(ends[0]);
	if (pid > 0)
		elsewhere_wait(pid);
	else
		buf_put_text(why, "no process for tarry-lookup");
	return ok;
}
