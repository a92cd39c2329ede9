/* serve.h: the parent role: `tarry serve`. Reads the configuration, binds, starts and watches the other roles, builds the access table; never
 * reads a client's byte. */
#ifndef TARRY_SERVE_H
#define TARRY_SERVE_H

/* argv[0] is "serve". Returns an exit status of sysexits(3). */
int serve(int argc, char **argv);

#endif
