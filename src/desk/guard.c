/* The tour, desk: who may look. */
#include "desk/guard.h"

#include <stdio.h>
#include <string.h>

bool guard_is_token(const char *text)
{
	size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-");
	return text[len] == '\0' && len >= GUARD_TOKEN_LEAST && len <= GUARD_TOKEN_MOST;
}

bool guard_add_host(struct guard *g, const char *name)
{
	if (g->hosts_len == GUARD_HOSTS || strlen(name) >= GUARD_HOST)
		return false;
	strcpy(g->hosts[g->hosts_len++], name);
	return true;
}

/* Takes as long whatever is given: only its length shows. */
static bool is_token(const struct guard *g, struct slice given)
{
	char padded[GUARD_TOKEN_MOST + 1] = { 0 };
	volatile unsigned char differs = 0;
	if (!g->token[0] || given.len > GUARD_TOKEN_MOST)
		return false;
	memcpy(padded, given.at, given.len);
	for (size_t i = 0; i < sizeof(padded); i++)
		differs |= (unsigned char)(padded[i] ^ g->token[i]);
	return differs == 0;
}

static bool in_header(const struct guard *g, const char *authorization)
{
	static const char scheme[] = "bearer ";
	size_t len = sizeof(scheme) - 1;
	if (!authorization || strlen(authorization) < len || !slice_is_nocase((struct slice){ authorization, len }, scheme))
		return false;
	return is_token(g, slice_trim(slice_of(authorization + len)));
}

static bool in_cookie(const struct guard *g, const char *cookie)
{
	static const char name[] = GUARD_COOKIE "=";
	for (const char *p = cookie ? cookie : ""; *p;) {
		size_t len = strcspn(p, ";");
		struct slice one = slice_trim((struct slice){ p, len });
		if (one.len >= sizeof(name) - 1 && memcmp(one.at, name, sizeof(name) - 1) == 0 && is_token(g, (struct slice){ one.at + sizeof(name) - 1, one.len - (sizeof(name) - 1) }))
			return true;
		p += len + (p[len] == ';');
	}
	return false;
}

/* The name without the port, and an IPv6 address without its brackets. */
static struct slice bare(const char *host)
{
	const char *end;
	if (host[0] == '[' && (end = strchr(host, ']')))
		return (struct slice){ host + 1, (size_t)(end - host - 1) };
	return (struct slice){ host, strcspn(host, ":") };
}

static bool is_ours(const struct guard *g, const char *host)
{
	struct addr at;
	struct slice name = bare(host ? host : "");
	if (name.len > 1 && name.at[name.len - 1] == '.')
		name.len--;
	if (slice_is_nocase(name, "localhost") || (name.len > 10 && slice_is_nocase((struct slice){ name.at + name.len - 10, 10 }, ".localhost"))) /* RFC 6761 */
		return true;
	if (addr_parse(name, &at) && (addr_is_loopback(&at) || addr_same_ip(&at, &g->listen)))
		return true;
	for (unsigned i = 0; i < g->hosts_len; i++)
		if (slice_is_nocase(name, g->hosts[i]))
			return true;
	return false;
}

enum guard_answer guard_check(const struct guard *g, const char *host, const char *authorization, const char *cookie, const char *argument)
{
	if (!g->token[0])
		return is_ours(g, host) ? GUARD_WELCOME : GUARD_FOREIGN;
	if (argument && is_token(g, slice_of(argument)))
		return GUARD_ENTER;
	return in_header(g, authorization) || in_cookie(g, cookie) ? GUARD_WELCOME : GUARD_NO_TOKEN;
}
