/* The tour, core: the system may take less than it is given, of a pipe, or when a signal comes, or a limit of a file is near. */
#include "core/whole.h"

#include <errno.h>
#include <unistd.h>

int whole_write(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;
	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}
