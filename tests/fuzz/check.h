/* check.h: what must hold in a fuzz target, whatever the input; says what did not, and stops there. */
#ifndef TARRY_FUZZ_CHECK_H
#define TARRY_FUZZ_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline void check_at(bool holds, const char *what, int line)
{
	if (holds)
		return;
	fprintf(stderr, "line %d: does not hold: %s\n", line, what);
	abort();
}

#define check(holds) check_at(holds, #holds, __LINE__)

#endif
