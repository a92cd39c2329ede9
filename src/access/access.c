/* The tour, third file from accept() to the verdict: the access database, asked. Its tables are made by access_build.c, its keys are those of access_key.h.
 *
 * A search is a row of keys; the first one that any map has answers, and of two maps that have the same key the earlier. Each map is walked for itself: its meta
 * data says which keys can exist there, so a client costs one probe for each of those, not one for each that could be. A key's rank is its place
 * in the row of all keys there are, the same in every map. */
#include "access/access.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "access/access_walk.h"

#define RANK_NONE UINT32_MAX

static bool open_table(struct access_table *t, int fd)
{
	struct access_table next = { .map = NULL, .written = true };
	if (fd < 0) {
		*t = next;
		return true;
	}
	next.map = map_open(fd);
	if (!next.map)
		return false;
	memcpy(&next.meta, map_meta(next.map), sizeof(next.meta));
	if (memcmp(next.meta.magic, ACCESS_META_MAGIC, sizeof(next.meta.magic)) != 0) {
		map_close(next.map);
		return false;
	}
	next.written = !map_canonical(next.map);
	*t = next;
	return true;
}

struct access *access_open(const int fds[], size_t len, const struct access_rules *rules)
{
	struct access *access = len <= ACCESS_MAPS ? calloc(1, sizeof(*access)) : NULL;
	bool ok = access != NULL;
	if (ok)
		access->rules = *rules;
	for (size_t i = 0; i < len; i++) {
		if (ok)
			ok = open_table(&access->tables[access->len++], fds[i]);
		else if (fds[i] >= 0)
			close(fds[i]);
	}
	if (ok)
		return access;
	access_close(access);
	return NULL;
}

bool access_replace(struct access *access, unsigned map, int fd)
{
	struct access_table next;
	if (map >= access->len || fd < 0 || !access->tables[map].map) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (!open_table(&next, fd))
		return false;
	map_close(access->tables[map].map);
	access->tables[map] = next;
	return true;
}

void access_close(struct access *access)
{
	if (!access)
		return;
	for (size_t i = 0; i < access->len; i++)
		map_close(access->tables[i].map);
	free(access);
}

/* ---- a table that is here ---- */

/* Keys are gathered and asked for together; once one is found nothing more happens. */
static void ask(struct access_walk *w)
{
	int i = w->done || w->len == 0 ? -1 : map_first(w->table->map, w->slices, w->len, &w->value);
	if (w->trace && w->len > 0)
		w->trace->key(w->trace->context, w->map, w->slices[0], i < 0 ? NULL : &w->value);
	w->len = 0;
	if (i < 0)
		return;
	w->done = true;
	w->found_rank = w->ranks[i];
	w->found_tag = w->tags[i];
	w->found_bits = w->bits[i];
}

static void gather(struct access_walk *w)
{
	if (w->len == MAP_BATCH || w->trace)
		ask(w);
}

/* ---- a search over all maps ---- */

struct search {
	enum access_scope scope;
	enum access_tag tag;
	const struct access_client *client; /* NULL: user */
	const struct access_user *user;
	unsigned wanted; /* which of the answers from elsewhere */
};

/* The default is asked for with the address, and is another search here. */
static bool has_found(const struct access_answers *answers, const struct search *s, unsigned map)
{
	if (answers->of[map][s->wanted].result != WIRE_FOUND)
		return false;
	if (!s->client || s->scope == ACCESS_BY_NAME)
		return true;
	return (answers->of[map][s->wanted].rank >= access_walk_default_rank(&s->client->addr)) == (s->scope == ACCESS_BY_DEFAULT);
}

static void take_from_elsewhere(struct access_hit *hit, uint32_t *best, const struct access_answers *answers, const struct search *s, unsigned map)
{
	if (!answers || answers->of[map][s->wanted].result == WIRE_FAILED) {
		hit->failed |= (uint8_t)(1u << map);
		return;
	}
	uint32_t rank = s->scope == ACCESS_BY_DEFAULT ? 0 : answers->of[map][s->wanted].rank;
	if (!has_found(answers, s, map) || rank >= *best)
		return;
	*best = rank;
	hit->found = true;
	hit->map = map;
	hit->tag = (enum access_tag)answers->of[map][s->wanted].tag;
	hit->bits = answers->of[map][s->wanted].bits;
	hit->value = (struct map_value){ buf_slice(&answers->of[map][s->wanted].value), 0 };
}

/* A key that has been asked for elsewhere; the one that was there is the last. */
static void tell(struct access_walk *w)
{
	w->done = w->untold-- == 0;
	w->trace->key(w->trace->context, w->map, w->slices[--w->len], w->done ? &w->value : NULL);
}

/* For a trace: the keys of a search elsewhere once more, in the order of the plan. */
static void tell_elsewhere(const struct access *access, const struct access_answers *answers, const struct search *s, unsigned map)
{
	struct access_walk w;
	bool failed = !answers || answers->of[map][s->wanted].result == WIRE_FAILED;
	if (failed)
		access->trace->failed(access->trace->context, map);
	if (failed)
		return;
	access_walk_init(&w, access, map, s->tag);
	w.take = tell;
	w.untold = UINT_MAX;
	if (has_found(answers, s, map)) {
		w.untold = s->scope == ACCESS_BY_DEFAULT ? 0 : answers->of[map][s->wanted].key;
		w.value = (struct map_value){ buf_slice(&answers->of[map][s->wanted].value), 0 };
	}
	if (!s->client)
		access_walk_user(&w, s->user);
	else
		access_walk_client(&w, access, s->scope, s->client);
}

static struct access_hit search(const struct access *access, const struct search *s)
{
	struct access_hit hit = { .found = false };
	uint32_t best = RANK_NONE;
	const struct access_answers *answers = s->client ? s->client->answers : s->user->answers;
	for (size_t i = 0; i < access->len; i++) {
		struct access_walk w;
		if (!access->tables[i].map) {
			take_from_elsewhere(&hit, &best, answers, s, (unsigned)i);
			if (access->trace)
				tell_elsewhere(access, answers, s, (unsigned)i);
			continue;
		}
		access_walk_init(&w, access, (unsigned)i, s->tag);
		w.take = gather;
		if (s->client)
			access_walk_client(&w, access, s->scope, s->client);
		else
			access_walk_user(&w, s->user);
		ask(&w);
		if (!w.done || w.found_rank >= best)
			continue;
		best = w.found_rank;
		uint8_t failed = hit.failed;
		hit = (struct access_hit){ true, failed, (unsigned)i, w.found_tag, w.found_bits, w.value };
	}
	return hit;
}

/* With the rule `skip`, the value SKIP ends its own search as if nothing had been found, and the next one goes on. */
static bool is_answer(const struct access *access, const struct access_hit *hit)
{
	return hit->found && !(access->rules.skip && slice_is_nocase(access_key_trim(hit->value.text), "SKIP"));
}

/* Where the answers from elsewhere stand; those to the search by address have the default's key among theirs, the last one. */
static unsigned wanted_of(enum access_tag tag, enum access_scope scope)
{
	if (tag == ACCESS_CLIENTRATE || tag == ACCESS_CLIENTCONN)
		return tag == ACCESS_CLIENTRATE ? ACCESS_RATE : ACCESS_CONNS;
	if (tag == ACCESS_GREETPAUSE)
		return scope == ACCESS_BY_NAME ? ACCESS_GREETPAUSE_NAME : ACCESS_GREETPAUSE_ADDRESS;
	if (access_tag_is_pause(tag))
		return ACCESS_HELOPAUSE_NAME + 2 * (unsigned)(tag - ACCESS_HELOPAUSE) + (scope != ACCESS_BY_NAME);
	return scope == ACCESS_BY_NAME ? ACCESS_CONNECT_NAME : ACCESS_CONNECT_ADDRESS;
}

static struct access_hit search_client(const struct access *access, enum access_tag tag, enum access_scope scope, const struct access_client *client)
{
	return search(access, &(struct search){ scope, tag, client, NULL, wanted_of(tag, scope) });
}

struct access_hit access_find_client(const struct access *access, enum access_tag tag, const struct access_client *client)
{
	bool counted = tag == ACCESS_CLIENTRATE || tag == ACCESS_CLIENTCONN;
	uint8_t failed = 0;
	struct access_hit hit = { .found = false };
	if (!counted) {
		hit = search_client(access, tag, ACCESS_BY_NAME, client);
		if (is_answer(access, &hit))
			return hit;
		failed = hit.failed;
	}
	hit = search_client(access, tag, ACCESS_BY_ADDRESS, client);
	hit.failed |= failed;
	if (is_answer(access, &hit))
		return hit;
	failed = hit.failed;
	hit = (struct access_hit){ .found = false };
	if (access_tag_is_pause(tag) || counted)
		hit = search_client(access, tag, ACCESS_BY_DEFAULT, client);
	hit.failed |= failed;
	return hit;
}

struct access_hit access_find_user(const struct access *access, enum access_tag tag, const struct access_user *user)
{
	unsigned wanted = tag == ACCESS_FROM ? ACCESS_WANT_FROM : tag == ACCESS_TO ? ACCESS_WANT_TO : ACCESS_WANT_SPAM;
	struct access_hit hit = search(access, &(struct search){ ACCESS_BY_NAME, tag, NULL, user, wanted });
	hit.found = is_answer(access, &hit);
	return hit;
}

/* ---- for tools ---- */

void access_set_trace(struct access *access, const struct access_trace *trace)
{
	access->trace = trace;
}

const struct access_trace *access_get_trace(const struct access *access)
{
	return access->trace;
}

/* A key as somebody types it. */
struct typed {
	struct slice lower, binary; /* binary: len 0 for a text, which has no other form */
	struct access_parsed parsed;
	enum access_tag tag;
	char memory[ACCESS_WALK_KEY];
	struct access_key key;
};

static bool read_typed(struct typed *t, struct slice text)
{
	struct slice rest;
	if (text.len == 0 || text.len > sizeof(t->memory))
		return false;
	for (size_t i = 0; i < text.len; i++)
		t->memory[i] = (char)(text.at[i] >= 'A' && text.at[i] <= 'Z' ? text.at[i] + ('a' - 'A') : text.at[i]);
	t->lower = (struct slice){ t->memory, text.len };
	t->binary = (struct slice){ "", 0 };
	t->tag = access_key_tag(t->lower, &rest);
	enum access_sort sort = t->tag == ACCESS_TAGS ? ACCESS_SORT_NEVER : access_key_parse(rest, &t->parsed);
	if (sort == ACCESS_SORT_ADDRESS) {
		struct access_ip ip = access_key_ip(&t->parsed.base);
		t->binary = access_key_write(&t->key, (struct access_spot){ t->tag, t->parsed.form, t->parsed.bits }, t->parsed.form == ACCESS_FORM_ZERO ? NULL : &ip);
	} else if (sort == ACCESS_SORT_DEFAULT) {
		t->binary = access_key_write(&t->key, (struct access_spot){ t->tag, ACCESS_FORM_DEFAULT, 0 }, NULL);
	}
	return true;
}

bool access_get(const struct access *access, unsigned map, struct slice text, struct map_value *out)
{
	struct typed t;
	if (map >= access->len || !access->tables[map].map || !read_typed(&t, text))
		return false;
	const struct slice *key = t.binary.len > 0 && !access->tables[map].written ? &t.binary : &t.lower;
	return map_first(access->tables[map].map, key, 1, out) == 0;
}

bool access_plan_get(struct access_plan *plan, struct slice text)
{
	struct typed t;
	struct wire_question *q = &plan->question;
	buf_init_fixed(&plan->text, plan->memory, sizeof(plan->memory));
	q->searches = 1;
	q->counts[0] = 1;
	if (!read_typed(&t, text) || !buf_put_slice(&plan->text, t.lower))
		return false;
	q->keys[0] = (struct slice){ plan->memory, t.lower.len };
	size_t at = plan->text.len;
	if (t.binary.len == 0 || !access_key_format(t.binary, &plan->text))
		return true;
	for (size_t i = at; i < plan->text.len; i++)
		plan->memory[i] = (char)(plan->memory[i] >= 'A' && plan->memory[i] <= 'Z' ? plan->memory[i] + ('a' - 'A') : plan->memory[i]);
	q->keys[1] = (struct slice){ plan->memory + at, plan->text.len - at };
	q->counts[0] = 2;
	return true;
}

/* ---- what is asked for most ---- */

bool access_wants_name(const struct access *access, enum access_tag tag)
{
	for (size_t i = 0; i < access->len; i++)
		if (!access->tables[i].map || access->tables[i].meta.tags[tag].names)
			return true;
	return false;
}

bool access_has_users(const struct access *access, enum access_tag tag)
{
	for (size_t i = 0; i < access->len; i++)
		if (!access->tables[i].map || access->tables[i].meta.tags[tag].users || access->tables[i].meta.tags[tag].names)
			return true;
	return false;
}

struct access_answer access_pause(const struct access *access, enum access_tag tag, const struct access_client *client, int64_t default_ms)
{
	struct access_hit hit = access_find_client(access, tag, client);
	if (!hit.found)
		return (struct access_answer){ .pause_ms = default_ms };
	return (struct access_answer){ .pause_ms = access_key_pause(hit.value.text), .found = true, .line = hit.value.line };
}

uint32_t access_limit(const struct access *access, enum access_tag tag, const struct access_client *client, unsigned *bits)
{
	struct access_hit hit = access_find_client(access, tag, client);
	*bits = hit.found ? hit.bits : 0;
	return hit.found ? (uint32_t)access_key_number(hit.value.text).ms : 0;
}

struct each {
	access_take *take;
	void *context;
};

static bool each_entry(void *context, struct slice key, const struct map_value *value)
{
	const struct each *e = context;
	char memory[2 * MAP_VALUE_MAX];
	struct buf text;
	buf_init_fixed(&text, memory, sizeof(memory));
	return e->take(e->context, access_key_format(key, &text) ? buf_slice(&text) : key, value);
}

bool access_each(const struct access *access, unsigned map, access_take *take, void *context)
{
	struct each e = { take, context };
	return map < access->len && access->tables[map].map && map_each(access->tables[map].map, each_entry, &e);
}
