/* The tour, spawn: a process becomes a backend's program. What it gets is what inetd would give it: the socket, blocking; a clean environment; signals and
 * limits as the door itself was given them; a session of its own, so that no terminal's signal for the door meets it. */
#include "spawn/program.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct filling {
	struct program_environment *out;
	size_t variables, used;
};

static void put(struct filling *f, const char *protocol, const char *name, const char *value)
{
	size_t room = sizeof(f->out->memory) - f->used;
	char *at = f->out->memory + f->used;
	int n = snprintf(at, room, "%s%s=%s", protocol, name, value);
	if (n < 0 || (size_t)n >= room || f->variables + 1 >= PROGRAM_VARIABLES)
		return;
	f->out->variables[f->variables++] = at;
	f->out->variables[f->variables] = NULL;
	f->used += (size_t)n + 1;
}

/* A front has it from the DNS: nothing else than a host name goes into a variable that shells may read. */
static bool is_name(const char name[PASSING_NAME])
{
	static const char signs[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	size_t len = strnlen(name, PASSING_NAME);
	return len > 0 && len < PASSING_NAME && strspn(name, signs) == len;
}

static void put_connection(struct filling *f, const char *protocol, const struct passing_request *request, const char *hostname)
{
	char text[ADDR_TEXT], port[8];
	put(f, protocol, "LOCALIP", addr_format(&request->server, text));
	snprintf(port, sizeof(port), "%u", (unsigned)request->server.port);
	put(f, protocol, "LOCALPORT", port);
	put(f, protocol, "LOCALHOST", hostname);
	put(f, protocol, "REMOTEIP", addr_format(&request->client, text));
	snprintf(port, sizeof(port), "%u", (unsigned)request->client.port);
	put(f, protocol, "REMOTEPORT", port);
	if (is_name(request->name))
		put(f, protocol, "REMOTEHOST", request->name);
}

void program_environment(struct program_environment *out, const struct passing_request *request, const char *hostname)
{
	struct filling f = { .out = out };
	const bool four = addr_is4(&request->client);
	out->variables[0] = (char *)(uintptr_t)PATH;
	out->variables[1] = NULL;
	f.variables = 1;
	put(&f, "", "PROTO", four ? "TCP" : "TCP6");
	put_connection(&f, "TCP", request, hostname);
	/* Who was written for IPv6 asks by the protocol's name, who was not knows only the names above. */
	if (!four)
		put_connection(&f, "TCP6", request, hostname);
}

static void reset_signals(void)
{
	sigset_t none;
	for (int n = 1; n < NSIG; n++)
		signal(n, SIG_DFL); /* fails for two of them, which have no other way */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int take_descriptors(int socket, int said)
{
	int flags = fcntl(socket, F_GETFL);
	if (flags < 0 || fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	/* None of them is below 3: the door sees to that at its start. */
	if (dup2(socket, STDIN_FILENO) < 0 || dup2(socket, STDOUT_FILENO) < 0 || dup2(said, STDERR_FILENO) < 0)
		return -errno;
	return close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

int program_become(const struct program *program, int socket, char *const *variables, const struct rlimit *descriptors)
{
	reset_signals();
	setsid();
	umask(022);
	int e = take_descriptors(socket, program->said[1]);
	if (e == 0 && (setrlimit(RLIMIT_NOFILE, descriptors) < 0 || chdir("/") < 0))
		e = -errno;
	if (e == 0 && program->becomes)
		e = account_become(&program->account);
	if (e == 0)
		execve(program->arguments[0], program->arguments, variables);
	e = e < 0 ? e : -errno;
	/* The front has the same socket and will want it as it was. */
	fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
	return e;
}
