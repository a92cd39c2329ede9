/* The tour, core: sockets. Bytes move between a descriptor and a buf here and nowhere else (the relay's splice excepted). */
#include "core/sock.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/reach.h"

#define SOCK_READ_STEP 4096 /* room made for one read at least */

enum sock_result sock_read(int fd, struct buf *in, size_t most)
{
	size_t room = in->cap - in->len;
	if (room == 0) {
		size_t left = in->max - in->len;
		if (left == 0)
			return SOCK_FULL;
		if (!buf_reserve(in, left < SOCK_READ_STEP ? left : SOCK_READ_STEP)) {
			errno = ENOMEM;
			return SOCK_ERROR;
		}
		room = in->cap - in->len;
	}
	if (most > 0 && room > most)
		room = most;
	for (;;) {
		ssize_t n = recv(fd, in->at + in->len, room, MSG_DONTWAIT);
		if (n > 0) {
			in->len += (size_t)n;
			return SOCK_OK;
		}
		if (n == 0)
			return SOCK_EOF;
		if (errno != EINTR)
			return errno == EAGAIN ? SOCK_AGAIN : SOCK_ERROR;
	}
}

enum sock_result sock_write(int fd, struct buf *out)
{
	size_t sent = 0;
	enum sock_result result = SOCK_OK;
	while (sent < out->len) {
		ssize_t n = send(fd, out->at + sent, out->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			sent += (size_t)n;
		} else if (errno != EINTR) {
			result = errno == EAGAIN ? SOCK_AGAIN : SOCK_ERROR;
			break;
		}
	}
	buf_drop(out, sent);
	return result;
}

ssize_t sock_peek(int fd, void *at, size_t len)
{
	ssize_t n;
	do
		n = recv(fd, at, len, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Closes fd and passes the error on. */
static int fail(int fd, int error)
{
	close(fd);
	return error;
}

int sock_listen(const struct addr *at, int backlog, bool reuseport)
{
	struct sockaddr_storage sa;
	static const uint8_t any[16];
	bool both = !addr_is4(at) && memcmp(at->ip, any, sizeof(any)) == 0;
	socklen_t len = addr_to_sockaddr(at, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int e = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (e == 0 && reuseport)
		e = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (e == 0 && sa.ss_family == AF_INET6)
		e = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both);
	if (e == 0 && bind(fd, (struct sockaddr *)&sa, len) < 0)
		e = -errno;
	if (e == 0 && listen(fd, backlog) < 0)
		e = -errno;
	return e < 0 ? fail(fd, e) : fd;
}

/* The two halves of one rule: the same arithmetic, once as classic BPF in the kernel, once in C.
 * Words are big-endian as BPF loads them; the odd multiplier spreads neighbouring addresses (Knuth, 6.4). */
#define STEER_FACTOR UINT32_C(2654435761)

int sock_steer_by_client(int fd, unsigned n)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)SKF_NET_OFF), /* version and header length */
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12), /* IPv4 source */
		BPF_JUMP(BPF_JMP | BPF_JA, 5, 0, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 8), /* IPv6 source, its first 64 bits */
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 31),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
		BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, STEER_FACTOR),
		BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}

static uint32_t word_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

unsigned sock_steered_to(const struct addr *client, unsigned n)
{
	uint32_t a = addr_is4(client) ? word_at(client->ip + 12) : (word_at(client->ip) * 31) ^ word_at(client->ip + 4);
	return ((a * STEER_FACTOR) >> 16) % n;
}

int sock_listen_unix(const char *path, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t len;
	if (!reach_unix_address(path, &sa, &len))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, backlog) < 0)
		return fail(fd, -errno);
	return fd;
}

static int begin_connect(int family, const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int e = reach_connect(fd, sa, len);
	return e < 0 && e != -EINPROGRESS ? fail(fd, e) : fd;
}

int sock_connect(const struct addr *to)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(to, &sa);
	int fd = begin_connect(sa.ss_family, (struct sockaddr *)&sa, len);
	if (fd >= 0)
		sock_nodelay(fd);
	return fd;
}

/* Without a port of its own until it connects: the same one may go to several backends (ip(7), IP_BIND_ADDRESS_NO_PORT). */
static int bind_from(int fd, const struct addr *from, bool foreign)
{
	struct sockaddr_storage sa;
	struct addr at = *from;
	at.port = 0;
	socklen_t len = addr_to_sockaddr(&at, &sa);
	int e = 0;
	if (foreign)
		e = sa.ss_family == AF_INET ? set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1) : set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
	if (e == 0)
		e = set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1); /* of IPv6 sockets too */
	if (e == 0 && bind(fd, (struct sockaddr *)&sa, len) < 0)
		e = -errno;
	return e;
}

static int connect_from(const struct addr *to, const struct addr *from, bool foreign)
{
	struct sockaddr_storage sa;
	socklen_t len = addr_to_sockaddr(to, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int e = bind_from(fd, from, foreign);
	if (e == 0)
		e = reach_connect(fd, &sa, len);
	if (e < 0 && e != -EINPROGRESS)
		return fail(fd, e);
	sock_nodelay(fd);
	return fd;
}

int sock_connect_from(const struct addr *to, const struct addr *from)
{
	return connect_from(to, from, false);
}

int sock_connect_as(const struct addr *to, const struct addr *from)
{
	return connect_from(to, from, true);
}

bool sock_may_connect_as(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool may = fd >= 0 && set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1) == 0;
	if (fd >= 0)
		close(fd);
	return may;
}

int sock_connect_unix(const char *path)
{
	struct sockaddr_storage sa;
	socklen_t len;
	if (!reach_unix_address(path, &sa, &len))
		return -ENAMETOOLONG;
	return begin_connect(AF_UNIX, (struct sockaddr *)&sa, len);
}

int sock_connect_result(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	if (error != 0)
		return -error;
	struct sockaddr_storage peer;
	len = sizeof(peer);
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return errno == ENOTCONN ? -EINPROGRESS : -errno;
	return 0;
}

int sock_accept(int listener, struct addr *from)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	addr_from_sockaddr(from, (struct sockaddr *)&sa);
	return fd;
}

bool sock_peer_uid(int fd, uid_t *uid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	*uid = cred.uid;
	return true;
}

int sock_accept_own(int listener)
{
	struct addr nobody;
	uid_t uid;
	int fd = sock_accept(listener, &nobody);
	if (fd < 0)
		return fd;
	if (sock_peer_uid(fd, &uid) && (uid == 0 || uid == geteuid()))
		return fd;
	close(fd);
	return -EPERM;
}

bool sock_local(int fd, struct addr *out)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	return getsockname(fd, (struct sockaddr *)&sa, &len) == 0 && addr_from_sockaddr(out, (struct sockaddr *)&sa);
}

/* Only an own address can be bound to; port 0 is always free. */
bool sock_is_own(const struct addr *at)
{
	struct sockaddr_storage sa;
	struct addr any_port = *at;
	any_port.port = 0;
	socklen_t len = addr_to_sockaddr(&any_port, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool own = bind(fd, (struct sockaddr *)&sa, len) == 0;
	close(fd);
	return own;
}

void sock_nodelay(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

size_t sock_raise_nofile(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit more = { limit.rlim_max, limit.rlim_max };
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			limit = more;
	}
	return (size_t)limit.rlim_cur;
}

/* CMSG_LEN, not the whole of it: padding makes room for one more, and the kernel would open that for nobody. */
union fd_control {
	struct cmsghdr align;
	char room[CMSG_SPACE(SOCK_FDS * sizeof(int))];
};

/* In a process that is shut in the header is one of those that have no address (reach.h). */
ssize_t sock_send_fds(int sock, const void *bytes, size_t len, const int *fds, unsigned fds_len)
{
	union fd_control own;
	void *control = &own;
	struct iovec part = { (void *)(uintptr_t)bytes, len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	if (fds_len > SOCK_FDS)
		return -EINVAL;
	const struct msghdr *sealed = reach_message(bytes, len, fds_len, &control);
	if (fds_len > 0) {
		memset(control, 0, sizeof(own));
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(fds_len * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fds_len * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fds_len * sizeof(int));
	}
	ssize_t n = sendmsg(sock, sealed ? sealed : &message, MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

ssize_t sock_recv_fds(int sock, void *bytes, size_t len, int *fds, unsigned fds_len, unsigned *got)
{
	union fd_control control;
	struct iovec part = { bytes, len };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = CMSG_LEN(fds_len * sizeof(int)) };
	*got = 0;
	if (fds_len == 0 || fds_len > SOCK_FDS)
		return -EINVAL;
	ssize_t n = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*got = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *got * sizeof(int));
	}
	return n;
}

ssize_t sock_send_fd(int sock, const void *bytes, size_t len, int fd)
{
	return sock_send_fds(sock, bytes, len, &fd, fd >= 0 ? 1 : 0);
}

ssize_t sock_recv_fd(int sock, void *bytes, size_t len, int *fd)
{
	unsigned got;
	*fd = -1;
	return sock_recv_fds(sock, bytes, len, fd, 1, &got);
}
