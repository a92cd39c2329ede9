/* The tour, desk: the program tarry-desk, which the parent starts. It is a program of its own so that the library of its server is never met in a process that faces the Internet. Everything it needs
 * it inherits: descriptors, the unprivileged user, the ignored signals. */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/arguments.h"
#include "core/helper.h"
#include "core/log.h"
#include "desk/desk.h"

static const char usage[] =
	"usage: tarry-desk --metrics FD --recent FD --health FD --setup FD --parent FD [--memory FD] [--listen FD] " HELPER_USAGE "\n"
	"       tarry-desk --try " SANDBOX_USAGE "\n"
	"Shows what a door does, as a page and as /metrics. `tarry serve` starts it, see the option desk of tarry.conf(5).\n";

static int misused(void)
{
	fputs(usage, stderr);
	return EX_USAGE;
}

struct arguments {
	struct desk_fds fds;
	struct helper_arguments helper;
};

static bool take(int option, const char *text, void *to)
{
	struct arguments *a = to;
	if (option >= HELPER_OPTION)
		return helper_take(&a->helper, option, text);
	switch (option) {
	case 'm':
		return arguments_int(text, &a->fds.metrics);
	case 'r':
		return arguments_int(text, &a->fds.recent);
	case 'H':
		return arguments_int(text, &a->fds.health);
	case 's':
		return arguments_int(text, &a->fds.setup);
	case 'M':
		return arguments_int(text, &a->fds.memory);
	case 'l':
		return arguments_int(text, &a->fds.listener);
	default:
		return false;
	}
}

/* EX_OK, or the exit status; -1: help was given. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {
		{ "metrics", required_argument, NULL, 'm' }, { "recent", required_argument, NULL, 'r' }, { "health", required_argument, NULL, 'H' }, { "setup", required_argument, NULL, 's' },
		{ "memory", required_argument, NULL, 'M' }, { "listen", required_argument, NULL, 'l' }, HELPER_LONGS, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int status = arguments_read(argc, argv, longs, usage, take, a);
	if (status != EX_OK)
		return status;
	const struct desk_fds *f = &a->fds;
	a->fds.parent = a->helper.parent;
	if (optind == argc && a->helper.sandbox.try)
		return EX_OK;
	return optind < argc || f->metrics < 0 || f->recent < 0 || f->health < 0 || f->setup < 0 || f->parent < 0 ? misused() : EX_OK;
}

/* Everything is mapped; a listening socket may still come, by the parent. False, and *status, if that was all. */
static bool shut_in(const struct arguments *a, int *status)
{
	struct sandbox_needs needs;
	sandbox_needs_init(&needs);
	sandbox_conf_log(&needs, a->helper.target);
	return sandbox_take_role(&a->helper.sandbox, "desk", &needs, true, status);
}

int main(int argc, char **argv)
{
	static struct desk desk;
	struct arguments a = { .fds = { -1, -1, -1, -1, -1, -1, -1 }, .helper = HELPER_ARGUMENTS };
	char memory[600];
	struct buf why;
	int status = read_arguments(argc, argv, &a);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	if (a.helper.sandbox.try)
		return shut_in(&a, &status) ? EX_OK : status;
	helper_begin(&a.helper, "tarry-desk", "desk", 0);
	buf_init_fixed(&why, memory, sizeof(memory));
	if (!desk_open(&desk, &a.fds, &why)) {
		log_event(LOG_LEVEL_ERROR, "desk_failed", "%s", buf_text(&why));
		log_flush();
		return EX_OSERR;
	}
	shut_in(&a, &status);
	int e = desk_run(&desk);
	desk_close(&desk);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "desk_failed", "%s", strerror(-e));
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}
