/* health.h: what the fronts have found out about the servers that they depend on, backends and maps elsewhere, in memory that all roles of one door share, for `tarry status` and tarry-desk.
 *
 * The parent makes it before the first fork, and says what is what. Each front writes rows of its own, when a client or a health check has tried a backend, or a map has answered; anybody may
 * read, and the newest word counts. Before health_init() writing does nothing. Nothing here blocks or logs. Times are seconds of the wall clock (time(2)).
 *
 * Things have numbers: backends in the order of the configuration, then maps in the order of access_db.
 */
#ifndef TARRY_CORE_HEALTH_H
#define TARRY_CORE_HEALTH_H

#include <stdint.h>

#define HEALTH_ERROR 64 /* bytes of an error's text, its NUL included; the rest is cut */
#define HEALTH_NAME 64  /* the same of a name, */
#define HEALTH_AT 160   /* and of an address */

enum health_state { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

struct health {
	enum health_state state; /* HEALTH_UNKNOWN: nobody has tried it yet */
	int64_t since;           /* it is known to be so */
	int64_t seen;            /* when it was last tried */
	uint64_t good, bad;      /* how often it was of use, and how often it was not, since the door was started */
	char error[HEALTH_ERROR]; /* with HEALTH_DOWN */
};

/* 0 or -errno. */
int health_init(unsigned fronts, unsigned backends, unsigned maps);
/* Who or what a thing is: said once, by the parent. What is too long is cut. */
void health_name(unsigned thing, const char *name, const char *at);
/* As metrics_fd_readonly() and metrics_attach(). */
int health_fd_readonly(void);
int health_attach(int fd);

unsigned health_backends(void);
unsigned health_maps(void);
/* The number of a map. */
unsigned health_map(unsigned map);
void health_names(unsigned thing, char name[HEALTH_NAME], char at[HEALTH_AT]);
const char *health_state_name(enum health_state state);

void health_up(unsigned front, unsigned thing);
void health_down(unsigned front, unsigned thing, const char *error);
/* What all fronts together know of it. */
struct health health_of(unsigned thing);

#endif
