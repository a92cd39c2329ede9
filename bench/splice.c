/* splice.c: the least that can carry bytes between a client and a backend: accepts, connects, and splices both ways in the kernel until either end is gone.
 * No pause, no limits, no log. The floor for the relay of bulk.
 *
 *     splice ADDR:PORT|unix:PATH ADDR:PORT|unix:PATH
 *
 * Where to listen, and the backend. One process, epoll edge-triggered, a pipe for each direction. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"

#define FDS 4096
#define CHUNK 65536

/* By the descriptor that is read. */
static struct way {
	int to; /* 0: free */
	int pipe[2];
	size_t held;
	bool ended;
} ways[FDS];
static int ep, listener;

static void watch(int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void drop(int fd)
{
	int both[2] = { fd, ways[fd].to };
	for (int i = 0; i < 2; i++) {
		close(ways[both[i]].pipe[0]);
		close(ways[both[i]].pipe[1]);
		close(both[i]);
		ways[both[i]] = (struct way){ .to = 0 };
	}
}

/* False: it is over. */
static bool move(int fd)
{
	struct way *w = &ways[fd];
	for (;;) {
		ssize_t n = 0;
		if (w->held == 0 && !w->ended) {
			n = splice(fd, NULL, w->pipe[1], NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (n < 0)
				return errno == EAGAIN;
			w->held = (size_t)n;
			w->ended = n == 0;
			if (w->ended)
				shutdown(w->to, SHUT_WR);
		}
		if (w->held == 0)
			return !(w->ended && ways[w->to].ended);
		n = splice(w->pipe[0], NULL, w->to, NULL, w->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0)
			return errno == EAGAIN;
		w->held -= (size_t)n;
	}
}

static void admit(const char *backend)
{
	int client;
	while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		int server = address_connect(backend);
		if (server < 0 || server >= FDS || client >= FDS) {
			close(client);
			if (server >= 0)
				close(server);
			continue;
		}
		ways[client] = (struct way){ .to = server };
		ways[server] = (struct way){ .to = client };
		if (pipe2(ways[client].pipe, O_NONBLOCK | O_CLOEXEC) < 0 || pipe2(ways[server].pipe, O_NONBLOCK | O_CLOEXEC) < 0)
			abort();
		watch(client, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
		watch(server, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event ready[64];
	if (argc != 3) {
		fputs("usage: splice ADDR:PORT|unix:PATH ADDR:PORT|unix:PATH\n", stderr);
		return 64;
	}
	listener = address_listen(argv[1], false);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (listener < 0 || ep < 0) {
		perror("splice");
		return 71;
	}
	watch(listener, EPOLLIN);
	for (;;) {
		int n = epoll_wait(ep, ready, 64, -1);
		for (int i = 0; i < n; i++) {
			int fd = ready[i].data.fd;
			if (fd == listener)
				admit(argv[2]);
			else if (ways[fd].to && (!move(fd) || !move(ways[fd].to)))
				drop(fd);
		}
	}
}
