/* access_files.h: `tarry access build` and `tarry access dump`: a map made of a text file, and a map written out again.
 *
 * They print; what is wrong goes to stderr with "tarry: " before it. Return an exit code (sysexits).
 */
#ifndef TARRY_TOOL_ACCESS_FILES_H
#define TARRY_TOOL_ACCESS_FILES_H

#include "access/access.h"
#include "core/conf.h"

int access_files_build(const char *from, const char *to);
int access_files_dump(const char *spec);
/* One map of an open database. */
int access_files_print(const struct access *access, unsigned map);

/* The same of a hash: map, read by tarry-lookup, as the configuration's account if there is one (NULL: none) and root asks; of redis: and ldap: it says that this cannot be done. */
int access_files_dump_elsewhere(const char *spec, const struct conf *conf);

#endif
