/* look.h: what a file looked like, so that a change is seen. For the parent only; touches the disk. */
#ifndef TARRY_LOOK_H
#define TARRY_LOOK_H

#include <stdbool.h>
#include <sys/stat.h>

struct look {
	bool there;
	struct stat st;
};

/* file NULL: it is not there. */
struct look look_at(const char *file);
bool look_same(const struct look *a, const struct look *b);

#endif
