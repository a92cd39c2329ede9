/* front.h: what one front process has, shared by the files of gate/ and by nobody else but the role's entry.
 *
 * A front is one event loop; nothing in it blocks. It is given its listening descriptors, its table of the access database and a descriptor to its parent, and
 * opens nothing else but connections to its backend. Its memory for connections is reserved at start.
 */
#ifndef TARRY_GATE_FRONT_H
#define TARRY_GATE_FRONT_H

#include <stddef.h>
#include <stdint.h>

#include "core/conf.h"
#include "core/loop.h"
#include "gate/arrive.h"
#include "gate/backends.h"
#include "gate/ban.h"
#include "gate/clients.h"
#include "gate/handoff.h"
#include "gate/handover.h"
#include "gate/lookup.h"
#include "gate/conn.h"
#include "gate/guard.h"
#include "gate/known.h"
#include "gate/names.h"
#include "gate/often.h"
#include "gate/rates.h"
#include "gate/relay.h"
#include "gate/stress.h"

#define FRONT_WORD_ACCESS 'A' /* of the parent, with a descriptor: a new table for the first map, 'B' for the second, … */
#define FRONT_WORD_LEAVE 'l'  /* accept nobody any more, finish the clients, and end. With a descriptor (handoff.h) those that are held go there */
#define FRONT_WORD_DRAIN 'd'  /* the same, after those that wait to be accepted have been */
#define FRONT_WORD_HEIR 'h'   /* with a descriptor: take the held clients of a front that leaves */
#define FRONT_SAYS_READY 'r'  /* to the parent: it accepts */

#define FRONT_LISTENERS 512   /* listening sockets of one front at most: where there were more fronts before, it has several of an address */

struct access;
struct seals;
union session_line;

struct listener {
	struct source source;
	const struct conf_listen *conf; /* NULL: as if nothing were set */
	int fd;         /* the descriptor also while accepting rests */
	bool shared;    /* all fronts accept from it, so that not only this one's clients come */
	unsigned burst; /* connections accepted in one go at most, */
	uint64_t turn;  /* in this turn of the loop */
};

struct front {
	struct loop loop; /* first: callbacks find the front by it */
	const struct conf *conf;
	const char *mail_path; /* the Unix socket of the mail server inside */
	struct access *access; /* NULL: none */
	struct clients clients;
	struct clients addresses; /* IPv6 clients by their whole address, where a key of ClientConn: is longer than /64 */
	struct rates rates;
	struct names *names; /* NULL: no names are asked for, whatever the table */
	bool asks_names;     /* with this table they are */
	unsigned unnamed;    /* clients in a row whose name no name server told, nor that there is none */
	struct lookup *lookup;    /* of maps that may block; NULL: there are none */
	struct access_plan *plan; /* what to ask of them: for a moment only */
	struct conn *conns;
	uint32_t conns_len;
	uint32_t conns_used; /* slots beyond have never been touched */
	uint32_t free_list;  /* index + 1; 0: empty */
	uint32_t done_list;
	uint32_t open;       /* connections that are not free */
	uint32_t limited;    /* those of them that hear a 421 because of a limit: half of reserve_descriptors at most */
	struct session *spares;
	union session_line *lines;
	unsigned spares_len, lines_len;
	struct seals *seals;  /* TLS with clients or backends; NULL: with nobody */
	struct backends backends;
	struct session *dial_first, *dial_last; /* those who wait until a backend takes connections again */
	uint64_t dial_asked; /* bits of the backends that had no room when one of them last asked */
	struct guard guard;
	struct stress stress;
	bool (*knows)(const struct front *front, const struct addr *client); /* whether it is remembered as one who behaves; NULL: nobody is */
	uint64_t tarpit_turn;     /* in this turn of the loop, */
	unsigned tarpit_answered; /* so many in the tarpit have had a reply */
	size_t tarpit_kept;       /* bytes of what those there have said */
	struct known known;
	struct bans bans;
	struct often often; /* who was turned away lately, again and again */
	struct handover handover;
	struct handoff handoff;
	int64_t came;             /* for whom conn_take_over() is for a moment: when it came; 0: the client that is met comes now */
	struct relay_shared relay;
	struct listener listeners[FRONT_LISTENERS];
	unsigned listeners_len;
	struct arrivals *arrivals; /* connections whose PROXY header is awaited; NULL: no listener takes one */
	struct origin *origins;    /* one for each connection, filled if it is proxied; NULL: none can be */
	struct source owned;      /* clients that another front has accepted come here */
	const int *owners_out;   /* and go there, by front; NULL: there is no other */
	struct source parent;
	int spare;       /* keeps a descriptor free for what the parent sends, however many clients there are; -1: none */
	unsigned index, fronts;
	const unsigned *rows;    /* of the metrics, by front; NULL: their own numbers */
	struct source pulse;     /* that it turns */
	size_t nofile;   /* descriptors this process may have */
	uint32_t serial; /* of connection ids */
	bool leaving;    /* nobody is accepted any more, and it ends with its last client */
	bool stopping;
	bool unheard;    /* the parent could not be told yet that it accepts */
};

/* What a listening socket is. */
struct front_listener {
	unsigned listen; /* its section in conf->listens */
	bool shared;
};

struct front_setup {
	const struct conf *conf;
	const char *mail_path;
	unsigned index, fronts; /* this front, of how many */
	const int *listeners;   /* listening descriptors, owned by the front from now on, */
	unsigned listeners_len; /* FRONT_LISTENERS at most */
	const struct front_listener *listens; /* and what each of them is; NULL: one for each of conf->listens, in their order */
	const unsigned *rows;   /* of the metrics, by front, must outlive the front; NULL: their own numbers */
	int queue;              /* this front's queue of clients that others have accepted (owner.h), owned by the front from now on, */
	const int *queues;      /* and where to put those of others, by front; must outlive the front. NULL: there is neither */
	int parent;             /* SOCK_SEQPACKET: words such as FRONT_WORD_ACCESS; its end means stop. -1: none */
	const int *access;      /* tables at start, one for each map of access_db; -1: one that is elsewhere */
	unsigned access_len;    /* 0: no access database */
	int questions, answers; /* to and from tarry-lookup, owned by the front from now on; -1: no map is elsewhere */
	backends_count *connections; /* of all fronts to each backend; NULL: this front is alone */
	int passing;            /* to the spawner, owned by the front from now on; 0 or -1: no backend has exec */
	int tls;                /* to tarry-tls, owned by the front from now on; -1 or 0: TLS is spoken with nobody */
	bool tls_ends_here;     /* with clients, and not only with backends */
	struct known_setup known; /* who is remembered; its descriptors are the front's from now on */
	struct ban_setup bans;    /* who is banned; the same */
	bool manual_clock;      /* for tests */
};

/* 0 or -errno. front_fini() also closes all that is open. */
int front_init(struct front *front, const struct front_setup *setup);
void front_fini(struct front *front);
/* Everything it needs is open: it is shut in, for good, or the process ends (core/sandbox.h). In a process of its own. 0 or -errno: there was no memory to find out what it needs. */
int front_confine(const struct front *front);
/* Tells the parent that it is ready, and serves until that says stop or goes away. 0 or -errno. */
int front_run(struct front *front);

/* When the client has come that is met now. */
static inline int64_t front_came(const struct front *front)
{
	return front->came ? front->came : loop_now(&front->loop);
}

/* Rows of the metrics, from the first on, in which fronts count, also those that finish the clients of an earlier configuration; and the one that is this front's. */
unsigned front_rows(const struct front *front);
unsigned front_row(const struct front *front);

/* A front that leaves: if that was its last client, it ends. */
void front_may_leave(struct front *front);
/* CONN_STOP or CONN_LEAVE to every connection. */
void front_stop_all(struct front *front, enum conn_event event);

/* In the order of the words of the option resolve. */
enum front_resolve { FRONT_RESOLVE_AUTO, FRONT_RESOLVE_ALWAYS, FRONT_RESOLVE_NEVER };

/* listen.c */
int listen_start(struct front *front, const int *fds, const struct front_listener *listens, unsigned len);
void listen_stop(struct front *front);
/* The same after those that wait have been accepted. */
void listen_empty(struct front *front);
/* An accepted descriptor and whose it is: counted against the limits, then a connection's. tls: what its listener has. */
void listen_admit(struct front *front, int fd, const struct addr *client, enum conf_tls tls);
/* The same for a client that came by a load balancer; what origin points to is taken over. */
void listen_admit_from(struct front *front, int fd, const struct addr *client, const struct origin *origin);
/* One that a front before this one has held; over no limit. What origin points to is taken over. */
void listen_take_over(struct front *front, int fd, const struct addr *client, const struct origin *origin, const struct conn_past *past);
/* Connections that only remembered clients may have, beyond max_connections. */
int64_t listen_known_reserve(const struct conf *conf);
/* A prober, which is answered at once and counts nowhere. */
void listen_admit_probe(struct front *front, int fd, const struct addr *client, enum conf_tls tls);

#endif
