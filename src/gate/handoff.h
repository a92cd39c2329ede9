/* handoff.h: held clients on their way from a front that leaves to the one that comes after it.
 *
 * When a door has got a new configuration, or is a new version, new fronts serve who comes; the old ones finish the clients that talk already. Who is still held moves: its descriptor, and when it
 * came, so that its pause is as long as it would have been. The new front judges it by the new configuration, as if it had come to it in the first place. Each pair of an old front and a
 * new one has a Unix socket of its own, which the parent makes. Nothing here blocks, and nobody is lost: who cannot be moved stays where it is and is served there. What is moved is a client that has
 * heard at most the first line of a greeting, and has said nothing; who has a session, or whose TLS ends here, stays.
 * CLOCK_MONOTONIC, which loop time is, is the same in both processes.
 */
#ifndef TARRY_GATE_HANDOFF_H
#define TARRY_GATE_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"

#define HANDOFF_VERSION 1 /* of what is sent: fronts of different versions move nobody */
#define HANDOFF_FROM 64   /* fronts that hand over to one at the same time at most */

struct front;

struct handoff {
	struct source out;                /* to the front that comes after this one, until all are told of */
	uint32_t next;                    /* the connection that is next */
	struct source in[HANDOFF_FROM];   /* from those before it */
	unsigned in_len;                  /* places of it that have been in use */
};

void handoff_init(struct front *front);
void handoff_fini(struct front *front);

/* This front leaves: its held clients go there. Takes the descriptor. */
void handoff_begin(struct front *front, int fd);
/* Clients of a front that leaves come from there. Takes the descriptor. */
void handoff_receive(struct front *front, int fd);
/* Some are still to be sent. */
bool handoff_is_busy(const struct front *front);

#endif
