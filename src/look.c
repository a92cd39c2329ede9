/* The tour, main: whether a file is still the one it was: its place on the disk, its size and its times. */
#include "look.h"

struct look look_at(const char *file)
{
	struct look l = { .there = false };
	l.there = file && stat(file, &l.st) == 0;
	return l;
}

bool look_same(const struct look *a, const struct look *b)
{
	if (!a->there || !b->there)
		return a->there == b->there;
	return a->st.st_mtim.tv_sec == b->st.st_mtim.tv_sec && a->st.st_mtim.tv_nsec == b->st.st_mtim.tv_nsec && a->st.st_size == b->st.st_size
	       && a->st.st_ino == b->st.st_ino && a->st.st_dev == b->st.st_dev && a->st.st_ctim.tv_sec == b->st.st_ctim.tv_sec
	       && a->st.st_ctim.tv_nsec == b->st.st_ctim.tv_nsec;
}
