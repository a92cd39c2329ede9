/* The tour, lookup: the program tarry-lookup, which the parent starts to ask maps that may block. It is a program of its own so that the libraries of those maps
 * are never mapped into the process that faces the Internet. Everything it needs it inherits: descriptors, the unprivileged user, the ignored signals
 * (tests/system/fronts.c starts it so). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/arguments.h"
#include "core/helper.h"
#include "core/log.h"
#include "lookup/worker.h"

struct arguments {
	unsigned index;
	int questions, shared;
	int replies[WORKER_FRONTS];
	unsigned replies_len;
	struct helper_arguments helper;
	bool ignore_missing;
	enum { SERVE, CHECK, ASK, DUMP } what;
};

#define DUMP_PATIENCE (65 * LOOP_SECOND) /* for a file to be verified */

static const char usage[] =
	"usage: tarry-lookup --questions FD --replies FD,FD,... --parent FD [--shared FD] [--index N]\n"
	"                    [--ignore-missing] " HELPER_USAGE " -- MAP...\n"
	"       tarry-lookup --try " SANDBOX_USAGE " -- MAP...\n"
	"       tarry-lookup --check -- MAP...\n"
	"       tarry-lookup --ask [--ignore-missing] -- MAP...\n"
	"       tarry-lookup --dump -- MAP\n"
	"Asks maps that may block, for the fronts of a door. `tarry serve` starts it; --check only says whether the maps are well named.\n"
	"`tarry access` and `tarry check` use --ask, questions and answers over a socket as standard input, and --dump, all entries of a hash: map.\n";

static int misused(void)
{
	fputs(usage, stderr);
	return EX_USAGE;
}

static bool take(int option, const char *text, void *to)
{
	struct arguments *a = to;
	int64_t n;
	if (option >= HELPER_OPTION)
		return helper_take(&a->helper, option, text);
	switch (option) {
	case 'q':
		return arguments_int(text, &a->questions);
	case 's':
		return arguments_int(text, &a->shared);
	case 'r':
		return arguments_ints(text, a->replies, WORKER_FRONTS, &a->replies_len);
	case 'i':
		if (!arguments_number(text, UINT16_MAX, &n))
			return false;
		a->index = (unsigned)n;
		return true;
	case 'm':
		a->ignore_missing = true;
		return true;
	default:
		a->what = option == 'a' ? ASK : option == 'd' ? DUMP : CHECK;
		return true;
	}
}

/* EX_OK, or the exit status; -1: help was given. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {
		{ "questions", required_argument, NULL, 'q' }, { "replies", required_argument, NULL, 'r' },
		{ "shared", required_argument, NULL, 's' }, { "index", required_argument, NULL, 'i' }, HELPER_LONGS, { "check", no_argument, NULL, 'c' }, { "ask", no_argument, NULL, 'a' }, { "dump", no_argument, NULL, 'd' }, { "ignore-missing", no_argument, NULL, 'm' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int status = arguments_read(argc, argv, longs, usage, take, a);
	if (status != EX_OK)
		return status;
	if (optind == argc || (a->what == DUMP && argc - optind > 1))
		return misused();
	if (a->what == SERVE && !a->helper.sandbox.try && (a->questions < 0 || a->helper.parent < 0 || a->replies_len == 0))
		return misused();
	return EX_OK;
}

static int add_maps(struct worker *w, char **specs)
{
	int status = EX_OK;
	for (; *specs; specs++) {
		struct buf why;
		buf_init(&why, LOG_LINE);
		if (!worker_add(w, *specs, &why)) {
			fprintf(stderr, "tarry-lookup: \"%s\": %s\n", *specs, buf_text(&why));
			status = EX_CONFIG;
		}
		buf_fini(&why);
	}
	return status;
}

/* For tools: one who asks, over standard input. Nobody reads a log; what failed is in the answers. */
static int answer_one(struct worker *w)
{
	ssize_t n;
	while ((n = recv(STDIN_FILENO, w->message, sizeof(w->message), 0)) > 0 || (n < 0 && errno == EINTR)) {
		struct buf out;
		uint16_t front;
		buf_init_fixed(&out, w->reply, sizeof(w->reply));
		if (n > 0 && worker_answer(w, (struct slice){ w->message, (size_t)n }, &front, &out) && send(STDIN_FILENO, out.at, out.len, MSG_NOSIGNAL) < 0)
			return EX_IOERR;
	}
	return n == 0 ? EX_OK : EX_IOERR;
}

static void put_printable(struct slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		putchar(bytes.at[i] == '\0' ? '?' : bytes.at[i]);
}

static bool print_entry(void *context, struct slice key, struct slice value)
{
	(void)context;
	put_printable(key);
	putchar('\t');
	put_printable(value);
	return putchar('\0') != EOF;
}

/* Each entry ends with a NUL. The last record has no tab, and says what was wrong, or nothing. */
static int dump(const struct worker *w)
{
	const struct worker_map *m = &w->maps[0];
	struct buf why;
	buf_init(&why, LOG_LINE);
	bool ok = m->driver->each && m->driver->each(m->map, print_entry, NULL, driver_now() + DUMP_PATIENCE, &why);
	if (!m->driver->each)
		buf_putf(&why, "the entries of a %s map cannot be listed; its server can, or ask for one with tarry access get", m->driver->scheme);
	if (!ok)
		printf("%s", why.len > 0 ? buf_text(&why) : "they cannot be written");
	putchar('\0');
	buf_fini(&why);
	return fflush(stdout) != 0 ? EX_IOERR : ok ? EX_OK : EX_UNAVAILABLE;
}

static int serve(struct worker *w, const struct arguments *a)
{
	struct sandbox_needs needs;
	int status;
	if (!a->helper.sandbox.try && helper_begin(&a->helper, "tarry-lookup", "lookup", a->index) < 0)
		return EX_OSERR;
	sandbox_needs_init(&needs);
	for (unsigned i = 0; i < w->maps_len; i++)
		w->maps[i].driver->needs(w->maps[i].map, &needs);
	sandbox_conf_log(&needs, a->helper.target);
	if (!sandbox_take_role(&a->helper.sandbox, "lookup", &needs, a->index == 0, &status))
		return status;
	int e = worker_run(w, a->questions, a->helper.parent, a->replies, a->replies_len);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "lookup_failed", "%s", strerror(-e));
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}

int main(int argc, char **argv)
{
	static struct worker worker; /* large */
	struct arguments a = { .questions = -1, .shared = -1, .helper = HELPER_ARGUMENTS };
	int status = read_arguments(argc, argv, &a);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	int e = worker_init(&worker);
	if (e < 0) {
		fprintf(stderr, "tarry-lookup: no epoll: %s\n", strerror(-e));
		return EX_OSERR;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, SIG_DFL); /* see worker.c */
	e = a.shared >= 0 ? worker_share(&worker, a.shared) : 0;
	if (e < 0) {
		fprintf(stderr, "tarry-lookup: shared memory: %s\n", strerror(-e));
		return EX_OSERR;
	}
	worker.ignore_missing = a.ignore_missing;
	status = add_maps(&worker, argv + optind);
	if (status == EX_OK && a.what != CHECK)
		status = a.what == ASK ? answer_one(&worker) : a.what == DUMP ? dump(&worker) : serve(&worker, &a);
	worker_fini(&worker);
	return status;
}
