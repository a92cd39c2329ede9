/* The tour, main: `tarry known`. What is said to the keeper, and what it says, are lines (keeper/dialogue.h); this end copies them. */
#include "knowncmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "control.h"
#include "core/conf.h"
#include "core/loop.h"
#include "core/proc.h"
#include "known/known_key.h"
#include "tool/complain.h"
#include "tool/elsewhere.h"

#define TEXT_MAX 65536
#define LINE 1024

static const char usage[] =
	"usage: tarry known list [KEY]                 who is known, or whether this one is\n"
	"       tarry known add KEY...                 as if it had passed now\n"
	"       tarry known drop KEY...                it has to wait again\n"
	"       tarry known export [FILE]              all of them, a line each: KEY, since when, when it passed last\n"
	"       tarry known import [FILE]              such lines; - or no FILE: standard input, or output\n"
	"each with [-c FILE] [-o name=value]...\n"
	"\n"
	"KEY is an address, a network such as 192.0.2.0/24 (see known_prefix) or 2001:db8:1:2::/64, or a domain. Asks the door that runs with that configuration file; where none does, the file\n"
	"known_db is read and written.\n"
	"\n"
	"exit code: 0 done; 1 not known; 64 wrong usage; 65 what is to be taken is no such line; 66 a file is not there; 67 there is no such account as user names; 69 nobody is remembered, or the file is not to be had; 73 a file cannot be\n"
	"           made; 74 it cannot be read or written; 76 what answers is no door; 78 errors in the configuration\n";

struct options {
	const char *path;
	struct conf_override overrides[CONF_OVERRIDES];
	size_t overrides_len;
};

struct peer {
	FILE *in;
	int out;
	pid_t pid; /* of tarry-known, where no door runs; 0: one does */
};

/* ---- the other end ---- */

static int load(struct conf *conf, const struct options *o)
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

static int start_program(const struct conf *conf, struct peer *peer)
{
	char program[PATH_MAX] = "", max[24], ttl[24], bits[24];
	const char *args[] = { program, "--dialogue", "0", "--db", conf->known_db, "--max", max, "--ttl", ttl, "--prefix", bits, NULL };
	int ends[2];
	if (conf->known_ttl == 0 || !conf->known_db[0]) {
		fprintf(stderr, "tarry: known: no door runs with this configuration, and there is no file: %s\n", conf->known_ttl == 0 ? "known_ttl = 0" : "known_db is empty");
		return EX_UNAVAILABLE;
	}
	const struct passwd *account;
	if (geteuid() == 0 && complain_account(conf, &account) != EX_OK) /* or the file would be root's, and the door could not have it */
		return EX_NOUSER;
	snprintf(max, sizeof(max), "%lld", (long long)conf->known_max);
	snprintf(ttl, sizeof(ttl), "%lld", (long long)((conf->known_ttl + LOOP_SECOND - 1) / LOOP_SECOND));
	snprintf(bits, sizeof(bits), "%lld", (long long)conf->known_prefix);
	if (!proc_program("tarry-known", program) || access(program, X_OK) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		fprintf(stderr, "tarry: known: %s: %s\n", program, strerror(errno));
		return EX_UNAVAILABLE;
	}
	peer->pid = elsewhere_spawn(args, conf, ends[1], STDIN_FILENO);
	close(ends[1]);
	peer->out = ends[0];
	return peer->pid < 0 ? EX_OSERR : EX_OK;
}

static int reach(const struct options *o, const char *word, struct peer *peer)
{
	char line[32];
	int code = EX_OK;
	*peer = (struct peer){ .out = control_connect(CONTROL_KNOWN, o->path) };
	if (peer->out < 0) {
		struct conf conf;
		code = load(&conf, o);
		if (code != EX_OK)
			return code;
		code = start_program(&conf, peer);
		conf_fini(&conf);
	}
	if (code != EX_OK)
		return code;
	signal(SIGPIPE, SIG_IGN);
	peer->in = fdopen(fcntl(peer->out, F_DUPFD_CLOEXEC, 0), "r");
	snprintf(line, sizeof(line), "%s\n", word);
	return peer->in && write(peer->out, line, strlen(line)) == (ssize_t)strlen(line) ? EX_OK : EX_OSERR;
}

/* All of it; false: the other end takes no more, and has said why. */
static bool say(const struct peer *peer, const char *at, size_t len)
{
	while (len > 0) {
		ssize_t n = write(peer->out, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* Lines go to `to` (NULL: nowhere) up to the last one; *n: what that counts. */
static int hear(struct peer *peer, FILE *to, const char *from, long long *n)
{
	char line[LINE];
	int code = EX_PROTOCOL;
	shutdown(peer->out, SHUT_WR);
	while (fgets(line, sizeof(line), peer->in)) {
		if (line[0] == '+' && line[1] == ' ') {
			*n = strtoll(line + 2, NULL, 10);
			code = EX_OK;
		} else if (line[0] == '-' && line[1] == ' ') {
			fprintf(stderr, "tarry: known: %s%s%s", from, *from ? ": " : "", line + 2);
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
		fprintf(stderr, "tarry: known: the door does not answer to the end; it may be another user's\n");
	if (to && (fflush(to) != 0 || ferror(to))) {
		fprintf(stderr, "tarry: known: cannot write: %s\n", strerror(errno));
		return EX_IOERR;
	}
	return code;
}

/* ---- commands ---- */

static int list(const struct options *o, char **words, int len)
{
	struct known_key key;
	struct buf text;
	char memory[KNOWN_DOMAIN + ADDR_TEXT + 2], *at = NULL;
	size_t size = 0;
	struct peer peer;
	long long n = 0;
	if (len > 1 || (len == 1 && !known_key_parse(slice_of(words[0]), &key))) {
		fprintf(stderr, "tarry: known: list: \"%s\": expected one address, network or domain, or nothing\n", words[len - 1]);
		return EX_USAGE;
	}
	int code = reach(o, "list", &peer);
	FILE *all = code == EX_OK && len == 1 ? open_memstream(&at, &size) : NULL;
	if (code == EX_OK)
		code = hear(&peer, len == 1 ? all : stdout, "", &n);
	if (!all)
		return code;
	fclose(all);
	buf_init_fixed(&text, memory, sizeof(memory));
	known_key_put(&text, &key);
	buf_put_char(&text, '\t');
	bool found = false;
	char *rest = NULL;
	for (char *line = code == EX_OK ? strtok_r(at, "\n", &rest) : NULL; line && !found; line = strtok_r(NULL, "\n", &rest)) {
		found = strncmp(line, buf_text(&text), text.len) == 0;
		if (found)
			puts(line);
	}
	free(at);
	return code != EX_OK ? code : found ? EX_OK : 1;
}

static int change(const struct options *o, const char *name, char **words, int len)
{
	struct peer peer;
	long long n = 0;
	struct known_key key;
	bool drops = strcmp(name, "drop") == 0;
	for (int i = 0; i < len || len == 0; i++)
		if (len == 0 || !known_key_parse(slice_of(words[i]), &key)) {
			fprintf(stderr, "tarry: known: %s: \"%s\": expected an address, a network (of an IPv6 client a /64) or a domain\n", name, len ? words[i] : "");
			return EX_USAGE;
		}
	int code = reach(o, drops ? "drop" : "import", &peer);
	if (code != EX_OK)
		return code;
	for (int i = 0; i < len; i++)
		if (!say(&peer, words[i], strlen(words[i])) || !say(&peer, "\n", 1))
			break;
	code = hear(&peer, NULL, "", &n);
	return code != EX_OK ? code : drops && n == 0 ? 1 : EX_OK;
}

static int export_all(const struct options *o, char **words, int len)
{
	struct peer peer;
	long long n = 0;
	const char *to = len == 1 && strcmp(words[0], "-") != 0 ? words[0] : NULL;
	FILE *f = to ? fopen(to, "we") : stdout;
	if (!f) {
		fprintf(stderr, "tarry: known: %s: %s\n", to, strerror(errno));
		return EX_CANTCREAT;
	}
	int code = reach(o, "list", &peer);
	if (code == EX_OK)
		code = hear(&peer, f, "", &n);
	if (to && fclose(f) != 0 && code == EX_OK) {
		fprintf(stderr, "tarry: known: %s: %s\n", to, strerror(errno));
		code = EX_IOERR;
	}
	if (code == EX_OK && to)
		printf("%lld written to %s\n", n, to);
	return code;
}

static int import_all(const struct options *o, char **words, int len)
{
	static char bytes[TEXT_MAX];
	struct peer peer;
	long long n = 0;
	const char *from = len == 1 && strcmp(words[0], "-") != 0 ? words[0] : NULL;
	int fd = from ? open(from, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	if (fd < 0) {
		fprintf(stderr, "tarry: known: %s: %s\n", from, strerror(errno));
		return EX_NOINPUT;
	}
	int code = reach(o, "import", &peer);
	ssize_t got = 0;
	while (code == EX_OK && (got = read(fd, bytes, sizeof(bytes))) > 0 && say(&peer, bytes, (size_t)got))
		;
	int error = errno;
	if (code == EX_OK)
		code = hear(&peer, NULL, from ? from : "standard input", &n);
	if (from)
		close(fd);
	if (code == EX_OK && got < 0) {
		fprintf(stderr, "tarry: known: %s: %s\n", from ? from : "standard input", strerror(error));
		return EX_IOERR;
	}
	if (code == EX_OK)
		printf("%lld taken\n", n);
	return code;
}

static int wrong(const char *what, const char *why)
{
	fprintf(stderr, "tarry: known: \"%s\": %s; see tarry known -h\n", what, why);
	return EX_USAGE;
}

int knowncmd_run(int argc, char **argv)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	struct options o = { .path = conf_default_path() };
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:o:h", longs, NULL)) != -1) {
		if (c == 'c')
			o.path = optarg;
		else if (c == 'o' && o.overrides_len < CONF_OVERRIDES)
			o.overrides[o.overrides_len++].text = optarg;
		else if (c == 'h')
			return fputs(usage, stdout) < 0 ? EX_IOERR : EX_OK;
		else
			return wrong(argv[optind - 1], c == ':' ? "needs a value" : c == 'o' ? "once too often" : "no such option");
	}
	if (optind == argc)
		return wrong("", "expected list, add, drop, export or import");
	const char *name = argv[optind];
	char **words = argv + optind + 1;
	int len = argc - optind - 1;
	if (strcmp(name, "list") == 0)
		return list(&o, words, len);
	if (strcmp(name, "add") == 0 || strcmp(name, "drop") == 0)
		return change(&o, name, words, len);
	if (strcmp(name, "export") != 0 && strcmp(name, "import") != 0)
		return wrong(name, "expected list, add, drop, export or import");
	if (len > 1)
		return wrong(words[1], "expected one file at most");
	return strcmp(name, "export") == 0 ? export_all(&o, words, len) : import_all(&o, words, len);
}
