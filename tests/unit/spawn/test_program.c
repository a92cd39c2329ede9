/* What a program is given: its variables, and what is left to the front when it cannot be started. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/program.h"

static struct passing_request request(const char *client, const char *server, const char *name)
{
	struct passing_request r = { .kind = PASSING_CLIENT };
	assert_true(addr_parse(slice_of(client), &r.client) && addr_parse(slice_of(server), &r.server));
	r.client.port = 4711;
	r.server.port = 25;
	memcpy(r.name, name, strlen(name) + 1);
	return r;
}

static const char *variable(const struct program_environment *e, const char *name)
{
	size_t len = strlen(name);
	for (char *const *v = e->variables; *v; v++)
		if (strncmp(*v, name, len) == 0 && (*v)[len] == '=')
			return *v + len + 1;
	return NULL;
}

static size_t count(const struct program_environment *e)
{
	size_t n = 0;
	while (e->variables[n])
		n++;
	return n;
}

static void over_ipv4(void **context)
{
	struct program_environment e;
	struct passing_request r = request("192.0.2.1", "198.51.100.2", "client.example.net");
	(void)context;
	program_environment(&e, &r, "mx.example.org");
	assert_string_equal(variable(&e, "PROTO"), "TCP");
	assert_string_equal(variable(&e, "TCPREMOTEIP"), "192.0.2.1");
	assert_string_equal(variable(&e, "TCPREMOTEPORT"), "4711");
	assert_string_equal(variable(&e, "TCPREMOTEHOST"), "client.example.net");
	assert_string_equal(variable(&e, "TCPLOCALIP"), "198.51.100.2");
	assert_string_equal(variable(&e, "TCPLOCALPORT"), "25");
	assert_string_equal(variable(&e, "TCPLOCALHOST"), "mx.example.org");
	assert_non_null(variable(&e, "PATH"));
	assert_int_equal(count(&e), 8);
}

static void over_ipv6(void **context)
{
	struct program_environment e;
	struct passing_request r = request("2001:db8::1", "2001:db8::2", "");
	(void)context;
	program_environment(&e, &r, "mx.example.org");
	assert_string_equal(variable(&e, "PROTO"), "TCP6");
	assert_string_equal(variable(&e, "TCPREMOTEIP"), "2001:db8::1");
	assert_string_equal(variable(&e, "TCP6REMOTEIP"), "2001:db8::1");
	assert_string_equal(variable(&e, "TCP6LOCALHOST"), "mx.example.org");
	assert_null(variable(&e, "TCPREMOTEHOST"));
	assert_int_equal(count(&e), 12);
}

/* A front is not trusted: nothing but a host name goes into a variable. */
static void names_that_are_none(void **context)
{
	static const char *const bad[] = { "a b", "$(reboot)", "() { :; }", "a\nB=c", "x;y", "caf\xc3\xa9.example" };
	struct program_environment e;
	(void)context;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct passing_request r = request("192.0.2.1", "192.0.2.2", bad[i]);
		program_environment(&e, &r, "mx.example.org");
		assert_null(variable(&e, "TCPREMOTEHOST"));
	}
	struct passing_request r = request("192.0.2.1", "192.0.2.2", "");
	memset(r.name, 'a', sizeof(r.name)); /* without an end */
	program_environment(&e, &r, "mx.example.org");
	assert_null(variable(&e, "TCPREMOTEHOST"));
	r.name[sizeof(r.name) - 1] = '\0';
	program_environment(&e, &r, "mx.example.org");
	assert_int_equal(strlen(variable(&e, "TCPREMOTEHOST")), sizeof(r.name) - 1);
}

/* The front needs it as it was: its reads and writes must not wait. */
static void what_cannot_be_started_leaves_the_socket_as_it_was(void **context)
{
	static const struct { const char *path; int error; } cases[] = { { "/no/such/program", ENOENT }, { "/etc/passwd", EACCES }, { "/", EACCES } };
	(void)context;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int pair[2], said[2], status;
		char *arguments[] = { (char *)(uintptr_t)cases[i].path, NULL }, *none[] = { NULL };
		struct program p = { .arguments = arguments };
		struct rlimit limit;
		assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(pipe(said), 0);
		memcpy(p.said, said, sizeof(said));
		pid_t pid = fork();
		if (pid == 0)
			_exit(-program_become(&p, pair[0], none, &limit));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), cases[i].error);
		assert_true(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
		close(pair[0]);
		close(pair[1]);
		close(said[0]);
		close(said[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(over_ipv4), cmocka_unit_test(over_ipv6), cmocka_unit_test(names_that_are_none),
		cmocka_unit_test(what_cannot_be_started_leaves_the_socket_as_it_was) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
