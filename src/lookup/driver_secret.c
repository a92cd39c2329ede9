/* The tour, lookup: passwords, which stand in files of their own and not in the names of maps. */
#include "lookup/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool driver_secret(const char *path, char out[DRIVER_SECRET_MAX], struct buf *why)
{
	char bytes[DRIVER_SECRET_MAX + 2];
	out[0] = '\0';
	if (path[0] == '\0')
		return true;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
	int e = errno;
	if (fd >= 0)
		close(fd);
	if (n < 0) {
		buf_putf(why, "password file %s: %s", path, strerror(e));
		return false;
	}
	size_t len = 0;
	while (len < (size_t)n && bytes[len] != '\n' && bytes[len] != '\r' && bytes[len] != '\0')
		len++;
	if (len == 0 || len >= DRIVER_SECRET_MAX) {
		buf_putf(why, "password file %s: its first line is empty or longer than %d bytes", path, DRIVER_SECRET_MAX - 1);
		return false;
	}
	memcpy(out, bytes, len);
	out[len] = '\0';
	return true;
}
