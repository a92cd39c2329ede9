/* The tour, lookup: what all drivers share: the list of them, from where they are loaded, and which of the keys that a map has is the answer. */
#include "lookup/driver.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include "core/module.h"
#include "lookup/map_ldap.h"
#include "lookup/map_redis.h"

/* Each brings a library, and is loaded when a map of its kind is named. */
static const struct {
	const char *scheme;
	const char *form;    /* how such a map is named, for complaints */
	const char *module;  /* its file, and the struct driver in it */
	const char *package; /* that has it */
} all[] = {
	{ "hash", "hash:/path/to/file", "map_hash", "tarry-hash" },
	{ "redis", MAP_REDIS_FORM, "map_redis", "tarry-redis" },
	{ "ldap", MAP_LDAP_FORM, "map_ldap", "tarry-ldap" },
};
#define ALL_LEN (sizeof(all) / sizeof(all[0]))

const struct driver *driver_find(const char *spec, struct buf *why)
{
	for (size_t i = 0; i < ALL_LEN; i++) {
		/* "ldap:" stands for "ldaps:" too: what follows the letters is the driver's to judge. */
		size_t n = strlen(all[i].scheme);
		if (strncmp(spec, all[i].scheme, n) == 0 && (spec[n] == ':' || (spec[n] == 's' && spec[n + 1] == ':')))
			return module_load(all[i].module, all[i].package, why);
	}
	buf_put_text(why, "no such kind of map; expected");
	for (size_t i = 0; i < ALL_LEN; i++)
		buf_putf(why, "%s %s", i > 0 ? " or" : "", all[i].form);
	return NULL;
}

size_t driver_keys(const struct wire_question *q)
{
	size_t keys = 0;
	for (unsigned s = 0; s < q->searches; s++)
		keys += q->counts[s];
	return keys;
}

void driver_hits_init(struct driver_hits *hits, const struct wire_question *question)
{
	hits->question = question;
	for (unsigned s = 0; s < WIRE_SEARCHES; s++)
		hits->best[s].there = false;
}

/* The search a key belongs to; *within is its place there. */
static unsigned search_of(const struct wire_question *q, size_t key, uint16_t *within)
{
	unsigned s = 0;
	while (s + 1 < q->searches && key >= q->counts[s])
		key -= q->counts[s++];
	*within = (uint16_t)key;
	return s;
}

bool driver_wanted(const struct driver_hits *hits, size_t key)
{
	uint16_t within;
	unsigned s = search_of(hits->question, key, &within);
	return !hits->best[s].there || within < hits->best[s].key;
}

void driver_hit(struct driver_hits *hits, size_t key, struct slice value)
{
	uint16_t within;
	unsigned s = search_of(hits->question, key, &within);
	if (hits->best[s].there && within >= hits->best[s].key)
		return;
	size_t len = value.len < WIRE_VALUE_MAX ? value.len : WIRE_VALUE_MAX;
	hits->best[s].there = true;
	hits->best[s].cut = len < value.len;
	hits->best[s].key = within;
	hits->best[s].len = (uint16_t)len;
	if (len > 0)
		memcpy(hits->best[s].value, value.at, len);
}

void driver_answer(const struct driver_hits *hits, struct wire_answer *out)
{
	*out = (struct wire_answer){ .id = hits->question->id, .searches = hits->question->searches };
	for (unsigned s = 0; s < out->searches; s++) {
		out->found[s].result = hits->best[s].there ? WIRE_FOUND : WIRE_NONE;
		if (!hits->best[s].there)
			continue;
		out->found[s].key = hits->best[s].key;
		out->found[s].cut = hits->best[s].cut;
		out->found[s].text = (struct slice){ hits->best[s].value, hits->best[s].len };
	}
}

int64_t driver_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int driver_left_ms(int64_t deadline)
{
	int64_t left = (deadline - driver_now()) / 1000000;
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}
