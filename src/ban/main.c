/* The tour, ban: the program tarry-ban, which the parent starts where ban_kernel is set. It is a program of its own because it alone may change the rules of the kernel (CAP_NET_ADMIN), and it reads nothing that a
 * stranger has written: its input is the table of bans. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "ban/mirror.h"
#include "core/arguments.h"
#include "core/helper.h"
#include "core/log.h"

#define TURN LOOP_SECOND

static const char usage[] =
	"usage: tarry-ban --table FD --counts FD --parent FD --max N --sets \"nftables FAMILY TABLE NAME\"\n"
	"                 " HELPER_USAGE "\n"
	"       tarry-ban --try [--log TARGET] " SANDBOX_USAGE "\n"
	"Puts bans into sets of nftables, for the door that starts it. `tarry serve` does so where ban_kernel is set.\n";

static int misused(void)
{
	fputs(usage, stderr);
	return EX_USAGE;
}

struct helper {
	struct loop loop; /* first: callbacks find it by that */
	struct source parent, tick;
	struct ban_table table;
	struct mirror mirror;
};

struct arguments {
	int table[2]; /* descriptors */
	int64_t max;
	const char *sets;
	struct helper_arguments helper;
};

static bool take(int option, const char *text, void *to)
{
	struct arguments *a = to;
	if (option >= HELPER_OPTION)
		return helper_take(&a->helper, option, text);
	switch (option) {
	case 't':
	case 'o':
		return arguments_int(text, &a->table[option == 'o']);
	case 'n':
		return arguments_number(text, KNOWN_TABLE_MOST, &a->max) && a->max > 0;
	default:
		a->sets = text;
		return true;
	}
}

/* EX_OK, or the exit status; -1: help was given. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = { { "table", required_argument, NULL, 't' }, { "counts", required_argument, NULL, 'o' }, { "max", required_argument, NULL, 'n' },
		{ "sets", required_argument, NULL, 's' }, HELPER_LONGS, { "help", no_argument, NULL, 'h' }, { 0 } };
	int status = arguments_read(argc, argv, longs, usage, take, a);
	if (status != EX_OK)
		return status;
	if (optind == argc && a->helper.sandbox.try)
		return EX_OK;
	return optind == argc && a->table[0] >= 0 && a->table[1] >= 0 && a->helper.parent >= 0 && a->max > 0 && a->sets ? EX_OK : misused();
}

static void tick_due(struct loop *loop, struct source *source)
{
	struct helper *h = (struct helper *)loop;
	mirror_turn(&h->mirror, (uint32_t)(loop_now(loop) / LOOP_SECOND));
	loop_set_due(loop, source, loop_now(loop) + TURN);
}

static const struct source_ops tick_ops = { NULL, tick_due };

static void turn_end(struct loop *loop, void *context)
{
	struct helper *h = context;
	helper_turn_end(loop, &h->parent);
}

/* False, and *status, if it was only to be tried. */
static bool shut_in(const struct arguments *a, int *status)
{
	static struct sandbox_needs needs; /* large */
	sandbox_needs_init(&needs);
	sandbox_conf_log(&needs, a->helper.target);
	return sandbox_take_role(&a->helper.sandbox, "ban", &needs, true, status);
}

static int run(struct helper *h, const struct arguments *a)
{
	int status;
	int e = loop_init(&h->loop, 4);
	if (e < 0)
		return e;
	e = ban_table_open(&h->table, a->table, (uint32_t)a->max, false);
	e = e < 0 ? e : mirror_init(&h->mirror, &h->table, a->sets);
	source_init(&h->tick, &tick_ops);
	e = e < 0 ? e : helper_watch(&h->loop, &h->parent, a->helper.parent); /* what is in the kernel stays there: each ban ends by itself, and the next helper knows it again */
	if (e < 0)
		return e;
	shut_in(a, &status);
	h->loop.turn_end = turn_end;
	h->loop.turn_end_context = h;
	loop_set_due(&h->loop, &h->tick, loop_now(&h->loop));
	e = loop_run(&h->loop);
	mirror_fini(&h->mirror);
	ban_table_close(&h->table);
	loop_fini(&h->loop);
	return e;
}

int main(int argc, char **argv)
{
	static struct helper helper;
	struct arguments a = { .table = { -1, -1 }, .helper = HELPER_ARGUMENTS };
	int status = read_arguments(argc, argv, &a);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	if (a.helper.sandbox.try)
		return shut_in(&a, &status) ? EX_OK : status;
	helper_begin(&a.helper, "tarry-ban", "ban", 0);
	int e = run(&helper, &a);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "ban_kernel_failed", "%s", strerror(-e));
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}
