/* passing.h: the words between a front and the spawner, which starts a program on a client's socket.
 *
 * SOCK_SEQPACKET, one struct for each message. A request of kind PASSING_CLIENT carries the client's socket (SCM_RIGHTS); each is answered by one report, and one that
 * was answered PASSING_STARTED by PASSING_ENDED later. Only plain values; both ends are the same program, and neither trusts what the other says.
 */
#ifndef TARRY_CORE_PASSING_H
#define TARRY_CORE_PASSING_H

#include <stdint.h>

#include "core/addr.h"

#define PASSING_NAME 256 /* bytes of a client's name with its NUL */
#define PASSING_ID 16

enum passing_request_kind {
	PASSING_HELLO,  /* a front begins: it is told of the sessions that are its clients' (PASSING_KEPT) */
	PASSING_CLIENT, /* start the program of that backend for this client */
};

struct passing_request {
	uint64_t life;  /* of the front, which may have been started again since */
	uint64_t token; /* the front's own; comes back */
	uint16_t kind, backend; /* enum passing_request_kind; index of the section */
	bool look;      /* what the client has said so far is early talk */
	struct addr client, server;
	char name[PASSING_NAME]; /* confirmed by the DNS; "": none */
	char id[PASSING_ID];     /* of the connection, for the log */
};

enum passing_report_kind {
	PASSING_STARTED, /* pid runs the program */
	PASSING_FAILED,  /* it could not be started: error */
	PASSING_BUSY,    /* there are as many as may be: ask again */
	PASSING_TALK,    /* not started: the client has talked */
	PASSING_GONE,    /* not started: the client has gone */
	PASSING_KEPT,    /* runs since before this front did */
	PASSING_ENDED,
};

struct passing_report {
	uint64_t life, token;
	uint16_t kind, backend; /* enum passing_report_kind; as in the request */
	int32_t pid, error;
	uint64_t serial; /* of those that are told again when nobody knows whether they were: rises; 0: of no others */
	struct addr client;
};

#endif
