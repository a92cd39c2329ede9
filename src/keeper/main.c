/* The tour, keeper: the program tarry-known, which the parent starts, once for those who are known and once for those who are banned. It is a program of its own so that neither the library of its server nor a damaged file is ever met in a process that
 * faces the Internet. Everything it needs it inherits: descriptors, the unprivileged user, the ignored signals. `tarry known` starts it, too, where no door runs. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>

#include "core/arguments.h"
#include "core/helper.h"
#include "core/log.h"
#include "keeper/keeper.h"

static const char usage[] =
	"usage: tarry-known --table FD --messages FD --parent FD [--control FD] [--replies FD,FD,...] [--share URL] [--share-timeout MS] --max N --ttl SECONDS --prefix BITS\n"
	"                   --db FILE [--apart SECONDS] [--suffixes FILE] " HELPER_USAGE "\n"
	"       tarry-known --try [--share URL] --db FILE " SANDBOX_USAGE "\n"
	"       tarry-known --dialogue FD --max N --ttl SECONDS --prefix BITS --db FILE\n"
	"       tarry-known --ban-time SECONDS --ban-time-max SECONDS [--counts FD] [--never FD], and either of these\n"
	"       tarry-known --check URL [--option NAME] [--place TEXT]\n"
	"Keeps who is known, or with --ban-time who is banned, for the fronts of a door. `tarry serve` starts it; --check only says whether a server is well named.\n";

static int misused(void)
{
	fputs(usage, stderr);
	return EX_USAGE;
}

struct arguments {
	struct keeper_setup setup;
	struct ban_rules ban;
	int replies[KEEPER_FRONTS];
	int dialogue;
	const char *check, *place, *option;
	struct helper_arguments helper;
};

static bool take(int option, const char *text, void *to)
{
	struct arguments *a = to;
	struct keeper_setup *s = &a->setup;
	int64_t n = 0;
	if (option >= HELPER_OPTION)
		return helper_take(&a->helper, option, text);
	switch (option) {
	case 't':
		return arguments_int(text, &s->table);
	case 'm':
		return arguments_int(text, &s->messages);
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
	case 'B':
	case 'M':
		if (!arguments_number(text, INT32_MAX, &n) || n == 0)
			return false;
		*(option == 'B' ? &a->ban.time : &a->ban.time_max) = n;
		return true;
	case 'o':
		return arguments_int(text, &a->ban.counts);
	case 'N':
		return arguments_int(text, &a->ban.never);
	case 'w':
		if (!arguments_number(text, INT32_MAX, &n))
			return false;
		s->share_timeout = n * LOOP_MS;
		return true;
	default:
		*(option == 'f' ? &s->path : option == 's' ? &s->suffixes : option == 'u' ? &s->share : option == 'P' ? &a->place : option == 'O' ? &a->option : &a->check) = text;
		return true;
	}
}

/* EX_OK, or the exit status; -1: help was given. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {
		{ "table", required_argument, NULL, 't' }, { "messages", required_argument, NULL, 'm' }, { "control", required_argument, NULL, 'c' },
		{ "replies", required_argument, NULL, 'r' }, { "max", required_argument, NULL, 'n' }, { "ttl", required_argument, NULL, 'T' }, { "prefix", required_argument, NULL, 'b' }, { "apart", required_argument, NULL, 'a' },
		{ "db", required_argument, NULL, 'f' }, { "suffixes", required_argument, NULL, 's' }, { "share", required_argument, NULL, 'u' }, { "share-timeout", required_argument, NULL, 'w' },
		{ "dialogue", required_argument, NULL, 'D' }, { "check", required_argument, NULL, 'C' }, { "place", required_argument, NULL, 'P' }, { "option", required_argument, NULL, 'O' }, { "ban-time", required_argument, NULL, 'B' },
		{ "ban-time-max", required_argument, NULL, 'M' }, { "counts", required_argument, NULL, 'o' }, { "never", required_argument, NULL, 'N' },
		HELPER_LONGS, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int status = arguments_read(argc, argv, longs, usage, take, a);
	if (status != EX_OK)
		return status;
	if (a->ban.time > 0 && a->ban.time_max >= a->ban.time)
		a->setup.ban = &a->ban;
	a->setup.parent = a->helper.parent;
	if (optind == argc && a->helper.sandbox.try)
		return EX_OK;
	bool serves = a->setup.table >= 0 && a->setup.messages >= 0 && a->setup.parent >= 0;
	if (optind < argc || (a->ban.time > 0 && !a->setup.ban) || (!a->check && (!(serves || a->dialogue >= 0) || a->setup.max == 0 || a->setup.bits == 0)))
		return misused();
	return EX_OK;
}

static int check(const char *url, const char *place, const char *option)
{
	char memory[600];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (share_check(url, &why))
		return EX_OK;
	fprintf(stderr, "tarry: %s%s%s = \"%s\": %s\n", place, place[0] ? ": " : "", option, url, buf_text(&why));
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
	sandbox_conf_log(&needs, a->helper.target);
	return sandbox_take_role(&a->helper.sandbox, a->setup.ban ? "bans" : "known", &needs, true, status);
}

int main(int argc, char **argv)
{
	static struct keeper keeper;
	struct arguments a = { .setup = { .table = -1, .messages = -1, .control = -1, .path = "", .share = "", .suffixes = SUFFIXES_FILE, .share_timeout = 50 * LOOP_MS },
		.ban = { .counts = -1, .never = -1 }, .dialogue = -1, .place = "", .option = "known_share", .helper = HELPER_ARGUMENTS };
	char memory[600];
	struct buf why;
	int status = read_arguments(argc, argv, &a);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	if (a.check)
		return check(a.check, a.place, a.option);
	if (a.helper.sandbox.try)
		return shut_in(&a, &status) ? EX_OK : status;
	if (a.dialogue >= 0)
		a.helper.level = LOG_LEVEL_WARNING;
	helper_begin(&a.helper, "tarry-known", a.setup.ban ? "bans" : "known", 0);
	if (a.setup.ban)
		prctl(PR_SET_NAME, "tarry-bans", 0, 0, 0);
	const char *event = a.setup.ban ? "bans_failed" : "known_failed";
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is one that cannot be written */
	a.setup.replies = a.replies;
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!keeper_open(&keeper, &a.setup, &why)) {
		log_event(LOG_LEVEL_ERROR, event, "%s", buf_text(&why));
		log_flush();
		return EX_OSERR;
	}
	shut_in(&a, &status);
	int e = a.dialogue >= 0 ? keeper_answer(&keeper, a.dialogue) : keeper_run(&keeper);
	keeper_close(&keeper);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, event, "%s", strerror(-e));
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}
