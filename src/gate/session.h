/* session.h: what a connection needs once it is no longer silent: buffers, the backend, the facts for the log.
 *
 * Made when the pause is over or broken, kept in a small pool per front. Private to the files of a connection: conn.c, before.c, states.c, dial.c, session.c.
 */
#ifndef TARRY_GATE_SESSION_H
#define TARRY_GATE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/loop.h"
#include "access/access_value.h"
#include "gate/ask.h"
#include "gate/conn.h"
#include "gate/handover.h"
#include "gate/refuse.h"
#include "gate/relay.h"
#include "gate/stage.h"
#include "smtp/talk.h"

#define SESSION_OUT 1024  /* bytes of a last reply or of a PROXY header that wait at most; replies of REFUSE are moved, not copied */
#define SESSION_DENIED 600 /* bytes of the reply to a client that the access database refuses at most; the rest is cut */
#define SESSION_ID 14     /* characters of a connection's id, with the NUL */
#define SESSION_GREETED 220 /* the code of a greeting as it should be (RFC 5321 4.2.1) */
#define SESSION_SPARES 64 /* sessions a front keeps for the next connections, and as many lines */

struct backend;
struct backend_tls;
struct seal;
struct watched;
struct xclient;

/* How far it has come in the tarpit. */
enum session_tarpit { SESSION_TARPIT_NONE, SESSION_TARPIT_BEGUN, SESSION_TARPIT_GREETED };

struct session {
	struct source backend; /* first: callbacks find the session by it */
	struct conn *conn;
	struct ask *ask;       /* what was asked about the client; NULL: nothing */
	struct session *next, *prev; /* in the line of those who wait for the backend; next also in the front's pool */
	int64_t accepted;      /* when the client came */
	int64_t decided;       /* when the verdict fell */
	int64_t greeted;       /* when the greeting went out */
	int64_t active;        /* when something last happened (REFUSE, RELAY); DIAL: when the backend was called */
	enum conn_verdict verdict;
	enum conn_event cause; /* of the verdict */
	enum conn_event end;   /* what ended the relay */
	enum conn_limit limit; /* with CONN_LIMIT */
	enum talk_kind kind;
	struct backend *to;    /* the backend that is dialled or was used; NULL: none so far */
	uint64_t skip;         /* bits of the backends that have failed it, or cannot serve it */
	const char *wrong;     /* with the backend dialled last, for the log; NULL: nothing */
	enum handover_state handover; /* DIAL: on the way to a program */
	uint64_t token;        /* of the request to the spawner; 0: there was none */
	int32_t handed;        /* the process that has its socket; 0: none */
	struct backend_tls *tls; /* with the backend; NULL: it is spoken to in clear */
	struct xclient *xclient; /* DIAL: the backend is told by it who the client is; NULL: it is not, or has been */
	uint16_t greeting;     /* the code of the backend's greeting; 0: it is none */
	bool readable;         /* there may be bytes from the client to read (edge-triggered) */
	bool eof;              /* the client's end has been read */
	bool slow;             /* REFUSE: the deadline is a slow-down's, not an idle client's; nothing is read or answered until then */
	bool client_out, backend_out; /* RELAY: watched for writing too */
	bool shut;             /* CLOSE: our end has been sent */
	bool peeked;           /* what is in refuse.in is still in the socket, too */
	enum session_tarpit tarpit;
	size_t drained;        /* CLOSE: bytes thrown away */
	const char *forbidden;   /* RELAY: what it said of another protocol, which ended it: a literal; NULL: nothing */
	enum conn_verdict would; /* observed: what enforcing had done first, which counts; CONN_UNDECIDED: nothing */
	const char *would_stage; /* where: a literal, */
	int64_t would_at;        /* and when */
	struct buf denied;     /* with CONN_REFUSED, or CONN_DECLINED: the reply to everything, without its line end; observed: what had been the reply */
	uint32_t denied_line;  /* of the access file */
	enum stage stage;        /* with CONN_EARLY: of a relayed client, where it talked; STAGE_NONE: before its greeting */
	bool tempfails;          /* and it is told to come again */
	uint32_t paused_ms;      /* RELAY: how long replies have been withheld from it, in all */
	int64_t resume;          /* RELAY: when the pause is over that it is in; 0: it is in none */
	struct buf out;        /* CLOSE: the last reply; REFUSE: what was owed before it; DIAL: the PROXY header */
	struct refuse refuse;
	struct relay relay;
	struct watched *watched; /* RELAY: the dialogue is read; NULL: it is not */
	uint32_t rejected;       /* senders and recipients that the access database refused, or with an observed client had refused */
	uint32_t messages;       /* that the backend has accepted, as far as was seen: where */
	bool seen;               /* the dialogue has been read to its end */
	const char *broken;      /* why the watch ended it; NULL: it did not */
	char id[SESSION_ID];
};

struct session_head {
	enum conn_verdict verdict;
	const struct addr *client;
	const char *id;
	uint32_t pause_ms;
	int64_t after;
	const struct ask *ask;
	const struct origin *origin; /* NULL: it connected to us */
	const struct seal *seal;
};

/* From the pool or from malloc; NULL: no memory. */
struct session *session_new(struct front *front, struct conn *conn, int64_t accepted);
/* Memory for what the client says, refuse.in: most have none, since what they say is the backend's. From the pool or from malloc; false: no memory. */
bool session_hear(struct front *front, struct session *session);
/* The client has said this before its turn: it is for the log and the null server. Without memory for it only its kind is kept. */
void session_said(struct front *front, struct session *session, struct slice said);
/* The session of a connection that leaves HOLD, or is observed and has talked; false: no memory, and the connection ends without a word. */
bool session_need(struct front *front, struct conn *conn);
/* What was asked about a client, with a session or before it has one; not for one that is in the tarpit. */
struct ask **session_ask(struct conn *conn);
/* Frees what it holds and puts it into the pool. NULL is fine. */
void session_free(struct front *front, struct session *session);
/* The access database refuses the client with this reply. */
void session_deny(const struct front *front, struct session *session, const struct access_reply *reply, uint32_t line);
/* An observed client, or one that talked at a stage that is only observed: what enforcing had done with it just now, and at which stage ("greet", "connect", "helo", "mail", …: a literal). Counts, but for the first time only; false: it was not the first. */
bool session_would(struct front *front, struct session *session, enum conn_verdict would, const char *stage);
/* REFUSED, TEMPFAIL, or LIMIT where it comes of no key of the access database. */
enum conn_verdict session_refused_as(const struct rules_answer *answer);
/* The same of a refusal by the access database, or by one of its limits. */
void session_would_refuse(struct front *front, struct session *session, const struct rules_answer *answer, const char *stage);
/* A mail server refuses it with this line of a reply, without its end. */
void session_deny_as(struct session *session, struct slice line);
/* The client, for the macros of a refusal. Valid as long as what was asked about it. */
struct macros session_macros(const struct front *front, const struct session *session);
void session_pool_free(struct front *front);
/* What every connection's line begins with: verdict, client, port, name (if names are asked for), id, pause_ms, after_ms (nanoseconds since it came, or since its handshake where TLS comes first), and what TLS there is. False: the level is not wanted. */
struct log_line;
bool session_log_head(struct log_line *l, const struct session_head *head);
void session_make_id(struct front *front, char out[SESSION_ID]);
/* The one line of a connection. */
void session_log(const struct front *front, const struct session *session);

/* dial.c: connect a backend and tell it who the client is. CONN_NOTHING: under way; CONN_FAILED: session->wrong says why. */
enum conn_event dial_start(struct front *front, struct session *session);
/* It found none: the one that it waits for, if any, has failed. */
void dial_gave_up(struct front *front, struct session *session);
/* For whoever ceases to dial: who waited in line or tried a dead backend makes room for the next. */
void dial_leave(struct front *front, struct session *session);
/* Closes the connection to the backend, if there is one. */
void dial_close(struct front *front, struct session *session);
/* The backend chosen last is of no use: the next one. As dial_start(). */
enum conn_event dial_next(struct front *front, struct session *session, const char *why);
/* It has no room after all: the client waits in line. CONN_NOTHING. */
enum conn_event dial_wait(struct front *front, struct session *session, const char *why);
/* A program has the client: its backend is of use. */
void dial_handed(struct front *front, struct session *session);
/* There is room for one more connection: the first in the line asks. */
void dial_wake(struct front *front);
/* The deadline of session->backend: time to ask again, or the backend has had its time. */
enum conn_event dial_due(struct front *front, struct session *session);
/* The backend's descriptor is ready while dialling: CONN_GREETING once its first bytes are in the relay. */
enum conn_event dial_ready(struct front *front, struct session *session, uint32_t events);

#endif
