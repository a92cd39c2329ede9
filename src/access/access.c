/* The tour, third file from accept() to the verdict: the access database, asked. Its tables are made by access_build.c, its keys are those of access_key.h.
 *
 * A search is a row of keys; the first one that any map has answers, and of two maps that have the same key the earlier. Each map is walked for itself: its meta
 * data says which keys can exist there, so a client costs one probe for each of those, not one for each that could be. A key's rank is its place
 * in the row of all keys there are, the same in every map. */
#include "access/access.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "map/map_text.h"

#define KEY_TEXT (16 + ACCESS_NAME_MAX + 1) /* a tag and a name */
#define RANK_NONE UINT32_MAX

struct table {
	struct map_text *map;
	struct access_meta meta;
};

struct access {
	struct access_rules rules;
	const struct access_trace *trace; /* NULL: nobody listens */
	size_t len;
	struct table tables[ACCESS_MAPS];
};

static bool open_table(struct table *t, int fd)
{
	t->map = map_text_open(fd);
	if (!t->map)
		return false;
	memcpy(&t->meta, map_text_meta(t->map), sizeof(t->meta));
	return memcmp(t->meta.magic, ACCESS_META_MAGIC, sizeof(t->meta.magic)) == 0;
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

void access_close(struct access *access)
{
	if (!access)
		return;
	for (size_t i = 0; i < access->len; i++)
		map_text_close(access->tables[i].map);
	free(access);
}

/* ---- one map, one search ---- */

struct walk {
	const struct table *table;
	const struct access_trace *trace;
	unsigned map;
	enum access_tag tag;
	bool untagged; /* each key without a tag too, behind the one with it */
	uint32_t rank; /* of the key that is put next */
	bool done;     /* found */
	uint32_t found_rank;
	enum access_tag found_tag;
	unsigned found_bits;
	struct map_value value;
	size_t len;
	uint32_t ranks[MAP_TEXT_BATCH];
	enum access_tag tags[MAP_TEXT_BATCH];
	struct slice slices[MAP_TEXT_BATCH];
	union {
		struct access_key key;
		char text[KEY_TEXT];
	} keys[MAP_TEXT_BATCH];
};

static void walk_init(struct walk *w, const struct access *access, unsigned map, enum access_tag tag)
{
	/* Not zeroed as a whole: the keys are written before they are read. */
	w->table = &access->tables[map];
	w->trace = access->trace;
	w->map = map;
	w->tag = tag;
	w->untagged = tag == ACCESS_CONNECT || tag == ACCESS_FROM;
	w->rank = 0;
	w->done = false;
	w->len = 0;
}

/* Keys are gathered and asked for together; once one is found nothing more happens. */
static void ask(struct walk *w)
{
	int i = w->done || w->len == 0 ? -1 : map_text_first(w->table->map, w->slices, w->len, &w->value);
	if (w->trace && w->len > 0)
		w->trace->key(w->trace->context, w->map, w->slices[0], i < 0 ? NULL : &w->value);
	w->len = 0;
	if (i < 0)
		return;
	w->done = true;
	w->found_rank = w->ranks[i];
	w->found_tag = w->tags[i];
	w->found_bits = w->slices[i].at[0] == '\0' ? w->keys[i].key.bits : 0;
}

static void put(struct walk *w, enum access_tag tag, struct slice key)
{
	w->slices[w->len] = key;
	w->tags[w->len] = tag;
	w->ranks[w->len] = w->rank;
	if (++w->len == MAP_TEXT_BATCH || w->trace)
		ask(w);
}

static const struct access_tag_meta *meta_of(const struct walk *w, enum access_tag tag)
{
	return &w->table->meta.tags[tag];
}

/* ---- keys that are texts ---- */

/* The parts one behind the other, in lower case; nothing that does not fit, for no key is longer. */
static void put_text(struct walk *w, enum access_tag tag, const struct slice parts[], size_t parts_len)
{
	char *at = w->keys[w->len].text;
	size_t len = strlen(access_tag_text(tag));
	if (w->done)
		return;
	memcpy(at, access_tag_text(tag), len);
	for (size_t p = 0; p < parts_len; p++) {
		if (parts[p].len > KEY_TEXT - len)
			return;
		for (size_t i = 0; i < parts[p].len; i++) {
			char c = parts[p].at[i];
			at[len++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
		}
	}
	put(w, tag, (struct slice){ at, len });
}

static void put_texts(struct walk *w, const struct slice parts[], size_t parts_len, bool users)
{
	const struct access_tag_meta *tagged = meta_of(w, w->tag), *untagged = meta_of(w, ACCESS_UNTAGGED);
	if (users ? tagged->users : tagged->names)
		put_text(w, w->tag, parts, parts_len);
	w->rank++;
	if (w->untagged && (users ? untagged->users : untagged->names))
		put_text(w, ACCESS_UNTAGGED, parts, parts_len);
	w->rank++;
}

/* host.sub.example.com, sub.example.com, example.com, com; with dot_domain .sub.example.com behind the first, and so on. */
static void put_name(struct walk *w, struct slice name, bool dot_domain)
{
	for (;;) {
		put_texts(w, &name, 1, false);
		const char *dot = memchr(name.at, '.', name.len);
		if (!dot || w->done)
			return;
		struct slice rest = { dot, name.len - (size_t)(dot - name.at) };
		if (dot_domain)
			put_texts(w, &rest, 1, false);
		name = (struct slice){ rest.at + 1, rest.len - 1 };
	}
}

/* ---- keys that are addresses ---- */

static void put_spot(struct walk *w, struct access_spot spot, const struct access_ip *ip)
{
	if (!w->done)
		put(w, spot.tag, access_key_write(&w->keys[w->len].key, spot, ip));
}

static bool has_length(const struct access_tag_meta *m, enum access_form form, bool is4, unsigned bits)
{
	return m->lengths[form][!is4][bits / 64] >> bits % 64 & 1;
}

/* The forms at one length, each with its tag and without. */
static void put_length(struct walk *w, const enum access_form forms[2], const struct access_ip *ip, unsigned bits)
{
	for (unsigned f = 0; f < 2; f++)
		for (unsigned t = 0; t < 2; t++) {
			enum access_tag tag = t == 0 ? w->tag : ACCESS_UNTAGGED;
			if ((t == 0 || w->untagged) && (f == 0 || forms[1] != forms[0]) && has_length(meta_of(w, tag), forms[f], ip->is4, bits))
				put_spot(w, (struct access_spot){ tag, forms[f], bits }, ip);
			w->rank++;
		}
}

/* "IPv6:", right before the empty prefix. */
static void put_zero(struct walk *w, const struct access_ip *ip, unsigned brackets)
{
	for (unsigned t = 0; t < 2; t++) {
		enum access_tag tag = t == 0 ? w->tag : ACCESS_UNTAGGED;
		if ((t == 0 || w->untagged) && meta_of(w, tag)->zero[brackets] && access_key_begins_zero(ip))
			put_spot(w, (struct access_spot){ tag, ACCESS_FORM_ZERO, brackets }, NULL);
		w->rank++;
	}
}

/* Which lengths there are, of either form, with the tag or without. */
static uint64_t lengths_in(const struct walk *w, const enum access_form forms[2], bool is4, unsigned word)
{
	uint64_t all = 0;
	for (unsigned f = 0; f < 2; f++)
		all |= meta_of(w, w->tag)->lengths[forms[f]][!is4][word] | (w->untagged ? meta_of(w, ACCESS_UNTAGGED)->lengths[forms[f]][!is4][word] : 0);
	return all;
}

#define RANKS_A_LENGTH 4 /* two forms, with and without the tag */

/* The address and its prefixes, the longest first; at each length the first form before the second. */
static void put_address(struct walk *w, const enum access_form forms[2], const struct access_ip *ip)
{
	unsigned all = ip->is4 ? ACCESS_KEY_ALL4 : ACCESS_KEY_ALL6;
	uint32_t base = w->rank;
	for (unsigned word = all / 64 + 1; word-- > 0;) {
		uint64_t left = lengths_in(w, forms, ip->is4, word);
		while (left != 0 && !w->done) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(left), bits = word * 64 + bit;
			left ^= UINT64_C(1) << bit;
			if (bits == 0 || bits > all) /* the table is not trusted */
				continue;
			w->rank = base + (all - bits) * RANKS_A_LENGTH;
			put_length(w, forms, ip, bits);
		}
	}
	w->rank = base + all * RANKS_A_LENGTH;
	put_zero(w, ip, forms[0] == ACCESS_FORM_BRACKET);
	put_length(w, forms, ip, 0);
}

/* ---- a search over all maps ---- */

enum scope { BY_NAME, BY_ADDRESS, BY_DEFAULT, BY_USER };

struct search {
	enum scope scope;
	enum access_tag tag;
	const struct access_client *client;
	const struct access_user *user;
};

static void put_user(struct walk *w, const struct access_user *user);

static void walk_client(struct walk *w, const struct access *access, const struct search *s)
{
	static const enum access_form brackets[2] = { ACCESS_FORM_BRACKET, ACCESS_FORM_BRACKET }, plain[2] = { ACCESS_FORM_PLAIN, ACCESS_FORM_CIDR };
	struct access_ip ip = access_key_ip(&s->client->addr);
	if (s->scope == BY_ADDRESS)
		put_address(w, plain, &ip);
	else if (s->scope == BY_DEFAULT && meta_of(w, s->tag)->bare)
		put_spot(w, (struct access_spot){ s->tag, ACCESS_FORM_DEFAULT, 0 }, NULL);
	else if (s->scope == BY_NAME && s->client->name.len > 0)
		put_name(w, s->client->name, access->rules.dot_domain);
	else if (s->scope == BY_NAME)
		put_address(w, brackets, &ip);
}

static struct access_hit search(const struct access *access, const struct search *s)
{
	struct access_hit hit = { .found = false };
	uint32_t best = RANK_NONE;
	for (size_t i = 0; i < access->len; i++) {
		struct walk w;
		walk_init(&w, access, (unsigned)i, s->tag);
		if (s->scope == BY_USER)
			put_user(&w, s->user);
		else
			walk_client(&w, access, s);
		ask(&w);
		if (!w.done || w.found_rank >= best)
			continue;
		best = w.found_rank;
		hit = (struct access_hit){ true, (unsigned)i, w.found_tag, w.found_bits, w.value };
	}
	return hit;
}

/* With the rule `skip`, the value SKIP ends its own search as if nothing had been found, and the next one goes on. */
static bool is_answer(const struct access *access, const struct access_hit *hit)
{
	return hit->found && !(access->rules.skip && slice_is_nocase(access_key_trim(hit->value.text), "SKIP"));
}

struct access_hit access_find_client(const struct access *access, enum access_tag tag, const struct access_client *client)
{
	bool counted = tag == ACCESS_CLIENTRATE || tag == ACCESS_CLIENTCONN;
	struct access_hit hit = { .found = false };
	if (!counted) {
		hit = search(access, &(struct search){ BY_NAME, tag, client, NULL });
		if (is_answer(access, &hit))
			return hit;
	}
	hit = search(access, &(struct search){ BY_ADDRESS, tag, client, NULL });
	if (is_answer(access, &hit))
		return hit;
	hit.found = false;
	if (tag == ACCESS_GREETPAUSE || counted)
		hit = search(access, &(struct search){ BY_DEFAULT, tag, client, NULL });
	return hit;
}

/* ---- senders and recipients ---- */

static const struct slice at_sign = { "@", 1 }, star = { "+*@", 3 };

/* user+detail@domain, user+*@domain, user@domain; with an empty domain the same that end in the @. */
static void put_mailbox(struct walk *w, struct slice local, struct slice domain)
{
	const char *plus = memchr(local.at, '+', local.len);
	struct slice whole[] = { local, at_sign, domain };
	put_texts(w, whole, 3, true);
	struct slice user = { local.at, plus ? (size_t)(plus - local.at) : 0 };
	struct slice any[] = { user, star, domain }, plain[] = { user, at_sign, domain };
	if (plus) {
		put_texts(w, any, 3, true);
		put_texts(w, plain, 3, true);
	} else {
		w->rank += 4;
	}
}

static void put_user(struct walk *w, const struct access_user *user)
{
	static const struct slice none = { "", 0 };
	bool sender = w->tag == ACCESS_FROM;
	if (user->domain.len > 0)
		put_mailbox(w, user->local, user->domain);
	if (sender)
		put_mailbox(w, user->local, none);
	if (user->domain.len > 0)
		put_name(w, user->domain, false);
	if (!sender && user->ours)
		put_mailbox(w, user->local, none);
}

struct access_hit access_find_user(const struct access *access, enum access_tag tag, const struct access_user *user)
{
	struct access_hit hit = search(access, &(struct search){ BY_USER, tag, NULL, user });
	hit.found = is_answer(access, &hit);
	return hit;
}

/* ---- for tools ---- */

void access_set_trace(struct access *access, const struct access_trace *trace)
{
	access->trace = trace;
}

bool access_get(const struct access *access, unsigned map, struct slice text, struct map_value *out)
{
	char lower[KEY_TEXT];
	struct access_parsed p;
	struct access_key binary;
	struct slice key = { lower, text.len };
	if (map >= access->len || text.len == 0 || text.len > sizeof(lower))
		return false;
	for (size_t i = 0; i < text.len; i++)
		lower[i] = (char)(text.at[i] >= 'A' && text.at[i] <= 'Z' ? text.at[i] + ('a' - 'A') : text.at[i]);
	enum access_tag tag = access_key_tag(key, &text);
	enum access_sort sort = tag == ACCESS_TAGS ? ACCESS_SORT_NEVER : access_key_parse(text, &p);
	struct access_ip ip = access_key_ip(&p.base);
	if (sort == ACCESS_SORT_ADDRESS)
		key = access_key_write(&binary, (struct access_spot){ tag, p.form, p.bits }, p.form == ACCESS_FORM_ZERO ? NULL : &ip);
	else if (sort == ACCESS_SORT_DEFAULT)
		key = access_key_write(&binary, (struct access_spot){ tag, ACCESS_FORM_DEFAULT, 0 }, NULL);
	return map_text_first(access->tables[map].map, &key, 1, out) == 0;
}

/* ---- what is asked for most ---- */

bool access_wants_name(const struct access *access, enum access_tag tag)
{
	for (size_t i = 0; i < access->len; i++)
		if (access->tables[i].meta.tags[tag].names)
			return true;
	return false;
}

bool access_has_users(const struct access *access, enum access_tag tag)
{
	for (size_t i = 0; i < access->len; i++)
		if (access->tables[i].meta.tags[tag].users || access->tables[i].meta.tags[tag].names)
			return true;
	return false;
}

struct access_answer access_greet_pause(const struct access *access, const struct access_client *client, int64_t default_ms)
{
	struct access_hit hit = access_find_client(access, ACCESS_GREETPAUSE, client);
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
