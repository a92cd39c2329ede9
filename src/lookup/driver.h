/* driver.h: what a map that may block is to the lookup program: one file and one const struct.
 *
 * A driver is given all keys of a question at once, so that it can ask its server once, and reports every key that the map has, in any order; which of them
 * counts is decided here. It may block, but not beyond the deadline it is given (CLOCK_MONOTONIC, nanoseconds). It runs in a process of its own that a
 * crash or a hang may cost; nothing else may rest on it. Drivers whose tables are files may log that they took or refused one.
 */
#ifndef TARRY_LOOKUP_DRIVER_H
#define TARRY_LOOKUP_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/sandbox.h"
#include "map/wire.h"

#define DRIVER_SECRET_MAX 256 /* bytes of a password with its NUL */

/* The first key that is there, for each search. */
struct driver_hits {
	const struct wire_question *question;
	struct {
		bool there, cut;
		uint16_t key;
		uint16_t len;
		char value[WIRE_VALUE_MAX];
	} best[WIRE_SEARCHES];
};

typedef bool driver_take(void *context, struct slice key, struct slice value);

struct driver {
	const char *scheme; /* "redis:" */
	bool remote;        /* a failure may have cost time: do not try again at once */
	/* Reads the whole name, and opens nothing that may be missing today. NULL with one line in *why. */
	void *(*open)(const char *spec, struct buf *why);
	void (*close)(void *map);
	/* False: the map could not be asked; *why says it, without a line end. */
	bool (*ask)(void *map, struct driver_hits *hits, int64_t deadline, struct buf *why);
	/* All entries, in any order, until take() says false, and then false. False with a line in *why: as ask(). NULL: such a map is no list. */
	bool (*each)(void *map, driver_take *take, void *context, int64_t deadline, struct buf *why);
	/* What is to do between questions; returns when to come again. NULL: nothing. */
	int64_t (*tend)(void *map);
	/* Its files, and the ports of its server. */
	void (*needs)(const void *map, struct sandbox_needs *needs);
	/* From now on, for all maps of this kind: what is not there, or is no table, has no keys (Sendmail's -o). NULL: not where such maps are. */
	void (*ignore_missing)(void);
};

/* The modules, each in a file of that name (core/module.h). */
extern const struct driver map_hash, map_redis, map_ldap;

/* By its scheme, loaded if need be; NULL with one line in *why, that names those there are, or the package that has it. */
const struct driver *driver_find(const char *spec, struct buf *why);

void driver_hits_init(struct driver_hits *hits, const struct wire_question *question);
/* Keys of the question count through all its searches. False: an earlier key of the same search is there already. */
bool driver_wanted(const struct driver_hits *hits, size_t key);
void driver_hit(struct driver_hits *hits, size_t key, struct slice value);
/* The slices point into hits. */
void driver_answer(const struct driver_hits *hits, struct wire_answer *out);
size_t driver_keys(const struct wire_question *question);

/* CLOCK_MONOTONIC, and what is left until then in milliseconds (0: nothing). */
int64_t driver_now(void);
int driver_left_ms(int64_t deadline);

/* The first line of a file into out. path "": no password. False with a line in *why. */
bool driver_secret(const char *path, char out[DRIVER_SECRET_MAX], struct buf *why);

#endif
