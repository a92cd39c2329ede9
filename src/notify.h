/* notify.h: what the service manager is told: sd_notify(3), in our own few lines.
 *
 * One datagram for each call, to the socket that NOTIFY_SOCKET names; without it nothing is sent. The variables are taken out of the environment, where programs that are started later have no use for them, and put
 * back before an execve() in place. Nothing here blocks.
 */
#ifndef TARRY_NOTIFY_H
#define TARRY_NOTIFY_H

#include <stdint.h>

struct notify {
	char socket[108];  /* of NOTIFY_SOCKET; empty: there is none */
	int64_t watchdog;  /* nanoseconds within which it wants to hear of us; 0: it does not */
};

/* From the environment. */
void notify_init(struct notify *notify);
/* Back into it. */
void notify_export(const struct notify *notify);
/* A message, lines of NAME=VALUE. */
void notify_send(const struct notify *notify, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* RELOADING=1, with the time that goes with it. */
void notify_reloading(const struct notify *notify);

#endif
