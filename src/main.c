/* The tour starts here: the sub-commands. `serve` is the door (serve.c); the others are tools. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "advisecmd.h"
#include "bancmd.h"
#include "control.h"
#include "knowncmd.h"
#include "serve.h"
#include "status.h"
#include "tool/tool.h"
#include "topcmd.h"

struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *sentence;
};

static int version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("tarry " TARRY_VERSION);
	return EX_OK;
}

static const struct subcommand subcommands[] = {
	{ "serve", serve, "run the door: hold the greeting, refuse who talks first, hand on who waits" },
	{ "check", tool_check, "read the configuration and say what is wrong, and where" },
	{ "reload", control_reload, "have a running door read its configuration, access database and certificates again" },
	{ "upgrade", control_upgrade, "have a new version take over from a running door, without a gap" },
	{ "drain", control_drain, "have a running door accept nobody any more, and end with its last client" },
	{ "status", status_run, "ask a running door which backends answer, and what is open" },
	{ "top", topcmd_run, "the same and more, live, in the terminal" },
	{ "advise", advisecmd_run, "how long the pause should be, by what the clients of a running door did, or by its log" },
	{ "known", knowncmd_run, "who has passed lately and waits no more: list, add, drop, export, import" },
	{ "ban", bancmd_run, "who is turned away for a while: list, add, drop, export, import" },
	{ "access", tool_access, "ask the access database: one key, or all that it says of a client, and why; build a map, dump one" },
	{ "probe", tool_probe, "try a server's pause as a slammer and as a patient client, and say what it does" },
	{ "report", tool_report, "read the log: what enforcing had refused or has refused, and which of these clients also deliver mail" },
	{ "mc", tool_mc, "what a sendmail.mc says about the greeting and the access database, as a tarry.conf" },
	{ "version", version, "print the version" },
};

static int help(FILE *to, int status)
{
	fputs("usage: tarry COMMAND [OPTION]...\n\nA front door for SMTP. Commands:\n", to);
	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
		fprintf(to, "  %-8s %s\n", subcommands[i].name, subcommands[i].sentence);
	fputs("\n`tarry COMMAND --help` tells the options of a command; see also tarry(8) and tarry.conf(5).\n", to);
	return status;
}

/* Else the next descriptor that is opened, a client's perhaps, would be taken for one of them. */
static bool open_standard(void)
{
	int fd;
	if (fcntl(STDIN_FILENO, F_GETFD) >= 0 && fcntl(STDOUT_FILENO, F_GETFD) >= 0 && fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return true; /* also where no other can be had: a door that takes over another one must not fail here */
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
	return fd >= 0;
}

int main(int argc, char **argv)
{
	if (!open_standard()) {
		perror("tarry: /dev/null");
		return EX_OSERR;
	}
	if (argc < 2)
		return help(stderr, EX_USAGE);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
		return help(stdout, EX_OK);
	if (strcmp(argv[1], "--version") == 0)
		return version(argc, argv);
	if (strcmp(argv[1], "rehearse") == 0) /* for no person */
		return serve_rehearse(argc - 1, argv + 1);
	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
		if (strcmp(argv[1], subcommands[i].name) == 0)
			return subcommands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "tarry: \"%s\" is no command\n", argv[1]);
	return help(stderr, EX_USAGE);
}
