/* The tour, top: the screen as cells. */
#include "top/grid.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/buf.h"

#define TEXT_MAX (4 * GRID_COLS + 16)

void grid_clear(struct grid *g, int rows, int cols)
{
	g->rows = rows < 0 ? 0 : rows > GRID_ROWS ? GRID_ROWS : rows;
	g->cols = cols < 0 ? 0 : cols > GRID_COLS ? GRID_COLS : cols;
	for (int r = 0; r < g->rows; r++)
		for (int c = 0; c < g->cols; c++)
			g->cells[r][c] = (struct grid_cell){ ' ', GRID_PLAIN };
}

void grid_sign(struct grid *g, int row, int col, enum grid_style style, uint8_t what)
{
	bool ours = (what > GRID_LEVEL && what <= GRID_LEVEL + GRID_LEVELS) || what == GRID_LINE;
	if (row < 0 || row >= g->rows || col < 0 || col >= g->cols)
		return;
	g->cells[row][col] = (struct grid_cell){ (what >= ' ' && what <= '~') || ours ? what : '?', (uint8_t)style };
}

int grid_put(struct grid *g, struct grid_at at, enum grid_style style, const char *text)
{
	int n = 0;
	for (; text[n] && n < at.width; n++)
		grid_sign(g, at.row, at.col + n, style, text[n] >= ' ' && text[n] <= '~' ? (uint8_t)text[n] : '?');
	return n;
}

int grid_putf(struct grid *g, struct grid_at at, enum grid_style style, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return grid_put(g, at, style, text);
}

void grid_put_right(struct grid *g, struct grid_at at, enum grid_style style, const char *text)
{
	int len = (int)strnlen(text, GRID_COLS);
	if (len < at.width) {
		at.col += at.width - len;
		at.width = len;
	}
	grid_put(g, at, style, text);
}

int grid_put_bytes(struct grid *g, struct grid_at at, enum grid_style style, const void *bytes, unsigned len)
{
	char memory[TEXT_MAX];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	buf_put_escaped(&text, bytes, len, GRID_COLS);
	return grid_put(g, at, style, buf_text(&text));
}

void grid_fill(struct grid *g, struct grid_at at, enum grid_style style)
{
	for (int n = 0; n < at.width; n++)
		grid_sign(g, at.row, at.col + n, style, ' ');
}
