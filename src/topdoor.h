/* topdoor.h: the door that `tarry top` looks at: found, kept in sight, and found again.
 *
 * It is asked as `tarry status` asks it, and hands out the memory that its processes share, to be read. From then on nobody is asked: only from time to time whether it is still the same, for a reload
 * begins with new memory of the servers' health. For topmain.c only. Waits for an answer, for a second at most.
 */
#ifndef TARRY_TOPDOOR_H
#define TARRY_TOPDOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "control.h"
#include "top/model.h"
#include "top/view.h"

struct topdoor {
	const char *path;        /* of its configuration file; NULL: it has none */
	int64_t asked;           /* milliseconds of CLOCK_MONOTONIC; 0: not yet */
	int code;                /* what came of it */
	int64_t old;             /* processes of earlier configurations, when that was looked at */
	bool there, been;        /* it is, it has ever been */
	int64_t lost;            /* since when it is not, seconds of the wall clock */
	int64_t news;            /* until when the notice is shown, milliseconds; 0: as long as nothing changes */
	struct topdoor_file {
		dev_t device;
		ino_t inode;
	} files[CONTROL_FDS];    /* what is attached */
	struct view_door says;
	char text[CONTROL_TEXT + 1];
};

/* at: milliseconds of CLOCK_MONOTONIC. Looks whether it is there, and has the model read what it gives. EX_OK, or the exit code that it earns; notice: of 160 bytes, what is to be said of it, if anything is new. */
int topdoor_look(struct topdoor *door, struct model *model, int64_t at, char notice[160]);

#endif
