/* The relay over real sockets, with readers and writers that stall at random; what arrives must be what was sent, whatever way it took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "descriptors.h"
#include "gate/relay.h"

#define PIPE_BYTES (64 * 1024)
#define WATCHED (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

/* A relay and the two parties it stands between. */
struct scene {
	struct relay_shared *shared;
	struct relay relay;
	int client, backend;           /* the parties' ends; -1: closed */
	int from_client, from_backend; /* the door's ends */
	int epoll;
	bool client_out, backend_out;
	enum relay_result result;
};

static void tcp_pair(int pair[2])
{
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } }, from;
	int listener = sock_listen(&at, 1, false);
	assert_true(listener >= 0 && sock_local(listener, &at));
	pair[0] = sock_connect(&at);
	while ((pair[1] = sock_accept(listener, &from)) == -EAGAIN)
		;
	assert_true(pair[0] >= 0 && pair[1] >= 0);
	close(listener);
}

static void make_pair(int pair[2], bool tcp)
{
	if (tcp)
		tcp_pair(pair);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void watch(struct scene *s, int op, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };
	assert_int_equal(epoll_ctl(s->epoll, op, fd, &e), 0);
}

static void open_scene(struct scene *s, struct relay_shared *shared, bool tcp)
{
	int pair[2];
	memset(s, 0, sizeof(*s));
	s->shared = shared;
	make_pair(pair, tcp);
	s->client = pair[0];
	s->from_client = pair[1];
	make_pair(pair, tcp);
	s->backend = pair[0];
	s->from_backend = pair[1];
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	watch(s, EPOLL_CTL_ADD, s->from_client, WATCHED);
	watch(s, EPOLL_CTL_ADD, s->from_backend, WATCHED);
	relay_init(&s->relay, s->from_client, s->from_backend);
}

static void leave(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_scene(struct scene *s)
{
	relay_fini(&s->relay, s->shared);
	leave(&s->client);
	leave(&s->backend);
	close(s->from_client);
	close(s->from_backend);
	close(s->epoll);
}

/* What the owner of a relay does when it wakes up. */
static enum relay_result turn(struct scene *s)
{
	struct epoll_event ready[4];
	int n = epoll_wait(s->epoll, ready, 4, 0);
	for (int i = 0; i < n; i++) {
		if (ready[i].data.fd == s->from_client)
			relay_client_events(&s->relay, ready[i].events);
		else
			relay_backend_events(&s->relay, ready[i].events);
	}
	do
		s->result = relay_run(&s->relay, s->shared);
	while (s->result == RELAY_AGAIN);
	if (relay_blocked_on_client(&s->relay) && !s->client_out) {
		watch(s, EPOLL_CTL_MOD, s->from_client, WATCHED | EPOLLOUT);
		s->client_out = true;
	}
	if (relay_blocked_on_backend(&s->relay) && !s->backend_out) {
		watch(s, EPOLL_CTL_MOD, s->from_backend, WATCHED | EPOLLOUT);
		s->backend_out = true;
	}
	assert_true(s->relay.in.held.len <= RELAY_HELD && s->relay.out.held.len <= RELAY_HELD);
	assert_true(s->relay.in.piped <= PIPE_BYTES && s->relay.out.piped <= PIPE_BYTES);
	return s->result;
}

/* Until nothing more can be expected, or it is over: its owner would not call it again. */
static enum relay_result settle(struct scene *s)
{
	for (int i = 0; i < 20 && s->result == RELAY_IDLE; i++)
		turn(s);
	return s->result;
}

static struct relay_shared shared_now;
static int descriptors_before;

static int setup(void **context)
{
	(void)context;
	descriptors_before = descriptors_open();
	return relay_shared_init(&shared_now);
}

static int teardown(void **context)
{
	(void)context;
	relay_shared_fini(&shared_now);
	return descriptors_open() != descriptors_before;
}

/* ---- a stream of bytes that anybody can check ---- */

struct stream {
	size_t total, sent, received;
	size_t piece; /* bytes of a write at most */
	unsigned seed;
	bool ended; /* its end has arrived */
};

static char byte_at(const struct stream *t, size_t i)
{
	uint32_t x = (uint32_t)i * 2654435761U ^ t->seed;
	return (char)(x >> 13);
}

static void write_some(struct stream *t, int fd)
{
	static char bytes[200000];
	size_t n = (size_t)rand() % t->piece + 1;
	n = n < t->total - t->sent ? n : t->total - t->sent;
	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(t, t->sent + i);
	ssize_t put = n > 0 ? send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
	if (put < 0)
		assert_int_equal(errno, EAGAIN);
	else
		t->sent += (size_t)put;
}

static void read_some(struct stream *t, int fd, size_t most)
{
	static char bytes[200000];
	ssize_t n = recv(fd, bytes, (size_t)rand() % most + 1, MSG_DONTWAIT);
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return;
	}
	t->ended = n == 0;
	for (ssize_t i = 0; i < n; i++)
		if (bytes[i] != byte_at(t, t->received + (size_t)i))
			fail_msg("byte %zu of %zu is wrong", t->received + (size_t)i, t->total);
	t->received += (size_t)n;
	assert_true(t->received <= t->sent);
}

/* Both directions at once. The client's end comes first, then the backend's: everything must have arrived, and both ends with it. */
static void random_life(bool tcp)
{
	struct scene s;
	static const size_t pieces[] = { 10, 600, 20000, 150000 };
	struct stream in = { .total = (size_t)rand() % 600000, .piece = pieces[rand() % 4], .seed = (unsigned)rand() };
	struct stream out = { .total = (size_t)rand() % 600000, .piece = pieces[rand() % 4], .seed = (unsigned)rand() };
	in.total = in.piece < 600 ? in.total / 100 : in.total;
	out.total = out.piece < 600 ? out.total / 100 : out.total;
	int moods[4] = { 1 + rand() % 9, 1 + rand() % 9, 1 + rand() % 9, 1 + rand() % 9 }; /* how often each of the four hands moves, of ten */
	bool client_ended = false, backend_ended = false;
	open_scene(&s, &shared_now, tcp);
	while (!in.ended || !out.ended) {
		if (rand() % 10 < moods[0] && !client_ended)
			write_some(&in, s.client);
		if (rand() % 10 < moods[1] && !backend_ended)
			write_some(&out, s.backend);
		if (rand() % 10 < moods[2] && !in.ended)
			read_some(&in, s.backend, 100000);
		if (rand() % 10 < moods[3] && !out.ended)
			read_some(&out, s.client, 100000);
		if (in.sent == in.total && !client_ended)
			client_ended = shutdown(s.client, SHUT_WR) == 0;
		if (in.ended && out.sent == out.total && !backend_ended)
			backend_ended = shutdown(s.backend, SHUT_WR) == 0;
		assert_int_not_equal(turn(&s), RELAY_BROKEN);
	}
	assert_int_equal(in.received, in.total);
	assert_int_equal(out.received, out.total);
	assert_int_equal(settle(&s), RELAY_ENDED);
	assert_int_equal(s.relay.in.bytes, in.total);
	assert_int_equal(s.relay.out.bytes, out.total);
	assert_null(s.relay.in.held.at); /* nobody waits, nothing is held */
	assert_null(s.relay.out.held.at);
	close_scene(&s);
}

static void random_lives(void **context)
{
	(void)context;
	srand(6);
	for (int i = 0; i < 60; i++)
		random_life(i % 2);
}

/* The backend's end comes first: the client gets all of it, however slowly it reads, and the connection is over. */
static void backend_ends_first(void **context)
{
	(void)context;
	for (int i = 0; i < 4; i++) {
		struct scene s;
		struct stream out = { .total = 500000, .piece = 100000, .seed = 9 };
		open_scene(&s, &shared_now, i % 2);
		while (out.sent < out.total) {
			write_some(&out, s.backend);
			if (i < 2)
				turn(&s);
			read_some(&out, s.client, 20000);
			turn(&s);
		}
		if (i % 2)
			shutdown(s.backend, SHUT_WR);
		else
			leave(&s.backend);
		while (!out.ended) {
			turn(&s);
			read_some(&out, s.client, 20000);
		}
		assert_int_equal(out.received, out.total);
		assert_int_equal(settle(&s), RELAY_BACKEND_ENDED);
		close_scene(&s);
	}
}

/* ---- bulk and dialogue ---- */

static void push(struct scene *s, struct stream *t, size_t n)
{
	size_t to = t->sent + n;
	t->total = to;
	t->piece = 50000;
	while (t->received < to) {
		write_some(t, s->client);
		turn(s);
		read_some(t, s->backend, 100000);
	}
}

static void bulk_takes_a_pipe_and_gives_it_back(void **context)
{
	(void)context;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct scene s;
		struct stream in = { .seed = 8 };
		open_scene(&s, &shared_now, tcp);
		for (int again = 0; again < 3; again++) {
			for (int i = 0; i < 20; i++)
				push(&s, &in, 100);
			assert_int_equal(s.relay.in.pipe[0], -1); /* a dialogue is copied */
			/* A lot at once, while nobody takes it. */
			in.total = in.sent + 400000;
			for (int i = 0; i < 50; i++) {
				write_some(&in, s.client);
				turn(&s);
			}
			assert_true(s.relay.in.pipe[0] >= 0 || shared_now.pipes_len == 1);
			assert_true(s.relay.in.pipe[0] < 0 || shared_now.pipes_len == 0);
			while (in.received < in.total) {
				write_some(&in, s.client);
				turn(&s);
				read_some(&in, s.backend, 100000);
			}
			push(&s, &in, 100);
			assert_int_equal(s.relay.in.pipe[0], -1);
			assert_int_equal(shared_now.pipes_len, 1); /* the same one each time */
			assert_int_equal(s.relay.in.bytes, in.total);
		}
		close_scene(&s);
		relay_shared_fini(&shared_now);
		assert_int_equal(relay_shared_init(&shared_now), 0);
	}
}

/* Without a pipe to be had, bulk is copied. */
static void bulk_without_pipes(void **context)
{
	struct scene s;
	struct rlimit old, few;
	struct stream in = { .seed = 7 };
	(void)context;
	open_scene(&s, &shared_now, false);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = 3; /* nothing new can be opened */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	in.total = 400000;
	in.piece = 100000;
	for (int i = 0; i < 50; i++) {
		write_some(&in, s.client);
		turn(&s);
	}
	assert_int_equal(s.relay.in.pipe[0], -1);
	push(&s, &in, 400000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close_scene(&s);
}

/* An urgent byte (RFC 6093) in the middle of bulk: it is left out, all else arrives, and the way round it costs no pipe. */
static void urgent_byte_in_bulk(void **context)
{
	(void)context;
	for (int round = 0; round < 5; round++) {
		struct scene s;
		struct stream in = { .total = 100000, .piece = 100000, .seed = 1 };
		open_scene(&s, &shared_now, true);
		while (in.sent < in.total) /* all of it before the relay looks once */
			write_some(&in, s.client);
		assert_int_equal(send(s.client, "!", 1, MSG_OOB), 1);
		in.total = 200000;
		while (in.sent < in.total)
			write_some(&in, s.client);
		while (in.received < in.total) {
			turn(&s);
			read_some(&in, s.backend, 100000);
		}
		close_scene(&s);
		assert_int_equal(descriptors_open(), descriptors_before + 2 * (int)shared_now.pipes_len);
	}
}

static size_t waiting_in(int fd)
{
	int n = 0;
	assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
	return (size_t)n;
}

/* A reader that never reads: what the relay has taken from the writer is one buffer and one pipe at most, and the writer is stopped. */
static void back_pressure(void **context)
{
	static const size_t pieces[] = { 100, 3000, 100000 };
	(void)context;
	for (int i = 0; i < 6; i++) {
		struct scene s;
		bool to_client = i % 2;
		struct stream t = { .total = 100000000, .piece = pieces[i / 2], .seed = 5 };
		open_scene(&s, &shared_now, false);
		int writer = to_client ? s.backend : s.client, from = to_client ? s.from_backend : s.from_client;
		int reader = to_client ? s.client : s.backend;
		for (size_t before = 0, still = 0; still < 50; before = t.sent) {
			write_some(&t, writer);
			still = t.sent == before ? still + 1 : 0;
			assert_int_equal(turn(&s), RELAY_IDLE);
		}
		assert_true(t.sent < t.total / 10);
		size_t ours = t.sent - waiting_in(from) - waiting_in(reader);
		assert_true(ours <= RELAY_HELD + PIPE_BYTES);
		assert_true(to_client ? relay_blocked_on_client(&s.relay) : relay_blocked_on_backend(&s.relay));
		/* The other direction is not held up. */
		struct stream other = { .total = 5000, .piece = 5000, .seed = 4 };
		while (!other.sent || other.received < other.sent) {
			if (!other.sent)
				write_some(&other, reader);
			turn(&s);
			read_some(&other, writer, 5000);
		}
		/* And when the reader reads again, all of it is there. */
		t.total = t.sent;
		while (t.received < t.total) {
			read_some(&t, reader, 100000);
			turn(&s);
		}
		close_scene(&s);
	}
}

/* ---- ends and resets ---- */

static void expect_text(int fd, const char *want)
{
	char got[200];
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);
	got[n > 0 ? n : 0] = '\0';
	assert_string_equal(got, want);
}

static void half_close(void **context)
{
	(void)context;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct scene s;
		char byte;
		open_scene(&s, &shared_now, tcp);
		assert_int_equal(send(s.client, "QUIT\r\n", 6, 0), 6);
		shutdown(s.client, SHUT_WR);
		assert_int_equal(settle(&s), RELAY_IDLE);
		expect_text(s.backend, "QUIT\r\n");
		assert_int_equal(sock_peek(s.backend, &byte, 1), 0);
		assert_int_equal(sock_peek(s.client, &byte, 1), -EAGAIN); /* the other way is open */
		assert_int_equal(send(s.backend, "221 bye\r\n", 9, 0), 9);
		assert_int_equal(settle(&s), RELAY_IDLE);
		expect_text(s.client, "221 bye\r\n");
		leave(&s.backend);
		assert_int_equal(settle(&s), RELAY_ENDED);
		assert_int_equal(sock_peek(s.client, &byte, 1), 0);
		close_scene(&s);
	}
}

static void client_resets(void **context)
{
	(void)context;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct scene s;
		open_scene(&s, &shared_now, tcp);
		assert_int_equal(send(s.backend, "220 hello\r\n", 11, 0), 11);
		assert_int_equal(settle(&s), RELAY_IDLE);
		leave(&s.client); /* with the greeting unread */
		assert_int_equal(settle(&s), RELAY_BROKEN);
		close_scene(&s);
	}
}

static void backend_resets(void **context)
{
	(void)context;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct scene s;
		open_scene(&s, &shared_now, tcp);
		assert_int_equal(send(s.client, "HELO x\r\n", 8, 0), 8);
		assert_int_equal(settle(&s), RELAY_IDLE);
		leave(&s.backend); /* with the command unread */
		assert_int_equal(settle(&s), RELAY_BACKEND_ENDED);
		close_scene(&s);
	}
}

/* A backend that says why and goes, without reading what has come meanwhile; the client's next bytes are seen before the backend's end is.
 * What it said is for the client all the same. */
static void last_words(void **context)
{
	(void)context;
	for (int tcp = 0; tcp < 2; tcp++) {
		struct scene s;
		open_scene(&s, &shared_now, tcp);
		assert_int_equal(send(s.client, "one\r\n", 5, 0), 5);
		assert_int_equal(settle(&s), RELAY_IDLE);
		assert_int_equal(send(s.backend, "421 too busy\r\n", 14, 0), 14);
		leave(&s.backend);
		assert_int_equal(send(s.client, "two\r\n", 5, 0), 5);
		relay_client_events(&s.relay, EPOLLIN); /* of the same turn of the loop, but earlier */
		do
			s.result = relay_run(&s.relay, s.shared);
		while (s.result == RELAY_AGAIN);
		settle(&s);
		expect_text(s.client, "421 too busy\r\n");
		close_scene(&s);
	}
}

/* ---- what the owner has read already ---- */

static void greeting_goes_first(void **context)
{
	struct scene s;
	static char big[RELAY_HELD + 1];
	(void)context;
	open_scene(&s, &shared_now, false);
	assert_true(relay_put_out(&s.relay, "220-", 4));
	assert_true(relay_put_out(&s.relay, "one\r\n", 5));
	assert_int_equal(send(s.backend, "220 two\r\n", 9, 0), 9);
	assert_int_equal(settle(&s), RELAY_IDLE);
	expect_text(s.client, "220-one\r\n220 two\r\n");
	assert_int_equal(s.relay.out.bytes, 18);
	assert_false(relay_put_out(&s.relay, big, sizeof(big)));
	assert_true(relay_put_out(&s.relay, big, sizeof(big) - 1));
	close_scene(&s); /* with bytes that never went out */
}

/* ---- the pool ---- */

/* Bulk until nothing moves any more: the pipe is full. */
static void fill_up(struct scene *s, struct stream *in)
{
	for (int i = 0; i < 10; i++) {
		for (size_t before = in->sent + 1; before != in->sent;) { /* all that the socket takes */
			before = in->sent;
			write_some(in, s->client);
		}
		turn(s);
	}
	assert_true(s->relay.in.pipe[0] >= 0 && s->relay.in.piped > 0);
}

static void pool_has_a_ceiling(void **context)
{
	static struct scene many[RELAY_PIPES + 8];
	static struct stream in[RELAY_PIPES + 8];
	(void)context;
	for (size_t i = 0; i < RELAY_PIPES + 8; i++) {
		in[i] = (struct stream){ .total = 100000000, .piece = 100000, .seed = (unsigned)i };
		open_scene(&many[i], &shared_now, false);
		fill_up(&many[i], &in[i]);
	}
	for (size_t i = 0; i < RELAY_PIPES + 8; i++) {
		while (in[i].received < in[i].sent) {
			read_some(&in[i], many[i].backend, 100000);
			turn(&many[i]);
		}
		close_scene(&many[i]);
	}
	assert_int_equal(shared_now.pipes_len, RELAY_PIPES);
}

/* A pipe that still holds somebody's bytes must not serve another connection. */
static void full_pipes_are_not_kept(void **context)
{
	struct scene s;
	struct stream in = { .total = 100000000, .piece = 100000, .seed = 2 };
	(void)context;
	open_scene(&s, &shared_now, false);
	fill_up(&s, &in);
	close_scene(&s);
	assert_int_equal(shared_now.pipes_len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_lives, setup, teardown), cmocka_unit_test_setup_teardown(backend_ends_first, setup, teardown),
		cmocka_unit_test_setup_teardown(bulk_takes_a_pipe_and_gives_it_back, setup, teardown),
		cmocka_unit_test_setup_teardown(bulk_without_pipes, setup, teardown), cmocka_unit_test_setup_teardown(urgent_byte_in_bulk, setup, teardown), cmocka_unit_test_setup_teardown(back_pressure, setup, teardown),
		cmocka_unit_test_setup_teardown(half_close, setup, teardown), cmocka_unit_test_setup_teardown(client_resets, setup, teardown),
		cmocka_unit_test_setup_teardown(backend_resets, setup, teardown), cmocka_unit_test_setup_teardown(last_words, setup, teardown),
		cmocka_unit_test_setup_teardown(greeting_goes_first, setup, teardown), cmocka_unit_test_setup_teardown(pool_has_a_ceiling, setup, teardown),
		cmocka_unit_test_setup_teardown(full_pipes_are_not_kept, setup, teardown),
	};
	signal(SIGPIPE, SIG_IGN); /* as in every role: splice() has no MSG_NOSIGNAL */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
