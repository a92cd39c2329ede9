/* states.h: the states of a connection after its verdict; rows of the table in conn.c and called by its driver only.
 *
 * Each function returns the event that follows, or CONN_NOTHING to wait.
 */
#ifndef TARRY_GATE_STATES_H
#define TARRY_GATE_STATES_H

#include "gate/conn.h"
#include "gate/refuse.h"

#define CONN_EVENTS_WATCHED (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET)

enum conn_event states_relay(struct front *front, struct conn *conn);
enum conn_event states_relay_ready(struct front *front, struct conn *conn, uint32_t events);
enum conn_event states_relay_due(struct front *front, struct conn *conn);
/* STARTTLS has been said: the client is handed over, or stays where it is. */
enum conn_event states_starttls(struct front *front, struct conn *conn);
enum conn_event states_starttls_ready(struct front *front, struct conn *conn, uint32_t events);
/* What was asked about the client, while its commands waited, is answered. */
enum conn_event states_relay_answered(struct front *front, struct conn *conn);
/* A message is under way, or a reply is owed, as far as the dialogue is read; or something has moved just now: more may follow. */
bool states_relay_is_busy(const struct front *front, const struct conn *conn);
/* The pause that it may be in has become shorter. */
void states_relay_hurry(struct front *front, struct conn *conn);

struct refuse_rules states_refuse_rules(const struct front *front, const struct conn *conn);
/* The null server, with its first reply. */
void states_refuse_begin(struct front *front, struct conn *conn);
enum conn_event states_refuse(struct front *front, struct conn *conn);
enum conn_event states_refuse_ready(struct front *front, struct conn *conn, uint32_t events);
/* What was read while it was relayed, and is not for the backend any more, goes to the null server, as far as there is room. */
void states_refuse_take_held(struct session *session);
/* Its time-outs have become shorter. */
void states_refuse_hurry(struct front *front, struct conn *conn);
/* The 421 of refuse_lifetime goes to the replies that wait. */
void states_refuse_timeout(const struct front *front, struct conn *conn);
enum conn_event states_refuse_due(struct front *front, struct conn *conn);

/* Sends the line, reads what has come so far so that closing does not reset it, and closes. */
void states_say_and_close(struct front *front, int fd, struct buf *line);
/* The same with the 421 of a limit, and the line in the log: a client without a connection. origin: as in conn_admit(). */
void states_turn_away(struct front *front, int fd, const struct addr *client, const struct conn_way *way);
/* The 421 line for who is over a limit. */
void states_limit_reply(struct buf *out, const char *host, enum conn_limit limit);
enum conn_event states_close(struct front *front, struct conn *conn);
enum conn_event states_close_ready(struct front *front, struct conn *conn, uint32_t events);

/* The bytes that have been relayed go into the counters. */
void states_count_relayed(struct session *session);
enum conn_event states_done(struct front *front, struct conn *conn);
/* For the front: gives the connections that are done, and what they held, back to it. At the end of a turn only. */
void states_reap(struct front *front);

#endif
