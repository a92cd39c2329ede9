/* The tour, keeper: other doors: what speaks to their server is a module (share_redis.c), loaded where one is named; a door that is alone needs none of it. */
#include "keeper/share.h"

#include "core/module.h"
#include "keeper/share_kind.h"

static const struct share_kind *load(struct buf *why)
{
	return module_load("known_share", "tarry-redis", why);
}

bool share_check(const char *url, struct buf *why)
{
	const struct share_kind *kind = load(why);
	return kind && kind->check(url, why);
}

void share_needs(const char *url, struct sandbox_needs *needs)
{
	char memory[512];
	struct buf why;
	buf_init_fixed(&why, memory, sizeof(memory));
	const struct share_kind *kind = url[0] ? load(&why) : NULL;
	if (kind)
		kind->needs(url, needs);
}

bool share_init(struct share *share, struct loop *loop, const char *url, int64_t timeout, int64_t ttl, const struct share_ops *ops, void *context, struct buf *why)
{
	*share = (struct share){ 0 };
	if (!url[0])
		return true;
	share->kind = load(why);
	if (share->kind)
		share->server = share->kind->open(loop, url, timeout, ttl, ops, context, why);
	return share->server != NULL;
}

void share_start(struct share *share)
{
	if (share->server)
		share->kind->start(share->server);
}

void share_fini(struct share *share)
{
	if (share->server)
		share->kind->close(share->server);
	share->server = NULL;
}

void share_ask(struct share *share, const struct known_message *question, const struct known_key *keys, unsigned len)
{
	if (share->server)
		share->kind->ask(share->server, question, keys, len);
}

void share_pass(struct share *share, const struct known_key *key, struct known_times times)
{
	if (share->server && times.passed > 0)
		share->kind->pass(share->server, key, times);
}

void share_forfeit(struct share *share, const struct known_key *key, bool was_known)
{
	if (share->server)
		share->kind->forfeit(share->server, key, was_known);
}

void share_tell(struct share *share, struct slice line)
{
	if (share->server)
		share->kind->tell(share->server, line);
}
