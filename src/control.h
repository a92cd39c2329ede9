/* control.h: the way from `tarry reload`, `tarry status` and the like to the door that was started with the same configuration file.
 *
 * An abstract Unix socket for each question, named after that file: nothing to configure, nothing to clean up. To connect is to ask; what became of it comes back as lines of
 * text, then the end. The door answers its own user and root only.
 */
#ifndef TARRY_CONTROL_H
#define TARRY_CONTROL_H

#include "core/buf.h"

#define CONTROL_DONE '+' /* the first byte of an answer: it is as was asked */
#define CONTROL_KEPT '-' /* or not, or not all of it */
#define CONTROL_TEXT (128 * 1024) /* bytes of an answer at most */

/* Their numbers are known to other versions (takeover.h). */
enum control_question { CONTROL_RELOAD, CONTROL_STATUS, CONTROL_KNOWN /* a dialogue, with the keeper */, CONTROL_UPGRADE, CONTROL_DRAIN, CONTROL_BAN /* another one */, CONTROL_QUESTIONS };

/* What comes with an answer to CONTROL_STATUS, in this order, to be read only: the memory of the counters, of who was turned away, of the servers' health (none of them where there is no /proc), and, if
 * there is a desk, what it remembers (show/memory.h). */
enum control_fd { CONTROL_FD_METRICS, CONTROL_FD_RECENT, CONTROL_FD_HEALTH, CONTROL_FD_DESK, CONTROL_FDS };

/* path: the configuration file; NULL: there is none. A listening descriptor, or -errno: -EADDRINUSE if another door has the same file. */
int control_listen(enum control_question question, const char *path);
/* Takes one who asks: a descriptor to answer to, or -errno: -EAGAIN nobody is there, -EPERM somebody who may not. */
int control_accept(int listener);
/* Sends what fits at once, and closes. */
void control_answer(int fd, const struct buf *text);
/* The same, with descriptors for whoever takes them. */
void control_answer_with(int fd, const struct buf *text, const int *fds, unsigned fds_len);

/* A connection to who listens there, which blocks; -errno: nobody does. */
int control_connect(enum control_question question, const char *path);
/* Asks, and waits for the answer, for so long without a byte: its first byte and its text, with a NUL, and the descriptors that came with it, which the caller owns, or -1. EX_OK, or the exit code that it
 * earns: EX_UNAVAILABLE nobody is there, EX_NOPERM there is no answer, EX_PROTOCOL it is none. Says nothing. */
int control_fetch(enum control_question question, const char *path, int patience_s, char text[CONTROL_TEXT + 1], int fds[CONTROL_FDS]);
/* Anybody of this machine may have taken the name before the door did: what is shown of an answer must not steer a terminal. */
void control_tame(char *text, size_t len);
/* Whether who listens at the other end answers this user at all: root and its own. Else it has said on stderr, in the name of a sub-command, whose door it is. */
bool control_may_ask(const char *name, int fd);
/* Says on stderr what that exit code is about, in the name of a sub-command, and returns it. */
int control_complain(const char *name, const char *path, int code);
/* Asks, and waits for the answer: its first byte and its text, with a NUL. Else the exit code that it earns, and a line on stderr in the name of a sub-command. */
int control_ask(const char *name, enum control_question question, const char *path, char text[CONTROL_TEXT + 1]);
/* `tarry reload`, `tarry upgrade` and `tarry drain`, each [-c FILE]. */
int control_reload(int argc, char **argv);
int control_upgrade(int argc, char **argv);
int control_drain(int argc, char **argv);

#endif
