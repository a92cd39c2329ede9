/* The tour, tools: `tarry report` reads the log of a door, in one go and with memory that has a ceiling, and says what enforcing had refused or has refused. */
#include "tool/report.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "core/arguments.h"
#include "tool/report_read.h"
#include "tool/tool.h"

#define TOP 20
#define TOP_MOST 1000000

struct options {
	struct report_window window;
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
	return arguments_misused("report", value, what);
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
			const char *why = report_window_set(&o->window, c == 'U', optarg);
			if (why)
				code = complain(optarg, why);
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
	if (code == EX_OK && !report_window_is_sound(&o->window))
		return complain("--until", "is not after --since");
	return code;
}

/* ---- lines ---- */

struct reading {
	struct report_sums *sums;
	const struct options *options;
};

static void take(void *context, struct slice line)
{
	struct reading *r = context;
	struct report_sums *sums = r->sums;
	const struct options *o = r->options;
	struct report_line l;
	sums->lines++;
	if (!report_line_parse(line, &l))
		return;
	int64_t at;
	if (report_window_takes(&o->window, l.before, &at, &sums->untimed))
		report_sums_add(sums, &l, at);
}

/* What a number alone would hide. */
static void remark(const struct report_sums *sums, const struct options *o)
{
	bool asked = report_window_asks(&o->window);
	if (asked && sums->untimed > 0)
		fprintf(stderr, "tarry: report: %llu lines without a time were left out (journalctl -o cat, for one, prints none)\n", (unsigned long long)sums->untimed);
	if (sums->connections == 0)
		fprintf(stderr, "tarry: report: no connection of a door in %llu lines%s; expected the log of tarry serve, at level info\n", (unsigned long long)sums->lines,
		        asked ? " of that time" : "");
}

int tool_report(int argc, char **argv)
{
	struct options o = { .window = { (int64_t)time(NULL), REPORT_NO_TIME, REPORT_NO_TIME }, .shape = { .top = TOP } };
	static struct report_sums sums; /* large */
	bool done = false;
	int code = parse(argc, argv, &o, &done);
	if (code != EX_OK || done)
		return code;
	bool memory = report_sums_init(&sums);
	if (memory) {
		struct reading reading = { &sums, &o };
		code = report_read(&(struct report_reader){ "report", take, &reading }, argc - optind, argv + optind);
		memory = report_sums_end(&sums);
	}
	if (!memory) {
		fprintf(stderr, "tarry: report: no memory\n");
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
