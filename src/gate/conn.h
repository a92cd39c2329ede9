/* conn.h: one client connection: its states, what may happen to it, and what follows.
 *
 *            talk ┌───────────▶ REFUSE ── answered ──▶ CLOSE ──▶ DONE
 *                 │                ▲ talk                ▲ 421
 *                 │                ▼ ▲ refuse_tarpit
 *                 │              TARPIT
 *   accepted ▶ (TLS ▶) (ASK ▶) HOLD ─ pause over ▶ DIAL ─ greeting ▶ RELAY ─ ended ▶ CLOSE or DONE     (and RELAY ── talk ──▶ REFUSE)
 *                 └── hang-up ──▶ DONE
 *
 * conn_step() is the whole policy, a pure function. One function changes the state. Entering a state never raises an event, it returns
 * the next one. A connection is freed at the end of the loop's turn, never by its own handlers.
 * While it is held it costs the 56 bytes of struct conn and one pointer in the loop's heap; what a conversation needs (struct session) is allocated later (while it is held if it is
 * observed, and there is something to write down). Beside that its
 * client has a slot of 16 bytes in the table of clients, one for all its connections.
 */
#ifndef TARRY_GATE_CONN_H
#define TARRY_GATE_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/addr.h"
#include "core/conf.h"
#include "core/loop.h"

struct ask;
struct front;
struct origin;
struct session;
struct tarpit;

enum conn_state {
	CONN_FREE,   /* a slot without a client */
	CONN_TLS,    /* its TLS handshake is under way, on a port where that comes first */
	CONN_ASK,    /* how long the greeting is withheld is not known yet: the client's name is asked for */
	CONN_HOLD,   /* the greeting is withheld */
	CONN_DIAL,   /* the backend is being connected; it has not greeted yet */
	CONN_RELAY,  /* client and backend talk */
	CONN_STARTTLS, /* relayed, and its TLS handshake is under way */
	CONN_REFUSE, /* the null server answers */
	CONN_TARPIT, /* it does so slowly: each reply is delayed, and between them next to nothing is kept */
	CONN_CLOSE,  /* the last reply goes out; what still comes in is thrown away, so that no reset overtakes it */
	CONN_DONE,   /* closed; freed at the end of the turn */
	CONN_STATES
};

enum conn_event {
	CONN_NOTHING,
	CONN_ASKED,     /* a new client about whom something is asked first */
	CONN_ACCEPTED,  /* a client with a pause; new, or all about it is known now */
	CONN_ADMITTED,  /* the same without one */
	CONN_SEALING,   /* a handshake comes first: of a new client, or after STARTTLS */
	CONN_SEALED,    /* it is done: after STARTTLS; a new client goes on as if it came now */
	CONN_LIMITED,   /* a new client for whom there is no room */
	CONN_DENIED,    /* the access database refuses the client: it is greeted, and may QUIT */
	CONN_DROPPED,   /* the same with a 421, which stands in place of the greeting */
	CONN_TALK,      /* bytes from the client before the greeting, or before another reply for which it has to wait */
	CONN_CUT,       /* the same before the greeting, of a kind that gets one reply or none: no null server for it */
	CONN_HANGUP,    /* the client's end, or a reset, with nothing said */
	CONN_TIME,      /* the state's deadline */
	CONN_GREETING,  /* the backend's first bytes are here */
	CONN_PROBED,    /* the same, and the client only wanted to know */
	CONN_HANDED,    /* a program has the client's socket */
	CONN_DECLINED,  /* the backend refuses in place of its greeting, which the client has heard the first line of */
	CONN_FAILED,    /* no backend: refused, gone or out of descriptors; nobody to do a handshake */
	CONN_TARRY,     /* a refused client whose replies are to be delayed */
	CONN_RELEASED,  /* they are not any longer */
	CONN_ANSWERED,  /* the null server, or the backend, has said its last word */
	CONN_ENDED,     /* nothing more can be sent or received */
	CONN_STOP,      /* the door is shutting down: who waits is told so, who talks may finish */
	CONN_LEAVE,     /* it does not wait any longer */
	CONN_MOVED,     /* another front has it now */
	CONN_EVENTS
};

enum conn_verdict {
	CONN_UNDECIDED,
	CONN_PATIENT,   /* waited, and was handed to the backend */
	CONN_EXEMPT,    /* pause 0, handed to the backend */
	CONN_EARLY,     /* talked before the greeting, or before another reply */
	CONN_REFUSED,   /* the access database refuses it */
	CONN_GONE,      /* hung up before the greeting */
	CONN_LIMIT,     /* a limit was reached */
	CONN_NOBACKEND, /* no backend for a client that deserved one */
	CONN_TEMPFAIL,  /* the door shut down before a verdict */
	CONN_PROBE,     /* a health check, and all is well */
	CONN_KNOWN,     /* has passed lately, and was handed to the backend at once */
	CONN_VERDICTS
};

enum conn_limit {
	CONN_LIMIT_NONE,
	CONN_LIMIT_TOTAL,       /* max_connections */
	CONN_LIMIT_DESCRIPTORS, /* the system allows this process no more */
	CONN_LIMIT_CLIENT,      /* max_per_client */
};

/* Whose its pause is. */
enum conn_pause {
	CONN_PAUSE_USUAL,   /* greet_pause */
	CONN_PAUSE_RULE,    /* of a GreetPause: or local_greet_pause about it */
	CONN_PAUSE_STRESS,  /* the door was under stress when it came */
	CONN_PAUSE_EXPLORE, /* explore_pause: it is one of those who are made to wait longer, to learn what they do */
};

struct conn {
	struct source source;
	struct addr client;
	uint8_t state : 4; /* enum conn_state; written by one function */
	bool ending : 1; /* the client's end has been announced, or urgent data: a short read does not mean that all is read */
	bool has_session : 1; /* which one of the two pointers it is */
	bool early : 1;       /* has talked early, and is refused at RCPT (delay_early) */
	bool observe : 1;     /* nothing is refused to it; what had been is logged (session_would()) */
	bool teased : 1;      /* has heard the first line of a greeting (greet_teaser), and is owed the last */
	bool proxied : 1;     /* came by a load balancer: the front's origins say which */
	bool probe : 1;       /* a health check: answered by the null server once the backend has greeted, not counted, not logged */
	bool offers_tls : 1;  /* STARTTLS is the door's */
	bool exempt : 1;      /* the access database, or local_greet_pause, gives it a pause of 0: it may talk when it likes */
	bool known : 1;       /* it has passed lately: no pause, at no stage; but it may talk early no more than others, so pause_ms is as for them */
	bool over_rate : 1, over_conns : 1; /* over a limit of the access database, to be told at RCPT */
	uint32_t studied : 1;   /* what it does while it waits is counted, once (study.h) */
	uint32_t pause_by : 2;  /* enum conn_pause */
	uint32_t pause_ms : 29; /* once the connection is done: the index of the next one in the front's list, plus 1 */
	union {
		struct ask *ask;         /* until there is a session; NULL: nothing was asked */
		struct session *session;
		struct tarpit *tarpit;   /* TARPIT, while there is no session */
	};
};
_Static_assert(CONN_STATES <= 16, "a state has four bits");
_Static_assert(sizeof(struct conn) + sizeof(struct source *) <= 64, "a held connection costs at most 64 bytes");

struct conn_next {
	enum conn_state state;
	enum conn_verdict verdict; /* CONN_UNDECIDED: this step decides nothing */
};

/* The policy: what follows from an event in a state. exempt: the client has pause 0. Every pair has an answer; pairs that cannot happen stay where they are. */
struct conn_next conn_step(enum conn_state state, enum conn_event event, bool exempt);

const char *conn_state_name(enum conn_state state);
const char *conn_event_name(enum conn_event event);
const char *conn_verdict_name(enum conn_verdict verdict);
/* It was handed to a backend. */
bool conn_verdict_passes(enum conn_verdict verdict);
const char *conn_limit_name(enum conn_limit limit);

/* How a client came. */
struct conn_way {
	enum conn_limit limit;       /* which one it is over, if any: it is then answered 421, or closed without a word where TLS comes first */
	enum conf_tls tls;           /* what its listener has */
	const struct origin *origin; /* with what that points to, which is the connection's from now on; NULL: it connected to us */
	bool probe;                  /* a health check, over no limit */
};

/* What a front before this one knows of a client that it has held. */
struct conn_past {
	int64_t accepted; /* loop time */
	bool teased;      /* it has heard the first line of a greeting */
};

/* A new client on an accepted descriptor, which the connection owns from now on, also on failure. */
void conn_admit(struct front *front, int fd, const struct addr *client, const struct conn_way *way);
/* The same for a client that another front has held until now: it is judged as if it had come to this one when it came. */
void conn_take_over(struct front *front, int fd, const struct addr *client, const struct conn_way *way, const struct conn_past *past);
/* HOLD, without a session: another front has it; its descriptor is closed, and the client does not notice. */
void conn_moved(struct front *front, struct conn *conn);
/* A client whose handshake is done, or that needs none: it is asked about, or judged at once. */
void conn_meet(struct front *front, struct conn *conn);
/* What was asked about it is answered. */
void conn_answered(struct front *front, struct conn *conn);
/* delay_early: if the client has talked, which is still to be read, that is its verdict; it goes on, to be refused at RCPT. */
bool conn_take_early(struct front *front, struct conn *conn);
/* What the client has said before its greeting, or its end, taken as in HOLD; the event that follows. */
enum conn_event conn_take_talk(struct front *front, struct conn *conn);
/* An observed client has talked before its greeting: it is written down, and the bytes stay where they are, for the backend. False: it is not observed. */
bool conn_note_talk(struct front *front, struct conn *conn);
/* RELAY: what its dialogue waited for has been decided. */
void conn_go_on(struct front *front, struct conn *conn);
/* HOLD: another door knows it. */
void conn_is_known(struct front *front, struct conn *conn);
/* Something that did not come from its own descriptors or deadline: the spawner says so (handover.c), the door is under stress (stress.c), or it ends (front.c). */
void conn_happened(struct front *front, struct conn *conn, enum conn_event event);

#endif
