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

_Noreturn static void become_check(const struct conf *conf, const char *program, const struct complain_tls_files *files, int out, int err)
{
	char numbers[2][16];
	const char *args[COMPLAIN_TLS_ARGS + 7] = { program, "--check" };
	const struct {
		const char *option;
		int fd;
	} given[] = { { "--bundle", files->bundle }, { "--backends", files->backends } };
	size_t n = 2;
	for (size_t i = 0; i < 2; i++)
		if (given[i].fd >= 0) {
			snprintf(numbers[i], sizeof(numbers[i]), "%d", given[i].fd);
			fcntl(given[i].fd, F_SETFD, 0);
			args[n++] = given[i].option;
			args[n++] = numbers[i];
		}
	args[n + complain_tls_names(conf, args + n)] = NULL;
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
static int run_check(const struct conf *conf, const char *program, const struct complain_tls_files *files, struct buf *about, struct buf *said)
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
		become_check(conf, program, files, out[1], err[1]);
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

void complain_tls_close(struct complain_tls_files *files)
{
	if (files->bundle >= 0)
		close(files->bundle);
	if (files->backends >= 0)
		close(files->backends);
	*files = (struct complain_tls_files){ -1, -1 };
}

bool complain_tls_is_needed(const struct conf *conf)
{
	return conf->tls_certificate[0] || conf_tls_backend(conf);
}

static bool read_files(const struct conf *conf, struct complain_tls_files *files, struct buf *said)
{
	if (conf->tls_certificate[0])
		files->bundle = tlswire_bundle_files(conf->tls_certificate, conf->tls_key, conf->tls_client_ca, said);
	bool ok = files->bundle >= 0 || !conf->tls_certificate[0];
	if (ok && conf_tls_backend(conf))
		files->backends = tlswire_backend_files(conf, said);
	return ok && (files->backends >= 0 || !conf_tls_backend(conf));
}

/* EX_OK, or an exit code. */
static int judge_files(const struct conf *conf, const struct complain_tls_files *files, struct buf *about, struct buf *said)
{
	char program[PATH_MAX];
	const char *where = conf->tls_certificate[0] ? conf_where(conf, "tls_certificate") : conf_tls_backend(conf)->where;
	if (!proc_program("tarry-tls", program) || access(program, X_OK) < 0) {
		buf_putf(said, "%s: the program that speaks TLS is not there (%s): %s\n", where, program, strerror(errno));
		return EX_UNAVAILABLE;
	}
	int code = run_check(conf, program, files, about, said);
	if (code != EX_OK && said->len == 0)
		buf_putf(said, "%s: %s --check ended with %d\n", where, program, code);
	return code;
}

int complain_tls(const struct conf *conf, struct complain_tls_files *files, struct buf *about, struct buf *said)
{
	*files = (struct complain_tls_files){ -1, -1 };
	if (!complain_tls_is_needed(conf))
		return EX_OK;
	int code = EX_NOINPUT;
	if (read_files(conf, files, said))
		code = judge_files(conf, files, about, said);
	else
		buf_put_char(said, '\n');
	if (code != EX_OK)
		complain_tls_close(files);
	return code;
}
