/* before.h: the states of a connection before its pause; rows of the table in conn.c and called by its driver only.
 *
 * Each function returns the event that follows, or CONN_NOTHING to wait.
 */
#ifndef TARRY_GATE_BEFORE_H
#define TARRY_GATE_BEFORE_H

#include "gate/conn.h"

enum conn_event before_tls(struct front *front, struct conn *conn);
enum conn_event before_tls_ready(struct front *front, struct conn *conn, uint32_t events);
enum conn_event before_tls_due(struct front *front, struct conn *conn);

enum conn_event before_ask(struct front *front, struct conn *conn);
enum conn_event before_ask_ready(struct front *front, struct conn *conn, uint32_t events);
enum conn_event before_ask_due(struct front *front, struct conn *conn);
/* It has been judged, and this follows: but with a pause, what it said while that was not known is talk. */
enum conn_event before_said(struct front *front, struct conn *conn, enum conn_event event);
/* For ask.c: maps have been asked about it, and may take their time. */
void before_asked_maps(struct front *front, struct conn *conn);

#endif
