/* The tour, probe: TLS. OpenSSL is not in this program: tarry-tls, which a door has beside it for the same reason, is started once and given each connection that TLS is to be
 * spoken on, as if the server were a backend. Whose certificate it shows is not looked at: mail servers among themselves do not, and nothing secret is said. */
#include "tool/probe_all.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/conf.h"
#include "core/proc.h"
#include "core/sock.h"
#include "core/tlswire.h"

/* What it inherits, as its options have it. */
struct inherited {
	int backends, tickets, orders, parent;
};

static void close_inherited(const struct inherited *fds)
{
	const int all[] = { fds->backends, fds->tickets, fds->orders, fds->parent };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] >= 0)
			close(all[i]);
}

_Noreturn static void become(const char *program, const struct inherited *fds)
{
	char numbers[4][16];
	const int all[] = { fds->backends, fds->tickets, fds->orders, fds->parent };
	for (size_t i = 0; i < 4; i++) {
		snprintf(numbers[i], sizeof(numbers[i]), "%d", all[i]);
		if (fcntl(all[i], F_SETFD, 0) < 0)
			_exit(EX_OSERR);
	}
	const char *const args[] = { program, "--backends", numbers[0], "--tickets", numbers[1], "--orders", numbers[2], "--parent", numbers[3], "--log-level", "error", NULL };
	execv(program, (char *const *)(uintptr_t)args);
	_exit(EX_OSERR);
}

/* The server as the one backend of a configuration. -1: *why. */
static int describe_server(const char *name, struct buf *why)
{
	char where[] = "tarry probe", server[256];
	snprintf(server, sizeof(server), "%s", name);
	struct conf_backend backend = { .tls = CONF_TLS_IMPLICIT, .tls_name = server, .where = where };
	struct conf conf = { .backends = &backend, .backends_len = 1 };
	return tlswire_backend_files(&conf, why);
}

static bool make_channels(struct probe_seal *seal, struct inherited *fds)
{
	int orders[2], parent[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0)
		return false;
	seal->orders = orders[0];
	fds->orders = orders[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, parent) < 0)
		return false;
	seal->parent = parent[0];
	fds->parent = parent[1];
	return true;
}

int probe_seal_start(struct probe_seal *seal, const char *name)
{
	char program[PATH_MAX], memory[1024];
	struct inherited fds = { -1, -1, -1, -1 };
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	*seal = (struct probe_seal){ .orders = -1, .parent = -1 };
	if (!proc_program("tarry-tls", program) || access(program, X_OK) < 0) {
		fprintf(stderr, "tarry probe: the program that speaks TLS is not there (%s): %s; --clear does without\n", program, strerror(errno));
		return EX_UNAVAILABLE;
	}
	fds.backends = describe_server(name, &why);
	fds.tickets = tlswire_make_tickets(-1, false);
	bool ok = fds.backends >= 0 && fds.tickets >= 0 && make_channels(seal, &fds);
	if (ok) {
		fflush(stdout);
		seal->pid = fork();
		if (seal->pid == 0)
			become(program, &fds);
		ok = seal->pid > 0;
	}
	int error = errno;
	close_inherited(&fds);
	if (ok)
		return EX_OK;
	fprintf(stderr, "tarry probe: a process that speaks TLS: %s\n", why.len > 0 ? buf_text(&why) : strerror(error));
	seal->pid = 0;
	probe_seal_stop(seal);
	return EX_OSERR;
}

int probe_seal_begin(const struct probe_seal *seal, int connection, int64_t timeout)
{
	struct tlswire_order order = { .magic = TLSWIRE_MAGIC, .backend = 1, .timeout = (uint32_t)(timeout / LOOP_MS) };
	int ends[2], e = 0;
	if (seal->pid <= 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		e = seal->pid <= 0 ? -ESRCH : -errno;
		close(connection);
		return e;
	}
	const int given[] = { connection, ends[1] };
	ssize_t n = sock_send_fds(seal->orders, &order, sizeof(order), given, 2);
	close(connection);
	close(ends[1]);
	if (n == (ssize_t)sizeof(order))
		return ends[0];
	close(ends[0]);
	return n < 0 ? (int)n : -EIO;
}

enum probe_sealed probe_seal_answer(int fd, char *words, size_t size)
{
	struct tlswire_facts facts;
	ssize_t n = recv(fd, &facts, sizeof(facts), MSG_PEEK | MSG_DONTWAIT);
	if ((n < 0 && errno == EAGAIN) || (n > 0 && n < (ssize_t)sizeof(facts)))
		return PROBE_SEALED_NOT_YET;
	if (n > 0)
		n = recv(fd, &facts, sizeof(facts), MSG_DONTWAIT);
	if (n != (ssize_t)sizeof(facts) || !tlswire_facts_ok(&facts)) {
		snprintf(words, size, "tarry-tls has gone");
		return PROBE_SEALED_FAILED;
	}
	if (facts.ok)
		snprintf(words, size, "%s %s", facts.version, facts.cipher);
	else
		snprintf(words, size, "%s", facts.error);
	return facts.ok ? PROBE_SEALED : PROBE_SEALED_FAILED;
}

/* With its channels closed it ends by itself. */
void probe_seal_stop(struct probe_seal *seal)
{
	if (seal->orders >= 0)
		close(seal->orders);
	if (seal->parent >= 0)
		close(seal->parent);
	while (seal->pid > 0 && waitpid(seal->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*seal = (struct probe_seal){ .orders = -1, .parent = -1 };
}
