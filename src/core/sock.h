/* sock.h: non-blocking sockets and the moves of bytes between them and bufs.
 *
 * All functions work on plain descriptors that the caller owns; none blocks, none logs. Reading and writing go
 * through sock_read() and sock_write() alone, which is where TLS will stand.
 */
#ifndef TARRY_CORE_SOCK_H
#define TARRY_CORE_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/addr.h"
#include "core/buf.h"

enum sock_result {
	SOCK_OK,    /* bytes were moved; all of them (write), or as many as there were or fitted (read) */
	SOCK_AGAIN, /* nothing to read now / the peer takes no more now (the rest is still in the buf) */
	SOCK_FULL,  /* read: the buf is at its ceiling */
	SOCK_EOF,   /* read: the peer has sent its end */
	SOCK_ERROR, /* reset, or any other error; errno says which */
};

/* Append what is there to in, at most `most` bytes in one call (0: as much as fits). */
enum sock_result sock_read(int fd, struct buf *in, size_t most);
/* Write all of out, dropping what was written. */
enum sock_result sock_write(int fd, struct buf *out);
/* What is waiting, without taking it: >0 bytes copied to at, 0 the peer has sent its end, -EAGAIN nothing, other -errno. */
ssize_t sock_peek(int fd, void *at, size_t len);

/* A listening TCP socket: non-blocking, close-on-exec, SO_REUSEADDR, and SO_REUSEPORT when reuseport.
 * An IPv6 address listens for IPv6 only unless it is [::], which takes both. fd or -errno. */
int sock_listen(const struct addr *at, int backlog, bool reuseport);
/* Sends each client to the same socket of a SO_REUSEPORT group: a classic BPF program over the source address (IPv6: its /64)
 * that yields an index below n; sockets are numbered in the order of bind(). 0 or -errno. */
int sock_steer_by_client(int fd, unsigned n);
/* The index that sock_steer_by_client(…, n) yields for this client. */
unsigned sock_steered_to(const struct addr *client, unsigned n);

/* A listening Unix stream socket at path; a path that begins with '@' is abstract. fd or -errno. */
int sock_listen_unix(const char *path, int backlog);

/* Begin to connect; the socket is writable when connected or failed (sock_connect_result()). fd or -errno. */
int sock_connect(const struct addr *to);
int sock_connect_unix(const char *path);
/* The same as sock_connect() from one of this machine's addresses, of the same family; any port. */
int sock_connect_from(const struct addr *to, const struct addr *from);
/* The same as sock_connect() from a foreign address, of the same family; any port. The process needs a capability for it (caps_transparent()), else -EPERM. */
int sock_connect_as(const struct addr *to, const struct addr *from);
/* Whether that is allowed to this process. */
bool sock_may_connect_as(void);
/* 0: connected; -EINPROGRESS; other -errno: why it failed. */
int sock_connect_result(int fd);

/* accept4() with SOCK_NONBLOCK|SOCK_CLOEXEC; fd or -errno. *from is zero for Unix peers. */
int sock_accept(int listener, struct addr *from);
/* The user at the other end of a Unix socket; false if that cannot be known. */
bool sock_peer_uid(int fd, uid_t *uid);
bool sock_local(int fd, struct addr *out); /* our own address of a connected TCP socket */
/* sock_accept() of a Unix listener, for root and the user that this process runs as; -EPERM: it was somebody else. */
int sock_accept_own(int listener);
/* TCP_NODELAY; does nothing on other sockets. */
void sock_nodelay(int fd);
/* Whether it is an address of this machine. */
bool sock_is_own(const struct addr *at);

/* Raise the soft limit of descriptors to the hard one; returns what is in force. */
size_t sock_raise_nofile(void);

/* Send, and receive, bytes with at most one descriptor over a Unix socket (SCM_RIGHTS). Blocking behaviour is the socket's.
 * fd < 0: none. Return the bytes moved, 0 at the end, or -errno; *fd is -1 when none came. */
ssize_t sock_send_fd(int sock, const void *bytes, size_t len, int fd);
ssize_t sock_recv_fd(int sock, void *bytes, size_t len, int *fd);
/* The same with up to SOCK_FDS descriptors. Receiving: fds has room for fds_len (1 at least), *got came; with descriptors used up, or more sent than that, fewer come. */
#define SOCK_FDS 4
ssize_t sock_send_fds(int sock, const void *bytes, size_t len, const int *fds, unsigned fds_len);
ssize_t sock_recv_fds(int sock, void *bytes, size_t len, int *fds, unsigned fds_len, unsigned *got);

#endif
