/* relay.h: two one-way pumps between a client and its backend.
 *
 * Short turns of the dialogue are copied through the front's one scratch buffer; when a direction turns out to carry bulk, it moves to a pipe and
 * splice(), and the bytes never leave the kernel. A reader that does not read stops the reading on the other side: at most RELAY_HELD bytes of one
 * direction wait with us. The end of one side is passed on as a half-close. Descriptors are watched edge-triggered by the owner, who passes the events on.
 */
#ifndef TARRY_GATE_RELAY_H
#define TARRY_GATE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buf.h"

#define RELAY_SCRATCH (16 * 1024)  /* bytes copied in one go; a read that fills it is bulk */
#define RELAY_HELD RELAY_SCRATCH   /* bytes of one direction that wait for a slow reader at most (a pipe's 64 KB when spliced) */
#define RELAY_PIPES 64             /* idle pipes a front keeps for later */

/* What all relays of one front share: scratch memory and idle pipes. */
struct relay_shared {
	char *scratch; /* RELAY_SCRATCH bytes */
	int pipes[RELAY_PIPES][2];
	unsigned pipes_len;
};

struct pump {
	int from, to;
	int pipe[2];     /* -1: this direction is copied */
	uint32_t piped;  /* bytes in the pipe */
	bool readable;   /* there may be more to read (edge-triggered: until a read says otherwise) */
	bool writable;
	bool ending;     /* the end of `from` has been announced, or its data has an urgent mark: a short read does not mean that it is empty */
	bool eof;        /* `from` has ended */
	bool reset;      /* by a reset */
	bool closed;     /* and that was passed on to `to` */
	bool lost;       /* sending to `to` has failed: it gets nothing more, or there would be a gap */
	int error;       /* errno of why sending to `to` failed */
	bool full_read;  /* the last read filled the scratch buffer */
	struct buf held; /* bytes that `to` did not take */
	uint64_t bytes;  /* passed on so far */
};

struct relay {
	struct pump in;  /* client → backend */
	struct pump out; /* backend → client */
};

enum relay_result {
	RELAY_IDLE,          /* waiting for events */
	RELAY_AGAIN,         /* there is more to do, but others come first: call again in the next turn */
	RELAY_ENDED,         /* both sides have ended, all bytes are passed on */
	RELAY_BACKEND_ENDED, /* the backend has ended, the client has everything */
	RELAY_TALK,          /* where the dialogue is read: the client has talked when it was to wait */
	RELAY_SEAL,          /* where the dialogue is read: the client's TLS is to begin */
	RELAY_BROKEN,        /* the client was reset, or nothing more can be sent */
};

/* 0 or -ENOMEM. */
int relay_shared_init(struct relay_shared *shared);
void relay_shared_fini(struct relay_shared *shared);

void relay_init(struct relay *relay, int client, int backend);
/* Gives the pipes back. Closes neither client nor backend. */
void relay_fini(struct relay *relay, struct relay_shared *shared);
/* Events (EPOLLIN …) that came for the client or for the backend. */
void relay_client_events(struct relay *relay, uint32_t events);
void relay_backend_events(struct relay *relay, uint32_t events);
/* Bytes of the backend that its owner has read already go out first. False: they do not fit (more than RELAY_HELD). */
bool relay_put_out(struct relay *relay, const void *bytes, size_t len);
/* Move what can be moved. */
enum relay_result relay_run(struct relay *relay, struct relay_shared *shared);
/* A side is not writable and bytes wait for it: watch it for EPOLLOUT. */
bool relay_blocked_on_client(const struct relay *relay);
bool relay_blocked_on_backend(const struct relay *relay);

#endif
