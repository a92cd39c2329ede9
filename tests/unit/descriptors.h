/* descriptors.h: for tests that must not leak: how many descriptors this process has open. */
#ifndef TARRY_TESTS_DESCRIPTORS_H
#define TARRY_TESTS_DESCRIPTORS_H

#include <dirent.h>

/* The one that does the counting is not counted. */
static inline int descriptors_open(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return -1;
	for (const struct dirent *e = readdir(d); e; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1;
}

#endif
