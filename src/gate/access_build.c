/* The tour, gate: the access database, built. It reads each line as Sendmail would, and says where Sendmail reads something else than
 * one would think: the file must mean the same here as there, so what is odd is a warning and not an error. */
#include "gate/access.h"

#include <string.h>

#include "gate/access_key.h"
#include "map/map.h"
#include "map/map_text.h"

#define VALUE_SHOWN 60 /* bytes of a value in a warning */

_Static_assert(sizeof(struct access_meta) <= MAP_TEXT_META, "the meta data fits");

/* Keys that are in the file for others, or for later versions: said once for each kind. */
struct kind {
	const char *tag;
	const char *what;
};

enum { KIND_NAME, KIND_UNTAGGED, KIND_UNKNOWN, KIND_TAG };

static const struct kind kinds[] = {
	[KIND_NAME] = { NULL, "GreetPause: keys that are names, not addresses or networks," },
	[KIND_UNTAGGED] = { NULL, "keys without a tag" },
	[KIND_UNKNOWN] = { NULL, "keys with a tag that Sendmail does not know" },
	[KIND_TAG] = { "connect", "Connect: keys" },
	{ "from", "From: keys" },
	{ "to", "To: keys" },
	{ "spam", "Spam: keys" },
	{ "clientrate", "ClientRate: keys" },
	{ "clientconn", "ClientConn: keys" },
	{ "srv_features", "Srv_Features: keys" },
	{ "try_tls", "Try_TLS: keys" },
	{ "tls_srv", "TLS_Srv: keys" },
	{ "tls_clt", "TLS_Clt: keys" },
	{ "tls_rcpt", "TLS_Rcpt: keys" },
	{ "certissuer", "CertIssuer: keys" },
	{ "certsubject", "CertSubject: keys" },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct reader {
	struct access_meta meta;
	struct {
		uint32_t line; /* the first */
		size_t count;
	} unused[KINDS];
};

static bool is_tag(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!((s.at[i] >= 'a' && s.at[i] <= 'z') || s.at[i] == '_'))
			return false;
	return s.len > 0;
}

static size_t kind_of(struct slice key)
{
	const char *colon = memchr(key.at, ':', key.len);
	struct slice tag = { key.at, colon ? (size_t)(colon - key.at) : 0 };
	for (size_t i = KIND_TAG; i < KINDS; i++)
		if (slice_is(tag, kinds[i].tag))
			return i;
	return is_tag(tag) ? KIND_UNKNOWN : KIND_UNTAGGED; /* "ipv6" has a digit and is no tag */
}

static void count_unused(struct reader *r, size_t kind, uint32_t line)
{
	if (r->unused[kind].count++ == 0)
		r->unused[kind].line = line;
}

static bool warn_key(struct map_notes *notes, const struct map_text_line *line)
{
	if (!map_note_begin(notes, line->number))
		return false;
	map_note_bytes(notes, line->written);
	return true;
}

static bool warn_value(struct map_notes *notes, const struct map_text_line *line)
{
	struct slice value = access_key_trim(line->value);
	if (!warn_key(notes, line))
		return false;
	buf_put_char(notes->to, ' ');
	buf_put_escaped(notes->to, value.at, value.len, VALUE_SHOWN);
	buf_put_text(notes->to, ": ");
	return true;
}

/* "1s", "5m": what somebody who writes so has in mind, in milliseconds; 0 if it is not of this form. */
static int64_t meant_ms(struct slice rest, int64_t number, const char **unit)
{
	static const struct {
		const char *word, *name;
		int64_t ms;
	} units[] = { { "s", "second", 1000 }, { "sec", "second", 1000 }, { "m", "minute", 60000 }, { "min", "minute", 60000 }, { "h", "hour", 3600000 } };
	rest = slice_trim(access_key_trim(rest));
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (slice_is_nocase(rest, units[i].word)) {
			*unit = units[i].name;
			return number * units[i].ms;
		}
	return 0;
}

/* "300ms" and "300 # comment" say what they mean. */
static bool is_harmless(struct slice rest)
{
	struct slice r = slice_trim(access_key_trim(rest));
	return r.len == 0 || slice_is_nocase(r, "ms") || (r.at > rest.at && r.at[0] == '#');
}

static void check_trailing(const struct map_text_line *line, struct access_number n, struct slice rest, struct map_notes *notes)
{
	const char *unit = NULL;
	int64_t capped = n.ms > ACCESS_PAUSE_MAX_MS ? ACCESS_PAUSE_MAX_MS : n.ms;
	int64_t meant = meant_ms(rest, n.ms, &unit);
	if (!warn_value(notes, line))
		return;
	buf_putf(notes->to, "read as %lld ms (as Sendmail does); ", (long long)capped);
	if (meant > ACCESS_PAUSE_MAX_MS)
		buf_putf(notes->to, "write %d for the longest pause there is, 300 seconds", ACCESS_PAUSE_MAX_MS);
	else if (meant > 0 && n.ms == 1)
		buf_putf(notes->to, "write %lld for one %s", (long long)meant, unit);
	else if (meant > 0)
		buf_putf(notes->to, "write %lld for %lld %ss", (long long)meant, (long long)n.ms, unit);
	else
		buf_putf(notes->to, "write %lld alone if that is meant", (long long)capped);
	map_note_end(notes);
}

/* Says where a value means something else than one would think. */
static void check_value(const struct map_text_line *line, struct map_notes *notes)
{
	struct access_number n = access_key_number(line->value);
	struct slice rest = { line->value.at + n.digits, line->value.len - n.digits };
	if (n.digits == 0 || access_key_is_tempfail(line->value) || (n.ms == 0 && !is_harmless(rest))) {
		if (!warn_value(notes, line))
			return;
		buf_put_text(notes->to, line->value.at[0] == '-' ? "negative" : "not a number of milliseconds");
		buf_put_text(notes->to, ", read as no pause (as Sendmail does); write 0 if that is meant");
		map_note_end(notes);
	} else if (!is_harmless(rest)) {
		check_trailing(line, n, rest, notes);
	} else if (n.ms > ACCESS_PAUSE_MAX_MS && warn_value(notes, line)) {
		buf_putf(notes->to, "cut to %d ms, the longest pause there is (as in Sendmail)", ACCESS_PAUSE_MAX_MS);
		map_note_end(notes);
	}
}

static void check_key(const struct map_text_line *line, const struct access_parsed *p, struct map_notes *notes)
{
	if (p->whole && warn_key(notes, line)) {
		buf_put_text(notes->to, ": is one address, not a network; a network is written without the :: or as ADDRESS/BITS");
		map_note_end(notes);
	}
	if (p->cut && warn_key(notes, line)) {
		char text[ADDR_TEXT];
		buf_putf(notes->to, ": has bits set behind the first %u, read as %s/%u", p->bits, addr_format(&p->base, text), p->bits);
		map_note_end(notes);
	}
}

static void take_address(struct reader *r, const struct map_text_line *line, const struct access_parsed *p, struct buf *own_key, struct map_notes *notes)
{
	struct access_ip ip = access_key_ip(&p->base);
	struct access_key key;
	check_key(line, p, notes);
	check_value(line, notes);
	if (p->form == ACCESS_FORM_ZERO) {
		r->meta.zero[p->bits] = 1;
		buf_put_slice(own_key, access_key_write(&key, ACCESS_FORM_ZERO, NULL, p->bits));
		return;
	}
	r->meta.lengths[p->form][!ip.is4][p->bits / 64] |= UINT64_C(1) << p->bits % 64;
	buf_put_slice(own_key, access_key_write(&key, p->form, &ip, p->bits));
}

static void take_default(struct reader *r, const struct map_text_line *line, struct buf *own_key, struct map_notes *notes)
{
	struct access_key key;
	r->meta.bare = 1;
	buf_put_slice(own_key, access_key_write(&key, ACCESS_FORM_DEFAULT, NULL, 0));
	if (access_key_is_number(line->value)) {
		check_value(line, notes);
	} else if (warn_value(notes, line)) {
		buf_put_text(notes->to, "a tag alone is the default and takes a number alone, ignored; if a key was meant, take out the blank before it");
		map_note_end(notes);
	}
}

static void take_line(void *context, const struct map_text_line *line, struct buf *own_key, struct map_notes *notes)
{
	static const char tag[] = "greetpause:";
	struct reader *r = context;
	struct access_parsed p;
	size_t skip = sizeof(tag) - 1;
	if (line->key.len < skip || memcmp(line->key.at, tag, skip) != 0) {
		count_unused(r, kind_of(line->key), line->number);
		return;
	}
	switch (access_key_parse((struct slice){ line->key.at + skip, line->key.len - skip }, &p)) {
	case ACCESS_SORT_ADDRESS:
		take_address(r, line, &p, own_key, notes);
		break;
	case ACCESS_SORT_DEFAULT:
		take_default(r, line, own_key, notes);
		break;
	case ACCESS_SORT_NAME:
		count_unused(r, KIND_NAME, line->number);
		break;
	case ACCESS_SORT_NEVER:
		if (!warn_key(notes, line))
			break;
		buf_putf(notes->to, ": never matches, ignored%s", p.hint);
		map_note_end(notes);
		break;
	}
}

static void finish(void *context, uint8_t meta[MAP_TEXT_META], struct map_notes *notes)
{
	struct reader *r = context;
	struct map_notes summary; /* with a ceiling of its own: there are only so many kinds */
	map_notes_init(&summary, notes->to, notes->file);
	for (size_t i = 0; i < KINDS; i++) {
		if (r->unused[i].count == 0 || !map_note_begin(&summary, r->unused[i].line))
			continue;
		buf_putf(summary.to, "%s have no effect in this version", kinds[i].what);
		if (r->unused[i].count > 1)
			buf_putf(summary.to, " (%zu lines, this is the first)", r->unused[i].count);
		map_note_end(&summary);
	}
	memcpy(meta, &r->meta, sizeof(r->meta));
}

int access_build(const char *spec, struct buf *errors, struct buf *warnings, size_t *entries)
{
	struct reader reader = { .unused = { { 0, 0 } } };
	struct map_text_rules rules = { .entry = take_line, .finish = finish, .context = &reader };
	const char *path = map_text_path(spec, errors);
	memcpy(reader.meta.magic, ACCESS_META_MAGIC, sizeof(reader.meta.magic));
	return path ? map_text_build(path, &rules, errors, warnings, entries) : -1;
}

const char *access_file(const char *spec)
{
	return map_text_path(spec, NULL);
}
