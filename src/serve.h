/* serve.h: the parent role: `tarry serve`. Reads the configuration, binds, starts and watches the other roles, builds the access table; never
 * reads a client's byte. */
#ifndef TARRY_SERVE_H
#define TARRY_SERVE_H

/* argv[0] is "serve". Returns an exit status of sysexits(3). */
int serve(int argc, char **argv);
/* `tarry rehearse`, with the arguments of serve: what change.c asks of a program before it takes over. Only says what is wrong. */
int serve_rehearse(int argc, char **argv);

#endif
