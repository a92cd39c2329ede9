/* The tour, core: whether a text can be the value of an option, for those options for which not every text can: a row each, by the option's name. */
#include "core/confcheck.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/addr.h"
#include "core/confreaction.h"

#define HOST_MAX 255 /* RFC 5321 4.5.3.1.2 */

bool confcheck_is_host(const char *text, bool utf8)
{
	size_t label = 0, len = strlen(text);
	if (len == 0 || len > HOST_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '.') {
			if (label == 0 || text[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		bool letter = (c < 0x80 && isalnum(c)) || (utf8 && (c >= 0x80 || c == '_'));
		if ((!letter && (c != '-' || label == 0)) || ++label > 63)
			return false;
	}
	return label > 0 && text[len - 1] != '-';
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3). */
static bool is_literal(const char *text)
{
	struct slice s = slice_of(text);
	struct addr a;
	if (s.len < 3 || s.at[0] != '[' || s.at[s.len - 1] != ']')
		return false;
	s.at++;
	s.len -= 2;
	if (s.len > 5 && slice_is_nocase((struct slice){ s.at, 5 }, "IPv6:"))
		return addr_parse((struct slice){ s.at + 5, s.len - 5 }, &a) && memchr(s.at + 5, ':', s.len - 5);
	return addr_parse(s, &a) && addr_is4(&a) && !memchr(s.at, ':', s.len);
}

static const char *check_hostname(const char *text)
{
	return *text == '\0' || confcheck_is_host(text, false) || is_literal(text) ? NULL
		: "not a host name; expected letters, digits, hyphens and dots, or an address in brackets";
}

static const char *check_domain(const char *text)
{
	return confcheck_is_host(text, true) || is_literal(text) ? NULL : "not a domain; expected one like example.org, or an address in brackets";
}

static const char *check_access(const char *text)
{
	const char *colon = strchr(text, ':');
	return colon && colon > text && colon[1] ? NULL : "no access database; expected text:/path/to/file";
}

static const char *check_user(const char *text)
{
	return !strpbrk(text, " \t:/,") ? NULL : "not the name of an account";
}

static const char *check_delimiter(const char *text)
{
	return *text == '\0' || (ispunct((unsigned char)*text) && !strchr("@/%\"", *text)) ? NULL
		: "cannot part a user from an extension; expected a sign like + or -";
}

static const char *check_maildir(const char *text)
{
	bool user = false;
	for (const char *p = strchr(text, '%'); p; p = strchr(p + 2, '%')) {
		if (!p[1] || !strchr("du%", p[1]))
			return "'%' before something else than d, u or %; expected %d, %u or %%";
		user = user || p[1] == 'u';
	}
	return user ? NULL : "all users would share one Maildir; expected a path with %u in it, like /var/mail/tarry/%d/%u";
}

static const char *check_local_pause(const char *text)
{
	const char *blank = strpbrk(text, " \t");
	const char *digits = blank ? blank + strspn(blank, " \t") : "";
	return blank && blank > text && *digits && digits[strspn(digits, "0123456789")] == '\0' && strlen(digits) <= 9 ? NULL
		: "not a local pause; expected KEY MILLISECONDS, KEY an address, a host name or *";
}

static const char *check_failure(const char *text)
{
	return strcmp(text, "tempfail") == 0 || strcmp(text, "open") == 0 || strcmp(text, "closed") == 0 ? NULL : "not what a failure can mean; expected tempfail, open or closed";
}

static const char *check_prefix(const char *text)
{
	struct prefix prefix;
	return addr_parse_prefix(slice_of(text), &prefix) ? NULL : "not an address or network; expected one like 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32";
}

static const char *check_tls_name(const char *text)
{
	return *text == '\0' || confcheck_is_host(text, false) ? NULL : "not the name of a host; expected letters, digits, hyphens and dots";
}

static const char *check_reaction(const char *text)
{
	struct conf_reaction reaction;
	const char *why = NULL;
	return conf_reaction_parse(text, &reaction, &why) ? NULL : why;
}

/* As c-ares takes them: it knows of zones, fe80::1%eth0, what it knows. */
static const char *check_resolver(const char *text)
{
	for (const char *p = text; *p;) {
		const struct slice one = { p, strcspn(p, ",") };
		struct addr a;
		if (!memchr(p, '%', one.len) && !addr_parse(one, &a) && !(addr_parse_port(one, &a) && a.port > 0))
			return "not the addresses of name servers; expected ADDRESS or ADDRESS:PORT, several with commas between them: 127.0.0.1,[2001:db8::53]:5353";
		p += one.len + (p[one.len] == ',');
	}
	return NULL;
}

/* With a port it would never be the one that a browser comes by. */
static const char *check_desk_host(const char *text)
{
	struct addr a;
	size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._");
	return addr_parse(slice_of(text), &a) || (text[len] == '\0' && len > 0 && len <= HOST_MAX) ? NULL : "not a name; expected one without a port, such as door.example.org";
}

/* Words as a client could say them. */
static const char *check_forbidden(const char *text)
{
	return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ ")] == '\0' ? NULL
		: "not a list of commands; expected words with blanks between them, such as CONNECT GET POST";
}

/* Somebody who is banned is not listened to. */
static const char *check_ban_reply(const char *text)
{
	struct conf_reaction reaction;
	const char *why = NULL;
	if (!conf_reaction_parse(text, &reaction, &why))
		return why;
	return reaction.kind != CONF_REACTION_REFUSE ? NULL : "not what a banned client can get; expected tempfail or drop, perhaps with a reply, or close";
}

static const char *check_offences(const char *text)
{
	static const char *const words[] = { "early", "later", "refused", "limited", "forbidden", "smtp", "session", "tls", "http", "proxy", "ssh", "text", "binary" };
	for (const char *p = text + strspn(text, " \t"); *p;) {
		size_t n = strcspn(p, " \t"), i = 0;
		while (i < sizeof(words) / sizeof(words[0]) && (strlen(words[i]) != n || strncmp(words[i], p, n) != 0))
			i++;
		if (i == sizeof(words) / sizeof(words[0]))
			return "has a word in it that is no offence; expected early, later, refused, limited, forbidden, or kinds of early talk: smtp, session, tls, http, proxy, ssh, text, binary";
		p += n + strspn(p + n, " \t");
	}
	return NULL;
}

static const char *check_kernel(const char *text)
{
	char family[16], table[40], set[40], more;
	bool ok = *text == '\0' || (sscanf(text, "nftables %15s %39s %39s %c", family, table, set, &more) == 3 && strlen(table) < 32 && strlen(set) < 31
		&& (strcmp(family, "inet") == 0 || strcmp(family, "ip") == 0 || strcmp(family, "ip6") == 0));
	return ok ? NULL : "names no sets; expected nftables FAMILY TABLE NAME, FAMILY inet, ip or ip6: nftables inet tarry banned";
}

static const struct check {
	const char *name;
	const char *(*why)(const char *text); /* NULL: it is fine */
} checks[] = {
	{ "hostname", check_hostname }, { "user", check_user }, { "access_db", check_access }, { "access_failure", check_failure }, { "accept_domains", check_domain },
	{ "local_greet_pause", check_local_pause }, { "maildir", check_maildir }, { "recipient_delimiter", check_delimiter }, { "trust", check_prefix }, { "health", check_prefix },
	{ "ban_never", check_prefix }, { "ban_reply", check_ban_reply }, { "ban_offences", check_offences }, { "ban_kernel", check_kernel },
	{ "resolver", check_resolver }, { "desk_hosts", check_desk_host }, { "tls_name", check_tls_name }, { "forbidden_commands", check_forbidden },
	{ "early_smtp", check_reaction }, { "early_session", check_reaction }, { "early_tls", check_reaction }, { "early_http", check_reaction }, { "early_proxy", check_reaction },
	{ "early_ssh", check_reaction }, { "early_text", check_reaction }, { "early_binary", check_reaction },
};

const char *confcheck(const char *name, const char *text)
{
	for (const char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return "has a control character in it";
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (strcmp(checks[i].name, name) == 0)
			return checks[i].why(text);
	return NULL;
}
