/* known.h: who has passed lately waits for nothing.
 *
 * A front reads the table of those who are known (known/known_table.h) and tells the keeper, by messages that it never waits for, who has passed and who has forfeited. A message that finds
 * no room is lost: that client waits once more, or goes on being known until it talks early again. Private to the files of a connection.
 */
#ifndef TARRY_GATE_KNOWN_H
#define TARRY_GATE_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/loop.h"
#include "known/known_table.h"

#define KNOWN_RENEWED 3600 /* seconds: who has passed that lately, or within a 16th of known_ttl, needs not be told of again */

struct ask;
struct conn;
struct front;
struct session;

struct known_setup {
	int table;    /* 0 or -1: nobody is remembered */
	int messages; /* to the keeper, */
	int answers;  /* and from it, of what other doors know; 0 or -1: there are none */
};

struct known {
	bool on, shared;
	struct known_table table;
	int messages;
	struct source answers;
};

/* Takes the descriptors, also on failure. 0 or -errno. */
int known_init(struct front *front, const struct known_setup *setup);
void known_fini(struct front *front);

/* Whether it has passed within known_ttl: by its address, or by the domain of its name if that leads back to it. */
bool known_is(const struct front *front, const struct conn *conn, const struct ask *ask);
/* The same by the address alone: of a client that has just come. */
bool known_address(const struct front *front, const struct addr *client);
/* Asks other doors, if there are any; conn_is_known() follows while it is still held, or nothing does. */
void known_ask(struct front *front, const struct conn *conn, const struct ask *ask);
/* It has done all that the door asks of a client: the mail server has accepted its first message. May be said more than once. */
void known_passed(struct front *front, const struct conn *conn);
/* It has waited, and goes where nothing is seen of it any more. */
void known_unseen(struct front *front, const struct conn *conn);
/* It has broken a rule, at whatever stage: it is not known any longer, nor is its domain. */
void known_forfeit(struct front *front, const struct conn *conn);

#endif
