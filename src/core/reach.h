/* reach.h: the addresses that a process may connect to, in memory that nobody can write any more, not even the process.
 *
 * A seccomp filter sees the pointer that connect() is given, and not what it points to. So a process that is to be confined first collects the addresses it has a use for, then seals
 * them (a memfd that can only be mapped for reading, below everything else there is in memory), and the filter (sandbox.c) lets connect() pass with pointers to these alone. The same
 * goes for sendmsg(): headers without an address lie in the same memory, and no others pass. What the filter must forbid for that to hold: unmapping and moving
 * what lies below reach_end(), and MAP_FIXED.
 *
 * Before it is sealed, and in a process that never seals it, all is as with the bare system calls. There is one such memory for each process. Nothing here blocks or logs.
 */
#ifndef TARRY_CORE_REACH_H
#define TARRY_CORE_REACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/addr.h"

#define REACH_MAX 96   /* addresses */
#define REACH_PATH 32  /* bytes of the name of a descriptor */

/* One more, before it is sealed; one that is there already is no other. False: there are too many, it is no address, or there is no memory. */
bool reach_add(const void *sockaddr, socklen_t len);
bool reach_add_addr(const struct addr *addr);
bool reach_add_unix(const char *path); /* '@': an abstract one */
/* Nothing is added any more. 0 or -errno: the memory is not safe, or an address is not in it for want of memory or descriptors, and connect() is as it was. */
int reach_seal(void);
bool reach_is_sealed(void);
/* The address above which memory may be unmapped and moved. */
uintptr_t reach_end(void);
/* The pointers with which connect() may be called, by number; NULL: there are no more. */
const void *reach_at(unsigned n, socklen_t *len);
/* Those with which sendmsg() may be called. */
const void *reach_header(unsigned descriptors);

/* connect(); once it is sealed -EACCES without a system call for an address that is not among them. 0 or -errno. */
int reach_connect(int fd, const void *sockaddr, socklen_t len);
/* A header for sendmsg() with these bytes, and room for so many descriptors at *control (NULL for none) if it is sealed; NULL if it is not, and the caller may use one of its own.
 * It is good until the next call. descriptors: SOCK_FDS at most. */
const struct msghdr *reach_message(const void *bytes, size_t len, unsigned descriptors, void **control);
/* For a library that opens a descriptor of ours by its name in /proc once more: the path of fd, in the sealed memory, so that the filter can let open() pass with this one path; good until
 * reach_forget_descriptor(). Not sealed, or no descriptor was left: in memory of the caller's. */
const char *reach_descriptor(int fd, char memory[REACH_PATH]);
void reach_forget_descriptor(void);
/* That path, and the number that stands in it (-1: there is none). */
const void *reach_path(int *number);
/* The address of a Unix socket; false: the path does not fit. out: struct sockaddr_un. */
bool reach_unix_address(const char *path, struct sockaddr_storage *out, socklen_t *len);

#endif
