/* chart.h: charts of `tarry top`: lines of blocks, and the histogram of when early talkers talk. Nothing blocks or allocates. */
#ifndef TARRY_TOP_CHART_H
#define TARRY_TOP_CHART_H

#include "top/grid.h"
#include "top/model.h"

struct area {
	int row, col, rows, cols;
};

/* A block for each of the last ten seconds that are finished, as many as there is room for, the newest at the right: as high as it is in relation to the highest. Blank: nobody looked; a low line:
 * none. */
void chart_spark(struct grid *grid, struct grid_at at, enum grid_style style, const struct model *model, enum series_what what);

#define CHART_LEAST_ROWS 4
/* With the pause that is in force, and the one that is recommended, marked, if there are such. */
void chart_talk(struct grid *grid, struct area area, const struct model *model);
/* Milliseconds; 0: there is none. */
int64_t chart_recommended(const struct model *model);

/* 0: none; at least 1 where there is any. */
int chart_height(double value, double most, int full);

#endif
