/* kernel.h: a network namespace of the test's own, whose nftables it may change; needs user namespaces or root, and nft(8). */
#ifndef TARRY_TESTS_KERNEL_H
#define TARRY_TESTS_KERNEL_H

#include <stdbool.h>

/* False: none is to be had here. */
bool kernel_begin(void);
/* nft(8) with these words, which must succeed. */
void kernel_nft(const char *command);
/* What it says of a set of table inet t, its elements in one line, without what changes by itself (expires). Valid until the next call. */
const char *kernel_elements(const char *set);

#endif
