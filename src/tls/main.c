/* The tour, tls: the program tarry-tls, which the parent starts to end TLS for the fronts. It is a program of its own so that OpenSSL is never mapped into the process
 * that faces the Internet with everybody's connections. Everything it needs it inherits: descriptors, the unprivileged user, the ignored signals. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/arguments.h"
#include "core/helper.h"
#include "core/log.h"
#include "tls/worker.h"

struct arguments {
	struct context_files files;
	int index, bundle, backends, tickets, orders, timeout_ms;
	struct helper_arguments helper;
	bool check;
};

static const char usage[] =
	"usage: tarry-tls [--bundle FD] [--backends FD] --tickets FD --orders FD --parent FD [--index N] [--timeout MS]\n"
	"                 [--ciphers LIST] [--certificate NAME] [--key NAME] [--ca NAME] " HELPER_USAGE "\n"
	"       tarry-tls --try " SANDBOX_USAGE "\n"
	"       tarry-tls --check [--bundle FD] [--backends FD] [--ciphers LIST] [--certificate NAME] [--key NAME] [--ca NAME]\n"
	"Speaks TLS for the fronts of a door, with clients (--bundle) or backends. `tarry serve` starts it; --check only says whether\n"
	"the certificates and the key are good.\n";

static int misused(void)
{
	fputs(usage, stderr);
	return EX_USAGE;
}

static bool take(int option, const char *text, void *to)
{
	struct arguments *a = to;
	const char **const names[] = { ['C'] = &a->files.certificate, ['K'] = &a->files.key, ['A'] = &a->files.ca, ['S'] = &a->files.ciphers };
	int *const numbers[] = { ['i'] = &a->index, ['b'] = &a->bundle, ['B'] = &a->backends, ['t'] = &a->tickets, ['o'] = &a->orders, ['m'] = &a->timeout_ms };
	if (option >= HELPER_OPTION)
		return helper_take(&a->helper, option, text);
	if (option == 'c') {
		a->check = true;
		return true;
	}
	if (strchr("CKAS", option)) {
		*names[option] = text;
		return true;
	}
	return arguments_int(text, numbers[option]);
}

/* EX_OK, or the exit status; -1: help was given. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option longs[] = {
		{ "bundle", required_argument, NULL, 'b' }, { "backends", required_argument, NULL, 'B' }, { "tickets", required_argument, NULL, 't' }, { "orders", required_argument, NULL, 'o' },
		{ "index", required_argument, NULL, 'i' }, { "timeout", required_argument, NULL, 'm' },
		{ "ciphers", required_argument, NULL, 'S' }, { "certificate", required_argument, NULL, 'C' }, { "key", required_argument, NULL, 'K' },
		{ "ca", required_argument, NULL, 'A' }, HELPER_LONGS, { "check", no_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	int status = arguments_read(argc, argv, longs, usage, take, a);
	if (status != EX_OK)
		return status;
	if (optind == argc && a->helper.sandbox.try)
		return EX_OK;
	if (optind < argc || (a->bundle < 0 && a->backends < 0) || (!a->check && (a->tickets < 0 || a->orders < 0 || a->helper.parent < 0)))
		return misused();
	return EX_OK;
}

/* One line of what is in force on stdout, on stderr what is wrong, or soon will be. */
static void say(SSL_CTX *context, const struct context_files *files)
{
	char memory[512];
	struct buf text;
	int days;
	buf_init_fixed(&text, memory, sizeof(memory));
	context_describe(context, &text, &days);
	printf("%s\n", buf_text(&text));
	if (days < 0)
		fprintf(stderr, "%s: the certificate has ended %d %s ago; clients that look at it will not talk to this door\n", files->certificate, -days, days == -1 ? "day" : "days");
	else if (days < CONTEXT_DAYS_LEFT)
		fprintf(stderr, "%s: the certificate ends in %d %s\n", files->certificate, days, days == 1 ? "day" : "days");
}

/* What was handed over; *context NULL: there are no clients. False: *why. */
static bool take_all(const struct arguments *a, SSL_CTX **context, struct peers *peers, struct buf *why)
{
	*context = a->bundle >= 0 ? context_new(a->bundle, &a->files, why) : NULL;
	return (a->bundle < 0 || *context) && (a->backends < 0 || peers_take(peers, a->backends, why));
}

static int check(struct arguments *a)
{
	char memory[1024];
	struct buf why;
	struct peers peers = { .of = { NULL } };
	SSL_CTX *context;
	buf_init_fixed(&why, memory, sizeof(memory));
	bool ok = take_all(a, &context, &peers, &why);
	peers_fini(&peers);
	if (!ok) {
		SSL_CTX_free(context);
		fprintf(stderr, "%s\n", buf_text(&why));
		return EX_CONFIG;
	}
	if (context)
		say(context, &a->files);
	SSL_CTX_free(context);
	return EX_OK;
}

/* Everything is there: the certificate, the sockets. What comes later comes as a descriptor. */
static int shut_in(const struct arguments *a)
{
	struct sandbox_needs needs;
	int status = EX_OK;
	sandbox_needs_init(&needs);
	sandbox_conf_log(&needs, a->helper.target);
	sandbox_take_role(&a->helper.sandbox, "tls", &needs, a->index == 0, &status);
	return status;
}

static int serve(struct arguments *a)
{
	static struct worker worker;
	char memory[1024];
	struct buf why;
	int e = helper_begin(&a->helper, "tarry-tls", "tls", (unsigned)a->index);
	buf_init_fixed(&why, memory, sizeof(memory));
	if (e == 0 && !context_take_tickets(a->tickets))
		e = -EINVAL;
	struct peers peers = { .of = { NULL } };
	SSL_CTX *context = NULL;
	bool ok = e == 0 && take_all(a, &context, &peers, &why);
	if (a->bundle >= 0)
		close(a->bundle);
	if (a->backends >= 0)
		close(a->backends);
	close(a->tickets);
	if (!ok) {
		log_event(LOG_LEVEL_ERROR, "tls_failed", "%s", e < 0 ? strerror(-e) : buf_text(&why));
		log_flush();
		return EX_CONFIG;
	}
	/* The fronts block where they want to, which is nowhere: it is one socket for all of us. */
	if (fcntl(a->orders, F_SETFL, fcntl(a->orders, F_GETFL) | O_NONBLOCK) < 0)
		e = -errno;
	if (e == 0)
		e = worker_init(&worker, context, &a->files, a->orders, a->helper.parent, a->timeout_ms * LOOP_MS);
	worker.peers = peers;
	if (e == 0)
		shut_in(a);
	if (e == 0)
		e = worker_run(&worker);
	if (e < 0)
		log_event(LOG_LEVEL_ERROR, "tls_failed", "%s", strerror(-e));
	worker_fini(&worker);
	log_flush();
	return e < 0 ? EX_OSERR : EX_OK;
}

int main(int argc, char **argv)
{
	struct arguments a = { .files = { "tls_certificate", "tls_key", "tls_client_ca", "" }, .bundle = -1, .backends = -1, .tickets = -1, .orders = -1, .timeout_ms = 30000,
		.helper = HELPER_ARGUMENTS };
	int status = read_arguments(argc, argv, &a);
	if (status != EX_OK)
		return status < 0 ? EX_OK : status;
	return a.helper.sandbox.try ? shut_in(&a) : a.check ? check(&a) : serve(&a);
}
