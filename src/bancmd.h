/* bancmd.h: `tarry ban`: who is banned: listed, added, dropped, put into a file and taken from one.
 *
 * As keepercmd.h has it; the file is ban_db. May block.
 */
#ifndef TARRY_BANCMD_H
#define TARRY_BANCMD_H

/* `tarry ban list|add|drop|export|import`. */
int bancmd_run(int argc, char **argv);

#endif
