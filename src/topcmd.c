/* The tour, main: `tarry top`, as far as this program goes. */
#include "topcmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "core/proc.h"

int topcmd_run(int argc, char **argv)
{
	char program[PATH_MAX] = "tarry-top";
	(void)argc;
	errno = ENOENT;
	if (proc_program("tarry-top", program))
		execv(program, argv);
	fprintf(stderr, "tarry: top: %s: %s; without it tarry status says how the door is\n", program, strerror(errno));
	return EX_UNAVAILABLE;
}
