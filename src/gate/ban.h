/* ban.h: clients that offend too often are banned for a time: turned away when they come, before they cost a connection.
 *
 * A front counts the offences of its own clients, in memory that does not grow (rates.h), and tells the keeper of bans, by a message that it never waits for, who has had its share; the
 * keeper writes the table (known/ban_table.h) that all fronts read. Who is exempt, known, let in by the access database or never to be banned does not offend, whatever it does, and is let in although a
 * network around it, or another door, has been banned. An address cannot be made up here: its owner has answered our SYN-ACK, or a load balancer that we trust has seen it do so. But many may
 * be behind one. Private to the files of a connection.
 */
#ifndef TARRY_GATE_BAN_H
#define TARRY_GATE_BAN_H

#include <stdbool.h>
#include <stdint.h>

#include "access/rules.h"
#include "core/conf.h"
#include "gate/rates.h"
#include "known/ban_table.h"
#include "smtp/talk.h"

struct conn;
struct front;
struct origin;

/* In the order of the words of the option ban_offences, behind the kinds of early talk, which are the first. */
enum ban_offence { BAN_EARLY = TALK_KINDS, BAN_LATER, BAN_REFUSED, BAN_LIMITED, BAN_FORBIDDEN, BAN_OFFENCES };

struct ban_setup {
	int table, counts; /* memory of the table; 0 or -1: nobody is banned */
	int messages;      /* to the keeper */
	const struct conf_prefixes *never; /* must outlive the front; NULL: anybody may be banned */
};

struct bans {
	bool on;
	struct ban_table table;
	int messages;
	const struct conf_prefixes *never;
	uint32_t counted;    /* bits of enum ban_offence */
	struct rates offences;
};

const char *ban_offence_name(enum ban_offence what);
/* Whether the word is one of them; "early" stands for all kinds. *bits: those that it stands for. */
bool ban_offence_parse(struct slice word, uint32_t *bits);

/* Takes the descriptors, also on failure. 0 or -errno. */
int ban_init(struct front *front, const struct ban_setup *setup);
void ban_fini(struct front *front);

/* A client that has just come: true, it is banned, and its connection answered and closed. tls: what its listener has. */
bool ban_meets(struct front *front, int fd, const struct addr *client, enum conf_tls tls);
/* This connection's client has done that. Of early talk before the greeting: what kind it was. */
void ban_offends(struct front *front, const struct conn *conn, enum ban_offence what);
/* The same of one that has been refused with that answer when it connected. What comes of a map that could not be asked is no fault of its own. */
void ban_refused(struct front *front, const struct conn *conn, const struct rules_answer *answer);
/* The same of a client that did not become a connection. */
void ban_offends_at_door(struct front *front, const struct addr *client, bool proxied, enum ban_offence what);

#endif
