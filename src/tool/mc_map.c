/* The tour, mc: the map of FEATURE(`access_db'), which is written as on a K line of sendmail.cf: a type, options, a path. Files become hash:, text: or cdb:,
 * a directory server an ldap: URL as far as its filter can be said in one; whatever cannot be said is named, and nothing is guessed. */
#include "tool/mc.h"

#include <ctype.h>
#include <string.h>

/* ---- words ---- */

/* The next word, parted by blanks; double quotes hold one together, and are taken off. */
static bool take_word(struct slice *rest, struct slice *word)
{
	if (rest->len == 0) /* and perhaps no bytes at all */
		return false;
	const char *at = rest->at, *end = at + rest->len;
	while (at < end && isspace((unsigned char)*at))
		at++;
	if (at == end)
		return false;
	const char *begin = at;
	bool quoted = *at == '"';
	if (quoted) {
		begin = ++at;
		while (at < end && *at != '"')
			at++;
	} else {
		while (at < end && !isspace((unsigned char)*at))
			at++;
	}
	*word = (struct slice){ begin, (size_t)(at - begin) };
	at += quoted && at < end;
	*rest = (struct slice){ at, (size_t)(end - at) };
	return true;
}

/* "-k value", "-kvalue": the letter is word.at[1]. */
static struct slice take_value(struct slice *rest, struct slice word)
{
	struct slice value = { word.at + 2, word.len - 2 };
	if (value.len == 0 && !take_word(rest, &value))
		value.len = 0;
	if (value.len > 1 && value.at[0] == '"' && value.at[value.len - 1] == '"') {
		value.at++;
		value.len -= 2;
	}
	return value;
}

static bool ends_with(struct slice s, const char *ending)
{
	size_t n = strlen(ending);
	return s.len >= n && memcmp(s.at + s.len - n, ending, n) == 0;
}

static void note(struct mc_map *map, const char *before, struct slice shown, const char *after)
{
	if (map->note->len > 0)
		buf_put_text(map->note, "; ");
	buf_put_text(map->note, before);
	buf_put_escaped(map->note, shown.at, shown.len, 200);
	buf_put_text(map->note, after);
}

/* ---- files ---- */

static void file_map(struct mc_map *map, const char *scheme, const char *ending, struct slice rest)
{
	struct slice word, path = { NULL, 0 };
	while (take_word(&rest, &word)) {
		if (word.len < 2 || word.at[0] != '-')
			path = path.len > 0 ? path : word;
		else if (slice_is(word, "-o"))
			map->optional = true;
		else if (word.at[1] != 'T')
			note(map, "the map's option ", word, " is not known here");
	}
	if (path.len == 0) {
		note(map, "the map has no file", path, "");
		return;
	}
	buf_put_text(map->spec, scheme);
	buf_put_slice(map->spec, path);
	if (!ends_with(path, ending))
		buf_put_text(map->spec, ending);
}

/* ---- LDAP ---- */

struct ldap {
	struct slice uri, host, port, base, scope, filter, value, bind, password_file;
};

static void read_ldap(struct mc_map *map, struct slice rest, struct ldap *l)
{
	struct slice word;
	while (take_word(&rest, &word)) {
		if (word.len < 2 || word.at[0] != '-') {
			note(map, "the word ", word, " is not known here");
			continue;
		}
		const struct {
			char letter;
			struct slice *to;
		} values[] = {
			{ 'H', &l->uri }, { 'h', &l->host }, { 'p', &l->port }, { 'b', &l->base }, { 's', &l->scope }, { 'k', &l->filter }, { 'v', &l->value },
			{ 'd', &l->bind }, { 'P', &l->password_file },
		};
		size_t i = 0, n = sizeof(values) / sizeof(values[0]);
		while (i < n && values[i].letter != word.at[1])
			i++;
		if (i < n)
			*values[i].to = take_value(&rest, word);
		else if (strchr("MlZrwV", word.at[1])) /* how to ask, which is Tarry's business: method, limits, dereferencing, version, separator */
			take_value(&rest, word);
		else if (slice_is(word, "-o"))
			map->optional = true;
		else if (word.at[1] != 'T' && word.at[1] != '1')
			note(map, "the map's option ", word, " is not known here");
	}
}

static void put_encoded(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.at[i];
		if ((c < 0x80 && isalnum(c)) || (c > ' ' && c < 0x7f && strchr("-._~=:/()&|!*@", c)))
			buf_put_char(out, (char)c);
		else
			buf_putf(out, "%%%02X", c);
	}
}

static bool is_attribute(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!((unsigned char)s.at[i] < 0x80 && isalnum((unsigned char)s.at[i])) && !strchr("-._;", s.at[i]))
			return false;
	return s.len > 0;
}

/* "(&(a=b)(key=%0)(c=d))": the attribute before %0, and what stands before and behind that condition within the "&". False: another form. */
static bool split_filter(struct slice filter, struct slice *key, struct slice around[2])
{
	if (filter.len == 0)
		return false;
	const char *at = filter.at, *end = at + filter.len, *mark = memmem(at, filter.len, "=%0", 3);
	if (!mark)
		mark = memmem(at, filter.len, "=%s", 3);
	if (!mark || memchr(mark + 3, '%', (size_t)(end - mark - 3)))
		return false;
	const char *name = mark;
	while (name > at && name[-1] != '(')
		name--;
	*key = (struct slice){ name, (size_t)(mark - name) };
	around[0] = around[1] = (struct slice){ NULL, 0 };
	if (name == at || (name == at + 1 && mark + 4 == end && mark[3] == ')')) /* "key=%0", "(key=%0)" */
		return is_attribute(*key) && (name != at || mark + 3 == end);
	if (filter.len < 4 || memcmp(at, "(&", 2) != 0 || mark + 5 > end || mark[3] != ')' || end[-1] != ')')
		return false;
	around[0] = (struct slice){ at + 2, (size_t)(name - 1 - (at + 2)) };
	around[1] = (struct slice){ mark + 4, (size_t)(end - 1 - (mark + 4)) };
	for (int i = 0; i < 2; i++) { /* whole conditions: nothing is open where they end */
		int depth = 0;
		for (size_t n = 0; n < around[i].len; n++) {
			depth += around[i].at[n] == '(' ? 1 : around[i].at[n] == ')' ? -1 : 0;
			if (depth < 0)
				return false;
		}
		if (depth != 0 || (around[i].len > 0 && (memchr(around[i].at, '%', around[i].len) || memchr(around[i].at, '$', around[i].len))))
			return false;
	}
	return is_attribute(*key);
}

static bool put_server(struct mc_map *map, const struct ldap *l)
{
	struct slice host = l->uri.len > 0 ? l->uri : l->host;
	if (l->uri.len > 0 && !(host.len > 7 && memcmp(host.at, "ldap://", 7) == 0) && !(host.len > 8 && memcmp(host.at, "ldaps://", 8) == 0)) {
		note(map, "the server ", host, " is neither ldap:// nor ldaps://");
		return false;
	}
	struct slice rest = host, first;
	if (!take_word(&rest, &first) || l->base.len == 0) {
		note(map, host.len == 0 ? "the map names no server (-h or -H)" : "the map names no base (-b)", (struct slice){ NULL, 0 }, "");
		return false;
	}
	while (first.len > 0 && first.at[first.len - 1] == '/')
		first.len--;
	if (rest.len > 0)
		note(map, "of several servers only the first is taken: ", first, "");
	if (l->uri.len == 0)
		buf_put_text(map->spec, "ldap://");
	put_encoded(map->spec, first);
	if (l->uri.len == 0 && l->port.len > 0) {
		buf_put_char(map->spec, ':');
		put_encoded(map->spec, l->port);
	}
	buf_put_char(map->spec, '/');
	put_encoded(map->spec, l->base);
	return true;
}

static void put_option(struct mc_map *map, const char *name, struct slice a, struct slice b, bool *any)
{
	if (a.len + b.len == 0)
		return;
	buf_putf(map->spec, "%s%s=", *any ? "," : "?", name);
	put_encoded(map->spec, a);
	put_encoded(map->spec, b);
	*any = true;
}

static void ldap_map(const struct mc_facts *facts, struct mc_map *map, struct slice rest)
{
	struct ldap l = { 0 };
	struct slice key = { NULL, 0 }, around[2] = { { NULL, 0 }, { NULL, 0 } }, none = { NULL, 0 };
	bool any = false;
	read_ldap(map, facts->ldap_spec, &l);
	if (!facts->access_ldap)
		read_ldap(map, rest, &l);
	if (!facts->access_ldap && (!split_filter(l.filter, &key, around) || !is_attribute(l.value))) {
		note(map, "its filter and value cannot be said in a URL (-k ", l.filter, ")");
		return;
	}
	if (!put_server(map, &l)) {
		buf_clear(map->spec);
		return;
	}
	/* Sendmail's own schema goes without attributes. */
	buf_put_char(map->spec, '?');
	buf_put_slice(map->spec, key);
	buf_put_char(map->spec, '?');
	if (key.len > 0)
		buf_put_slice(map->spec, l.value);
	buf_put_char(map->spec, '?');
	buf_put_text(map->spec, slice_is_nocase(l.scope, "base") ? "base" : slice_is_nocase(l.scope, "one") ? "one" : "sub");
	if (facts->access_ldap) {
		put_option(map, "cluster", facts->access, none, &any);
		put_option(map, "host", facts->hostname, none, &any);
		if (facts->hostname.len == 0)
			note(map, "add host=NAME to the URL if entries of this host's own (sendmailMTAHost) are wanted", none, "");
	}
	put_option(map, "filter", around[0], around[1], &any);
	put_option(map, "binddn", l.bind, none, &any);
	put_option(map, "password_file", l.password_file, none, &any);
}

void mc_map(const struct mc_facts *facts, struct mc_map *map)
{
	struct slice rest = facts->access, type;
	map->optional = false;
	if (facts->access_ldap) {
		ldap_map(facts, map, rest);
	} else if (!take_word(&rest, &type)) {
		note(map, "the map has no type", rest, "");
	} else if (slice_is_nocase(type, "hash")) {
		file_map(map, "hash:", ".db", rest);
	} else if (slice_is_nocase(type, "text")) {
		file_map(map, "text:", "", rest);
	} else if (slice_is_nocase(type, "cdb")) {
		file_map(map, "cdb:", ".cdb", rest);
	} else if (slice_is_nocase(type, "ldap")) {
		ldap_map(facts, map, rest);
	} else if (slice_is_nocase(type, "btree")) {
		note(map, "btree is not supported; build the map anew with makemap hash", (struct slice){ NULL, 0 }, "");
	} else {
		note(map, "the type ", type, " is not one that Tarry has");
	}
}
