/* Fuzz target: a whole session with the mail server inside, over a socket, into real Maildirs.
 *
 * The first byte says into how many pieces the rest is cut. What must hold whatever is said: every reply is a line that begins with a
 * code; as many messages lie in new/ as were acknowledged, counted per recipient; tmp/ is empty in the end; nothing lies outside.
 */
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "mail/smtpd.h"

#define HEARD (1024 * 1024)
#define FOLDERS 16 /* descriptors that a walk over the folders may hold */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *domains[] = { "a.test" };
static char no_message[] = "", forbidden[] = "CONNECT GET POST nonletter";
static char delimiter[] = "+", host[] = "h.test", root[64], template[80];
static struct conf conf = { .hostname = host, .smtp_login_msg = no_message, .forbidden_commands = forbidden, .accept_domains = { domains, 1 }, .maildir = template, .create_maildirs = true,
	.recipient_delimiter = delimiter, .max_message_size = 5000, .max_recipients = 3, .hopcount_limit = 3,
	.command_timeout = 300 * LOOP_SECOND, .max_bad_commands = 25, .linger = LOOP_SECOND, .linger_bytes = 100000 };
static struct loop loop;
static struct smtpd smtpd;
static char heard[HEARD];
static size_t heard_len;
static unsigned stored, left_over;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type == FTW_D)
		return 0;
	/* root/user/new/file: three folders down, and nothing anywhere else */
	const char *folder = path + ftw->base - 4;
	if (ftw->level == 3 && strncmp(folder, "new/", 4) == 0)
		stored++;
	else
		left_over++;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	return ftw->level > 0 ? remove(path) : 0;
}

static void remove_root(void)
{
	nftw(root, remove_one, FOLDERS, FTW_DEPTH | FTW_PHYS);
	rmdir(root);
}

static void sweep(struct loop *l, void *context)
{
	(void)l;
	smtpd_sweep(context);
}

static void begin(void)
{
	static bool begun;
	if (begun)
		return;
	begun = true;
	struct stat st;
	snprintf(root, sizeof(root), "%s/tarry-fuzz-XXXXXX", stat("/dev/shm", &st) == 0 && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(root))
		abort();
	atexit(remove_root);
	snprintf(template, sizeof(template), "%s/%%u", root);
	log_open(LOG_TO_STDERR, LOG_LEVEL_ERROR);
	static struct buf nowhere;
	static char memory[4096];
	buf_init_fixed(&nowhere, memory, sizeof(memory));
	log_capture(&nowhere);
	if (loop_init_manual(&loop, 10) < 0)
		abort();
	smtpd_init(&smtpd, &loop, &conf);
	loop.turn_end = sweep;
	loop.turn_end_context = &smtpd;
}

static void turn(int client)
{
	for (int quiet = 0; quiet < 2 && heard_len < HEARD;) {
		if (loop_turn(&loop, 0) < 0)
			abort();
		ssize_t n = recv(client, heard + heard_len, HEARD - heard_len, MSG_DONTWAIT);
		quiet = n > 0 ? 0 : quiet + 1;
		heard_len += n > 0 ? (size_t)n : 0;
	}
}

static void say(int client, const char *at, size_t len)
{
	while (len > 0) {
		ssize_t n = send(client, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		turn(client);
	}
}

static bool is_digits(const char *at)
{
	for (int i = 0; i < 3; i++)
		if (at[i] < '0' || at[i] > '9')
			return false;
	return true;
}

static void check_replies(void)
{
	size_t at = 0;
	while (at < heard_len) {
		char *end = memchr(heard + at, '\n', heard_len - at);
		if (!end || end - (heard + at) < 5 || end[-1] != '\r' || !is_digits(heard + at) || (heard[at + 3] != ' ' && heard[at + 3] != '-'))
			__builtin_trap();
		for (const char *c = heard + at; c < end - 1; c++)
			if ((*c >= 0 && *c < 0x20 && *c != '\t') || *c == 0x7f)
				__builtin_trap();
		at = (size_t)(end - heard) + 1;
	}
}

static unsigned count_accepted(void)
{
	static const char text[] = " Message accepted for delivery\r\n";
	unsigned n = 0;
	for (char *at = heard; (at = memmem(at, heard_len - (size_t)(at - heard), text, sizeof(text) - 1)); at++)
		n++;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int pair[2];
	char memory[PROXYHDR_V2_MAX];
	struct buf header;
	struct proxyhdr h = { .local = true };
	begin();
	if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
		return 0;
	if (!smtpd_add(&smtpd, pair[1]))
		abort();
	heard_len = 0;
	buf_init_fixed(&header, memory, sizeof(memory));
	if (!proxyhdr_write_v2(&header, &h))
		abort();
	if (!(data[0] & 0x80))
		say(pair[0], header.at, header.len);
	size_t pieces = data[0] & 0x0f, step = (size - 1) / (pieces + 1) + 1;
	for (size_t i = 1; i < size; i += step)
		say(pair[0], (const char *)data + i, step < size - i ? step : size - i);
	if (data[0] & 0x40)
		shutdown(pair[0], SHUT_WR);
	turn(pair[0]);
	close(pair[0]);
	turn(-1);
	if (smtpd.sessions != 0 || loop.heap_len != 0)
		__builtin_trap();
	check_replies();
	stored = left_over = 0;
	nftw(root, count_one, FOLDERS, FTW_PHYS);
	unsigned accepted = count_accepted();
	if (left_over > 0 || stored < accepted || stored > accepted * (unsigned)conf.max_recipients)
		__builtin_trap();
	nftw(root, remove_one, FOLDERS, FTW_DEPTH | FTW_PHYS);
	return 0;
}
