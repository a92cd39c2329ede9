/* grid.h: what `tarry top` shows, as cells of a screen.
 *
 * A cell is a printable ASCII character, or one of a few signs of ours: there is no way by which other bytes could come to a terminal, wherever a text is from. Texts of strangers are escaped before
 * (buf_put_escaped()), so that they can be read; here what is not printable becomes a question mark. What lies outside is cut. Nothing allocates.
 */
#ifndef TARRY_TOP_GRID_H
#define TARRY_TOP_GRID_H

#include <stdint.h>

#define GRID_ROWS 200
#define GRID_COLS 400

enum grid_style { GRID_PLAIN, GRID_TITLE, GRID_DIM, GRID_BAR, GRID_CHOSEN, GRID_GOOD, GRID_BAD, GRID_WARN, GRID_MARK, GRID_STYLES };

#define GRID_LEVEL 0x80 /* + 1 to GRID_LEVELS: a block of that height */
#define GRID_LEVELS 8
#define GRID_LINE 0x90  /* a line from top to bottom */

struct grid {
	int rows, cols; /* at most those above */
	struct grid_cell {
		uint8_t what, style;
	} cells[GRID_ROWS][GRID_COLS];
};

struct grid_at {
	int row, col, width; /* columns at most from there on */
};

/* Blank, of that size. */
void grid_clear(struct grid *grid, int rows, int cols);
/* The columns that it took. */
int grid_put(struct grid *grid, struct grid_at at, enum grid_style style, const char *text);
int grid_putf(struct grid *grid, struct grid_at at, enum grid_style style, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* At the right end of its width. */
void grid_put_right(struct grid *grid, struct grid_at at, enum grid_style style, const char *text);
/* Bytes that anybody may have sent. */
int grid_put_bytes(struct grid *grid, struct grid_at at, enum grid_style style, const void *bytes, unsigned len);
/* One of the signs, or a character. */
void grid_sign(struct grid *grid, int row, int col, enum grid_style style, uint8_t what);
void grid_fill(struct grid *grid, struct grid_at at, enum grid_style style);

#endif
