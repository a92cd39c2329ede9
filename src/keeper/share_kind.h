/* share_kind.h: what speaks to the server of other doors is to the keeper: a module (core/module.h) with one const struct, as the drivers of maps are to the lookup program.
 *
 * What its functions promise stands in share.h, under the same names.
 */
#ifndef TARRY_KEEPER_SHARE_KIND_H
#define TARRY_KEEPER_SHARE_KIND_H

#include "keeper/share.h"

struct share_kind {
	bool (*check)(const char *url, struct buf *why);
	void (*needs)(const char *url, struct sandbox_needs *needs);
	/* NULL with one line in *why. */
	struct server *(*open)(struct loop *loop, const char *url, int64_t timeout, int64_t ttl, const struct share_ops *ops, void *context, struct buf *why);
	void (*start)(struct server *server);
	void (*close)(struct server *server);
	void (*ask)(struct server *server, const struct known_message *question, const struct known_key *keys, unsigned len);
	void (*pass)(struct server *server, const struct known_key *key, struct known_times times);
	void (*forfeit)(struct server *server, const struct known_key *key, bool was_known);
	void (*tell)(struct server *server, struct slice line);
};

extern const struct share_kind known_share;

#endif
