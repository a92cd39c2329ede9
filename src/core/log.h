/* log.h: one event, one line, key=value.
 *
 *   2026-11-22T21:00:00.123Z tarry[4711] front/0 info verdict=early client=192.0.2.1 after_ms=0.412 data="HELO x\r\n"
 *
 * where stderr is the journal of systemd, which has the time and the process, without these and with a priority: <6>front/0 info …
 *
 * log_open() once per process, before the first line. Lines are gathered and written by log_flush(), which the loop's owner calls
 * at the end of a turn; it never blocks: what a full pipe or socket does not take waits up to LOG_HELD bytes, then lines are
 * dropped and counted, and the next line that gets through says how many.
 * A line is a struct log_line on the caller's stack. core, map and smtp return errors and never log.
 */
#ifndef TARRY_CORE_LOG_H
#define TARRY_CORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/buf.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_JOURNAL };

#define LOG_LINE 2048       /* bytes of a line at most; a longer one is cut */
#define LOG_HELD (64 * 1024) /* bytes that wait for a slow reader at most */

struct log_line {
	enum log_level level;
	struct buf text;
	char memory[LOG_LINE];
};

/* 0 or -errno (the syslog or journal socket is not there; the log goes where it went before). The descriptor is kept over fork().
 * Before the first call lines go to stderr from level info. */
int log_open(enum log_target target, enum log_level least);
/* What stands before each line from now on: "parent", "front/0". Copied. Called after fork() too: takes the new pid, and forgets
 * the lines that still wait, for they are the parent's to write. */
void log_role(const char *role);
bool log_wants(enum log_level level);

/* Begin a line; the first key is the caller's. False, and the line is inert, if its level is not wanted. Keys beyond LOG_LINE are left out,
 * and "cut=yes" says so. */
bool log_begin(struct log_line *l, enum log_level level);
void log_text(struct log_line *l, const char *key, const char *value);              /* quoted and escaped when need be */
void log_bytes(struct log_line *l, const char *key, const void *at, size_t len);    /* always quoted, escaped, at most 100 bytes shown */
void log_int(struct log_line *l, const char *key, int64_t value);
void log_ms(struct log_line *l, const char *key, int64_t ns);                       /* nanoseconds as milliseconds with three decimals */
void log_addr(struct log_line *l, const char *key, const struct addr *a);           /* without the port */
void log_end(struct log_line *l);

/* A line of an event and, unless format is NULL, one message: event=NAME msg="…". */
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The socket that lines to that target go to. */
const char *log_socket(enum log_target target);

void log_flush(void);
#define LOG_GATHER_MS 20 /* lines of a front wait so long for company: a busy door makes one write() of many */
#define LOG_RETRY_MS 500 /* when to flush again */
/* Lines wait that the last flush could not write: flush again after LOG_RETRY_MS, even if nothing else happens. */
bool log_pending(void);
/* For tests: lines go to this buf instead, at once and from the level on, as "front/0 info key=value…\n" (NULL: back to the target). */
void log_capture(struct buf *to);

#endif
