/* Sockets: reading and writing at the ceilings, listening in every family, connecting and failing to, descriptors sent along, and that
 * the kernel steers clients to the sockets that sock_steered_to() names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../untested.h"
#include "core/sock.h"
#include "descriptors.h"

#define STEERED 4 /* sockets of a group */
#define WAIT 5000 /* milliseconds until a test gives up */

static struct addr address(const char *text)
{
	struct addr a = { .port = 0 };
	assert_true(addr_parse_port(slice_of(text), &a));
	return a;
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0); /* blocking: sock_*() must not block all the same */
}

static bool has_ipv6(void)
{
	struct addr at = address("[::1]:0");
	int fd = sock_listen(&at, 1, false);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	assert_int_equal(poll(&p, 1, WAIT), 1);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void reads_what_fits(void **context)
{
	int pair[2];
	char memory[4];
	struct buf fixed, grows;
	(void)context;
	make_pair(pair);
	buf_init_fixed(&fixed, memory, sizeof(memory));
	assert_int_equal(sock_read(pair[0], &fixed, 0), SOCK_AGAIN);
	assert_int_equal(write(pair[1], "abcdefghij", 10), 10);
	assert_int_equal(sock_read(pair[0], &fixed, 3), SOCK_OK);
	assert_int_equal(fixed.len, 3);
	assert_int_equal(sock_read(pair[0], &fixed, 3), SOCK_OK);
	assert_int_equal(fixed.len, 4);
	assert_memory_equal(memory, "abcd", 4);
	assert_int_equal(sock_read(pair[0], &fixed, 0), SOCK_FULL);
	buf_init(&grows, 5);
	assert_int_equal(sock_read(pair[0], &grows, 0), SOCK_OK);
	assert_int_equal(grows.len, 5);
	assert_memory_equal(grows.at, "efghi", 5);
	assert_int_equal(sock_read(pair[0], &grows, 0), SOCK_FULL); /* one byte still waits */
	buf_clear(&grows);
	assert_int_equal(sock_read(pair[0], &grows, 0), SOCK_OK);
	close(pair[1]);
	assert_int_equal(sock_read(pair[0], &grows, 0), SOCK_EOF);
	assert_int_equal(grows.len, 1);
	close(pair[0]);
	assert_int_equal(sock_read(pair[0], &grows, 0), SOCK_ERROR);
	assert_int_equal(errno, EBADF);
	buf_fini(&grows);
}

static void reset_is_an_error(void **context)
{
	int pair[2];
	struct buf in;
	(void)context;
	make_pair(pair);
	buf_init(&in, 100);
	assert_int_equal(write(pair[0], "x", 1), 1);
	close(pair[1]); /* with a byte unread */
	assert_int_equal(sock_read(pair[0], &in, 0), SOCK_ERROR);
	assert_int_equal(errno, ECONNRESET);
	buf_fini(&in);
	close(pair[0]);
}

static void peeks_without_taking(void **context)
{
	int pair[2];
	char at[8];
	(void)context;
	make_pair(pair);
	assert_int_equal(sock_peek(pair[0], at, sizeof(at)), -EAGAIN);
	assert_int_equal(write(pair[1], "abc", 3), 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sock_peek(pair[0], at, sizeof(at)), 3);
		assert_memory_equal(at, "abc", 3);
	}
	assert_int_equal(sock_peek(pair[0], at, 1), 1);
	assert_int_equal(read(pair[0], at, sizeof(at)), 3);
	close(pair[1]);
	assert_int_equal(sock_peek(pair[0], at, sizeof(at)), 0);
	close(pair[0]);
	assert_int_equal(sock_peek(pair[0], at, sizeof(at)), -EBADF);
}

static void writes_until_the_peer_is_full(void **context)
{
	int pair[2];
	struct buf out, in;
	size_t total = 1024 * 1024, got = 0;
	(void)context;
	make_pair(pair);
	buf_init(&out, total);
	buf_init(&in, 10000);
	for (size_t i = 0; i < total; i++)
		buf_put_char(&out, (char)(i % 251));
	assert_int_equal(sock_write(pair[0], &out), SOCK_AGAIN);
	assert_in_range(out.len, 1, total - 1);
	enum sock_result sent = SOCK_AGAIN;
	while (got < total) {
		buf_clear(&in);
		assert_int_equal(sock_read(pair[1], &in, 0), SOCK_OK);
		for (size_t i = 0; i < in.len; i++)
			assert_int_equal((char)((got + i) % 251), in.at[i]);
		got += in.len;
		if (sent == SOCK_AGAIN)
			sent = sock_write(pair[0], &out);
	}
	assert_int_equal(sent, SOCK_OK);
	assert_int_equal(out.len, 0);
	assert_int_equal(sock_write(pair[0], &out), SOCK_OK); /* nothing to write */
	close(pair[1]);
	buf_put_text(&out, "x");
	assert_int_equal(sock_write(pair[0], &out), SOCK_ERROR); /* and no SIGPIPE */
	assert_int_equal(errno, EPIPE);
	close(pair[0]);
	buf_fini(&out);
	buf_fini(&in);
}

/* Connects from `from`, accepts, and checks what each side is told. Returns nothing; all is closed. */
static void talk_over(int listener, const char *to_text, const char *seen_as)
{
	char text[ADDR_TEXT];
	struct addr bound, to = address(to_text), client, server;
	assert_true(sock_local(listener, &bound));
	assert_true(bound.port > 0);
	to.port = bound.port;
	int fd = sock_connect(&to);
	assert_true(fd >= 0);
	wait_for(fd, POLLOUT);
	assert_int_equal(sock_connect_result(fd), 0);
	wait_for(listener, POLLIN);
	int peer = sock_accept(listener, &client);
	assert_true(peer >= 0);
	assert_string_equal(addr_format(&client, text), seen_as);
	assert_true(sock_local(fd, &server));
	assert_int_equal(server.port, client.port);
	assert_true(sock_local(peer, &server));
	assert_string_equal(addr_format(&server, text), seen_as); /* on loopback both ends have the same address */
	assert_int_equal(server.port, bound.port);
	assert_int_equal(fcntl(peer, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(peer, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(peer);
	close(fd);
}

static void listens_in_both_families(void **context)
{
	struct addr v4 = address("127.0.0.1:0"), v6 = address("[::1]:0"), both = address("*:0"), client;
	int before = descriptors_open();
	(void)context;
	if (!has_ipv6()) {
		untested();
		return;
	}
	int fd4 = sock_listen(&v4, 8, false), fd6 = sock_listen(&v6, 8, false), fdb = sock_listen(&both, 8, false);
	assert_true(fd4 >= 0 && fd6 >= 0 && fdb >= 0);
	assert_int_equal(sock_accept(fd4, &client), -EAGAIN);
	talk_over(fd4, "127.0.0.1:0", "127.0.0.1");
	talk_over(fd6, "[::1]:0", "::1");
	talk_over(fdb, "127.0.0.1:0", "127.0.0.1"); /* not ::ffff:127.0.0.1 */
	talk_over(fdb, "[::1]:0", "::1");
	/* Another IPv6 address than [::] is for IPv6 alone: the same port is free for IPv4. */
	assert_true(sock_local(fd6, &v6));
	struct addr same_port = address("127.0.0.1:0");
	same_port.port = v6.port;
	int beside = sock_listen(&same_port, 8, false);
	assert_true(beside >= 0);
	/* A port that is taken is an error, and leaves nothing open. */
	int open = descriptors_open();
	assert_int_equal(sock_listen(&v6, 8, false), -EADDRINUSE);
	assert_int_equal(sock_listen(&v6, 8, true), -EADDRINUSE);
	assert_int_equal(descriptors_open(), open);
	close(fd4);
	close(fd6);
	close(fdb);
	close(beside);
	assert_int_equal(descriptors_open(), before);
}

static void connects_and_fails_to(void **context)
{
	struct addr at = address("127.0.0.1:0");
	(void)context;
	int before = descriptors_open();
	int listener = sock_listen(&at, 8, false);
	assert_true(sock_local(listener, &at));
	close(listener);
	int fd = sock_connect(&at);
	if (fd >= 0) { /* refused at once, or a moment later */
		wait_for(fd, POLLOUT);
		assert_int_equal(sock_connect_result(fd), -ECONNREFUSED);
		close(fd);
	} else {
		assert_int_equal(fd, -ECONNREFUSED);
	}
	/* A socket that has not been connected yet: neither well nor ill. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(sock_connect_result(fd), -EINPROGRESS);
	close(fd);
	assert_int_equal(sock_connect_result(fd), -EBADF);
	assert_int_equal(descriptors_open(), before);
}

static void unix_sockets(void **context)
{
	char path[64], abstract[64], longest[200];
	struct addr client;
	uid_t uid = 12345;
	(void)context;
	int before = descriptors_open();
	snprintf(path, sizeof(path), "/tmp/tarry-test-sock-%d", (int)getpid());
	snprintf(abstract, sizeof(abstract), "@tarry-test-sock-%d", (int)getpid());
	const char *paths[] = { path, abstract };
	for (int i = 0; i < 2; i++) {
		int fd = sock_connect_unix(paths[i]);
		assert_int_equal(fd, i == 0 ? -ENOENT : -ECONNREFUSED);
		int listener = sock_listen_unix(paths[i], 0);
		assert_true(listener >= 0);
		assert_int_equal(access(paths[i], F_OK), i == 0 ? 0 : -1); /* an abstract one leaves nothing in the file system */
		assert_int_equal(sock_listen_unix(paths[i], 0), -EADDRINUSE);
		fd = sock_connect_unix(paths[i]);
		assert_true(fd >= 0);
		assert_int_equal(sock_connect_result(fd), 0);
		/* The backlog is full: "again", and the caller may. */
		assert_int_equal(sock_connect_unix(paths[i]), -EAGAIN);
		int peer = sock_accept(listener, &client);
		assert_true(peer >= 0);
		assert_int_equal(client.port, 0);
		assert_true(sock_peer_uid(peer, &uid));
		assert_int_equal(uid, getuid());
		assert_false(sock_local(peer, &client));
		sock_nodelay(peer); /* does nothing, and no harm */
		close(peer);
		close(fd);
		close(listener);
		unlink(path);
	}
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(sock_listen_unix(longest, 1), -ENAMETOOLONG);
	assert_int_equal(sock_connect_unix(longest), -ENAMETOOLONG);
	assert_int_equal(sock_connect_unix(""), -ENAMETOOLONG);
	longest[107] = '\0'; /* the longest path there is: sun_path less its NUL */
	longest[0] = '@';
	int listener = sock_listen_unix(longest, 1), fd = sock_connect_unix(longest);
	assert_true(listener >= 0 && fd >= 0);
	close(fd);
	close(listener);
	assert_int_equal(descriptors_open(), before);
}

/* As somebody with other habits would send them: `n` descriptors in one message. */
static void send_many(int sock, const int *fds, unsigned n)
{
	char control[256] = { 0 };
	struct iovec part = { "m", 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	assert_int_equal(sendmsg(sock, &message, 0), 1);
}

static void descriptors_travel(void **context)
{
	int pair[2], ends[2], got;
	char word[8];
	(void)context;
	int before = descriptors_open();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(sock_recv_fd(pair[1], word, sizeof(word), &got), -EAGAIN);
	assert_int_equal(got, -1);
	assert_int_equal(sock_send_fd(pair[0], "A", 1, ends[1]), 1);
	assert_int_equal(sock_send_fd(pair[0], "none", 4, -1), 4);
	close(ends[1]);
	assert_int_equal(sock_recv_fd(pair[1], word, sizeof(word), &got), 1);
	assert_int_equal(word[0], 'A');
	assert_true(got >= 0);
	assert_int_equal(fcntl(got, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(write(got, "p", 1), 1);
	assert_int_equal(read(ends[0], word, 1), 1);
	close(got);
	assert_int_equal(sock_recv_fd(pair[1], word, sizeof(word), &got), 4);
	assert_memory_equal(word, "none", 4);
	assert_int_equal(got, -1);
	/* More descriptors than one: none of those we do not hand out may stay open. */
	int several[SOCK_FDS + 1] = { ends[0], ends[0], ends[0], ends[0], ends[0] };
	for (unsigned n = 2; n <= 3; n++) {
		int open = descriptors_open();
		send_many(pair[0], several, n);
		assert_int_equal(sock_recv_fd(pair[1], word, sizeof(word), &got), 1);
		assert_int_equal(descriptors_open(), open + (got >= 0));
		if (got >= 0) {
			assert_true(is_open(got));
			close(got);
		}
	}
	/* Two at once, in their order; a third one that comes with them is nobody's. */
	int two[SOCK_FDS], given[2] = { ends[0], pair[0] };
	unsigned came;
	assert_int_equal(sock_recv_fds(pair[1], word, sizeof(word), two, SOCK_FDS, &came), -EAGAIN);
	assert_int_equal(sock_send_fds(pair[0], "two", 3, given, 2), 3);
	assert_int_equal(sock_recv_fds(pair[1], word, sizeof(word), two, SOCK_FDS, &came), 3);
	assert_int_equal(came, 2);
	for (unsigned i = 0; i < 2; i++) {
		struct stat is, was;
		assert_int_equal(fstat(two[i], &is) | fstat(given[i], &was), 0);
		assert_int_equal(is.st_ino, was.st_ino);
		assert_int_equal(fcntl(two[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		close(two[i]);
	}
	int open = descriptors_open();
	send_many(pair[0], several, SOCK_FDS + 1);
	assert_int_equal(sock_recv_fds(pair[1], word, sizeof(word), two, SOCK_FDS, &came), 1);
	assert_true(came <= SOCK_FDS);
	assert_int_equal(descriptors_open(), open + (int)came);
	for (unsigned i = 0; i < came; i++)
		close(two[i]);
	assert_int_equal(sock_send_fds(pair[0], "no", 2, several, SOCK_FDS + 1), -EINVAL);
	close(pair[0]);
	assert_int_equal(sock_recv_fd(pair[1], word, sizeof(word), &got), 0);
	assert_int_equal(got, -1);
	assert_int_equal(sock_send_fd(pair[1], "A", 1, ends[0]), -EPIPE); /* and no SIGPIPE */
	close(pair[1]);
	close(ends[0]);
	assert_int_equal(descriptors_open(), before);
}

static void raises_the_limit(void **context)
{
	struct rlimit old, half, now;
	(void)context;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	half = old;
	half.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &half), 0);
	assert_true(sock_raise_nofile() == (size_t)old.rlim_max);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_true(now.rlim_cur == old.rlim_max);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* ---- steering ---- */

static void listen_steered(const char *text, int group[STEERED], struct addr *at)
{
	*at = address(text);
	for (int i = 0; i < STEERED; i++) {
		group[i] = sock_listen(at, 64, true);
		assert_true(group[i] >= 0);
		assert_true(sock_local(group[i], at)); /* the first one chooses the port */
	}
	assert_int_equal(sock_steer_by_client(group[0], STEERED), 0);
}

/* The socket that a connection from `from` arrives at. */
static unsigned arrives_at(const int group[STEERED], const struct addr *to, const struct addr *from)
{
	struct sockaddr_storage sa;
	struct pollfd p[STEERED];
	struct addr client;
	socklen_t len = addr_to_sockaddr(from, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The kernel takes a moment until it lets a new IPv6 address be used. */
	for (int i = 0; bind(fd, (struct sockaddr *)&sa, len) < 0; i++) {
		assert_int_equal(errno, EADDRNOTAVAIL);
		assert_true(i < WAIT);
		poll(NULL, 0, 1);
	}
	len = addr_to_sockaddr(to, &sa);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	for (int i = 0; i < STEERED; i++)
		p[i] = (struct pollfd){ .fd = group[i], .events = POLLIN };
	assert_int_equal(poll(p, STEERED, WAIT), 1);
	for (unsigned i = 0; i < STEERED; i++)
		if (p[i].revents & POLLIN) {
			int peer = sock_accept(group[i], &client);
			assert_true(peer >= 0);
			assert_true(addr_same_ip(&client, from));
			close(peer);
			close(fd);
			return i;
		}
	fail();
	return 0;
}

/* 127.0.0.1 to 127.0.0.64, over a socket of the family and over one that takes both. */
static void steered_over(const char *listen_at, const char *connect_to)
{
	int group[STEERED];
	unsigned seen[STEERED] = { 0 };
	struct addr at, to = address(connect_to), from = address("127.0.0.1:0");
	listen_steered(listen_at, group, &at);
	to.port = at.port;
	for (int i = 1; i <= 64; i++) {
		from.ip[15] = (uint8_t)i;
		unsigned index = arrives_at(group, &to, &from);
		assert_int_equal(index, sock_steered_to(&from, STEERED));
		assert_int_equal(arrives_at(group, &to, &from), index); /* and so does its next connection */
		seen[index]++;
	}
	for (int i = 0; i < STEERED; i++) {
		assert_in_range(seen[i], 6, 32); /* 16 expected */
		close(group[i]);
	}
}

static void steered_ipv4(void **context)
{
	(void)context;
	steered_over("127.0.0.1:0", "127.0.0.1:0");
	steered_over("*:0", "127.0.0.1:0");
}

static void steered_from(const char *listen_at)
{
	int group[STEERED];
	struct addr at, to = address("[::1]:0"), from = address("[::1]:0");
	listen_steered(listen_at, group, &at);
	to.port = at.port;
	assert_int_equal(arrives_at(group, &to, &from), sock_steered_to(&from, STEERED));
	for (int i = 0; i < STEERED; i++)
		close(group[i]);
}

static void steered_ipv6_loopback(void **context)
{
	(void)context;
	if (!has_ipv6()) {
		untested();
		return;
	}
	steered_from("[::1]:0");
	steered_from("*:0");
}

static void spreads_and_stays_in_range(void **context)
{
	struct addr a = address("10.0.0.0:0"), b = address("[2001:db8::1]:0");
	(void)context;
	for (unsigned n = 1; n <= 64; n++) {
		unsigned seen4[64] = { 0 }, seen6[64] = { 0 };
		for (unsigned i = 0; i < n * 200; i++) {
			a.ip[14] = (uint8_t)(i >> 8);
			a.ip[15] = (uint8_t)i;
			b.ip[6] = (uint8_t)(i >> 8);
			b.ip[7] = (uint8_t)i;
			unsigned four = sock_steered_to(&a, n), six = sock_steered_to(&b, n);
			assert_true(four < n && six < n);
			seen4[four]++;
			seen6[six]++;
		}
		for (unsigned i = 0; i < n; i++) {
			assert_in_range(seen4[i], 100, 400);
			assert_in_range(seen6[i], 100, 400);
		}
	}
}

/* A network of our own, with an address of each of 32 networks on its loopback; it cannot be left again: the last test. */
static bool own_network(struct addr *from)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return false;
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	for (unsigned i = 0; ok && i < 64; i++) {
		struct in6_ifreq in6 = { .ifr6_prefixlen = 128, .ifr6_ifindex = 1 };
		from->ip[7] = (uint8_t)(i / 2); /* two of each /64 */
		from->ip[15] = (uint8_t)(1 + i % 2);
		memcpy(&in6.ifr6_addr, from->ip, sizeof(in6.ifr6_addr));
		ok = ioctl(fd, SIOCSIFADDR, &in6) == 0;
	}
	if (fd >= 0)
		close(fd);
	return ok;
}

static void steered_ipv6_networks(void **context)
{
	int group[STEERED];
	unsigned seen[STEERED] = { 0 };
	struct addr at, to = address("[::1]:0"), from = address("[2001:db8:1::1]:0");
	(void)context;
	if (!own_network(&from)) {
		untested();
		return;
	}
	listen_steered("*:0", group, &at);
	to.port = at.port;
	for (unsigned i = 0; i < 32; i++) {
		from.ip[7] = (uint8_t)i;
		from.ip[15] = 1;
		unsigned index = arrives_at(group, &to, &from);
		assert_int_equal(index, sock_steered_to(&from, STEERED));
		from.ip[15] = 2; /* the other one of this /64 is the same client */
		assert_int_equal(arrives_at(group, &to, &from), index);
		seen[index]++;
	}
	for (int i = 0; i < STEERED; i++) {
		assert_in_range(seen[i], 2, 20);
		close(group[i]);
	}
}

static void own_addresses(void **context)
{
	struct addr a;
	(void)context;
	assert_true(addr_parse(slice_of("127.0.0.1"), &a) && sock_is_own(&a));
	assert_true(addr_parse(slice_of("127.1.2.3"), &a) && sock_is_own(&a));
	assert_true(addr_parse(slice_of("192.0.2.77"), &a)); /* TEST-NET-1: nobody's */
	assert_false(sock_is_own(&a));
}

static void connect_as_somebody_else(void **state)
{
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } }, as = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 77 }, .port = 4 }, from;
	(void)state;
	int listener = sock_listen(&at, 4, false);
	assert_true(listener >= 0 && sock_local(listener, &at));
	int fd = sock_connect_as(&at, &as);
	if (!sock_may_connect_as()) {
		assert_int_equal(fd, -EPERM);
		untested();
	} else {
		assert_true(fd >= 0);
		int peer = sock_accept(listener, &from);
		assert_true(peer >= 0);
		assert_true(addr_same_ip(&from, &as));
		assert_int_not_equal(from.port, as.port);
		close(peer);
		close(fd);
	}
	close(listener);
}

/* Of this machine's own, which everybody may; and of no other's. */
static void connect_from_another_address(void **state)
{
	struct addr at = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 1 } }, as = { .ip = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 78 } }, from;
	struct addr foreign = { .ip = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 } };
	(void)state;
	int listener = sock_listen(&at, 4, false);
	assert_true(listener >= 0 && sock_local(listener, &at));
	int fd = sock_connect_from(&at, &as);
	assert_true(fd >= 0);
	int peer = sock_accept(listener, &from);
	assert_true(peer >= 0);
	assert_true(addr_same_ip(&from, &as));
	close(peer);
	close(fd);
	assert_int_equal(sock_connect_from(&at, &foreign), -EADDRNOTAVAIL);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(own_addresses), cmocka_unit_test(reads_what_fits), cmocka_unit_test(reset_is_an_error), cmocka_unit_test(peeks_without_taking),
		cmocka_unit_test(writes_until_the_peer_is_full), cmocka_unit_test(listens_in_both_families), cmocka_unit_test(connects_and_fails_to), cmocka_unit_test(connect_as_somebody_else), cmocka_unit_test(connect_from_another_address),
		cmocka_unit_test(unix_sockets), cmocka_unit_test(descriptors_travel), cmocka_unit_test(raises_the_limit), cmocka_unit_test(steered_ipv4),
		cmocka_unit_test(steered_ipv6_loopback), cmocka_unit_test(spreads_and_stays_in_range), cmocka_unit_test(steered_ipv6_networks) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
