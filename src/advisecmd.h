/* advisecmd.h: `tarry advise`: how long the pause should be, by what the clients of a running door did, or by its log. May block. */
#ifndef TARRY_ADVISECMD_H
#define TARRY_ADVISECMD_H

/* `tarry advise [-c FILE] [LOG]…`. */
int advisecmd_run(int argc, char **argv);

#endif
