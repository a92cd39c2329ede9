/* The tour, tools: the certificate. OpenSSL is not in this program: the files are read here, where that is allowed, and judged by tarry-tls. */
#include "tool/complain_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/proc.h"
#include "core/tlswire.h"

#define OUTPUT 4096 /* bytes of what it says that are taken; a pipe holds more, so it never waits for us */

size_t complain_tls_names(const struct conf *conf, const char *args[COMPLAIN_TLS_ARGS])
{
	const char *const pairs[][2] = { { "--certificate", conf->tls_certificate }, { "--key", conf->tls_key }, { "--ca", conf->tls_client_ca }, { "--ciphers", conf->tls_ciphers } };
	size_t n = 0;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (pairs[i][1][0]) {
			args[n++] = pairs[i][0];
			args[n++] = pairs[i][1];
		}
	return n;
}

_Noreturn static void become_check(const struct conf *conf, const char *program, int bundle, int out, int err)
{
	char number[16];
	const char *args[COMPLAIN_TLS_ARGS + 5] = { program, "--check", "--bundle", number };
	args[4 + complain_tls_names(conf, args + 4)] = NULL;
	snprintf(number, sizeof(number), "%d", bundle);
	fcntl(bundle, F_SETFD, 0);
	if (dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0)
		execv(program, (char *const *)(uintptr_t)args);
	_exit(EX_OSERR);
}

static void collect(int fd, struct buf *to)
{
	char block[OUTPUT];
	ssize_t n;
	while ((n = read(fd, block, sizeof(block))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			buf_put(to, block, (size_t)n);
}

/* EX_OK, or its exit code. */
static int run_check(const struct conf *conf, const char *program, int bundle, struct buf *about, struct buf *said)
{
	int out[2], err[2], status = 0;
	if (pipe2(out, O_CLOEXEC) < 0)
		return EX_OSERR;
	if (pipe2(err, O_CLOEXEC) < 0) {
		close(out[0]);
		close(out[1]);
		return EX_OSERR;
	}
	pid_t pid = fork();
	if (pid == 0)
		become_check(conf, program, bundle, out[1], err[1]);
	close(out[1]);
	close(err[1]);
	collect(out[0], about);
	collect(err[0], said);
	close(out[0]);
	close(err[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return EX_OSERR;
	return pid < 0 ? EX_OSERR : WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

int complain_tls(const struct conf *conf, int *bundle, struct buf *about, struct buf *said)
{
	char program[PATH_MAX];
	int fd = tlswire_bundle_files(conf->tls_certificate, conf->tls_key, conf->tls_client_ca, said);
	if (fd < 0) {
		buf_put_char(said, '\n');
		return EX_NOINPUT;
	}
	if (!proc_program("tarry-tls", program) || access(program, X_OK) < 0) {
		buf_putf(said, "%s: the program that ends TLS is not there (%s): %s\n", conf_where(conf, "tls_certificate"), program, strerror(errno));
		close(fd);
		return EX_UNAVAILABLE;
	}
	int code = run_check(conf, program, fd, about, said);
	if (code != EX_OK) {
		if (said->len == 0)
			buf_putf(said, "%s: %s --check ended with %d\n", conf_where(conf, "tls_certificate"), program, code);
		close(fd);
		return code;
	}
	*bundle = fd;
	return EX_OK;
}
