/* The tour, keeper: the program tarry-known, which the parent starts. It is a program of its own so that neither the library of its server nor a damaged file is ever met in a process that
 * faces the Internet. Everything it needs it inherits: descriptors, the unprivileged user, the ignored signals. `tarry known` starts it, too, where no door runs. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "core/arguments.h"
#include "core/log.h"
#include "core/sandbox_conf.h"
#include "keeper/keeper.h"

static int usage(FILE *to, int status)
{
	fputs("usage: tarry-known --table FD --messages FD --parent FD [--control FD] [--replies FD,FD,...] [--share URL] [--share-timeout MS] --max N --ttl SECONDS --prefix BITS\n"
	      "                   --db FILE [--apart SECONDS] [--suffixes FILE] [--log TARGET] [--log-level LEVEL] " SANDBOX_USAGE "\n"
	      "       tarry-known --try [--share URL] --db FILE " SANDBOX_USAGE "\n"
	      "       tarry-known --dialogue FD --max N --ttl SECONDS --prefix BITS --db FILE\n"
	      "       tarry-known --check URL [--place TEXT]\n"
	      "Keeps who is known, for the fronts of a door. `tarry serve` starts it; --check only says whether a server is well named.\n", to);
	return status;
}

struct arguments {
	struct keeper_setup setup;
	int replies[KEEPER_FRONTS];
	int dialogue;
	const char *check, *place;
	int target, level;
	struct sandbox_arguments sandbox;
};

static bool take(int option, const char *text, struct arguments *a)
{
	struct keeper_setup *s = &a->setup;
	int64_t n = 0;
	if (option >= SANDBOX_OPTION_MODE)
		return sandbox_take(&a->sandbox, option, text);
	switch (option) {
	case 't':
		return arguments_int(text, &s->table);
	case 'm':
		return arguments_int(text, &s->messages);
	case 'p':
		return arguments_int(text, &s->parent);
	case 'c':
		return arguments_int(text, &s->control);
	case 'D':
		return arguments_int(text, &a->dialogue);
	case 'r':
		return arguments_ints(text, a->replies, KEEPER_FRONTS, &s->replies_len);
	case 'n':
		if (!arguments_number(text, KNOWN_TABLE_MOST, &n) || n == 0)
			return false;
		s->max = (uint32_t)n;
		return true;
	case 'b':
		if (!arguments_number(text, 32, &n) || n == 0)
			return false;
		s->bits = (unsigned)n;
		return true;
	case 'T':
		return arguments_number(text, INT32_MAX, &s->ttl);
	case 'a':
		return arguments_number(text, INT32_MAX, &s->apart);
	case 'w':
		if (!arguments_number(text, INT32_MAX, &n))
			return false;
		s->share_timeout = n * LOOP_MS;
		return true;
	case 'l':
		return arguments_word("log", text, &a->target);
	case 'L':
		return arguments_word("log_level", text, &a->level);
	default:
		*(option == 'f' ? &s->path : option == 's' ? &s->suffixes : option == 'u' ? &s->share : option == 'P' ? &a->place : &a->check) = text;
		return true;
	}
}

/* EX_OK, or the exit status; -1: help was given. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {
		{ "table", required_argument, NULL, 't' }, { "messages", required_argument, NULL, 'm' }, { "parent", required_argument, NULL, 'p' }, { "control", required_argument, NULL, 'c' },
		{ "replies", required_argument, NULL, 'r' }, { "max", required_argument, NULL, 'n' }, { "ttl", required_argument, NULL, 'T' }, { "prefix", required_argument, NULL, 'b' }, { "apart", required_argument, NULL, 'a' },
		{ "db", required_argument, NULL, 'f' }, { "suffixes", required_argument, NULL, 's' }, { "share", required_argument, NULL, 'u' }, { "share-timeout", required_argument, NULL, 'w' },
		{ "dialogue", required_argument, NULL, 'D' }, { "check", required_argument, NULL, 'C' }, { "place", required_argument, NULL, 'P' }, { "log", required_argument, NULL, 'l' }, { "log-level", required_argument, NULL, 'L' },
		SANDBOX_LONGS, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int c;
	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		if (c == 'h')
			return usage(stdout, -1);
		if (c == '?')
			return usage(stderr, EX_USAGE);
		if (!take(c, optarg, a)) {
			fprintf(stderr, "tarry-known: \"%s\" is not understood\n", optarg);
			return usage(stderr, EX_USAGE);
		}
	}
	if (optind == argc && a->sandbox.try)
		return EX_OK;
	bool serves = a->setup.table >= 0 && a->setup.messages >= 0 && a->setup.parent >= 0;
	if (optind < argc || (!a->check && (!(serves || a->dialogue >= 0) || a->setup.max == 0 || a->setup.bits == 0)))
		return usage(stderr, EX_USAGE);
	return EX_OK;
}

static int check(const char *url, const char *place)
{
	char memory[600];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (share_check(url, &why))
		return EX_OK;
	fprintf(stderr, "tarry: %s%sknown_share = \"%s\": %s\n", place, place[0] ? ": " : "", url, buf_text(&why));
	return EX_CONFIG;
}

/* The file is open, the server is not asked yet. False, and *status, if that was all. */
static bool shut_in(const struct arguments *a, int *status)
{
	static struct sandbox_needs needs; /* large */
	sandbox_needs_init(&needs);
	if (a->setup.path[0])
		sandbox_need_folder_of(&needs, a->setup.path, LANDLOCK_WRITE);
	share_needs(a->setup.share, &needs);
	return sandbox_take_role(&a->sandbox, "known", &needs, true, status);
}

int main(int argc, char **argv)
{
	static struct keeper keeper;
	struct arguments a = { .setup = { .table = -1, .messages = -1, .parent = -1, .control = -1, .path = "", .share = "", .suffixes = SUFFIXES_FILE, .share_timeout = 50 * LOOP_MS },
		.dialogue = -1, .place = "", .target = LOG_TO_STDERR, .level = LOG_LEVEL_INFO };
	char memory[600];
	struct buf why;
	int status = read_arguments(argc, argv, &a);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	if (a.check)
		return check(a.check, a.place);
	if (a.sandbox.try)
		return shut_in(&a, &status) ? EX_OK : status;
	int e = log_open((enum log_target)a.target, a.dialogue >= 0 ? LOG_LEVEL_WARNING : (enum log_level)a.level);
	if (e < 0)
		fprintf(stderr, "tarry-known: log: %s\n", strerror(-e));
	log_role("known/0");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is one that cannot be written */
	a.setup.replies = a.replies;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!keeper_open(&keeper, &a.setup, &why)) {
		log_event(LOG_LEVEL_ERROR, "known_failed", "%s", buf_text(&why));
		log_flush();
		return EX_OSERR;
	}
	shut_in(&a, &status);
	e = a.dialogue >= 0 ? keeper_answer(&keeper, a.dialogue) : keeper_run(&keeper);
	keeper_close(&keeper);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "known_failed", "%s", strerror(-e));
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}
