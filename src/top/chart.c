/* The tour, top: charts. */
#include "top/chart.h"

#include <stdio.h>
#include <string.h>

int chart_height(double value, double most, int full)
{
	if (value <= 0 || most <= 0)
		return 0;
	int height = (int)(value / most * full + 0.5);
	return height < 1 ? 1 : height > full ? full : height;
}

void chart_spark(struct grid *g, struct grid_at at, enum grid_style style, const struct model *m, enum series_what what)
{
	static struct series_point points[SERIES_DAY_POINTS];
	int width = at.width > SERIES_HOUR_POINTS ? SERIES_HOUR_POINTS : at.width;
	int64_t end = m->now / SERIES_HOUR_STEP * SERIES_HOUR_STEP, begin = end - (int64_t)width * SERIES_HOUR_STEP;
	size_t len = series_points(&m->memory.series, false, begin, m->now, points);
	uint32_t most = 0;
	for (size_t i = 0; i < len; i++)
		most = points[i].of[what] > most ? points[i].of[what] : most;
	for (size_t i = 0; i < len; i++) {
		int height = chart_height(points[i].of[what], most, GRID_LEVELS), col = at.col + at.width - width + (int)((points[i].at - begin) / SERIES_HOUR_STEP);
		grid_sign(g, at.row, col, height > 0 ? style : GRID_DIM, height > 0 ? (uint8_t)(GRID_LEVEL + height) : '_');
	}
}

/* ---- when early talkers talk ---- */

/* Bars up to ten seconds, twice the pause, or the last one that is there. */
static int bars_shown(const struct model *m, int64_t pause)
{
	int shown = 0;
	for (int i = 0; i < TIMES_BARS; i++)
		if (m->talk[i] > 0 || times_bar_from((unsigned)i) < INT64_C(10000000000) || times_bar_from((unsigned)i) < 2 * pause)
			shown = i + 1;
	return shown;
}

struct mark {
	const char *name;
	int row;
	enum grid_style style;
};

/* The bar in which it lies. */
static int bar_of(int64_t ns)
{
	int bar = 0;
	while (bar + 1 < TIMES_BARS && times_bar_from((unsigned)bar + 1) <= ns)
		bar++;
	return bar;
}

static void put_bars(struct grid *g, struct area a, const struct model *m, int shown, int wide)
{
	uint64_t most = 0;
	for (int i = 0; i < shown; i++)
		most = m->talk[i] > most ? m->talk[i] : most;
	for (int i = 0; i < shown; i++) {
		int height = chart_height((double)m->talk[i], (double)most, a.rows * GRID_LEVELS);
		for (int row = 0; row < a.rows && height > 0; row++, height -= GRID_LEVELS)
			for (int c = 0; c < wide && i * wide + c < a.cols; c++)
				grid_sign(g, a.row + a.rows - 1 - row, a.col + i * wide + c, GRID_BAD, (uint8_t)(GRID_LEVEL + (height > GRID_LEVELS ? GRID_LEVELS : height)));
	}
}

int64_t chart_recommended(const struct model *m)
{
	return m->advised_at > 0 && m->advice.state == ADVISE_GOOD ? (int64_t)(m->advice.pause + 0.5) : 0;
}

/* A line where there is no bar; what it is stands beside it in that row. */
static void put_mark(struct grid *g, struct area a, int64_t pause_ms, int wide, const struct mark *mark)
{
	char text[40];
	int at = bar_of(pause_ms * 1000000) * wide;
	if (at >= a.cols)
		at = a.cols - 1;
	for (int row = 0; row < a.rows; row++)
		if (g->cells[a.row + row][a.col + at].what == ' ')
			grid_sign(g, a.row + row, a.col + at, mark->style, GRID_LINE);
	grid_sign(g, mark->row, a.col + at, mark->style, GRID_LINE);
	int len = snprintf(text, sizeof(text), "%s %lld ms", mark->name, (long long)pause_ms);
	grid_put(g, (struct grid_at){ mark->row, a.col + (at + 2 + len <= a.cols ? at + 2 : at - 1 - len), len }, mark->style, text);
}

static void put_marks(struct grid *g, struct area a, const struct model *m, int wide)
{
	int64_t recommended = chart_recommended(m);
	if (m->pause.pause > 0)
		put_mark(g, a, m->pause.pause, wide, &(struct mark){ "pause", a.row - 1, GRID_MARK });
	if (recommended > 0)
		put_mark(g, a, recommended, wide, &(struct mark){ "recommended", a.row, GRID_GOOD });
}

static void put_axis(struct grid *g, struct area a, int shown, int wide)
{
	static const char *const decades[] = { "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s" };
	for (int d = 0; d < (int)(sizeof(decades) / sizeof(decades[0])); d++) {
		int bar = 1 + 10 * d, len = (int)strlen(decades[d]);
		if (bar <= shown && bar * wide + len <= a.cols)
			grid_put(g, (struct grid_at){ a.row + a.rows, a.col + bar * wide, len }, GRID_DIM, decades[d]);
	}
}

void chart_talk(struct grid *g, struct area area, const struct model *m)
{
	int shown = bars_shown(m, m->pause.pause * 1000000), wide = area.cols / shown;
	struct area bars = { area.row + 1, area.col, area.rows - 2, area.cols };
	if (area.rows < CHART_LEAST_ROWS)
		return;
	if (wide < 1)
		wide = 1;
	put_bars(g, bars, m, shown, wide);
	put_marks(g, bars, m, wide);
	put_axis(g, bars, shown, wide);
}
