/* floor.c: the least a front door can do. Accepts, holds the greeting for a pause, refuses who talks first, greets who waits, closes
 * without a reset; no options file, no log, no limits, no time-outs, no access rules. What it costs is the kernel's share, and Tarry is
 * measured against it in the same run.
 *
 *     floor ADDR:PORT|unix:PATH [--pause MS] [--host NAME] [--processes N] [--relay ADDR:PORT|unix:PATH]
 *
 * It greets by itself (and knows QUIT, no mail), or with --relay connects to a backend when the pause is over and copies bytes both ways.
 * It refuses with the bytes that Tarry refuses with. Not a server for use: a reply that does not fit the socket's buffer is lost, and so is
 * a command that spans two reads. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "address.h"

#define FDS 20480        /* descriptors of one process */
#define RING (1u << 17)  /* entries of the queue of pauses, gone clients included until their time */
#define READ 8192

enum state { HOLD = 1, REFUSE, GREETED, DRAIN, PAIR };

static struct {
	int64_t due; /* when the pause ends; 0: none */
	uint32_t ip;
	int peer;    /* the other end of a relayed pair; 0: none */
	uint8_t state;
	uint8_t finished; /* this end has sent its last byte */
} at[FDS];
static struct {
	int64_t due;
	int fd;
} ring[RING];
static uint32_t head, tail;
static int ep, listener;
static int64_t pause_ns = 1000000000;
static const char *host = "mail.example.org", *relay_to;
static char in[READ], out[4 * READ];

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void drop(int fd)
{
	at[fd].state = 0;
	at[fd].due = 0;
	at[fd].peer = 0;
	at[fd].finished = 0;
	close(fd);
}

static void watch(int fd, enum state state)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };
	at[fd].state = (uint8_t)state;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static void say(int fd, size_t len)
{
	if (send(fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		drop(fd);
}

static void let_in(int fd)
{
	at[fd].due = 0;
	if (!relay_to) {
		at[fd].state = GREETED;
		say(fd, (size_t)sprintf(out, "220 %s ESMTP floor\r\n", host));
		return;
	}
	int backend = address_connect(relay_to);
	if (backend < 0 || backend >= FDS) {
		if (backend >= 0)
			close(backend);
		drop(fd);
		return;
	}
	at[fd].state = PAIR;
	at[fd].peer = backend;
	at[backend].peer = fd;
	watch(backend, PAIR);
}

static void let_wait(void)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (fd >= FDS || tail - head == RING) {
		close(fd);
		return;
	}
	at[fd].ip = len >= sizeof(from) ? from.sin_addr.s_addr : 0;
	watch(fd, HOLD);
	if (pause_ns == 0) {
		let_in(fd);
		return;
	}
	at[fd].due = now() + pause_ns;
	ring[tail % RING].due = at[fd].due;
	ring[tail++ % RING].fd = fd;
}

static size_t answer(const char *line, int len, uint32_t ip)
{
	char text[INET_ADDRSTRLEN];
	if (len >= 4 && (strncasecmp(line, "helo", 4) == 0 || strncasecmp(line, "ehlo", 4) == 0))
		return (size_t)sprintf(out, "250 %s Hello [%s], pleased to meet you\r\n", host, inet_ntop(AF_INET, &ip, text, sizeof(text)));
	if (len >= 4 && (strncasecmp(line, "mail", 4) == 0 || strncasecmp(line, "rcpt", 4) == 0 || strncasecmp(line, "data", 4) == 0) &&
	    (len == 4 || isspace((unsigned char)line[4])))
		return (size_t)sprintf(out, "550 5.0.0 Command rejected\r\n");
	if (len == 4 && strncasecmp(line, "quit", 4) == 0)
		return (size_t)sprintf(out, "221 2.0.0 %s closing connection\r\n", host);
	return (size_t)sprintf(out, "500 5.5.1 Command unrecognized: \"%.*s\"\r\n", len > 203 ? 203 : len, line);
}

/* Answers every line of what has come; after QUIT nothing is owed but to read until the client closes. */
static void refuse(int fd, size_t len)
{
	static char all[4 * READ];
	size_t n = 0;
	bool quit = false;
	if (at[fd].state == HOLD)
		n = (size_t)sprintf(all, "554 %s ESMTP not accepting messages\r\n", host);
	at[fd].state = REFUSE;
	for (char *line = in, *end; !quit && (end = memchr(line, '\n', len - (size_t)(line - in))); line = end + 1) {
		int size = (int)(end - line) - (end > line && end[-1] == '\r');
		size_t m = answer(line, size, at[fd].ip);
		if (n + m > sizeof(all))
			break;
		memcpy(all + n, out, m);
		n += m;
		quit = memcmp(out, "221", 3) == 0;
	}
	memcpy(out, all, n);
	say(fd, n);
	if (quit && at[fd].state) {
		shutdown(fd, SHUT_WR);
		at[fd].state = DRAIN;
	}
}

static void copy(int fd, ssize_t n)
{
	int peer = at[fd].peer;
	if (n > 0 && send(peer, in, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
		return;
	at[fd].finished = 1;
	if (n != 0 || at[peer].finished) {
		drop(fd);
		drop(peer);
		return;
	}
	shutdown(peer, SHUT_WR);
	struct epoll_event ev = { .events = 0, .data.fd = fd }; /* its end of file would be told again and again */
	epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
}

static void hear(int fd)
{
	if (at[fd].state == 0)
		return;
	ssize_t n = recv(fd, in, sizeof(in), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (at[fd].state == PAIR)
		copy(fd, n);
	else if (n <= 0)
		drop(fd);
	else if (at[fd].state == GREETED) {
		bool quit = n >= 4 && strncasecmp(in, "quit", 4) == 0;
		say(fd, quit ? (size_t)sprintf(out, "221 2.0.0 %s closing connection\r\n", host) : (size_t)sprintf(out, "250 2.0.0 OK\r\n"));
		if (quit && at[fd].state) {
			shutdown(fd, SHUT_WR);
			at[fd].state = DRAIN;
		}
	} else if (at[fd].state != DRAIN)
		refuse(fd, (size_t)n);
}

/* The pauses are all alike, so the one that began first ends first. Returns milliseconds until the next one ends, rounded up. */
static int let_in_due(void)
{
	int64_t t = now();
	for (; head != tail; head++) {
		int fd = ring[head % RING].fd;
		int64_t due = ring[head % RING].due;
		if (at[fd].due != due)
			continue; /* gone or refused meanwhile, and the descriptor may be another's by now */
		if (due > t)
			return (int)((due - t + 999999) / 1000000);
		let_in(fd);
	}
	return -1;
}

int main(int argc, char **argv)
{
	int processes = 1;
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--pause") == 0)
			pause_ns = atoll(argv[i + 1]) * 1000000;
		else if (strcmp(argv[i], "--host") == 0)
			host = argv[i + 1];
		else if (strcmp(argv[i], "--processes") == 0)
			processes = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--relay") == 0)
			relay_to = argv[i + 1];
		else
			argc = 0;
	}
	if (argc < 2 || argc % 2 != 0 || strlen(host) > 255) {
		fprintf(stderr, "usage: floor ADDR:PORT|unix:PATH [--pause MS] [--host NAME] [--processes N] [--relay ADDR:PORT|unix:PATH]\n");
		return 64;
	}
	for (int i = 1; i < processes; i++)
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			break;
		}
	ep = epoll_create1(EPOLL_CLOEXEC);
	listener = address_listen(argv[1], processes > 1);
	if (listener < 0) {
		fprintf(stderr, "floor: %s: %s\n", argv[1], strerror(errno));
		return 71;
	}
	watch(listener, 0);
	for (;;) {
		struct epoll_event ready[256];
		int n = epoll_wait(ep, ready, 256, let_in_due());
		for (int i = 0; i < n; i++)
			if (ready[i].data.fd == listener)
				let_wait();
			else
				hear(ready[i].data.fd);
	}
}
