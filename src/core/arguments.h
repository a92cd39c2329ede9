/* arguments.h: what the parent tells the programs that it starts (tarry-lookup, tarry-tls, tarry-known): descriptors and settings, as text on their command line. Pure. */
#ifndef TARRY_CORE_ARGUMENTS_H
#define TARRY_CORE_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

/* Digits alone, 0 to most. False: it is none, and *out stays. */
bool arguments_number(const char *text, int64_t most, int64_t *out);
/* The same, 0 to INT32_MAX: a descriptor, for one. */
bool arguments_int(const char *text, int *out);
/* Numbers of that kind with commas between them, one at least and `room` at most. */
bool arguments_ints(const char *text, int *out, unsigned room, unsigned *len);
/* A word of that option of the configuration: its place among them. */
bool arguments_word(const char *option, const char *text, int *out);

#endif
