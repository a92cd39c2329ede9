/* shared.h: memory that the roles of one door share.
 *
 * The parent makes it before the first fork, so that every role inherits it where it can be written. A program of its own, such as tarry-desk, is given a descriptor by which it
 * can only be read. Its length never changes, so a reader can rely on it. Pages that nobody has touched cost nothing; a look at one makes it one that has been touched.
 */
#ifndef TARRY_CORE_SHARED_H
#define TARRY_CORE_SHARED_H

#include <stddef.h>

struct shared {
	void *at;    /* zeroed; NULL: there is none */
	size_t len;
	int fd;        /* to read and write, for whoever takes the door over; -1: none */
	int readonly;  /* to read only; -1: there is no /proc to open it by */
};

/* A new one of len bytes; the name is for /proc. 0 or -errno. */
int shared_create(struct shared *shared, const char *name, size_t len);
/* One of exactly len bytes that another process has made, to be read. Takes the descriptor, also on failure. 0 or -errno; -EPROTO: it has another length. */
int shared_attach(struct shared *shared, int fd, size_t len);

/* The same to go on with, read and written, by the program that takes the place of the one that made it. */
int shared_adopt(struct shared *shared, int fd, size_t len);

/* Unmapped, and its descriptors closed. */
void shared_detach(struct shared *shared);

#endif
