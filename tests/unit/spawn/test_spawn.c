/* The spawner, as a front meets it: what is answered to each request, and what the next spawner knows. It runs in a process of its own; what it says is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/metrics.h"
#include "core/sock.h"
#include "spawn/slot.h"
#include "spawn/spawn.h"

#define WAIT 10000 /* milliseconds until a test gives up */

/* Greets, and ends with what it is told. */
#define PROGRAM "backend a { exec = { '/bin/sh', '-c', 'echo hello; read n; exit $n' }  max = 2 }\n"

struct stage {
	struct conf conf;
	struct spawn_setup setup;
	pid_t pid;
	int parent; /* our end of the spawner's channel */
	uint64_t token, heard;
};

static void begin_spawner(struct stage *s)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	s->pid = fork();
	if (s->pid == 0) {
		close(pair[0]);
		_exit(spawn_run(&s->setup, pair[1]) == 0 ? 0 : 1);
	}
	close(pair[1]);
	s->parent = pair[0];
}

static void open_stage(struct stage *s, const char *text)
{
	char memory[512];
	struct buf why, errors;
	const struct rlimit limit = { 64, 64 };
	memset(s, 0, sizeof(*s));
	buf_init_fixed(&why, memory, sizeof(memory));
	buf_init(&errors, 4096);
	if (!conf_load_text(&s->conf, "c", slice_of(text), NULL, 0, &errors, &errors))
		fail_msg("%s", buf_text(&errors));
	buf_fini(&errors);
	assert_int_equal(spawn_prepare(&s->setup, &s->conf, 1, false, &limit, &why), 0);
	begin_spawner(s);
}

static void end_spawner(struct stage *s)
{
	int status;
	close(s->parent);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void close_stage(struct stage *s)
{
	end_spawner(s);
	spawn_fini(&s->setup);
	conf_fini(&s->conf);
}

static void send_request(struct stage *s, struct passing_request *r, int fd)
{
	assert_int_equal(sock_send_fd(s->setup.channels[0][0], r, sizeof(*r), fd), sizeof(*r));
}

/* A client; its end, which is the caller's. first: what it has said. */
static int pass(struct stage *s, const char *first, bool look)
{
	struct passing_request r = { .life = 1, .token = ++s->token, .kind = PASSING_CLIENT, .look = look };
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[0], first, strlen(first), 0), strlen(first));
	addr_parse(slice_of("192.0.2.1"), &r.client);
	r.server = r.client;
	send_request(s, &r, pair[1]);
	close(pair[1]);
	return pair[0];
}

/* Told again by the next spawner, which cannot know: as a front does, it is passed over. */
static struct passing_report hear(struct stage *s)
{
	struct pollfd p = { .fd = s->setup.channels[0][0], .events = POLLIN };
	struct passing_report report;
	assert_int_equal(poll(&p, 1, WAIT), 1);
	assert_int_equal(recv(p.fd, &report, sizeof(report), 0), sizeof(report));
	if (report.serial > 0 && report.serial <= s->heard)
		return hear(s);
	s->heard = report.serial > 0 ? report.serial : s->heard;
	return report;
}

static struct passing_report expect(struct stage *s, enum passing_report_kind kind)
{
	struct passing_report report = hear(s);
	assert_int_equal(report.kind, kind);
	return report;
}

static void expect_text(int fd, const char *text)
{
	char got[100] = "";
	size_t have = 0;
	while (have < strlen(text)) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		assert_int_equal(poll(&p, 1, WAIT), 1);
		ssize_t n = read(fd, got + have, sizeof(got) - 1 - have);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_string_equal(got, text);
}

static void a_session(void **context)
{
	struct stage s;
	(void)context;
	open_stage(&s, PROGRAM);
	int client = pass(&s, "", true);
	struct passing_report started = expect(&s, PASSING_STARTED);
	assert_int_equal(started.token, 1);
	assert_int_equal(started.life, 1);
	assert_true(started.pid > 0);
	expect_text(client, "hello\n");
	assert_int_equal(write(client, "3\n", 2), 2);
	struct passing_report ended = expect(&s, PASSING_ENDED);
	assert_int_equal(ended.pid, started.pid);
	assert_true(addr_same_ip(&ended.client, &started.client));
	assert_int_equal(read(client, &(char){ 0 }, 1), 0);
	close(client);
	close_stage(&s);
}

static void the_last_look(void **context)
{
	struct stage s;
	(void)context;
	open_stage(&s, PROGRAM);
	int client = pass(&s, "0\n", true);
	assert_int_equal(expect(&s, PASSING_TALK).token, 1);
	close(client);
	client = pass(&s, "0\n", false); /* exempt: it is the program's */
	expect(&s, PASSING_STARTED);
	expect_text(client, "hello\n");
	expect(&s, PASSING_ENDED);
	close(client);
	struct passing_request r = { .life = 1, .token = 9, .kind = PASSING_CLIENT };
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[0]);
	send_request(&s, &r, pair[1]);
	close(pair[1]);
	assert_int_equal(expect(&s, PASSING_GONE).token, 9);
	close_stage(&s);
}

/* A front is not trusted. */
static void requests_that_are_none(void **context)
{
	struct stage s;
	struct passing_request r = { .life = 1, .token = 5, .kind = PASSING_CLIENT, .backend = 1 };
	(void)context;
	open_stage(&s, PROGRAM);
	send_request(&s, &r, s.parent); /* any descriptor */
	assert_int_equal(expect(&s, PASSING_FAILED).error, EINVAL);
	r.backend = 0;
	send_request(&s, &r, -1); /* none */
	assert_int_equal(expect(&s, PASSING_FAILED).error, EMFILE);
	r.kind = 77;
	send_request(&s, &r, -1);
	assert_int_equal(send(s.setup.channels[0][0], "short", 5, 0), 5);
	int client = pass(&s, "0\n", false);
	expect(&s, PASSING_STARTED); /* nothing was answered to those, and it lives */
	expect(&s, PASSING_ENDED);
	close(client);
	close_stage(&s);
}

static void no_more_than_max(void **context)
{
	struct stage s;
	(void)context;
	open_stage(&s, PROGRAM);
	int clients[] = { pass(&s, "", true), pass(&s, "", true) };
	expect(&s, PASSING_STARTED);
	expect(&s, PASSING_STARTED);
	int one_more = pass(&s, "", true);
	expect(&s, PASSING_BUSY);
	close(one_more);
	close(clients[0]);
	expect(&s, PASSING_ENDED);
	int third = pass(&s, "", true);
	expect(&s, PASSING_STARTED);
	close(third);
	close(clients[1]);
	expect(&s, PASSING_ENDED);
	expect(&s, PASSING_ENDED);
	close_stage(&s);
}

static void a_program_that_cannot_be_started(void **context)
{
	struct stage s;
	(void)context;
	open_stage(&s, "backend a { exec = '/no/such/program'  max = 1 }\n");
	for (int i = 0; i < 5; i++) { /* each gives its place back, when its process has ended, a moment after it has said why */
		struct passing_report report;
		do {
			int client = pass(&s, "", true);
			report = hear(&s);
			close(client);
		} while (report.kind == PASSING_BUSY);
		assert_int_equal(report.kind, PASSING_FAILED);
		assert_int_equal(report.error, ENOENT);
		assert_int_equal(report.token, s.token);
	}
	close_stage(&s);
}

/* Many that end at once: none may be lost, whatever the order in which exec, end and the next start are seen. */
static void short_sessions(void **context)
{
	struct stage s;
	unsigned started = 0, ended = 0, left = 300, busy = 0;
	(void)context;
	open_stage(&s, "backend a { exec = { '/bin/true' }  max = 8 }\n");
	for (int i = 0; i < 8; i++)
		close(pass(&s, "x", false));
	while (ended + busy < 308) {
		struct passing_report report = hear(&s);
		started += report.kind == PASSING_STARTED;
		ended += report.kind == PASSING_ENDED;
		busy += report.kind == PASSING_BUSY;
		assert_true(report.kind == PASSING_STARTED || report.kind == PASSING_ENDED || report.kind == PASSING_BUSY);
		if ((report.kind == PASSING_ENDED || report.kind == PASSING_BUSY) && left > 0) {
			left--;
			close(pass(&s, "x", false));
		}
	}
	assert_int_equal(started, ended);
	close_stage(&s);
}

static void the_next_spawner_and_the_next_front(void **context)
{
	struct stage s;
	(void)context;
	open_stage(&s, PROGRAM);
	int client = pass(&s, "", true);
	struct passing_report started = expect(&s, PASSING_STARTED);
	kill(s.pid, SIGKILL);
	waitpid(s.pid, NULL, 0);
	close(s.parent);
	begin_spawner(&s);
	/* One more fits, not two: it knows of the first. */
	int other = pass(&s, "", true);
	expect(&s, PASSING_STARTED);
	int one_more = pass(&s, "", true);
	expect(&s, PASSING_BUSY);
	close(one_more);
	struct passing_request hello = { .life = 2, .kind = PASSING_HELLO };
	send_request(&s, &hello, -1);
	struct passing_report kept[] = { expect(&s, PASSING_KEPT), expect(&s, PASSING_KEPT) };
	assert_true(kept[0].life == 2 && kept[1].life == 2);
	assert_true(kept[0].pid == started.pid || kept[1].pid == started.pid);
	expect_text(client, "hello\n");
	assert_int_equal(write(client, "0\n", 2), 2);
	struct passing_report ended = expect(&s, PASSING_ENDED);
	assert_int_equal(ended.pid, started.pid);
	assert_int_equal(ended.life, 2);
	close(other);
	expect(&s, PASSING_ENDED);
	close(client);
	close_stage(&s);
}

/* A spawner that died while it was starting one: nobody knows whether it did, and its client is to be told. */
static void one_that_was_being_started(void **context)
{
	struct stage s;
	(void)context;
	open_stage(&s, PROGRAM);
	kill(s.pid, SIGKILL);
	waitpid(s.pid, NULL, 0);
	close(s.parent);
	s.setup.slots[1] = (struct spawn_slot){ .used = true, .life = 1, .token = 8 };
	begin_spawner(&s);
	struct passing_report report = expect(&s, PASSING_FAILED);
	assert_int_equal(report.token, 8);
	assert_int_equal(report.error, EIO);
	int clients[] = { pass(&s, "", true), pass(&s, "", true) }; /* it has given its place back */
	expect(&s, PASSING_STARTED);
	expect(&s, PASSING_STARTED);
	close(clients[0]);
	close(clients[1]);
	expect(&s, PASSING_ENDED);
	expect(&s, PASSING_ENDED);
	close_stage(&s);
}

static int setup(void **context)
{
	(void)context;
	return metrics_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_session), cmocka_unit_test(the_last_look), cmocka_unit_test(requests_that_are_none),
		cmocka_unit_test(no_more_than_max), cmocka_unit_test(a_program_that_cannot_be_started), cmocka_unit_test(short_sessions),
		cmocka_unit_test(the_next_spawner_and_the_next_front), cmocka_unit_test(one_that_was_being_started) };
	return cmocka_run_group_tests(tests, setup, NULL);
}
