/* The tour, main: the way to a keeper, for `tarry known` and `tarry ban`: first where no door runs, then lines, then whole files of them. */
#include "keepercmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/proc.h"
#include "core/whole.h"
#include "tool/complain.h"
#include "tool/elsewhere.h"

#define TEXT_MAX 65536
#define LINE 1024

int keepercmd_wrong(const struct keepercmd *cmd, const char *what, const char *why)
{
	fprintf(stderr, "tarry: %s: ", cmd->name);
	if (*what)
		fprintf(stderr, "\"%s\": ", what);
	fprintf(stderr, "%s; see tarry %s -h\n", why, cmd->name);
	return EX_USAGE;
}

int keepercmd_options(const struct keepercmd *cmd, int argc, char **argv, bool json, struct keepercmd_options *o)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { "json", no_argument, NULL, 'j' }, { 0 } };
	int c;
	*o = (struct keepercmd_options){ .path = conf_default_path() };
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:o:hj", longs, NULL)) != -1) {
		if (c == 'c')
			o->path = optarg;
		else if (c == 'o' && o->overrides_len < CONF_OVERRIDES)
			o->overrides[o->overrides_len++].text = optarg;
		else if (c == 'h')
			return -1;
		else if (c == 'j' && json)
			o->json = true;
		else
			return keepercmd_wrong(cmd, argv[optind - 1], c == ':' ? "needs a value" : c == 'o' ? "once too often" : "no such option");
	}
	return EX_OK;
}

void keepercmd_give(struct keepercmd_args *a, const char *option, const char *value)
{
	a->at[a->len++] = option;
	a->at[a->len++] = value;
	a->at[a->len] = NULL;
}

void keepercmd_give_number(struct keepercmd_args *a, const char *option, long long value)
{
	snprintf(a->numbers[a->len], sizeof(a->numbers[0]), "%lld", value);
	keepercmd_give(a, option, a->numbers[a->len]);
}

/* ---- the other end ---- */

static int load(struct conf *conf, const struct keepercmd_options *o)
{
	struct buf errors, warnings;
	buf_init(&errors, TEXT_MAX);
	buf_init(&warnings, TEXT_MAX);
	bool ok = complain_load(conf, o->path, o->overrides, o->overrides_len, &errors, &warnings);
	complain_lines(&errors, "");
	buf_fini(&errors);
	buf_fini(&warnings);
	return ok ? EX_OK : o->path && !complain_is_readable(o->path) ? EX_NOINPUT : EX_CONFIG;
}

static int start_program(const struct keepercmd *cmd, const struct conf *conf, struct keepercmd_peer *peer)
{
	char program[PATH_MAX] = "";
	struct keepercmd_args a = { .at = { program, "--dialogue", "0" }, .len = 3, .fd = -1 };
	int ends[2];
	int code = cmd->arguments(conf, &a);
	struct account account;
	if (code == EX_OK && geteuid() == 0) /* or the file would be root's, and the door could not have it */
		code = complain_account(conf, &account);
	if (code == EX_OK && (!proc_program("tarry-known", program) || access(program, X_OK) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)) {
		fprintf(stderr, "tarry: %s: %s: %s\n", cmd->name, program, strerror(errno));
		code = EX_UNAVAILABLE;
	}
	if (code == EX_OK) {
		if (a.fd >= 0)
			fcntl(a.fd, F_SETFD, 0);
		peer->pid = elsewhere_spawn(a.at, conf, ends[1], STDIN_FILENO);
		close(ends[1]);
		peer->out = ends[0];
		code = peer->pid < 0 ? EX_OSERR : EX_OK;
	}
	if (a.fd >= 0)
		close(a.fd);
	return code;
}

int keepercmd_reach(const struct keepercmd *cmd, const struct keepercmd_options *o, const char *word, struct keepercmd_peer *peer)
{
	char line[32];
	int code = EX_OK;
	*peer = (struct keepercmd_peer){ .cmd = cmd, .out = control_connect(cmd->question, o->path) };
	if (peer->out < 0) {
		struct conf conf;
		code = load(&conf, o);
		if (code != EX_OK)
			return code;
		code = start_program(cmd, &conf, peer);
		conf_fini(&conf);
	} else if (!control_may_ask(cmd->name, peer->out)) {
		close(peer->out);
		code = EX_NOPERM;
	}
	if (code != EX_OK)
		return code;
	signal(SIGPIPE, SIG_IGN);
	peer->in = fdopen(fcntl(peer->out, F_DUPFD_CLOEXEC, 0), "r");
	snprintf(line, sizeof(line), "%s\n", word);
	if (peer->in && write(peer->out, line, strlen(line)) == (ssize_t)strlen(line))
		return EX_OK;
	fprintf(stderr, "tarry: %s: the question does not get there: %s\n", cmd->name, strerror(errno));
	return EX_OSERR;
}

bool keepercmd_say(const struct keepercmd_peer *peer, const char *at, size_t len)
{
	return whole_write(peer->out, at, len) == 0;
}

int keepercmd_hear(struct keepercmd_peer *peer, FILE *to, const char *from, long long *n)
{
	char line[LINE];
	int code = EX_PROTOCOL;
	shutdown(peer->out, SHUT_WR);
	while (fgets(line, sizeof(line), peer->in)) {
		control_tame(line, strlen(line));
		if (line[0] == '+' && line[1] == ' ') {
			*n = strtoll(line + 2, NULL, 10);
			code = EX_OK;
		} else if (line[0] == '-' && line[1] == ' ') {
			fprintf(stderr, "tarry: %s: %s%s%s", peer->cmd->name, from, *from ? ": " : "", line + 2);
			code = EX_DATAERR;
		} else if (to) {
			fputs(line, to);
		}
	}
	fclose(peer->in);
	close(peer->out);
	int end = peer->pid > 0 ? elsewhere_wait(peer->pid) : EX_OK;
	if (code == EX_PROTOCOL && end != EX_OK)
		return EX_UNAVAILABLE; /* it has said why */
	if (code == EX_PROTOCOL)
		fprintf(stderr, "tarry: %s: the door does not answer to the end; it may be another user's\n", peer->cmd->name);
	if (to && (fflush(to) != 0 || ferror(to))) {
		fprintf(stderr, "tarry: %s: cannot write: %s\n", peer->cmd->name, strerror(errno));
		return EX_IOERR;
	}
	return code;
}

/* ---- files ---- */

int keepercmd_export(const struct keepercmd *cmd, const struct keepercmd_options *o, char **words, int len)
{
	struct keepercmd_peer peer;
	long long n = 0;
	const char *to = len == 1 && strcmp(words[0], "-") != 0 ? words[0] : NULL;
	int code = keepercmd_reach(cmd, o, "list", &peer); /* first: what an older file has is not lost for nobody's answer */
	if (code != EX_OK)
		return code;
	FILE *f = to ? fopen(to, "we") : stdout;
	int error = errno;
	code = keepercmd_hear(&peer, f, "", &n);
	if (!f) {
		fprintf(stderr, "tarry: %s: %s: %s\n", cmd->name, to, strerror(error));
		return EX_CANTCREAT;
	}
	if (to && fclose(f) != 0 && code == EX_OK) {
		fprintf(stderr, "tarry: %s: %s: %s\n", cmd->name, to, strerror(errno));
		code = EX_IOERR;
	}
	if (code == EX_OK && to)
		printf("%lld written to %s\n", n, to);
	return code;
}

int keepercmd_import(const struct keepercmd *cmd, const struct keepercmd_options *o, char **words, int len)
{
	static char bytes[TEXT_MAX];
	struct keepercmd_peer peer;
	long long n = 0;
	const char *from = len == 1 && strcmp(words[0], "-") != 0 ? words[0] : NULL;
	int fd = from ? open(from, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (fd < 0) {
		fprintf(stderr, "tarry: %s: %s: %s\n", cmd->name, from, strerror(errno));
		return EX_NOINPUT;
	}
	int code = keepercmd_reach(cmd, o, "import", &peer);
	ssize_t got = 0;
	while (code == EX_OK && (got = read(fd, bytes, sizeof(bytes))) > 0 && keepercmd_say(&peer, bytes, (size_t)got))
		;
	int error = errno;
	if (code == EX_OK)
		code = keepercmd_hear(&peer, NULL, from ? from : "standard input", &n);
	if (from)
		close(fd);
	if (code == EX_OK && got < 0) {
		fprintf(stderr, "tarry: %s: %s: %s\n", cmd->name, from ? from : "standard input", strerror(error));
		return EX_IOERR;
	}
	if (code == EX_OK)
		printf("%lld taken\n", n);
	return code;
}

