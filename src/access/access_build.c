/* The tour, access: the access database, built. Each line is read as Sendmail would: its tag, what kind of key stands behind it, and what its value means for that
 * tag. What is odd is told by access_warn.c. */
#include "access/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "access/access_warn.h"
#include "map/map.h"

_Static_assert(sizeof(struct access_meta) <= MAP_META, "the meta data fits");

/* Tags that Sendmail has and that mean nothing here: said once for each. */
static const char *const unused_tags[] = { "srv_features", "try_tls", "tls_srv", "tls_clt", "tls_rcpt", "certissuer", "certsubject", "authinfo" };
#define UNUSED_TAGS (sizeof(unused_tags) / sizeof(unused_tags[0]))
#define UNKNOWN_TAG UNUSED_TAGS

struct reader {
	struct access_meta meta;
	const struct access_rules *rules; /* NULL: not known */
	struct {
		uint32_t line; /* the first */
		size_t count;
	} unused[UNUSED_TAGS + 1];
};

/* Which of the tags that have no use here. */
static size_t unused_tag(struct slice key)
{
	size_t i = 0;
	while (i < UNUSED_TAGS && (key.len <= strlen(unused_tags[i]) || memcmp(key.at, unused_tags[i], strlen(unused_tags[i])) != 0 || key.at[strlen(unused_tags[i])] != ':'))
		i++;
	return i;
}

static bool is_counted(enum access_tag tag)
{
	return tag == ACCESS_CLIENTRATE || tag == ACCESS_CLIENTCONN;
}

/* Tags whose keys are clients. Without a tag a key may be that and a sender, too. */
static bool is_client(enum access_tag tag)
{
	return access_tag_is_pause(tag) || tag == ACCESS_CONNECT || tag == ACCESS_UNTAGGED || is_counted(tag);
}

static bool is_mailbox(enum access_tag tag)
{
	return tag == ACCESS_FROM || tag == ACCESS_TO || tag == ACCESS_SPAM || tag == ACCESS_UNTAGGED;
}

static void check_value(const struct reader *r, enum access_tag tag, const struct map_line *line, struct map_notes *notes)
{
	bool skip = r->rules && slice_is_nocase(access_key_trim(line->value), "SKIP");
	if (skip && r->rules->skip)
		return;
	if (skip && !access_tag_is_pause(tag) && tag != ACCESS_SPAM && !is_counted(tag))
		access_warn_skip(line, notes);
	else if (access_tag_is_pause(tag) || is_counted(tag))
		access_warn_number(line, tag, notes);
	else if (tag == ACCESS_SPAM)
		access_warn_spam(line, notes);
	else
		access_warn_action(line, tag, notes);
}

static void take_address(struct reader *r, enum access_tag tag, const struct access_parsed *p, struct buf *own_key)
{
	struct access_tag_meta *meta = &r->meta.tags[tag];
	struct access_ip ip = access_key_ip(&p->base);
	struct access_key key;
	if (p->form == ACCESS_FORM_ZERO) {
		meta->zero[p->bits] = 1;
		buf_put_slice(own_key, access_key_write(&key, (struct access_spot){ tag, p->form, p->bits }, NULL));
		return;
	}
	meta->lengths[p->form][!ip.is4][p->bits / 64] |= UINT64_C(1) << p->bits % 64;
	buf_put_slice(own_key, access_key_write(&key, (struct access_spot){ tag, p->form, p->bits }, &ip));
}

/* The bare tag takes nothing but a number. */
static void take_default(struct reader *r, enum access_tag tag, const struct map_line *line, struct buf *own_key, struct map_notes *notes)
{
	struct access_key key;
	if (!access_tag_is_pause(tag) && !is_counted(tag)) {
		access_warn_never(line, "; a tag alone is the key of nobody (as in Sendmail)", notes);
		return;
	}
	if (!access_key_is_number(line->value)) {
		access_warn_bare(line, notes);
		return;
	}
	r->meta.tags[tag].bare = 1;
	buf_put_slice(own_key, access_key_write(&key, (struct access_spot){ tag, ACCESS_FORM_DEFAULT, 0 }, NULL));
	check_value(r, tag, line, notes);
}

static void take_text(struct reader *r, enum access_tag tag, enum access_sort sort, const struct map_line *line, struct map_notes *notes)
{
	struct access_tag_meta *meta = &r->meta.tags[tag];
	struct slice key = { line->key.at + strlen(access_tag_text(tag)), line->key.len - strlen(access_tag_text(tag)) };
	bool user = sort == ACCESS_SORT_USER;
	if (user && !is_mailbox(tag))
		access_warn_never(line, "; clients are told by name, address or network", notes);
	else if (user && key.at[0] == '@')
		access_warn_never(line, "; a domain is written without the @ (as in Sendmail)", notes);
	else if (!user && is_counted(tag))
		access_warn_never(line, "; limits are by address or network, never by name (as in Sendmail)", notes);
	else {
		*(user ? &meta->users : &meta->names) = 1;
		check_value(r, tag, line, notes);
	}
}

static void take_line(void *context, const struct map_line *line, struct buf *own_key, struct map_notes *notes)
{
	struct reader *r = context;
	struct access_parsed p;
	struct slice rest;
	enum access_tag tag = access_key_tag(line->key, &rest);
	if (tag == ACCESS_TAGS) {
		size_t unused = unused_tag(line->key);
		if (r->unused[unused].count++ == 0)
			r->unused[unused].line = line->number;
		return;
	}
	enum access_sort sort = access_key_parse(rest, &p);
	switch (sort) {
	case ACCESS_SORT_ADDRESS:
		if (!is_client(tag)) {
			access_warn_never(line, "; senders and recipients are user@domain, user@ or a domain", notes);
			break;
		}
		access_warn_address(line, &p, notes);
		check_value(r, tag, line, notes);
		take_address(r, tag, &p, own_key);
		break;
	case ACCESS_SORT_DEFAULT:
		take_default(r, tag, line, own_key, notes);
		break;
	case ACCESS_SORT_NAME:
	case ACCESS_SORT_USER:
		take_text(r, tag, sort, line, notes);
		break;
	case ACCESS_SORT_NEVER:
		access_warn_never(line, p.hint, notes);
		break;
	}
}

/* Of a file that others made: what kinds of keys it has; the keys stay as they are. */
static void take_plain(void *context, struct slice key, struct slice value, struct map_notes *notes)
{
	char memory[MAP_OWN_KEY];
	struct buf own_key;
	const struct map_line line = { .number = 0, .written = key, .key = key, .value = value };
	buf_init_fixed(&own_key, memory, sizeof(memory));
	take_line(context, &line, &own_key, notes);
}

static void finish(void *context, uint8_t meta[MAP_META], struct map_notes *notes)
{
	struct reader *r = context;
	struct map_notes summary; /* with a ceiling of its own: there are only so many kinds */
	map_notes_init(&summary, notes->to, notes->file);
	for (size_t i = 0; i <= UNUSED_TAGS; i++) {
		if (r->unused[i].count == 0 || !map_note_begin(&summary, r->unused[i].line))
			continue;
		if (i == UNKNOWN_TAG)
			buf_put_text(summary.to, "keys with a tag that Sendmail does not know have no effect");
		else
			buf_putf(summary.to, "keys with the tag %s: have no effect here", unused_tags[i]);
		if (r->unused[i].count > 1)
			buf_putf(summary.to, " (%zu lines, this is the first)", r->unused[i].count);
		map_note_end(&summary);
	}
	memcpy(meta, &r->meta, sizeof(r->meta));
}

/* What map_build() and map_write() are given, and leave behind. */
static struct map_rules reader_rules(struct reader *r, const struct access_rules *rules)
{
	*r = (struct reader){ .rules = rules };
	memcpy(r->meta.magic, ACCESS_META_MAGIC, sizeof(r->meta.magic));
	return (struct map_rules){ .entry = take_line, .plain = take_plain, .finish = finish, .context = r };
}

int access_build(const char *spec, struct buf *errors, struct buf *warnings, size_t *entries)
{
	return access_build_for(spec, NULL, errors, warnings, entries);
}

int access_build_for(const char *spec, const struct access_rules *how, struct buf *errors, struct buf *warnings, size_t *entries)
{
	struct reader reader;
	struct map_rules rules = reader_rules(&reader, how);
	struct map_report report = { .errors = errors, .warnings = warnings };
	int fd = map_build(spec, &rules, &report);
	if (fd >= 0)
		*entries = report.entries;
	return fd;
}

/* ---- a list that is asked elsewhere ---- */

struct access_review {
	struct reader reader;
	struct map_notes notes;
};

struct access_review *access_review_new(const char *file, const struct access_rules *rules, struct buf *warnings)
{
	struct access_review *review = malloc(sizeof(*review));
	if (!review)
		return NULL;
	reader_rules(&review->reader, rules);
	map_notes_init(&review->notes, warnings, file);
	return review;
}

void access_review_entry(struct access_review *review, struct slice key, struct slice value)
{
	const struct map_line line = { .number = 0, .written = key, .key = key, .value = value };
	struct access_parsed p;
	struct slice rest;
	if (access_key_tag(key, &rest) != ACCESS_TAGS && access_key_parse(rest, &p) == ACCESS_SORT_ADDRESS && p.form == ACCESS_FORM_CIDR)
		access_warn_never(&line, "; such a map is asked for addresses and what they begin with, not for networks (as in Sendmail)", &review->notes);
	else
		take_plain(&review->reader, key, value, &review->notes);
}

void access_review_end(struct access_review *review)
{
	uint8_t meta[MAP_META];
	if (!review)
		return;
	map_notes_finish(&review->notes);
	finish(&review->reader, meta, &review->notes);
	free(review);
}

bool access_write(const char *from, const char *to, struct buf *errors, struct buf *warnings, size_t *entries)
{
	static const struct access_rules anywhere = { .skip = false };
	struct reader reader;
	struct map_rules rules = reader_rules(&reader, &anywhere);
	struct map_report report = { .errors = errors, .warnings = warnings };
	bool done = map_write(from, to, &rules, &report);
	if (done)
		*entries = report.entries;
	return done;
}

int access_build_empty(struct buf *errors)
{
	char spec[64];
	size_t entries;
	int file = memfd_create("empty", MFD_CLOEXEC);
	snprintf(spec, sizeof(spec), "text:/proc/self/fd/%d", file);
	int fd = access_build(spec, errors, errors, &entries);
	if (file >= 0)
		close(file);
	return fd;
}

bool access_is_elsewhere(const char *spec)
{
	static const char *const schemes[] = { "hash:", "redis:", "rediss:", "ldap:", "ldaps:", "ldapi:" };
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncmp(spec, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

const char *access_file(const char *spec)
{
	static char memory[MAP_PATH_MAX + 1];
	struct buf path;
	buf_init_fixed(&path, memory, sizeof(memory));
	return map_path(spec, &path, NULL) ? buf_text(&path) : NULL;
}
