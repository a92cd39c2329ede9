/* knowncmd.h: `tarry known`: who is known: listed, added, dropped, put into a file and taken from one.
 *
 * As keepercmd.h has it; the file is known_db. May block.
 */
#ifndef TARRY_KNOWNCMD_H
#define TARRY_KNOWNCMD_H

/* `tarry known list|add|drop|export|import`. */
int knowncmd_run(int argc, char **argv);

#endif
