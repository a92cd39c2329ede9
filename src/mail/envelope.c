/* The tour, mail: who gets it. From an address to a Maildir, or to the reason why not. */
#include "mail/envelope.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mail/maildir.h"

#define FIRST_PATHS 4 /* room for so many recipients at first */

static char *join(struct slice local, struct slice domain)
{
	bool at = domain.len > 0;
	char *text = malloc(local.len + at + domain.len + 1);
	if (!text)
		return NULL;
	if (local.len > 0)
		memcpy(text, local.at, local.len);
	if (at) {
		text[local.len] = '@';
		memcpy(text + local.len + 1, domain.at, domain.len);
	}
	text[local.len + at + domain.len] = '\0';
	return text;
}

bool envelope_set_from(struct envelope *e, const struct command_mail *mail)
{
	e->from = join(mail->from.local, mail->from.domain);
	e->smtputf8 = mail->smtputf8;
	return e->from != NULL;
}

/* Our domain that the address is in, as the configuration spells it; an address without a domain is in the first. NULL: none. */
static const char *our_domain(const struct conf *conf, struct slice domain)
{
	const struct conf_list *ours = &conf->accept_domains;
	if (domain.len == 0)
		return ours->len > 0 ? ours->at[0] : conf->hostname;
	for (size_t i = 0; i < ours->len; i++)
		if (slice_is_nocase(domain, ours->at[i]))
			return ours->at[i];
	return NULL;
}

/* Characters by which mail was once sent on to another host. */
static bool has_route(struct slice user)
{
	for (size_t i = 0; i < user.len; i++)
		if (strchr("@%!", user.at[i]) && user.at[i] != '\0')
			return true;
	return false;
}

static uint64_t hash_of(const char *path)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (; *path; path++)
		h = (h ^ (uint8_t)*path) * UINT64_C(0x100000001b3);
	return h;
}

static bool has_path(const struct envelope *e, const char *path, uint64_t hash)
{
	for (size_t i = 0; i < e->paths_len; i++)
		if (e->hashes[i] == hash && strcmp(e->paths[i], path) == 0)
			return true;
	return false;
}

static bool grow(struct envelope *e)
{
	if (e->paths_len < e->paths_cap)
		return true;
	size_t cap = e->paths_cap ? 2 * e->paths_cap : FIRST_PATHS;
	char **paths = realloc(e->paths, cap * sizeof(*paths));
	if (!paths)
		return false;
	e->paths = paths;
	uint64_t *hashes = realloc(e->hashes, cap * sizeof(*hashes));
	if (!hashes)
		return false;
	e->hashes = hashes;
	e->paths_cap = cap;
	return true;
}

/* Two recipients with one Maildir get one copy. */
static bool add_path(struct envelope *e, const char *path)
{
	uint64_t hash = hash_of(path);
	if (has_path(e, path, hash))
		return true;
	char *copy = grow(e) ? strdup(path) : NULL;
	if (!copy)
		return false;
	e->paths[e->paths_len] = copy;
	e->hashes[e->paths_len++] = hash;
	return true;
}

static enum envelope_answer look_up(const struct conf *conf, const struct command_path *to, const char *domain, struct buf *path)
{
	char memory[COMMAND_PATH];
	struct buf user;
	buf_init_fixed(&user, memory, sizeof(memory));
	if (!command_unquote(to->local, &user))
		return ENVELOPE_BAD;
	if (has_route(buf_slice(&user)))
		return ENVELOPE_RELAY;
	if (!maildir_path(path, conf->maildir, conf->recipient_delimiter, buf_slice(&user), slice_of(domain)))
		return ENVELOPE_BAD;
	int error = conf->create_maildirs ? 0 : maildir_exists(buf_text(path));
	errno = -error;
	return error == 0 ? ENVELOPE_OK : error == -ENOENT ? ENVELOPE_UNKNOWN : ENVELOPE_TEMPFAIL;
}

enum envelope_answer envelope_add(struct envelope *e, const struct conf *conf, const struct command_path *to)
{
	char memory[MAILDIR_PATH + 1];
	struct buf path;
	const char *domain = our_domain(conf, to->domain);
	buf_init_fixed(&path, memory, sizeof(memory));
	if (!domain)
		return ENVELOPE_RELAY;
	enum envelope_answer answer = look_up(conf, to, domain, &path);
	if (answer != ENVELOPE_OK)
		return answer;
	if (e->recipients >= (size_t)conf->max_recipients)
		return ENVELOPE_FULL;
	char *first = e->first ? e->first : join(to->local, slice_of(domain));
	if (!first || !add_path(e, buf_text(&path))) {
		if (first != e->first)
			free(first);
		errno = ENOMEM;
		return ENVELOPE_TEMPFAIL;
	}
	e->first = first; /* only now: it names one who gets the message */
	e->recipients++;
	return ENVELOPE_OK;
}

void envelope_clear(struct envelope *e)
{
	for (size_t i = 0; i < e->paths_len; i++)
		free(e->paths[i]);
	free(e->paths);
	free(e->hashes);
	free(e->first);
	free(e->from);
	*e = (struct envelope){ .from = NULL };
}
