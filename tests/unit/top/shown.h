/* shown.h: the cells of a grid as text, for tests: signs of ours are digits (blocks) and '|'. */
#ifndef TARRY_TESTS_TOP_SHOWN_H
#define TARRY_TESTS_TOP_SHOWN_H

#include <stdbool.h>
#include <string.h>

#include "top/grid.h"

static const char *shown_row(const struct grid *g, int row)
{
	static char text[GRID_COLS + 1];
	for (int c = 0; c < g->cols; c++) {
		uint8_t what = g->cells[row][c].what;
		text[c] = what <= '~' ? (char)what : what == GRID_LINE ? '|' : (char)('0' + what - GRID_LEVEL);
	}
	text[g->cols] = '\0';
	return text;
}

/* Every cell is a character that is harmless, or a sign of ours. */
static inline bool shown_is_harmless(const struct grid *g)
{
	for (int r = 0; r < g->rows; r++)
		for (int c = 0; c < g->cols; c++) {
			uint8_t what = g->cells[r][c].what;
			if (!(what >= ' ' && what <= '~') && !(what > GRID_LEVEL && what <= GRID_LEVEL + GRID_LEVELS) && what != GRID_LINE)
				return false;
		}
	return true;
}

static inline bool shown_anywhere(const struct grid *g, const char *text)
{
	for (int r = 0; r < g->rows; r++)
		if (strstr(shown_row(g, r), text))
			return true;
	return false;
}

#endif
