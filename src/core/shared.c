/* The tour, core: shared memory with a descriptor to hand on. */
#include "core/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(struct shared *s)
{
	int e = -errno;
	shared_detach(s);
	return e;
}

/* The same memory once more, by a descriptor that only reads: a seal against writing would also be one against our successors. */
static int open_readonly(int fd)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int shared_create(struct shared *s, const char *name, size_t len)
{
	*s = (struct shared){ .len = len, .fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), .readonly = -1 };
	/* The mode is for those who open it anew through /proc: nobody is to write who was not given a descriptor for that. */
	if (s->fd < 0 || ftruncate(s->fd, (off_t)len) < 0 || fchmod(s->fd, 0400) < 0)
		return fail(s);
	/* Who has it mapped must never meet an end that has moved. */
	if (fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return fail(s);
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	if (at == MAP_FAILED)
		return fail(s);
	s->at = at;
	s->readonly = open_readonly(s->fd);
	return 0;
}

static int map_other(struct shared *s, int fd, size_t len, int protection)
{
	struct stat st;
	*s = (struct shared){ .len = len, .fd = fd, .readonly = -1 };
	if (fstat(fd, &st) < 0)
		return fail(s);
	errno = EPROTO;
	if (st.st_size != (off_t)len)
		return fail(s);
	void *at = mmap(NULL, len, protection, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return fail(s);
	s->at = at;
	return 0;
}

/* What its owner could make shorter would end whoever reads it, by SIGBUS. */
static bool may_shrink(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	return seals < 0 || !(seals & F_SEAL_SHRINK);
}

int shared_attach(struct shared *s, int fd, size_t len)
{
	int e = map_other(s, fd, len, PROT_READ);
	if (e == 0 && may_shrink(fd)) {
		shared_detach(s);
		e = -EPROTO;
	}
	if (e < 0)
		return e;
	close(fd);
	s->fd = -1;
	return 0;
}

int shared_adopt(struct shared *s, int fd, size_t len)
{
	int e = map_other(s, fd, len, PROT_READ | PROT_WRITE);
	if (e == 0)
		s->readonly = open_readonly(fd);
	return e;
}

void shared_detach(struct shared *s)
{
	if (s->at)
		munmap(s->at, s->len);
	if (s->readonly >= 0)
		close(s->readonly);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct shared){ .fd = -1, .readonly = -1 };
}
