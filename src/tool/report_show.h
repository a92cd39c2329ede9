/* report_show.h: what the two forms of the report share. */
#ifndef TARRY_TOOL_REPORT_SHOW_H
#define TARRY_TOOL_REPORT_SHOW_H

#include "tool/report.h"

#define REPORT_STAMP 32

/* "2026-11-30T12:00:00Z"; "" for REPORT_NO_TIME. */
const char *report_show_time(int64_t at, char out[REPORT_STAMP]);

#endif
