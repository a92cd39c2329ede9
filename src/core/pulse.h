/* pulse.h: that the processes of a door still turn, in memory that they share.
 *
 * The parent makes the memory before the first fork. Each process that has a loop writes the time into a place of its own, the one with the number of its row of the metrics, and the parent
 * looks whether it does: one that hangs is found. And the parent writes down how many rows of the metrics it needs to read who counts connections. Nothing here blocks or logs.
 */
#ifndef TARRY_CORE_PULSE_H
#define TARRY_CORE_PULSE_H

#include <stdint.h>

#define PULSE_EVERY (INT64_C(1000) * 1000 * 1000) /* nanoseconds: how often a process says so that has nothing to do */

/* fd: the memory that the program before this one had made, taken also on failure; -1: there is none. 0 or -errno. Before it, all is private to the process. */
int pulse_init(int fd);
/* The descriptor of that memory; it stays ours. -1: there is none. */
int pulse_fd(void);

/* now: loop time, which is the same clock for all processes. 0: it has not begun yet. */
void pulse_beat(unsigned row, int64_t now);
int64_t pulse_last(unsigned row);

/* Rows below this one have all fronts, of whatever generation; 0: nobody has said so. */
void pulse_set_fronts(unsigned rows);
unsigned pulse_fronts(void);

#endif
