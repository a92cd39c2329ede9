/* The tour, core: modules: a file of this very version, in a folder of root's, and one symbol of it. */
#include "core/module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/proc.h"

/* After an upgrade of one package only, structs would be misread. */
static bool is_ours(void *module)
{
	const char *version = dlsym(module, "module_version");
	return version && strcmp(version, TARRY_VERSION) == 0;
}

const void *module_load(const char *name, const char *package, struct buf *why)
{
	char file[64], path[PATH_MAX];
	snprintf(file, sizeof(file), "%s.so", name);
	if (!proc_file(file, TARRY_MODULES, path) || access(path, F_OK) < 0) {
		buf_putf(why, "%s is not installed; it comes with the package %s", file, package);
		return NULL;
	}
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module) {
		buf_put_text(why, dlerror());
		return NULL;
	}
	const void *found = is_ours(module) ? dlsym(module, name) : NULL;
	if (!found) {
		buf_putf(why, "%s is not of version %s; install %s of this version", path, TARRY_VERSION, package);
		dlclose(module);
	}
	return found;
}
