/* The tour, access: in which order keys are tried, as measured on Sendmail (SENDMAIL.md 8, 11, 12): names and their parent domains, addresses and their prefixes, users
 * and their domains. */
#include "access/access_walk.h"

#include <string.h>

/* What a table elsewhere may have: everything but networks, which cannot be asked for one by one. */
static const struct access_tag_meta anything = {
	.lengths = {
		[ACCESS_FORM_BRACKET] = { { UINT64_C(0x101010100) }, { UINT64_C(0x1000100010001), UINT64_C(0x1000100010001), 1 } },
		[ACCESS_FORM_PLAIN] = { { UINT64_C(0x101010100) }, { UINT64_C(0x1000100010001), UINT64_C(0x1000100010001), 1 } },
	},
	.zero = { 1, 1 }, .bare = 1, .names = 1, .users = 1,
};

void access_walk_init(struct access_walk *w, const struct access *access, unsigned map, enum access_tag tag)
{
	/* Not zeroed as a whole: the keys are written before they are read. */
	w->table = &access->tables[map];
	w->trace = access->trace;
	w->take = NULL;
	w->plan = NULL;
	w->map = map;
	w->tag = tag;
	w->untagged = tag == ACCESS_CONNECT || tag == ACCESS_FROM;
	w->rank = 0;
	w->done = false;
	w->len = 0;
}

static void put(struct access_walk *w, enum access_tag tag, struct slice key, unsigned bits)
{
	w->slices[w->len] = key;
	w->tags[w->len] = tag;
	w->bits[w->len] = (uint8_t)bits;
	w->ranks[w->len] = w->rank;
	w->len++;
	w->take(w);
}

static const struct access_tag_meta *meta_of(const struct access_walk *w, enum access_tag tag)
{
	return w->table->map ? &w->table->meta.tags[tag] : &anything;
}

/* ---- keys that are texts ---- */

/* The parts one behind the other, in lower case; nothing that does not fit, for no key is longer. */
static void put_text(struct access_walk *w, enum access_tag tag, const struct slice parts[], size_t parts_len)
{
	char *at = w->keys[w->len].text;
	size_t len = strlen(access_tag_text(tag));
	if (w->done)
		return;
	memcpy(at, access_tag_text(tag), len);
	for (size_t p = 0; p < parts_len; p++) {
		if (parts[p].len > ACCESS_WALK_KEY - len)
			return;
		for (size_t i = 0; i < parts[p].len; i++) {
			char c = parts[p].at[i];
			at[len++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
		}
	}
	put(w, tag, (struct slice){ at, len }, 0);
}

static void put_texts(struct access_walk *w, const struct slice parts[], size_t parts_len, bool users)
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
static void put_name(struct access_walk *w, struct slice name, bool dot_domain)
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

/* As Sendmail writes it: "connect:127.0.0", "greetpause:ipv6:2001:db8". A whole IPv6 address has two spellings, 8.13's and 8.17's. */
static void put_written(struct access_walk *w, struct access_spot spot, struct slice binary, const struct access_ip *ip)
{
	char text[ADDR_TEXT];
	for (unsigned spelling = 0; spelling < 2 && !w->done; spelling++) {
		struct buf b;
		buf_init_fixed(&b, w->keys[w->len].text, ACCESS_WALK_KEY);
		if (spelling == 0 && !access_key_format(binary, &b))
			return;
		if (spelling == 1 && (!ip || ip->is4 || spot.bits != ACCESS_KEY_ALL6))
			return;
		if (spelling == 1) {
			struct addr a = access_key_addr(ip);
			bool brackets = spot.form == ACCESS_FORM_BRACKET;
			buf_putf(&b, "%s%sIPv6:%s%s", access_tag_text(spot.tag), brackets ? "[" : "", addr_format(&a, text), brackets ? "]" : "");
		}
		for (size_t i = 0; i < b.len; i++)
			b.at[i] = (char)(b.at[i] >= 'A' && b.at[i] <= 'Z' ? b.at[i] + ('a' - 'A') : b.at[i]);
		put(w, spot.tag, buf_slice(&b), spot.bits);
	}
}

static void put_spot(struct access_walk *w, struct access_spot spot, const struct access_ip *ip)
{
	struct access_key key;
	if (w->done)
		return;
	if (!w->table->written)
		put(w, spot.tag, access_key_write(&w->keys[w->len].key, spot, ip), spot.bits);
	else
		put_written(w, spot, access_key_write(&key, spot, ip), ip);
}

static bool has_length(const struct access_tag_meta *m, enum access_form form, bool is4, unsigned bits)
{
	return m->lengths[form][!is4][bits / 64] >> bits % 64 & 1;
}

/* The forms at one length, each with its tag and without. */
static void put_length(struct access_walk *w, const enum access_form forms[2], const struct access_ip *ip, unsigned bits)
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
static void put_zero(struct access_walk *w, const struct access_ip *ip, unsigned brackets)
{
	for (unsigned t = 0; t < 2; t++) {
		enum access_tag tag = t == 0 ? w->tag : ACCESS_UNTAGGED;
		if ((t == 0 || w->untagged) && meta_of(w, tag)->zero[brackets] && access_key_begins_zero(ip))
			put_spot(w, (struct access_spot){ tag, ACCESS_FORM_ZERO, brackets }, NULL);
		w->rank++;
	}
}

/* Which lengths there are, of either form, with the tag or without. */
static uint64_t lengths_in(const struct access_walk *w, const enum access_form forms[2], bool is4, unsigned word)
{
	uint64_t all = 0;
	for (unsigned f = 0; f < 2; f++)
		all |= meta_of(w, w->tag)->lengths[forms[f]][!is4][word] | (w->untagged ? meta_of(w, ACCESS_UNTAGGED)->lengths[forms[f]][!is4][word] : 0);
	return all;
}

#define RANKS_A_LENGTH 4 /* two forms, with and without the tag */
#define RANKS_OF_ZERO 2

/* The address and its prefixes, the longest first; at each length the first form before the second. */
static void put_address(struct access_walk *w, const enum access_form forms[2], const struct access_ip *ip)
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

uint32_t access_walk_default_rank(const struct addr *addr)
{
	return (addr_is4(addr) ? ACCESS_KEY_ALL4 : ACCESS_KEY_ALL6) * RANKS_A_LENGTH + RANKS_OF_ZERO + RANKS_A_LENGTH;
}

void access_walk_client(struct access_walk *w, const struct access *access, enum access_scope scope, const struct access_client *client)
{
	static const enum access_form brackets[2] = { ACCESS_FORM_BRACKET, ACCESS_FORM_BRACKET }, plain[2] = { ACCESS_FORM_PLAIN, ACCESS_FORM_CIDR };
	struct access_ip ip = access_key_ip(&client->addr);
	if (scope == ACCESS_BY_ADDRESS)
		put_address(w, plain, &ip);
	else if (scope == ACCESS_BY_DEFAULT && meta_of(w, w->tag)->bare)
		put_spot(w, (struct access_spot){ w->tag, ACCESS_FORM_DEFAULT, 0 }, NULL);
	else if (scope == ACCESS_BY_NAME && client->name.len > 0)
		put_name(w, client->name, access->rules.dot_domain);
	else if (scope == ACCESS_BY_NAME)
		put_address(w, brackets, &ip);
}

/* ---- senders and recipients ---- */

static const struct slice at_sign = { "@", 1 }, star = { "+*@", 3 };

/* user+detail@domain, user+*@domain, user@domain; with an empty domain the same that end in the @. */
static void put_mailbox(struct access_walk *w, struct slice local, struct slice domain)
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

void access_walk_user(struct access_walk *w, const struct access_user *user)
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
