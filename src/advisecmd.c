/* The tour, main: `tarry advise`: from where it has what it goes by, a door that is asked or a log that is read; the rest is in tool/advice.c and src/advise. */
#include "advisecmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "control.h"
#include "core/arguments.h"
#include "core/conf.h"
#include "tool/advice.h"
#include "tool/report_read.h"

#define SHARE 0.99
#define SHARE_LEAST 0.5
#define SHARE_MOST 0.999
#define NOTHING_YET 1 /* exit code: there is no recommendation */

static const char usage[] =
	"usage: tarry advise [-c FILE] [--share P] [--json]\n"
	"       tarry advise [--since T] [--until T] [--share P] [--json] LOG...\n"
	"\n"
	"Says how long the pause before the greeting should be, by what the clients of the door did that runs with that configuration file, or by its LOG (- is the standard\n"
	"input, compressed ones are taken as they are): which part of those who would talk early each pause catches, what it costs good mail, and how sure that is.\n"
	"\n"
	"  -c, --config FILE  the one that `tarry serve` was given; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  --share P          the part of early talkers that the pause is to catch, 50% to 99.9%; without it advise_share, for a LOG 99%\n"
	"  --since T          lines of the LOG from then on: \"2026-11-30\", \"2026-11-30 12:00\", \"12:00\", today, yesterday, 1h, \"2 days ago\", @1764500000\n"
	"  --until T          lines before then\n"
	"  -j, --json         for programs\n"
	"  -h, --help         this\n"
	"\n"
	"exit code: 0 there is a recommendation; 1 there is none yet; 64 wrong usage; 65 a compressed file is damaged; 66 a file cannot be read; 69 no such door runs;\n"
	"           71 no memory; 74 the answer cannot be written; 76 what answers is none; 77 it is another user's\n";

struct options {
	struct report_window window;
	const char *path;
	double share; /* 0: not given */
	bool json, path_given;
};

static int complain(const char *value, const char *what)
{
	return arguments_misused("advise", value, what);
}

static int set_share(struct options *o, const char *text)
{
	int64_t millionths;
	if (!conf_percent(slice_of(text), &millionths) || (double)millionths < 1e6 * SHARE_LEAST || (double)millionths > 1e6 * SHARE_MOST)
		return complain(text, "not a share of early talkers from 50% to 99.9%");
	o->share = (double)millionths / 1e6;
	return EX_OK;
}

static int set_time(struct report_window *window, bool end, const char *text)
{
	const char *why = report_window_set(window, end, text);
	return why ? complain(text, why) : EX_OK;
}

static int parse(int argc, char **argv, struct options *o, bool *done)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "share", required_argument, NULL, 's' }, { "since", required_argument, NULL, 'S' },
		{ "until", required_argument, NULL, 'U' }, { "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	int c, code = EX_OK;
	optind = 0;
	opterr = 0;
	while (code == EX_OK && (c = getopt_long(argc, argv, ":c:S:U:jh", longs, NULL)) != -1) {
		if (c == 'c') {
			o->path = optarg;
			o->path_given = true;
		} else if (c == 's') {
			code = set_share(o, optarg);
		} else if (c == 'S' || c == 'U') {
			code = set_time(&o->window, c == 'U', optarg);
		} else if (c == 'j') {
			o->json = true;
		} else if (c == 'h') {
			fputs(usage, stdout);
			*done = true;
		} else {
			code = complain(argv[optind - 1], c == ':' ? "needs a value" : "no such option");
		}
	}
	bool log = optind < argc, asked = report_window_asks(&o->window);
	if (code == EX_OK && !*done && log && o->path_given)
		return complain(o->path, "-c names the door to ask; with a LOG none is asked");
	if (code == EX_OK && !*done && o->path_given && asked)
		return complain(o->path, "a door has no times to choose from; --since and --until are for a LOG");
	if (code == EX_OK && !report_window_is_sound(&o->window))
		return complain("--until", "is not after --since");
	return code;
}

/* ---- a log ---- */

struct reading {
	struct advice *advice;
	const struct options *options;
};

static void take(void *context, struct slice line)
{
	const struct reading *r = context;
	struct report_line l;
	r->advice->lines++;
	if (!report_line_parse(line, &l))
		return;
	int64_t at;
	if (report_window_takes(&r->options->window, l.before, &at, &r->advice->untimed))
		advice_take_line(r->advice, &l, at);
}

static int read_log(struct advice *a, const struct options *o, int argc, char **argv)
{
	struct reading reading = { a, o };
	int code = report_read(&(struct report_reader){ "advise", take, &reading }, argc, argv);
	if (a->untimed > 0)
		fprintf(stderr, "tarry: advise: %llu lines without a time were left out (journalctl -o cat, for one, prints none)\n", (unsigned long long)a->untimed);
	if (a->studied > 0)
		return code;
	fprintf(stderr, "tarry: advise: no client that had to wait in %llu lines%s; expected the log of tarry serve, at level info, with a greet_pause\n", (unsigned long long)a->lines,
	        report_window_asks(&o->window) ? " of that time" : "");
	return code != EX_OK ? code : NOTHING_YET;
}

/* ---- a door ---- */

static int ask_door(struct advice *a, const struct options *o)
{
	static char text[CONTROL_TEXT + 1];
	int code = control_ask("advise", CONTROL_STATUS, o->path, text);
	if (code != EX_OK)
		return code;
	if (!advice_take_status(a, text + 1, o->window.now)) {
		fprintf(stderr, "tarry: advise: what answers there is no door that knows this question; it may be of an older version\n");
		return EX_PROTOCOL;
	}
	if (a->pause > 0)
		return EX_OK;
	fprintf(stderr, "tarry: advise: the door has no pause (greet_pause = 0), so that nobody talks early\n");
	return NOTHING_YET;
}

static int advise_by(struct advice *a, const struct options *o, int argc, char **argv)
{
	static struct advise_work work; /* large, both */
	static struct advise_result result;
	bool log = argc > 0 || report_window_asks(&o->window);
	int code = log ? read_log(a, o, argc, argv) : ask_door(a, o);
	if (code != EX_OK && a->studied == 0)
		return code;
	if (code == EX_PROTOCOL || code == NOTHING_YET)
		return code;
	if (a->share <= 0)
		a->share = SHARE;
	advice_judge(a, &work, &result);
	(o->json ? advice_json : advice_print)(stdout, a, &result);
	return code != EX_OK ? code : result.state == ADVISE_GOOD ? EX_OK : NOTHING_YET;
}

int advisecmd_run(int argc, char **argv)
{
	static struct advice advice; /* large */
	struct options o = { .window = { (int64_t)time(NULL), REPORT_NO_TIME, REPORT_NO_TIME }, .path = conf_default_path() };
	bool done = false;
	int code = parse(argc, argv, &o, &done);
	if (code != EX_OK || done)
		return code;
	if (advice_init(&advice, o.share)) {
		code = advise_by(&advice, &o, argc - optind, argv + optind);
	} else {
		fprintf(stderr, "tarry: advise: no memory\n");
		code = EX_OSERR;
	}
	advice_fini(&advice);
	if (fflush(stdout) == 0)
		return code;
	fprintf(stderr, "tarry: advise: cannot write: %s\n", strerror(errno));
	return EX_IOERR;
}
