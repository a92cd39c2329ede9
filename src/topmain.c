/* The tour, main: the program tarry-top, which `tarry top` becomes: its arguments, its clock and its keys. What it looks at is in topdoor.c, what it shows in top/. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "core/arguments.h"
#include "core/conf.h"
#include "top/terminal.h"
#include "topdoor.h"

#define LOOK_MS 1000       /* at least so often, that the series have no gaps */
#define DELAY_MS 1000
#define DELAY_LEAST_MS 100
#define DELAY_MOST_MS 600000
#define PAGE 10            /* lines */

static const char usage[] =
	"usage: tarry top [-c FILE] [-d SECONDS]\n"
	"\n"
	"Shows, in the terminal, what the door does that runs with that configuration file, while it does it: verdicts, connections, when early talkers talk, whom it has turned away, and whether its\n"
	"backends and maps answer.\n"
	"\n"
	"  -c, --config FILE    the one that `tarry serve` was given; without it " CONF_DEFAULT_PATH " if there is one, else none\n"
	"  -d, --delay SECONDS  from one picture to the next, 0.1 to 600; without it 1\n"
	"  -h, --help           this\n"
	"\n"
	"Keys: q ends it, p lets the picture stand still, Tab and 1 to 5 choose what is shown, h says more.\n"
	"\n"
	"exit code: 0 it was ended; 64 wrong usage, or this is no terminal; 69 no such door runs, or the terminal cannot be used; 76 what answers is none, or of another version; 77 it is another user's\n";

static volatile sig_atomic_t ended; /* the number of the signal */

struct top {
	struct topdoor door;
	struct model model;
	struct view view;
	int64_t delay;       /* milliseconds */
	int64_t looked, drawn;
	bool quit, stale;    /* the picture is */
};

static struct model still; /* what is shown while the picture stands still */

static int64_t clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the command line ---- */

static int complain(const char *value, const char *what)
{
	return arguments_misused("top", value, what);
}

static bool take_delay(struct top *t, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || *end || !(seconds * 1000 >= DELAY_LEAST_MS && seconds * 1000 <= DELAY_MOST_MS))
		return false;
	t->delay = (int64_t)(seconds * 1000 + 0.5);
	return true;
}

/* EX_OK, or the exit code; -1: help was given. */
static int read_arguments(struct top *t, int argc, char **argv)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "delay", required_argument, NULL, 'd' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:d:h", longs, NULL)) != -1) {
		if (c == 'c')
			t->door.path = optarg;
		else if (c == 'd' && !take_delay(t, optarg))
			return complain(optarg, "not a number of seconds from 0.1 to 600");
		else if (c == 'h')
			return fputs(usage, stdout) < 0 ? EX_IOERR : -1;
		else if (c == ':' || c == '?')
			return complain(argv[optind - 1], c == ':' ? "needs a value" : "no such option");
	}
	return optind < argc ? complain(argv[optind], "nothing is expected there") : EX_OK;
}

/* ---- keys ---- */

static void choose(struct top *t, int pane)
{
	t->view.pane = (enum view_pane)((pane + VIEW_PANES) % VIEW_PANES);
	t->view.first = 0;
	t->view.help = false;
}

static void stand_still(struct top *t)
{
	t->view.paused = !t->view.paused;
	if (t->view.paused)
		still = t->model;
}

static void take_key(struct top *t, int key)
{
	static const struct {
		int key, lines; /* by so many lines of a list */
	} moves[] = { { TERMINAL_UP, -1 }, { TERMINAL_DOWN, 1 }, { TERMINAL_PAGE_UP, -PAGE }, { TERMINAL_PAGE_DOWN, PAGE }, { TERMINAL_HOME, -100000 }, { TERMINAL_END, 100000 } };
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
		if (moves[i].key == key)
			t->view.first += moves[i].lines;
	if (key == 'q' || key == 'Q')
		t->quit = true;
	else if (key == 'p' || key == 'P' || key == ' ')
		stand_still(t);
	else if (key == 'h' || key == 'H' || key == '?')
		t->view.help = !t->view.help;
	else if (key == TERMINAL_ESCAPE)
		t->view.help = false;
	else if (key >= '1' && key < '1' + VIEW_PANES)
		choose(t, key - '1');
	else if (key == TERMINAL_TAB || key == TERMINAL_RIGHT)
		choose(t, (int)t->view.pane + 1);
	else if (key == TERMINAL_BACKTAB || key == TERMINAL_LEFT)
		choose(t, (int)t->view.pane - 1);
	else if (key == TERMINAL_REDRAW || key == TERMINAL_RESIZED) /* what a terminal does with its lines when it grows is its own affair */
		terminal_forget();
	t->stale = true;
}

/* ---- time ---- */

static void look(struct top *t, int64_t at)
{
	topdoor_look(&t->door, &t->model, at, t->view.notice);
	t->view.there = t->door.there;
	if (t->door.there)
		model_look(&t->model, (int64_t)time(NULL), at);
	else
		t->model.now = (int64_t)time(NULL);
	t->looked = at;
}

static void draw(struct top *t, int64_t at)
{
	static struct grid grid; /* large */
	int rows, cols;
	terminal_size(&rows, &cols);
	view_draw(&grid, rows, cols, &t->view, &t->door.says, t->view.paused ? &still : &t->model);
	terminal_show(&grid);
	t->drawn = at;
	t->stale = false;
}

/* Until a key comes, a signal, or the time. False: the terminal is gone. */
static bool wait_for_key(int64_t ms, const sigset_t *mask)
{
	struct timespec most = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int n = ppoll(&in, 1, &most, mask);
	return n <= 0 ? n == 0 || errno == EINTR : (in.revents & (POLLIN | POLLHUP)) == POLLIN;
}

static void run(struct top *t, const sigset_t *mask)
{
	int64_t every = t->delay < LOOK_MS ? t->delay : LOOK_MS;
	bool terminal = true;
	t->stale = true;
	while (!t->quit && !ended && terminal) {
		int64_t at = clock_ms();
		if (at - t->looked >= every)
			look(t, at);
		if (t->stale || at - t->drawn >= t->delay)
			draw(t, at);
		int64_t next = t->looked + every < t->drawn + t->delay ? t->looked + every : t->drawn + t->delay;
		terminal = wait_for_key(next > at ? next - at : 0, mask);
		for (int key = terminal_key(); terminal && key != TERMINAL_NONE; key = terminal_key())
			take_key(t, key);
	}
}

/* ---- signals ---- */

static void take_signal(int number)
{
	ended = number;
}

/* They come only while nothing is done (ppoll). ncurses leaves alone what has a handler. */
static void prepare_signals(sigset_t *while_waiting)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action = { .sa_handler = take_signal };
	sigset_t block;
	sigemptyset(&block);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		sigaction(numbers[i], &action, NULL);
		sigaddset(&block, numbers[i]);
	}
	sigprocmask(SIG_BLOCK, &block, while_waiting);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigdelset(while_waiting, numbers[i]);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- together ---- */

/* Before the screen is taken: what is said of it then can be read. */
static int find_door(struct top *t)
{
	int code = topdoor_look(&t->door, &t->model, clock_ms(), t->view.notice);
	t->view.there = t->door.there;
	if (code == EX_PROTOCOL && t->view.notice[0])
		fprintf(stderr, "tarry: top: %s\n", t->view.notice);
	else if (code != EX_OK)
		control_complain("top", t->door.path, code);
	return code;
}

int main(int argc, char **argv)
{
	static struct top top = { .delay = DELAY_MS };
	sigset_t mask;
	char memory[512];
	struct buf why;
	top.door.path = conf_default_path();
	int code = read_arguments(&top, argc, argv);
	if (code != EX_OK)
		return code < 0 ? EX_OK : code;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fputs("tarry: top: standard input and output are to be a terminal; for scripts there is tarry status, and tarry status --json\n", stderr);
		return EX_USAGE;
	}
	model_init(&top.model);
	code = find_door(&top);
	if (code != EX_OK)
		return code;
	prepare_signals(&mask);
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!terminal_open(&why)) {
		fprintf(stderr, "tarry: top: %s; tarry status needs none\n", buf_text(&why));
		return EX_UNAVAILABLE;
	}
	run(&top, &mask);
	terminal_close();
	return EX_OK;
}
