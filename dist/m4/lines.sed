# A text file as a C file: its lines as strings, NULL behind the last.
s/[\\"]/\\&/g
s/	/\\t/g
s/^/	"/
s/$/\\n",/
1i\
#include "tool/mc.h"\
const char *const mc_macros[] = {
$a\
	NULL };
