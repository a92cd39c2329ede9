/* The tour, bench: how long a server takes from exec to its first greeting. Starts the command, tries to connect until somebody accepts, reads until
 * the 220, ends what it started, and does it again. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "address.h"

#define TRY_EVERY 100000 /* ns between two attempts to connect */

static void rest(long ns)
{
	nanosleep(&(struct timespec){ 0, ns }, NULL);
}

/* When the first line that begins with 220 had been read; 0: it did not come within the limit. */
static int64_t greeted_at(int64_t give_up, pid_t child)
{
	while (load_clock() < give_up && waitpid(child, NULL, WNOHANG) == 0) {
		char line[256];
		size_t len = 0;
		int fd = address_connect(options.to);
		struct pollfd p = { .fd = fd, .events = POLLIN };
		while (fd >= 0 && len < sizeof(line) && load_clock() < give_up) {
			if (poll(&p, 1, 100) <= 0)
				continue;
			ssize_t n = recv(fd, line + len, sizeof(line) - len, 0);
			if (n <= 0)
				break;
			len += (size_t)n;
			if (len >= 4 && memchr(line, '\n', len)) {
				int64_t now = load_clock();
				close(fd);
				return memcmp(line, "220", 3) == 0 ? now : 0;
			}
		}
		if (fd >= 0)
			close(fd);
		rest(TRY_EVERY);
	}
	return 0;
}

static pid_t launch(void)
{
	pid_t child = fork();
	if (child != 0)
		return child;
	int null = open("/dev/null", O_RDWR);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd); /* what a server says is not part of our key=value lines */
	execvp(options.command[0], options.command);
	_exit(127);
}

int load_start(void)
{
	for (uint32_t i = 0; i < options.count; i++) {
		int64_t begin = load_clock();
		pid_t child = launch();
		if (child < 0)
			break;
		int64_t at = greeted_at(begin + options.limit, child);
		tally.opened++;
		if (at != 0)
			load_sample(&tally.wait, at - begin);
		kill(child, SIGTERM);
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	}
	printf("opened=%lu\ngood=%zu\n", tally.opened, tally.wait.len);
	bool good = tally.opened == options.count && tally.wait.len == tally.opened;
	load_report("wait", &tally.wait);
	return good ? 0 : 1;
}
