/* The tour, tools: `tarry report` reads the log of a door, in one go and with memory that has a ceiling, and says what enforcing had refused or has refused. Files that were rotated
 * and compressed are read through gzip, xz, zstd or bzip2, which is not this program's business to link with: it is also the one that faces the Internet. */
#include "tool/report.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "tool/tool.h"

#define BLOCK (256 * 1024) /* bytes read at once; a line that is longer is none */
#define TOP 20
#define TOP_MOST 1000000

struct options {
	int64_t now, since, until; /* REPORT_NO_TIME: from the first, to the last */
	struct report_shape shape;
	bool json;
};

static const char usage[] =
	"usage: tarry report [--since T] [--until T] [--top N] [--json] [FILE]...\n"
	"\n"
	"Reads the log of a door, from FILEs (- is the standard input, compressed ones are taken as they are) or the standard input, and says which\n"
	"clients enforcing had refused (mode = observe) or has refused, and which of these have also had mail accepted.\n"
	"\n"
	"  --since T            lines from then on: \"2026-11-30\", \"2026-11-30 12:00\", \"12:00\", today, yesterday, 1h, \"2 days ago\", @1764500000\n"
	"  --until T            lines before then\n"
	"  --top N              rows of each table (20)\n"
	"  --json               for programs\n"
	"  -h, --help           this\n"
	"\n"
	"exit code: 0; 64 wrong usage; 65 a compressed file is damaged; 66 a file cannot be read; 71 no memory\n";

static int complain(const char *value, const char *what)
{
	char memory[1024];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, value, strlen(value), 200);
	fprintf(stderr, "tarry report: %s: %s; see tarry report -h\n", buf_text(&text), what);
	return EX_USAGE;
}

static int parse_top(const char *text, unsigned *top)
{
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || end == text || n < 1 || n > TOP_MOST)
		return complain(text, "not a number of rows from 1 to 1000000");
	*top = (unsigned)n;
	return EX_OK;
}

static int parse(int argc, char **argv, struct options *o, bool *done)
{
	static const struct option longs[] = { { "since", required_argument, NULL, 'S' }, { "until", required_argument, NULL, 'U' }, { "top", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	int c, code = EX_OK;
	optind = 0;
	opterr = 0;
	while (code == EX_OK && (c = getopt_long(argc, argv, ":S:U:h", longs, NULL)) != -1) {
		if (c == 'S' || c == 'U') {
			if (!report_time_parse(optarg, o->now, c == 'S' ? &o->since : &o->until))
				code = complain(optarg, "not a time; expected one like \"2026-11-30\", \"2026-11-30 12:00\", today, yesterday, 1h or \"2 days ago\"");
		} else if (c == 't') {
			code = parse_top(optarg, &o->shape.top);
		} else if (c == 'j') {
			o->json = true;
		} else if (c == 'h') {
			fputs(usage, stdout);
			*done = true;
		} else {
			code = complain(argv[optind - 1], c == ':' ? "needs a value" : "no such option");
		}
	}
	if (code == EX_OK && o->since != REPORT_NO_TIME && o->until != REPORT_NO_TIME && o->until <= o->since)
		return complain("--until", "is not after --since");
	return code;
}

/* ---- lines ---- */

static void take(struct report_sums *sums, const struct options *o, struct slice line)
{
	struct report_line l;
	sums->lines++;
	if (!report_line_parse(line, &l))
		return;
	int64_t at = report_time_of(l.before, o->now);
	bool asked = o->since != REPORT_NO_TIME || o->until != REPORT_NO_TIME;
	if (asked && at == REPORT_NO_TIME) {
		sums->untimed++;
		return;
	}
	if ((o->since != REPORT_NO_TIME && at < o->since) || (o->until != REPORT_NO_TIME && at >= o->until))
		return;
	report_sums_add(sums, &l, at);
}

/* True: all was read. */
static bool read_lines(int fd, char *block, struct report_sums *sums, const struct options *o)
{
	size_t have = 0;
	bool skip = false; /* the rest of a line that is too long */
	for (;;) {
		ssize_t n = read(fd, block + have, BLOCK - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		char *at = block, *end = block + have + n, *lf;
		while ((lf = memchr(at, '\n', (size_t)(end - at)))) {
			if (!skip)
				take(sums, o, (struct slice){ at, (size_t)(lf - at) });
			skip = false;
			at = lf + 1;
		}
		have = (size_t)(end - at);
		if (n == 0 && have > 0 && !skip)
			take(sums, o, (struct slice){ at, have });
		if (n == 0)
			return true;
		skip = skip || have == BLOCK;
		if (have == BLOCK)
			have = 0;
		memmove(block, at, have);
	}
}

/* ---- files ---- */

/* Which program makes plain text of it; NULL: it is that already, or cannot be looked at before it is read. */
static const char *unpacker(int fd)
{
	static const struct { const char *magic; size_t len; const char *program; } table[] = { { "\x1f\x8b", 2, "gzip" }, { "\xfd" "7zXZ", 5, "xz" }, { "\x28\xb5\x2f\xfd", 4, "zstd" },
		{ "BZh", 3, "bzip2" } };
	char head[8];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (n >= (ssize_t)table[i].len && memcmp(head, table[i].magic, table[i].len) == 0)
			return table[i].program;
	return NULL;
}

/* The program's output, the file being its input. -1: it could not be started. */
static int unpack(const char *program, int fd, pid_t *pid)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	*pid = fork();
	if (*pid == 0) {
		if (dup2(fd, STDIN_FILENO) >= 0 && dup2(ends[1], STDOUT_FILENO) >= 0)
			execlp(program, program, "-dc", (char *)NULL);
		fprintf(stderr, "tarry report: %s: %s\n", program, strerror(errno));
		_exit(127);
	}
	close(ends[1]);
	if (*pid > 0)
		return ends[0];
	close(ends[0]);
	return -1;
}

static int unreadable(const char *path)
{
	fprintf(stderr, "tarry report: %s: %s\n", path, strerror(errno));
	return EX_NOINPUT;
}

static int read_packed(const char *path, const char *program, int fd, char *block, struct report_sums *sums, const struct options *o)
{
	pid_t pid;
	int status = 0, from = unpack(program, fd, &pid);
	if (from < 0)
		return unreadable(path);
	bool ok = read_lines(from, block, sums, o);
	close(from);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ok && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return EX_OK;
	fprintf(stderr, "tarry report: %s: %s -dc could not read it to its end: what comes after that is missing\n", path, program);
	return EX_DATAERR;
}

static int read_file(const char *path, char *block, struct report_sums *sums, const struct options *o)
{
	bool standard = strcmp(path, "-") == 0;
	int code = EX_OK, fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return unreadable(path);
	const char *program = unpacker(fd);
	if (program)
		code = read_packed(path, program, fd, block, sums, o);
	else if (!read_lines(fd, block, sums, o))
		code = unreadable(path);
	if (!standard)
		close(fd);
	return code;
}

static int read_all(int argc, char **argv, struct report_sums *sums, const struct options *o)
{
	static char block[BLOCK];
	int code = EX_OK;
	if (argc == 0)
		return read_file("-", block, sums, o);
	for (int i = 0; i < argc; i++) {
		int e = read_file(argv[i], block, sums, o);
		code = code == EX_OK ? e : code;
	}
	return code;
}

/* What a number alone would hide. */
static void remark(const struct report_sums *sums, const struct options *o)
{
	bool asked = o->since != REPORT_NO_TIME || o->until != REPORT_NO_TIME;
	if (asked && sums->untimed > 0)
		fprintf(stderr, "tarry report: %llu lines without a time were left out (journalctl -o cat, for one, prints none)\n", (unsigned long long)sums->untimed);
	if (sums->connections == 0)
		fprintf(stderr, "tarry report: no connection of a door in %llu lines%s; expected the log of tarry serve, at level info\n", (unsigned long long)sums->lines,
		        asked ? " of that time" : "");
}

int tool_report(int argc, char **argv)
{
	struct options o = { .now = (int64_t)time(NULL), .since = REPORT_NO_TIME, .until = REPORT_NO_TIME, .shape = { .top = TOP } };
	static struct report_sums sums; /* large */
	bool done = false;
	int code = parse(argc, argv, &o, &done);
	if (code != EX_OK || done)
		return code;
	bool memory = report_sums_init(&sums);
	if (memory) {
		code = read_all(argc - optind, argv + optind, &sums, &o);
		memory = report_sums_end(&sums);
	}
	if (!memory) {
		fprintf(stderr, "tarry report: no memory\n");
		code = EX_OSERR;
	} else {
		remark(&sums, &o);
		if (o.json)
			report_json(stdout, &sums, &o.shape);
		else
			report_print(stdout, &sums, &o.shape);
	}
	report_sums_fini(&sums);
	if (fflush(stdout) != 0 && code == EX_OK)
		code = EX_IOERR;
	return code;
}
