/* topcmd.h: `tarry top`, which is a program of its own (topmain.c), so that ncurses is never met in a process that faces the Internet. */
#ifndef TARRY_TOPCMD_H
#define TARRY_TOPCMD_H

/* Becomes that program, with these arguments. Returns an exit code if that fails. */
int topcmd_run(int argc, char **argv);

#endif
