/* check_sandbox.h: `tarry check --sandbox`: which walls there are around each role on this kernel, tried out. */
#ifndef TARRY_TOOL_CHECK_SANDBOX_H
#define TARRY_TOOL_CHECK_SANDBOX_H

#include "core/conf.h"

/* A line for each role that the configuration has, and one for each thing that it can do and should not. EX_OK, EX_UNAVAILABLE if there is such a thing, or another exit code. */
int check_sandbox(const struct conf *conf);

#endif
