/* The tour, gate: the access database, asked. Its table is a map_text made by access_build.c, its keys are those of access_key.h.
 *
 * The order (as measured on Sendmail, for a client without a name): [address] and its prefixes; then address and prefixes, CIDR keys among
 * them, the longest first; then the bare tag. The lengths in use come from the table's meta data: a client costs one probe for each of
 * them, not one for each that could be. */
#include "gate/access.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gate/access_key.h"
#include "map/map_text.h"

struct access {
	struct map_text *map;
	struct access_meta meta;
};

struct access *access_open(int fd)
{
	struct access *access = calloc(1, sizeof(*access));
	if (!access) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	access->map = map_text_open(fd);
	if (access->map)
		memcpy(&access->meta, map_text_meta(access->map), sizeof(access->meta));
	if (!access->map || memcmp(access->meta.magic, ACCESS_META_MAGIC, sizeof(access->meta.magic)) != 0) {
		access_close(access);
		return NULL;
	}
	return access;
}

void access_close(struct access *access)
{
	if (!access)
		return;
	map_text_close(access->map);
	free(access);
}

struct search {
	const struct access *access;
	struct access_ip ip;
	struct access_key keys[MAP_TEXT_BATCH];
	struct slice slices[MAP_TEXT_BATCH];
	size_t len;
	bool found;
	struct access_answer answer;
};

static void ask(struct search *s)
{
	struct map_value value;
	int i = map_text_first(s->access->map, s->slices, s->len, &value);
	s->len = 0;
	/* The bare tag comes last of all, so that nothing is missed by passing over it. */
	if (i < 0 || (s->keys[i].form == ACCESS_FORM_DEFAULT && !access_key_is_number(value.text)))
		return;
	s->found = true;
	s->answer = (struct access_answer){ .pause_ms = access_key_pause(value.text), .found = true, .line = value.line };
}

/* Keys are gathered and asked for together; once one is found nothing more happens. */
static void probe(struct search *s, enum access_form form, const struct access_ip *ip, unsigned bits)
{
	if (s->found)
		return;
	s->slices[s->len] = access_key_write(&s->keys[s->len], form, ip, bits);
	if (++s->len == MAP_TEXT_BATCH)
		ask(s);
}

static bool has_length(const uint64_t set[3], unsigned bits)
{
	return set[bits / 64] >> bits % 64 & 1;
}

static void probe_zero(struct search *s, bool brackets)
{
	if (s->access->meta.zero[brackets] && access_key_begins_zero(&s->ip))
		probe(s, ACCESS_FORM_ZERO, NULL, brackets);
}

static void probe_length(struct search *s, enum access_form first, enum access_form second, unsigned bits)
{
	bool v6 = !s->ip.is4;
	if (has_length(s->access->meta.lengths[first][v6], bits))
		probe(s, first, &s->ip, bits);
	if (second != first && has_length(s->access->meta.lengths[second][v6], bits))
		probe(s, second, &s->ip, bits);
}

/* One or two forms, the longest prefix first, at each length `first` before `second`; "IPv6:" right before the empty prefix. */
static void probe_forms(struct search *s, enum access_form first, enum access_form second)
{
	const uint64_t *a = s->access->meta.lengths[first][!s->ip.is4];
	const uint64_t *b = s->access->meta.lengths[second][!s->ip.is4];
	unsigned all = s->ip.is4 ? ACCESS_KEY_ALL4 : ACCESS_KEY_ALL6;
	for (unsigned word = all / 64 + 1; word-- > 0;) {
		uint64_t left = a[word] | b[word];
		while (left != 0 && !s->found) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(left);
			unsigned bits = word * 64 + bit;
			left ^= UINT64_C(1) << bit;
			if (bits > 0 && bits <= all) /* the table is not trusted */
				probe_length(s, first, second, bits);
		}
	}
	probe_zero(s, first == ACCESS_FORM_BRACKET);
	probe_length(s, first, second, 0);
}

struct access_answer access_greet_pause(const struct access *access, const struct addr *client, int64_t default_ms)
{
	/* Not zeroed as a whole: the keys are written before they are read. */
	struct search s;
	s.access = access;
	s.ip = access_key_ip(client);
	s.len = 0;
	s.found = false;
	probe_forms(&s, ACCESS_FORM_BRACKET, ACCESS_FORM_BRACKET);
	probe_forms(&s, ACCESS_FORM_PLAIN, ACCESS_FORM_CIDR);
	if (access->meta.bare)
		probe(&s, ACCESS_FORM_DEFAULT, NULL, 0);
	if (!s.found && s.len > 0)
		ask(&s);
	return s.found ? s.answer : (struct access_answer){ .pause_ms = default_ms };
}
