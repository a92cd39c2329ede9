/* server.h: the desk's HTTP server, on libmicrohttpd: GET and HEAD of the page, its events, /metrics and /status.json, for whoever may look (guard.h).
 *
 * It runs within the caller's loop: server_fd() is readable when server_run() is to be called. What a client can hold is bounded: connections, listeners, the size of a request and
 * the time for it. A listener that does not read keeps one message, and is told all anew when it reads again. Nothing blocks.
 */
#ifndef TARRY_DESK_SERVER_H
#define TARRY_DESK_SERVER_H

#include <microhttpd.h>

#include "core/loop.h"
#include "desk/counsel.h"
#include "desk/feed.h"
#include "desk/guard.h"

#define SERVER_CONNECTIONS 128       /* at most; more wait to be accepted */
#define SERVER_OF_ONE_ADDRESS 96     /* of them, of one address */
#define SERVER_LISTENERS 64          /* pages that are open; more are told to come later */
#define SERVER_REQUEST (16 * 1024)   /* bytes of a request's head, and what the library needs with it */
#define SERVER_IDLE_S 10             /* without a byte */
#define SERVER_REQUEST_TIME (30 * LOOP_SECOND) /* for a request and its answer, events excepted */

struct server;
struct message;
struct visitor;

struct server {
	struct MHD_Daemon *daemon; /* NULL: it does not listen yet */
	const struct loop *loop;   /* for its clock */
	struct guard guard;
	struct memory *memory;
	const char *head;          /* see struct feed */
	const char *version;
	int64_t started, pause_ms, request_time;
	struct counsel counsel;
	long long fronts;
	struct visitor *visitors;  /* connections */
	unsigned listeners;
	bool ending;
	uint64_t tick;
	struct message *tick_message, *all_message; /* of this tick; NULL: nobody wanted it so far */
	struct feed_told told;     /* what the last tick ended with */
	uint64_t told_health;
	long long requests, denied, denied_said;
	int64_t denied_at;
};

/* What is not zero there is set by the caller: loop to request_time. */
/* Takes the listening socket, also on failure. False: the library cannot. */
bool server_listen(struct server *server, int listener);
int server_fd(const struct server *server);
/* What the library has to do. Returns when it wants to be called again: now (loop time), or LOOP_NEVER. */
int64_t server_run(struct server *server);
/* Once a second, after memory_look(): listeners get what is new, and who takes too long is disconnected. */
void server_tick(struct server *server);
void server_fini(struct server *server);

#endif
