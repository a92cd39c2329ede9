/* bans.h: what the parent has for bans: the memory that fronts read, the way to the keeper of bans, the socket that `tarry ban` comes to, and the list of those that are never banned.
 *
 * For serve.c and roles.c only, but for bans_never() and bans_never_file(). All of it outlives a keeper, and a helper for the kernel, that dies. With ban_after = 0 there is nothing.
 */
#ifndef TARRY_BANS_H
#define TARRY_BANS_H

#include "core/conf.h"
#include "gate/ban.h"
#include "known/ban_table.h"
#include "takeover.h"

struct banning {
	const struct conf *conf;
	bool wanted, kernel; /* kernel: bans are put there, too */
	int memory[2];          /* rows, counts */
	struct ban_table table; /* the parent's own view of it, for the counters */
	int messages[2];        /* the fronts' end, the keeper's */
	int control;            /* -1: none */
	int never;              /* the list, as a file */
	struct conf_prefixes nevers;
	int64_t counted[KNOWN_COUNTS], counted_kernel[BAN_COUNTS]; /* what the metrics have */
	uint64_t key; /* of the settings */
	bool kept;    /* the keeper, and the helper for the kernel, of the program before this one go on: they have the same */
};

/* The loopback, this machine's own addresses as they are now, ban_never, and trust and health of listeners. 0 or -errno. */
int bans_never(const struct conf *conf, struct conf_prefixes *out);
/* A memory file of these, one a line, or -errno. */
int bans_never_file(const struct conf_prefixes *never);
/* Seconds of ban_time and ban_time_max, as the keeper takes them. */
void bans_times(const struct conf *conf, int64_t *time, int64_t *time_max);

/* path: the configuration file. takeover: what the program before this one has left; NULL: there was none. rehearses: no socket is bound. EX_OK, or the exit code after a complaint. */
int bans_start(struct banning *bans, const struct conf *conf, const char *path, const struct takeover *takeover, bool rehearses);
/* Describes it for the program after this one. */
void bans_put(const struct banning *bans, struct takeover *takeover);
/* In a child that is neither keeper nor helper: closes what it has no use for. */
void bans_close(struct banning *bans, bool is_front);
/* In a front: what it is to have. */
struct ban_setup bans_setup(const struct banning *bans);
/* In a child: becomes tarry-known, or tarry-ban. Returns an exit code if that fails. */
int bans_run(struct banning *bans, int parent);
int bans_run_kernel(struct banning *bans, int parent);
/* The counters of both become those of the door. */
void bans_count(struct banning *bans);

#endif
