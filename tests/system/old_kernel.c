/* For test_sandbox.py, loaded into a program before all other libraries: its kernel has the Landlock of an earlier one, of the ABI in TARRY_LANDLOCK_ABI (0: none). What rights there were then the
 * program knows itself, and asks for no others. */
#include <dlfcn.h>
#include <errno.h>
#include <linux/landlock.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARGUMENTS 6

long syscall(long number, ...)
{
	static long (*real)(long, long, long, long, long, long, long);
	long a[ARGUMENTS];
	va_list list;
	va_start(list, number);
	for (int i = 0; i < ARGUMENTS; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "syscall");
	const char *text = getenv("TARRY_LANDLOCK_ABI");
	if (number == SYS_landlock_create_ruleset && text && a[2] == LANDLOCK_CREATE_RULESET_VERSION) {
		long abi = real(number, a[0], a[1], a[2], 0, 0, 0), old = strtol(text, NULL, 10);
		if (old == 0)
			errno = EOPNOTSUPP;
		return old == 0 ? -1 : abi < old ? abi : old;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
