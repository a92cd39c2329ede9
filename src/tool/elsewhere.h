/* elsewhere.h: maps that may block (hash:, redis:, ldap:), asked by tools.
 *
 * The program tarry-lookup, which stands beside this one, asks them: their libraries are not in this process. It is asked over a socket of its own, with the messages of
 * map/wire.h, one question at a time, and ends when that is closed. Where root asks, it runs as the account that the door would run as, so that what it may read is
 * what the door may read. Everything here may block, and complains to stderr.
 */
#ifndef TARRY_TOOL_ELSEWHERE_H
#define TARRY_TOOL_ELSEWHERE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "access/access.h"
#include "core/conf.h"
#include "map/wire.h"

struct elsewhere {
	const struct conf *conf; /* must outlive it */
	pid_t pid;               /* 0: not started, for no map needs it */
	int fd;
	bool silent;             /* a question has got no answer: it hangs */
	uint64_t serial;
	char question[WIRE_QUESTION_MAX];
	char answer[WIRE_ANSWER_MAX];
};

/* The path of the program. False: it does not fit, or our own is not known. */
bool elsewhere_program(char out[PATH_MAX]);
/* How many maps of access_db are elsewhere. */
unsigned elsewhere_count(const struct conf *conf);
/* Whether these are well named, said by the program that knows them. EX_OK, or the exit code after a complaint. */
int elsewhere_check_names(const struct conf *conf);

/* elsewhere_check_names(), and then the program is started, unless no map needs it. EX_OK, or the exit code after a complaint; elsewhere_stop() is fine in any case. */
int elsewhere_start(struct elsewhere *elsewhere, const struct conf *conf);
/* Asks the map with that place in access_db; the question's id, map and deadline are set here. What cannot be had is an answer of failures. Until the next question
 * *out points into elsewhere. */
void elsewhere_ask(struct elsewhere *elsewhere, unsigned map, struct wire_question *question, struct wire_answer *out);
void elsewhere_stop(struct elsewhere *elsewhere);

/* Whether the value of known_share or ban_share is well named, said by the program that knows; "" is. EX_OK, or the exit code after a complaint. */
int elsewhere_check_share(const struct conf *conf, const char *option, const char *url);
/* The same of both, as far as they count. */
int elsewhere_check_shares(const struct conf *conf);
/* A program that stands beside this one, as the door's account where root asks (conf NULL: as whoever we are); its descriptor `end` is fd (-1: as ours). The pid, or -1 after a complaint. */
pid_t elsewhere_spawn(const char *const args[], const struct conf *conf, int fd, int end);
/* Its exit code. */
int elsewhere_wait(pid_t pid);

/* All entries of a map, in no order, each a key, a tab and a value; conf NULL: asked as whoever we are. False with a line in *why. */
bool elsewhere_dump(const char *spec, const struct conf *conf, bool (*take)(void *context, const char *entry), void *context, struct buf *why);

#endif
