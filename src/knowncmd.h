/* knowncmd.h: `tarry known`: who is known: listed, added, dropped, put into a file and taken from one.
 *
 * A running door's keeper is asked over a socket that is named after the configuration file; where no door runs, the program tarry-known is started for a moment, and reads and writes the
 * file known_db, as the account that it would run as. May block.
 */
#ifndef TARRY_KNOWNCMD_H
#define TARRY_KNOWNCMD_H

/* `tarry known list|add|drop|export|import`. */
int knowncmd_run(int argc, char **argv);

#endif
