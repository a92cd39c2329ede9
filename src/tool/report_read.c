/* The tour, tools: logs are read, in one go and a line at a time. Files that were rotated and compressed are read through gzip, xz, zstd or bzip2, which is not this program's business to
 * link with: it is also the one that faces the Internet. */
#include "tool/report_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define BLOCK (256 * 1024) /* bytes read at once; a line that is longer is none */

/* ---- lines ---- */

/* True: all was read. */
static bool read_lines(int fd, char *block, const struct report_reader *r)
{
	size_t have = 0;
	bool skip = false; /* the rest of a line that is too long */
	for (;;) {
		ssize_t n = read(fd, block + have, BLOCK - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		char *at = block, *end = block + have + n, *lf;
		while ((lf = memchr(at, '\n', (size_t)(end - at)))) {
			if (!skip)
				r->take(r->context, (struct slice){ at, (size_t)(lf - at) });
			skip = false;
			at = lf + 1;
		}
		have = (size_t)(end - at);
		if (n == 0 && have > 0 && !skip)
			r->take(r->context, (struct slice){ at, have });
		if (n == 0)
			return true;
		skip = skip || have == BLOCK;
		if (have == BLOCK)
			have = 0;
		memmove(block, at, have);
	}
}

/* ---- files ---- */

/* Which program makes plain text of it; NULL: it is that already, or cannot be looked at before it is read. */
static const char *unpacker(int fd)
{
	static const struct { const char *magic; size_t len; const char *program; } table[] = { { "\x1f\x8b", 2, "gzip" }, { "\xfd" "7zXZ", 5, "xz" }, { "\x28\xb5\x2f\xfd", 4, "zstd" },
		{ "BZh", 3, "bzip2" } };
	char head[8];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (n >= (ssize_t)table[i].len && memcmp(head, table[i].magic, table[i].len) == 0)
			return table[i].program;
	return NULL;
}

/* The program's output, the file being its input. -1: it could not be started. */
static int unpack(const char *name, const char *program, int fd, pid_t *pid)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	*pid = fork();
	if (*pid == 0) {
		if (dup2(fd, STDIN_FILENO) >= 0 && dup2(ends[1], STDOUT_FILENO) >= 0)
			execlp(program, program, "-dc", (char *)NULL);
		fprintf(stderr, "tarry %s: %s: %s\n", name, program, strerror(errno));
		_exit(127);
	}
	close(ends[1]);
	if (*pid > 0)
		return ends[0];
	close(ends[0]);
	return -1;
}

static int unreadable(const struct report_reader *r, const char *path)
{
	fprintf(stderr, "tarry %s: %s: %s\n", r->name, path, strerror(errno));
	return EX_NOINPUT;
}

static int read_packed(const struct report_reader *r, const char *path, const char *program, int fd, char *block)
{
	pid_t pid;
	int status = 0, from = unpack(r->name, program, fd, &pid);
	if (from < 0)
		return unreadable(r, path);
	bool ok = read_lines(from, block, r);
	close(from);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (ok && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return EX_OK;
	fprintf(stderr, "tarry %s: %s: %s -dc could not read it to its end: what comes after that is missing\n", r->name, path, program);
	return EX_DATAERR;
}

static int read_file(const struct report_reader *r, const char *path, char *block)
{
	bool standard = strcmp(path, "-") == 0;
	int code = EX_OK, fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return unreadable(r, path);
	const char *program = unpacker(fd);
	if (program)
		code = read_packed(r, path, program, fd, block);
	else if (!read_lines(fd, block, r))
		code = unreadable(r, path);
	if (!standard)
		close(fd);
	return code;
}

int report_read(const struct report_reader *r, int argc, char **argv)
{
	static char block[BLOCK];
	int code = EX_OK;
	if (argc == 0)
		return read_file(r, "-", block);
	for (int i = 0; i < argc; i++) {
		int e = read_file(r, argv[i], block);
		code = code == EX_OK ? e : code;
	}
	return code;
}
