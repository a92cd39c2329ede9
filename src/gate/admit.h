/* admit.h: what a new client gets: how long it waits, and whether it is refused before it has said anything.
 *
 * The access database and the two limits of it, ClientRate: and ClientConn:, asked in Sendmail's order. With delay_checks a refusal waits for the recipients; then only the limits
 * that the client is over are told here, for they are a matter of this moment. Private to the files of a connection.
 */
#ifndef TARRY_GATE_ADMIT_H
#define TARRY_GATE_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "access/rules.h"
#include "gate/conn.h"

struct front;

struct admit {
	uint32_t pause_ms;
	bool found;                 /* a rule says so, which is about this client */
	bool studied;               /* as in struct conn, */
	enum conn_pause pause_by;   /* too */
	bool exempt;                /* it is 0, and not because greet_pause is */
	bool observe;               /* the access database says so */
	bool refused;               /* at connect, with answer's reply */
	bool over_rate, over_conns; /* and to be told so at RCPT */
	bool may_know;              /* nothing says but greet_pause how long it waits, and nobody refuses it: who is known need not */
	bool known;                 /* and it is */
	struct rules_answer answer;
};

/* GreetPause: takes the client's name whether or not it leads back to it, Connect: only one that does (SENDMAIL.md 8).
 * A reply's text points into the table, or to a literal. */
struct admit admit_judge(struct front *front, const struct access_client *client, struct slice confirmed_name);
/* The same for a connection's client, by what is known of it so far; whether it has passed lately counts too, and the stress that the door is under. */
struct admit admit_client(struct front *front, struct conn *conn);
/* How long it waits, in nanoseconds. */
int64_t admit_wait(struct admit admit);

/* The limits' replies, for RCPT. */
struct rules_answer admit_over_rate(const struct front *front);
struct rules_answer admit_over_conns(const struct front *front);

/* For each connection of the client that is counted, and for its end. */
void admit_opened(struct front *front, const struct addr *client);
/* A program goes on with a connection of the client: it counts until admit_closed(). */
void admit_handed(struct front *front, const struct addr *client);
void admit_closed(struct front *front, const struct addr *client);

#endif
