/* view.h: the screen of `tarry top`, drawn from what is known (model.h) into cells (grid.h). Nothing blocks, logs or allocates. */
#ifndef TARRY_TOP_VIEW_H
#define TARRY_TOP_VIEW_H

#include "show/lines.h"
#include "top/grid.h"
#include "top/model.h"

#define VIEW_LEAST_ROWS 15
#define VIEW_LEAST_COLS 60

enum view_pane { VIEW_ALL, VIEW_TURNED, VIEW_NETWORKS, VIEW_TALK, VIEW_SERVERS, VIEW_PANES };

struct view_door {
	char version[32];
	long long pid, fronts, pause_ms;
	int64_t started; /* seconds of the wall clock */
};

struct view {
	enum view_pane pane;
	int first;     /* line of a list that is shown first; drawing keeps it within the list */
	bool help, paused;
	bool there;    /* the door is */
	char notice[160]; /* what is to be said; "": nothing */
};

/* Its line "door" (lines.h). */
void view_take_door(struct view_door *door, const struct line *line);
void view_draw(struct grid *grid, int rows, int cols, struct view *view, const struct view_door *door, const struct model *model);

#endif
