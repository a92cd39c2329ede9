/* door.h: a front as it runs in the door, for unit tests: its options, its clients, its clock, its log. */
#ifndef TARRY_TESTS_DOOR_H
#define TARRY_TESTS_DOOR_H

#include <stdbool.h>

#include "core/conf.h"
#include "core/metrics.h"
#include "gate/front.h"

#define DOOR_OPTIONS 16

struct door {
	struct front front;
	struct conf conf;
	struct buf log;
	int parent;                  /* our end of the channel; -1: none */
	int channel;                 /* the front's */
	int backend;                 /* listens where the mail server inside would; -1: nobody does */
	int questions, answers;      /* where a lookup process reads and writes; -1: no map is elsewhere */
	int spawner;                 /* our end of the spawner's channel; -1: none */
	enum conf_tls tls;           /* what listeners have */
	int before;                  /* descriptors open before */
	int64_t base[METRIC_COUNT];
	char backend_path[64];
};

/* What a front is given beside its options, which are as in -o; the last one is NULL. Without manual its clock is the real one. */
struct door_setup {
	bool manual;
	bool elsewhere; /* its one map is; the test is in the place of the lookup processes */
	bool spawner;   /* a backend has exec; the test is in the place of the spawner */
	const int *listeners;
	unsigned listeners_len;
	const char *file; /* the text of a configuration file; NULL: none */
	unsigned index, fronts; /* fronts 0: it is alone */
	int queue;        /* owner.h; with queues */
	const int *queues;
	int *tls; /* gets the other end of the socket to tarry-tls, which is the test's; NULL: TLS is spoken with nobody */
	bool tls_out; /* with backends only */
	const struct known_setup *known; /* its descriptors are the front's; NULL: nobody is remembered */
	const struct ban_setup *bans; /* the same; NULL: nobody is banned */
	const char *options[DOOR_OPTIONS];
};

/* Every failure is the test's. */
void door_open(struct door *door, const struct door_setup *setup);
/* Ends the front and checks that it has left no descriptor open and no gauge above 0. The clients' ends must be closed before. */
void door_close(struct door *door);
/* Turns until nothing moves any more. */
void door_settle(struct door *door);
int64_t door_metric(const struct door *door, enum metric m);
/* Whether that stands in the log, since this was last asked. */
bool door_logged(struct door *door, const char *text);
/* The table of an access file; what is odd in it is nobody's concern here. */
int door_table(const char *text);
/* It is the front's from now on. */
void door_access(struct door *door, const char *text);
/* A client from that address on a socket pair; returns its end, which is the caller's. */
int door_connect(struct door *door, const char *address);
/* The backend accepts a connection (there must be one). */
int door_backend_accept(struct door *door);

/* Everything that can be read from fd now is this. */
void door_expect(int fd, const char *text);
/* Nothing to read, and not ended. */
void door_expect_silence(int fd);
/* The other side has ended it, without a reset. */
void door_expect_end(int fd);
void door_send(int fd, const char *text);
/* The connections that are not free, in a state. */
unsigned door_count(const struct door *door, enum conn_state state);

#endif
