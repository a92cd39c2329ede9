/* The tour, core: whom a confined process may speak to. */
#include "core/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/sock.h"

#define PLACE 0x100000U /* 1 MB: above vm.mmap_min_addr, below any program, and below what the kernel chooses itself */
#define SIZE 0x8000U

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1: whoever has it mapped may write on, and nobody maps it for that any more */
#endif

struct place {
	struct sockaddr_storage address;
	socklen_t len;
};

struct memory {
	struct msghdr headers[SOCK_FDS + 1]; /* by the number of descriptors */
	char path[REACH_PATH];               /* of the descriptor below */
	struct place places[REACH_MAX];
};

_Static_assert(sizeof(struct memory) <= SIZE, "it fits");
_Static_assert(PLACE % 0x10000 == 0 && SIZE % 0x8000 == 0, "whole pages, where they are large, too");

static struct {
	struct memory *memory; /* writable until it is sealed; NULL: none */
	int error;             /* -errno: an address was not taken, for there was no memory or no descriptor for them */
	int fd;
	unsigned len;
	bool sealed;
	int slot;           /* a descriptor, that others take the place of; -1: none */
	struct iovec part; /* of the headers: what is sent, */
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(SOCK_FDS * sizeof(int))]; /* and the descriptors; both may be changed at any time, there is no address in them */
} reach;

static bool begin(void)
{
	if (reach.memory)
		return !reach.sealed;
	int fd = memfd_create("tarry-reach", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at = fd < 0 || ftruncate(fd, SIZE) < 0 ? MAP_FAILED : mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		reach.error = -errno;
		if (fd >= 0)
			close(fd);
		return false;
	}
	reach.memory = at;
	reach.fd = fd;
	return true;
}

static const struct place *find(const void *sockaddr, socklen_t len)
{
	for (unsigned i = 0; i < reach.len; i++)
		if (reach.memory->places[i].len == len && memcmp(&reach.memory->places[i].address, sockaddr, len) == 0)
			return &reach.memory->places[i];
	return NULL;
}

bool reach_add(const void *sockaddr, socklen_t len)
{
	if (len > sizeof(struct sockaddr_storage) || !begin())
		return false;
	if (find(sockaddr, len))
		return true;
	if (reach.len == REACH_MAX)
		return false;
	struct place *place = &reach.memory->places[reach.len++];
	memcpy(&place->address, sockaddr, len);
	place->len = len;
	return true;
}

bool reach_add_addr(const struct addr *addr)
{
	struct sockaddr_storage sa;
	memset(&sa, 0, sizeof(sa));
	socklen_t len = addr_to_sockaddr(addr, &sa);
	return reach_add(&sa, len);
}

bool reach_unix_address(const char *path, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_un *sa = (struct sockaddr_un *)out;
	size_t n = strlen(path);
	memset(out, 0, sizeof(*out));
	sa->sun_family = AF_UNIX;
	if (n == 0 || n >= sizeof(sa->sun_path))
		return false;
	memcpy(sa->sun_path, path, n);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (path[0] == '@') {
		sa->sun_path[0] = '\0';
		*len -= 1; /* an abstract name is all its bytes, without a NUL at the end */
	}
	return true;
}

bool reach_add_unix(const char *path)
{
	struct sockaddr_storage sa;
	socklen_t len;
	return reach_unix_address(path, &sa, &len) && reach_add(&sa, len);
}

/* From here on nobody can change it: not by writing, for it can be mapped for reading alone, nor by mprotect() (the mapping is shared, and of a file that may not be written). */
static int map_again(void)
{
	static const int seals = F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	munmap(reach.memory, SIZE);
	reach.memory = NULL;
	if ((fcntl(reach.fd, F_GET_SEALS) & seals) != seals && fcntl(reach.fd, F_ADD_SEALS, seals) < 0) /* a fork of us may have done it */
		return -errno;
	void *at = mmap((void *)(uintptr_t)PLACE, SIZE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, reach.fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	if ((uintptr_t)at != PLACE) { /* an old kernel takes the place for a wish */
		munmap(at, SIZE);
		return -EEXIST;
	}
	reach.memory = at;
	return 0;
}

static void name_descriptor(int fd, char out[REACH_PATH])
{
	snprintf(out, REACH_PATH, "/proc/self/fd/%d", fd);
}

int reach_seal(void)
{
	if (!begin())
		return reach.sealed ? 0 : reach.error;
	if (reach.error < 0) /* one that is not among them could not be reached any more */
		return reach.error;
	for (unsigned n = 0; n <= SOCK_FDS; n++)
		reach.memory->headers[n] = (struct msghdr){ .msg_iov = &reach.part, .msg_iovlen = 1, .msg_control = n > 0 ? reach.control : NULL,
			.msg_controllen = n > 0 ? CMSG_SPACE(n * sizeof(int)) : 0 };
	reach.slot = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (reach.slot < 0 && errno != EBADF) /* no table could be opened a second time */
		return -errno;
	name_descriptor(reach.slot, reach.memory->path);
	int e = map_again();
	close(reach.fd);
	if (e < 0) {
		reach.len = 0;
		return e;
	}
#ifdef SYS_mseal
	syscall(SYS_mseal, reach.memory, (size_t)SIZE, 0UL); /* Linux 6.10; before, the filter alone sees to it */
#endif
	reach.sealed = true;
	return 0;
}

bool reach_is_sealed(void)
{
	return reach.sealed;
}

uintptr_t reach_end(void)
{
	return PLACE + SIZE;
}

const void *reach_at(unsigned n, socklen_t *len)
{
	if (!reach.sealed || n >= reach.len)
		return NULL;
	*len = reach.memory->places[n].len;
	return &reach.memory->places[n].address;
}

const void *reach_header(unsigned descriptors)
{
	return reach.sealed && descriptors <= SOCK_FDS ? &reach.memory->headers[descriptors] : NULL;
}

const char *reach_descriptor(int fd, char memory[REACH_PATH])
{
	if (reach.sealed && reach.slot >= 0 && dup3(fd, reach.slot, O_CLOEXEC) >= 0)
		return reach.memory->path;
	name_descriptor(fd, memory);
	return memory;
}

void reach_forget_descriptor(void)
{
	if (reach.sealed && reach.slot >= 0)
		dup3(STDIN_FILENO, reach.slot, O_CLOEXEC);
}

const void *reach_path(int *number)
{
	*number = reach.sealed ? reach.slot : -1;
	return reach.sealed ? reach.memory->path : NULL;
}

int reach_connect(int fd, const void *sockaddr, socklen_t len)
{
	const struct place *place = reach.sealed ? find(sockaddr, len) : NULL;
	if (reach.sealed && !place)
		return -EACCES;
	return connect(fd, place ? (const struct sockaddr *)&place->address : sockaddr, len) < 0 ? -errno : 0;
}

const struct msghdr *reach_message(const void *bytes, size_t len, unsigned descriptors, void **control)
{
	if (!reach.sealed)
		return NULL;
	reach.part = (struct iovec){ (void *)(uintptr_t)bytes, len };
	*control = descriptors > 0 ? memset(reach.control, 0, sizeof(reach.control)) : NULL;
	return &reach.memory->headers[descriptors];
}
