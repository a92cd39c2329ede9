/* The tour, main: what the service manager is told. */
#include "notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 1024

void notify_init(struct notify *n)
{
	const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	*n = (struct notify){ .watchdog = 0 };
	if (path && (path[0] == '/' || path[0] == '@') && strlen(path) < sizeof(n->socket))
		strcpy(n->socket, path);
	long long us = usec && (!pid || strtol(pid, NULL, 10) == (long)getpid()) ? strtoll(usec, NULL, 10) : 0;
	if (us > 0 && us <= INT64_MAX / 1000)
		n->watchdog = us * 1000;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_export(const struct notify *n)
{
	char number[32];
	if (n->socket[0])
		setenv("NOTIFY_SOCKET", n->socket, 1);
	if (n->watchdog > 0) {
		snprintf(number, sizeof(number), "%" PRId64, n->watchdog / 1000);
		setenv("WATCHDOG_USEC", number, 1);
	}
}

void notify_send(const struct notify *n, const char *format, ...)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char text[MESSAGE];
	va_list arguments;
	if (!n->socket[0])
		return;
	va_start(arguments, format);
	int len = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || len < 0)
		return;
	memcpy(to.sun_path, n->socket, strlen(n->socket));
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(n->socket));
	if (n->socket[0] == '@')
		to.sun_path[0] = '\0';
	else
		size++;
	sendto(fd, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, size);
	close(fd);
}

void notify_reloading(const struct notify *n)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	notify_send(n, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}
