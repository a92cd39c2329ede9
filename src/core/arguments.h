/* arguments.h: what the parent tells the programs that it starts (tarry-lookup, tarry-tls, tarry-known, tarry-desk, tarry-ban): descriptors and settings, as text on their command line; and what people wrote there. Pure, but for
 * arguments_read() and arguments_misused(). */
#ifndef TARRY_CORE_ARGUMENTS_H
#define TARRY_CORE_ARGUMENTS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

/* All options, by getopt_long(3): take gets each of them and its text, if it has one; false: it is not understood. 'h' in longs is a request for help. EX_OK, with the rest from
 * optind on; EX_USAGE, and stderr says what is wrong and how it is used; -1: help was given. */
int arguments_read(int argc, char **argv, const struct option *longs, const char *usage, bool (*take)(int option, const char *text, void *to), void *to);
/* What is wrong with a word of a command line, on stderr: tarry: COMMAND: "value": what; see tarry COMMAND -h. EX_USAGE. */
int arguments_misused(const char *command, const char *value, const char *what);
/* Digits alone, 0 to most. False: it is none, and *out stays. */
bool arguments_number(const char *text, int64_t most, int64_t *out);
/* The same, 0 to INT32_MAX: a descriptor, for one. */
bool arguments_int(const char *text, int *out);
/* Numbers of that kind with commas between them, one at least and `room` at most. */
bool arguments_ints(const char *text, int *out, unsigned room, unsigned *len);
/* A word of that option of the configuration: its place among them. */
bool arguments_word(const char *option, const char *text, int *out);

#endif
