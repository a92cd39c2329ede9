/* module.h: parts of a program that need a library of others', and stand in a file each, so that the library is only there where somebody wants it.
 *
 * A module exports two symbols: one const struct of the module's own name, and module_version (module_version.c is linked into each). It uses what the program that loads it
 * has of core: the program exports its functions. Modules are looked for beside the program and in the folder that they were built to be installed in, and nowhere
 * else: no option, no variable of the environment says where. Once loaded they stay.
 */
#ifndef TARRY_CORE_MODULE_H
#define TARRY_CORE_MODULE_H

#include "core/buf.h"

/* The struct that NAME.so exports as NAME. NULL with one line in *why, which names the package that has it. Blocks on the disk. */
const void *module_load(const char *name, const char *package, struct buf *why);

#endif
