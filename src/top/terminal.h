/* terminal.h: the terminal, by way of ncurses: cells go out, keys come in.
 *
 * One at a time: ncurses has a state of its own. It is left as it was found, whichever way the program ends that calls terminal_close().
 */
#ifndef TARRY_TOP_TERMINAL_H
#define TARRY_TOP_TERMINAL_H

#include <stdbool.h>

#include "core/buf.h"
#include "top/grid.h"

/* Keys are printable ASCII, or: */
enum terminal_key {
	TERMINAL_NONE = 0, TERMINAL_TAB = 256, TERMINAL_BACKTAB, TERMINAL_LEFT, TERMINAL_RIGHT, TERMINAL_UP, TERMINAL_DOWN, TERMINAL_PAGE_UP, TERMINAL_PAGE_DOWN, TERMINAL_HOME, TERMINAL_END,
	TERMINAL_RESIZED, TERMINAL_REDRAW, TERMINAL_ESCAPE, TERMINAL_OTHER
};

/* False: with a text in *why. */
bool terminal_open(struct buf *why);
void terminal_close(void);
void terminal_size(int *rows, int *cols);
void terminal_show(const struct grid *grid);
/* Everything anew, because somebody else has written to the terminal. */
void terminal_forget(void);
/* The next key that has come; TERMINAL_NONE: none. Does not wait. */
int terminal_key(void);

#endif
