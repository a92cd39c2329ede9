/* The tour, bench: where the measuring programs' sockets come from. */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 65535 /* cut by the kernel to net.core.somaxconn */

socklen_t address_parse(union address *out, const char *text)
{
	memset(out, 0, sizeof(*out));
	if (strncmp(text, "unix:", 5) == 0) {
		size_t len = strlen(text + 5);
		if (len == 0 || len >= sizeof(out->un.sun_path))
			return 0;
		out->un.sun_family = AF_UNIX;
		memcpy(out->un.sun_path, text + 5, len);
		return sizeof(out->un);
	}
	char ip[INET_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= sizeof(ip))
		return 0;
	memcpy(ip, text, (size_t)(colon - text));
	ip[colon - text] = '\0';
	char *end;
	long port = strtol(colon + 1, &end, 10);
	out->in.sin_family = AF_INET;
	out->in.sin_port = htons((uint16_t)port);
	if (colon[1] == '\0' || *end != '\0' || port < 1 || port > 65535 || inet_pton(AF_INET, ip, &out->in.sin_addr) != 1)
		return 0;
	return sizeof(out->in);
}

/* -1, with errno as it was before the descriptor was closed. */
static int fail(int fd)
{
	int e = errno;
	close(fd);
	errno = e;
	return -1;
}

static int open_socket(union address *address, socklen_t *len, const char *text)
{
	*len = address_parse(address, text);
	if (*len == 0) {
		errno = EINVAL;
		return -1;
	}
	return socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int address_listen(const char *text, bool shared)
{
	union address address;
	socklen_t len;
	int fd = open_socket(&address, &len, text), on = 1;
	if (fd < 0)
		return -1;
	if (address.any.sa_family == AF_UNIX)
		unlink(address.un.sun_path);
	else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0))
		return fail(fd);
	if (bind(fd, &address.any, len) < 0 || listen(fd, BACKLOG) < 0)
		return fail(fd);
	return fd;
}

int address_connect(const char *text)
{
	union address address;
	socklen_t len;
	int fd = open_socket(&address, &len, text), on = 1;
	if (fd < 0)
		return -1;
	if (address.any.sa_family == AF_INET)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, &address.any, len) < 0 && errno != EINPROGRESS)
		return fail(fd);
	return fd;
}
