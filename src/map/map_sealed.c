/* The tour, map: the memory files that tables live in. */
#include "map/map_sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/whole.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

int map_sealed_new(void)
{
	int fd = memfd_create("tarry-map", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

int map_sealed_write(int fd, const void *bytes, size_t len)
{
	return whole_write(fd, bytes, len);
}

int map_sealed_finish(int fd)
{
	char path[64];
	int e = 0, out = -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* A read-only descriptor: before Linux 6.7 a sealed file could not be mapped shared, as libraries do it, through one that may write. */
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0 || (out = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		e = -errno;
	close(fd);
	return e < 0 ? e : out;
}

off_t map_sealed_size(int fd)
{
	struct stat st;
	int seals = fd < 0 ? -1 : fcntl(fd, F_GET_SEALS);
	return seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 ? -1 : st.st_size;
}

const void *map_sealed_map(int fd, size_t from, size_t size)
{
	if (size <= from)
		return NULL;
	/* Private, for the same reason; without a write the pages are the file's own, and so shared. Without MAP_POPULATE: a front that takes
	 * a table with a million entries would stand still for milliseconds; so each page costs its fault when a look-up first comes to it. */
	void *at = mmap(NULL, size - from, PROT_READ, MAP_PRIVATE, fd, (off_t)from);
	return at == MAP_FAILED ? NULL : at;
}

void map_sealed_unmap(const void *at, size_t len)
{
	if (at)
		munmap((void *)(uintptr_t)at, len);
}
