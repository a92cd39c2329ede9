/* The tour, main: the way to a running door, both ends of it; and `tarry reload`, `upgrade` and `drain`, which only ask. */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/siphash.h"
#include "core/sock.h"

#define NAME_MAX_BYTES 64
#define BACKLOG 8
#define PATIENCE_S 120 /* for tables with millions of entries, which are built twice for a new configuration */

static const char *const names[CONTROL_QUESTIONS] = { [CONTROL_RELOAD] = "reload", [CONTROL_STATUS] = "status", [CONTROL_KNOWN] = "known", [CONTROL_UPGRADE] = "upgrade",
	[CONTROL_DRAIN] = "drain", [CONTROL_BAN] = "ban" };

/* Doors with different files have different names; the key need not be secret. */
static void socket_name(enum control_question question, const char *path, char out[NAME_MAX_BYTES])
{
	static const struct siphash_key key = { 0, 0 };
	char absolute[PATH_MAX] = "";
	if (path && !realpath(path, absolute))
		snprintf(absolute, sizeof(absolute), "%s", path);
	snprintf(out, NAME_MAX_BYTES, "@tarry-%s-%016llx", question == CONTROL_RELOAD ? "control" : names[question], (unsigned long long)siphash_bytes(&key, absolute, strlen(absolute)));
}

int control_listen(enum control_question question, const char *path)
{
	char name[NAME_MAX_BYTES];
	socket_name(question, path, name);
	return sock_listen_unix(name, BACKLOG);
}

int control_accept(int listener)
{
	return sock_accept_own(listener);
}

void control_answer(int fd, const struct buf *text)
{
	control_answer_with(fd, text, NULL, 0);
}

void control_answer_with(int fd, const struct buf *text, const int *fds, unsigned fds_len)
{
	struct buf copy = *text;
	copy.owned = false;
	if (fds_len > 0 && text->len > 0 && sock_send_fds(fd, text->at, 1, fds, fds_len) == 1)
		copy.at++, copy.len--; /* what is written need not be dropped */
	sock_write(fd, &copy);
	close(fd);
}

/* ---- the one who asks ---- */

#define OPTIONS \
	"\n" \
	"  -c, --config FILE  the one that `tarry serve` was given; without it " CONF_DEFAULT_PATH " if there is one, else none\n" \
	"  -h, --help         this\n" \
	"\n"
#define OTHER_CODES "           69 no such door runs; 76 what answers is none; 77 it is another user's\n"

static const char *const usages[CONTROL_QUESTIONS] = {
	[CONTROL_RELOAD] =
	"usage: tarry reload [-c FILE]\n"
	"\n"
	"Has the door that runs with that configuration file read it again. If it has changed, new processes serve who comes from then on; the old ones finish their clients. If it has not, the\n"
	"access database and the certificates are read again. Says what became of it; after an error all stays as it is.\n"
	OPTIONS
	"exit code: 0 all is in force as it stands in the files; 64 wrong usage; 65 errors, which are named, and what was in force stays;\n"
	OTHER_CODES,
	[CONTROL_UPGRADE] =
	"usage: tarry upgrade [-c FILE]\n"
	"\n"
	"Has the program take over that stands by now where the door that runs with that configuration file was started from, with the configuration as it is now. The process stays the same,\n"
	"and so do the listening sockets; clients that wait for their greeting move to the new version, those that talk already finish with the old one.\n"
	OPTIONS
	"exit code: 0 it serves; 64 wrong usage; 65 it does not start, for reasons that are named, and what runs goes on;\n"
	OTHER_CODES,
	[CONTROL_DRAIN] =
	"usage: tarry drain [-c FILE]\n"
	"\n"
	"Has the door that runs with that configuration file accept nobody any more, finish the clients that it has, for at most drain_timeout, and end.\n"
	OPTIONS
	"exit code: 0 it has begun; 64 wrong usage;\n"
	OTHER_CODES,
};

int control_connect(enum control_question question, const char *path)
{
	char name[NAME_MAX_BYTES];
	socket_name(question, path, name);
	int fd = sock_connect_unix(name);
	if (fd >= 0)
		fcntl(fd, F_SETFL, 0); /* it is worth waiting for */
	return fd;
}

/* Descriptors come with the first bytes. */
static size_t hear(int fd, char text[CONTROL_TEXT + 1], int *fds, unsigned *fds_len)
{
	size_t len = 0;
	ssize_t n;
	do
		n = sock_recv_fds(fd, text, CONTROL_TEXT, fds, CONTROL_FDS, fds_len);
	while (n == -EINTR);
	while (n > 0) {
		len += (size_t)n;
		do
			n = len < CONTROL_TEXT ? recv(fd, text + len, CONTROL_TEXT - len, 0) : 0;
		while (n < 0 && errno == EINTR);
	}
	text[len] = '\0';
	return len;
}

/* By C0 or C1 (ECMA-48, here in UTF-8). */
void control_tame(char *text, size_t len)
{
	unsigned char before = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		bool c1 = c >= 0x80 && c < 0xa0 && (before < 0x80 || before == 0xc2);
		before = c;
		if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f || c1)
			text[i] = '?';
	}
}

int control_fetch(enum control_question question, const char *path, int patience_s, char text[CONTROL_TEXT + 1], int fds[CONTROL_FDS])
{
	struct timeval patience = { .tv_sec = patience_s };
	unsigned came = 0;
	int fd = control_connect(question, path);
	for (unsigned i = 0; i < CONTROL_FDS; i++)
		fds[i] = -1;
	text[0] = '\0';
	if (fd < 0)
		return fd == -EAGAIN ? EX_NOPERM : EX_UNAVAILABLE; /* so many wait there already */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	size_t len = hear(fd, text, fds, &came);
	close(fd);
	bool good = text[0] == CONTROL_DONE || text[0] == CONTROL_KEPT;
	if (len > 0)
		control_tame(text + 1, len - 1);
	for (unsigned i = 0; i < came && !good; i++) {
		close(fds[i]);
		fds[i] = -1;
	}
	return good ? EX_OK : len == 0 ? EX_NOPERM : EX_PROTOCOL;
}

bool control_may_ask(const char *name, int fd)
{
	uid_t owner;
	if (geteuid() == 0 || !sock_peer_uid(fd, &owner) || owner == geteuid())
		return true;
	const struct passwd *account = getpwuid(owner);
	if (account)
		fprintf(stderr, "tarry: %s: the door is %s's, and answers nobody else but root\n", name, account->pw_name);
	else
		fprintf(stderr, "tarry: %s: the door is user %u's, and answers nobody else but root\n", name, (unsigned)owner);
	return false;
}

/* No answer: the reason, if it can be known. Every door can be asked for its status. */
static void complain_of_silence(const char *name, const char *path)
{
	int fd = control_connect(CONTROL_STATUS, path);
	if (fd < 0 || control_may_ask(name, fd))
		fprintf(stderr, "tarry: %s: the door does not answer; it may be another user's\n", name);
	if (fd >= 0)
		close(fd);
}

int control_complain(const char *name, const char *path, int code)
{
	if (code == EX_UNAVAILABLE)
		fprintf(stderr, "tarry: %s: no door runs with %s%s\n", name, path ? path : "no configuration file", path ? "" : "; which one does it have? see -c");
	else if (code == EX_NOPERM)
		complain_of_silence(name, path);
	else if (code == EX_PROTOCOL)
		fprintf(stderr, "tarry: %s: what answers there is no door\n", name);
	return code;
}

int control_ask(const char *name, enum control_question question, const char *path, char text[CONTROL_TEXT + 1])
{
	int fds[CONTROL_FDS], code = control_fetch(question, path, PATIENCE_S, text, fds);
	for (unsigned i = 0; i < CONTROL_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]); /* to be looked at by others */
	return control_complain(name, path, code);
}

static int ask(enum control_question question, const char *path)
{
	static char text[CONTROL_TEXT + 1];
	int code = control_ask(names[question], question, path, text);
	if (code != EX_OK)
		return code;
	bool failed = text[0] == CONTROL_KEPT;
	fputs(text + 1, failed ? stderr : stdout);
	return failed ? EX_DATAERR : EX_OK;
}

static int command(enum control_question question, int argc, char **argv)
{
	static const struct option longs[] = { { "config", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' }, { 0 } };
	const char *path = conf_default_path();
	int c;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":c:h", longs, NULL)) != -1) {
		if (c == 'c')
			path = optarg;
		else if (c == 'h')
			return fputs(usages[question], stdout) < 0 ? EX_IOERR : EX_OK;
		else
			break;
	}
	if (c == -1 && optind == argc)
		return ask(question, path);
	fprintf(stderr, "tarry: %s: \"%s\": %s; see tarry %s -h\n", names[question], c == -1 ? argv[optind] : argv[optind - 1], c == -1 ? "nothing is expected there" :
	        c == ':' ? "needs a value" : "no such option", names[question]);
	return EX_USAGE;
}

int control_reload(int argc, char **argv)
{
	return command(CONTROL_RELOAD, argc, argv);
}

int control_upgrade(int argc, char **argv)
{
	return command(CONTROL_UPGRADE, argc, argv);
}

int control_drain(int argc, char **argv)
{
	return command(CONTROL_DRAIN, argc, argv);
}
