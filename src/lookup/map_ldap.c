/* The tour, lookup: LDAP. A question is one search whose filter is an OR over its keys. Keys are a stranger's words, so every byte of them that is not plainly
 * harmless is escaped. libldap blocks; its sockets are given time-outs of their own before the first byte, so that even a server that stops in the
 * middle of a message cannot keep us beyond the deadline by more than SOCKET_WAIT. */
#include "lookup/map_ldap.h"

#include <ctype.h>
#include <errno.h>
#include <ldap.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>

#define SHOWN 100     /* bytes of a server's complaint */
#define SOCKET_WAIT 1 /* seconds that one read or write of libldap may take */

struct map_ldap {
	struct map_ldap_url url;
	LDAP *ld; /* NULL: not connected */
};

/* ---- the name ---- */

static bool refuse(struct buf *why, const char *what)
{
	buf_putf(why, "%s; expected %s", what, MAP_LDAP_FORM);
	return false;
}

/* RFC 4512 1.4, or an OID; nothing that could end an assertion. */
static bool is_attribute(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '.' && *p != ';' && *p != '_')
			return false;
	return name[0] != '\0';
}

static bool parse_scope(struct slice text, enum map_ldap_scope *out, struct buf *why)
{
	static const char *const names[] = { "base", "one", "sub" };
	*out = MAP_LDAP_SUB;
	for (unsigned i = 0; i < 3; i++)
		if (slice_is_nocase(text, names[i]))
			*out = (enum map_ldap_scope)i;
	return text.len == 0 || slice_is_nocase(text, names[*out]) || refuse(why, "the scope is base, one or sub");
}

static bool parse_options(struct slice text, struct map_ldap_url *out, struct buf *why)
{
	bool has_map = false;
	const struct url_option options[] = {
		{ "map", out->map, sizeof(out->map), &has_map },
		{ "cluster", out->cluster, sizeof(out->cluster), NULL },
		{ "host", out->mta, sizeof(out->mta), NULL },
		{ "filter", out->filter, sizeof(out->filter), NULL },
		{ "binddn", out->bind_dn, sizeof(out->bind_dn), NULL },
		{ "password_file", out->password_file, sizeof(out->password_file), NULL },
		{ "cacert", out->ca, sizeof(out->ca), NULL },
		{ "starttls", NULL, 0, &out->starttls },
		{ NULL, NULL, 0, NULL },
	};
	if (!url_options(text, ',', options, why))
		return false;
	if (!has_map)
		strcpy(out->map, "access");
	if (!out->sendmail && (has_map || out->cluster[0] || out->mta[0]))
		return refuse(why, "map=, cluster= and host= belong to Sendmail's schema, and attributes are named");
	if (out->tls && out->starttls)
		return refuse(why, "ldaps: needs no starttls");
	if (out->ca[0] && !out->tls && !out->starttls)
		return refuse(why, "cacert= means nothing without ldaps: or starttls");
	if ((out->bind_dn[0] != '\0') != (out->password_file[0] != '\0'))
		return refuse(why, "binddn= and password_file= go together");
	if (out->filter[0] && (out->filter[0] != '(' || out->filter[strlen(out->filter) - 1] != ')'))
		return refuse(why, "filter= is (…)");
	return true;
}

static bool parse_attributes(struct slice key, struct slice value, struct map_ldap_url *out, struct buf *why)
{
	out->sendmail = key.len == 0;
	if (out->sendmail && value.len > 0)
		return refuse(why, "an attribute for the value needs one for the key");
	if (out->sendmail) {
		strcpy(out->key_attribute, "sendmailMTAKey");
		strcpy(out->value_attribute, "sendmailMTAMapValue");
		return true;
	}
	return (url_decode(key, out->key_attribute, sizeof(out->key_attribute)) && url_decode(value, out->value_attribute, sizeof(out->value_attribute))
	        && is_attribute(out->key_attribute) && is_attribute(out->value_attribute)) || refuse(why, "the attributes are not understood");
}

bool map_ldap_parse(const char *spec, struct map_ldap_url *out, struct buf *why)
{
	struct slice rest = slice_of(spec);
	memset(out, 0, sizeof(*out));
	out->tls = strncmp(spec, "ldaps://", 8) == 0;
	out->port = out->tls ? MAP_LDAPS_PORT : MAP_LDAP_PORT;
	if (rest.len >= URL_SPEC_MAX || (!out->tls && strncmp(spec, "ldap://", 7) != 0))
		return refuse(why, "the name is not understood");
	rest.at += out->tls ? 8 : 7;
	rest.len -= out->tls ? 8 : 7;
	struct slice base = url_cut(&rest, '?', NULL), key = url_cut(&rest, '?', NULL), value = url_cut(&rest, '?', NULL), scope = url_cut(&rest, '?', NULL);
	struct slice host = url_cut(&base, '/', NULL);
	if (!url_host_port(host, out->host, &out->port))
		return refuse(why, "the server is not understood");
	if (!url_decode(base, out->base, sizeof(out->base)) || out->base[0] == '\0')
		return refuse(why, "there has to be a base DN");
	return parse_attributes(key, value, out, why) && parse_scope(scope, &out->scope, why) && parse_options(rest, out, why);
}

/* ---- the filter ---- */

/* What a key of the access database is made of passes, all else becomes \XX: all that RFC 4515 demands, and what no server need be trusted with. */
static void put_assertion(struct buf *out, const char *attribute, struct slice value)
{
	static const char hex[] = "0123456789abcdef";
	buf_putf(out, "(%s=", attribute);
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.at[i];
		char escaped[3] = { '\\', hex[c >> 4], hex[c & 15] };
		if (c < 0x80 && (isalnum(c) || strchr(".:-_@+/[]=", c)) && c != '\0')
			buf_put(out, &value.at[i], 1);
		else
			buf_put(out, escaped, 3);
	}
	buf_put_char(out, ')');
}

/* As Sendmail asks: (&(objectClass=…)(|(sendmailMTACluster=…)(sendmailMTAHost=…))(sendmailMTAMapName=access)(keys)). */
static void put_schema(const struct map_ldap_url *url, struct buf *out)
{
	buf_put_text(out, "(objectClass=sendmailMTAMapObject)");
	if (url->cluster[0] || url->mta[0]) {
		buf_put_text(out, "(|");
		if (url->cluster[0])
			put_assertion(out, "sendmailMTACluster", slice_of(url->cluster));
		if (url->mta[0])
			put_assertion(out, "sendmailMTAHost", slice_of(url->mta));
		buf_put_char(out, ')');
	}
	put_assertion(out, "sendmailMTAMapName", slice_of(url->map));
}

bool map_ldap_filter(const struct map_ldap_url *url, const struct wire_question *q, struct buf *out)
{
	buf_put_text(out, "(&");
	if (url->sendmail)
		put_schema(url, out);
	buf_put_text(out, url->filter);
	buf_put_text(out, "(|");
	for (size_t i = 0, n = driver_keys(q); i < n; i++)
		put_assertion(out, url->key_attribute, q->keys[i]);
	buf_put_text(out, "))");
	return !out->full;
}

/* ---- the connection ---- */

static struct timeval left(int64_t deadline)
{
	int ms = driver_left_ms(deadline);
	ms = ms > 0 ? ms : 1; /* zero would mean for ever, in some places */
	return (struct timeval){ ms / 1000, ms % 1000 * 1000 };
}

static bool fail(struct map_ldap *m, int code, struct buf *why)
{
	char *diagnostic = NULL;
	if (code == LDAP_TIMEOUT) {
		buf_put_text(why, "no answer in time");
		return false;
	}
	buf_put_text(why, ldap_err2string(code));
	if (m->ld)
		ldap_get_option(m->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &diagnostic);
	if (diagnostic && diagnostic[0]) {
		buf_put_text(why, ": ");
		buf_put_escaped(why, diagnostic, strlen(diagnostic), SHOWN);
	}
	ldap_memfree(diagnostic);
	return false;
}

static void hang_up(struct map_ldap *m)
{
	if (m->ld)
		ldap_unbind_ext(m->ld, NULL, NULL);
	m->ld = NULL;
}

static int limit_socket(LDAP *ld, Sockbuf *sb, LDAPURLDesc *server, struct sockaddr *address, struct ldap_conncb *context)
{
	struct timeval wait = { SOCKET_WAIT, 0 };
	ber_socket_t fd = -1;
	(void)ld;
	(void)server;
	(void)address;
	(void)context;
	if (ber_sockbuf_ctrl(sb, LBER_SB_OPT_GET_FD, &fd) == 1 && fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	}
	return 0;
}

static void forget_socket(LDAP *ld, Sockbuf *sb, struct ldap_conncb *context)
{
	(void)ld;
	(void)sb;
	(void)context;
}

static int set_options(struct map_ldap *m, int64_t deadline)
{
	static struct ldap_conncb callbacks = { limit_socket, forget_socket, NULL };
	struct timeval tv = left(deadline);
	int version = LDAP_VERSION3, zero = 0;
	int e = ldap_set_option(m->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	e |= ldap_set_option(m->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	e |= ldap_set_option(m->ld, LDAP_OPT_NETWORK_TIMEOUT, &tv);
	e |= ldap_set_option(m->ld, LDAP_OPT_TIMEOUT, &tv);
	e |= ldap_set_option(m->ld, LDAP_OPT_CONNECT_CB, &callbacks);
	if (m->url.ca[0]) {
		e |= ldap_set_option(m->ld, LDAP_OPT_X_TLS_CACERTFILE, m->url.ca);
		e |= ldap_set_option(m->ld, LDAP_OPT_X_TLS_NEWCTX, &zero);
	}
	return e == 0 ? LDAP_SUCCESS : LDAP_LOCAL_ERROR;
}

/* What the server says without having been asked (RFC 4511 4.4): that it is going away, and why, or something that means nothing to us, LDAP_SUCCESS. */
static int hear(struct map_ldap *m, LDAPMessage *notice)
{
	char *name = NULL;
	int code = LDAP_OTHER;
	int e = ldap_parse_extended_result(m->ld, notice, &name, NULL, 0);
	bool leaves = e == LDAP_SUCCESS && name && strcmp(name, LDAP_NOTICE_OF_DISCONNECTION) == 0;
	if (leaves)
		e = ldap_parse_result(m->ld, notice, &code, NULL, NULL, NULL, NULL, 0);
	ldap_memfree(name);
	ldap_msgfree(notice);
	if (e != LDAP_SUCCESS || !leaves)
		return e;
	return code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code;
}

/* Waits for the whole answer. LDAP_SUCCESS with *out, or what went wrong; the result code of the answer itself is not looked at. There is one request at a time, so whatever comes is waited for instead of that
 * answer alone: then libldap hands over, too, that the server is going away, which otherwise it reads itself, and never frees (2.5 and 2.6; some servers say so to each connection that nobody has used for a while). */
static int wait_for(struct map_ldap *m, int64_t deadline, LDAPMessage **out)
{
	int e;
	do {
		struct timeval tv = left(deadline);
		*out = NULL;
		int n = ldap_result(m->ld, LDAP_RES_ANY, LDAP_MSG_ALL, &tv, out);
		if (n == 0)
			return LDAP_TIMEOUT;
		e = LDAP_SERVER_DOWN;
		if (n < 0) {
			ldap_get_option(m->ld, LDAP_OPT_RESULT_CODE, &e);
			return e == LDAP_SUCCESS ? LDAP_SERVER_DOWN : e;
		}
		if (ldap_msgid(*out) != LDAP_RES_UNSOLICITED)
			return LDAP_SUCCESS;
		e = hear(m, *out);
		*out = NULL;
	} while (e == LDAP_SUCCESS && driver_left_ms(deadline) > 0);
	return e == LDAP_SUCCESS ? LDAP_TIMEOUT : e;
}

/* e: what came of sending the request. The result code of the answer. */
static int result_of(struct map_ldap *m, int e, int64_t deadline)
{
	LDAPMessage *answer;
	int code = LDAP_OTHER;
	if (e == LDAP_SUCCESS)
		e = wait_for(m, deadline, &answer);
	if (e == LDAP_SUCCESS)
		e = ldap_parse_result(m->ld, answer, &code, NULL, NULL, NULL, NULL, 1);
	return e == LDAP_SUCCESS ? code : e;
}

static int bind_simple(struct map_ldap *m, const char *password, int64_t deadline)
{
	struct berval secret = { strlen(password), (char *)(uintptr_t)password };
	int msgid;
	return result_of(m, ldap_sasl_bind(m->ld, m->url.bind_dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, &msgid), deadline);
}

static int start_tls(struct map_ldap *m, int64_t deadline)
{
	int msgid;
	int e = result_of(m, ldap_start_tls(m->ld, NULL, NULL, &msgid), deadline);
	return e == LDAP_SUCCESS ? ldap_install_tls(m->ld) : e;
}

static bool connect_to(struct map_ldap *m, int64_t deadline, struct buf *why)
{
	char uri[URL_HOST_MAX + 32], password[DRIVER_SECRET_MAX];
	const struct map_ldap_url *url = &m->url;
	if (!driver_secret(url->password_file, password, why))
		return false;
	snprintf(uri, sizeof(uri), strchr(url->host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", url->tls ? "ldaps" : "ldap", url->host, url->port);
	int e = ldap_initialize(&m->ld, uri);
	if (e == LDAP_SUCCESS)
		e = set_options(m, deadline);
	if (e == LDAP_SUCCESS && url->starttls)
		e = start_tls(m, deadline);
	if (e == LDAP_SUCCESS && url->bind_dn[0])
		e = bind_simple(m, password, deadline);
	explicit_bzero(password, sizeof(password));
	return e == LDAP_SUCCESS || fail(m, e, why);
}

/* ---- the search ---- */

static bool same_text(struct slice key, const struct berval *value)
{
	return value->bv_len == key.len && strncasecmp(value->bv_val, key.at, key.len) == 0 && memchr(key.at, '\0', key.len) == NULL;
}

/* An entry may have several keys; its first value counts. */
static void take_entry(struct map_ldap *m, LDAPMessage *entry, struct driver_hits *hits)
{
	struct berval **keys = ldap_get_values_len(m->ld, entry, m->url.key_attribute);
	struct berval **values = ldap_get_values_len(m->ld, entry, m->url.value_attribute);
	if (keys && values && values[0])
		for (size_t i = 0, n = driver_keys(hits->question); i < n; i++)
			for (size_t k = 0; keys[k]; k++)
				if (same_text(hits->question->keys[i], keys[k]))
					driver_hit(hits, i, (struct slice){ values[0]->bv_val, values[0]->bv_len });
	ldap_value_free_len(keys);
	ldap_value_free_len(values);
}

static bool take_answer(struct map_ldap *m, LDAPMessage *answer, struct driver_hits *hits, struct buf *why)
{
	int code = LDAP_OTHER;
	int e = ldap_parse_result(m->ld, answer, &code, NULL, NULL, NULL, NULL, 0);
	if (e != LDAP_SUCCESS || code != LDAP_SUCCESS)
		return fail(m, e != LDAP_SUCCESS ? e : code, why);
	for (LDAPMessage *entry = ldap_first_entry(m->ld, answer); entry; entry = ldap_next_entry(m->ld, entry))
		take_entry(m, entry, hits);
	return true;
}

static bool search(struct map_ldap *m, struct driver_hits *hits, int64_t deadline, struct buf *why)
{
	static const int scopes[] = { LDAP_SCOPE_BASE, LDAP_SCOPE_ONELEVEL, LDAP_SCOPE_SUBTREE };
	char *wanted[] = { m->url.key_attribute, m->url.value_attribute, NULL };
	struct timeval tv = { left(deadline).tv_sec + 1, 0 }; /* the server counts in seconds */
	LDAPMessage *answer = NULL;
	struct buf filter;
	int msgid = 0;
	buf_init(&filter, MAP_LDAP_FILTER_MAX);
	bool fits = map_ldap_filter(&m->url, hits->question, &filter);
	int e = !fits ? LDAP_NO_MEMORY : ldap_search_ext(m->ld, m->url.base, scopes[m->url.scope], buf_text(&filter), wanted, 0, NULL, NULL, &tv,
	                                                 LDAP_NO_LIMIT, &msgid);
	buf_fini(&filter);
	if (e == LDAP_SUCCESS)
		e = wait_for(m, deadline, &answer);
	bool ok = e == LDAP_SUCCESS ? take_answer(m, answer, hits, why) : fail(m, e, why);
	ldap_msgfree(answer);
	return ok;
}

/* ---- the driver ---- */

static void *ldap_open_map(const char *spec, struct buf *why)
{
	struct map_ldap *m = calloc(1, sizeof(*m));
	if (!m) {
		buf_put_text(why, "no memory");
		return NULL;
	}
	if (map_ldap_parse(spec, &m->url, why))
		return m;
	free(m);
	return NULL;
}

static void ldap_needs(const void *map, struct sandbox_needs *needs)
{
	const struct map_ldap *m = map;
	sandbox_need_names(needs);
	sandbox_need_port(needs, m->url.port);
	sandbox_need_folder_of(needs, m->url.password_file, LANDLOCK_READ);
	sandbox_need_folder_of(needs, m->url.ca, LANDLOCK_READ);
}

static void ldap_close_map(void *map)
{
	hang_up(map);
	free(map);
}

/* Nothing has been asked, so all that a server can have to say is that it goes: it has closed the connection, or says why it will (2.5 never frees the words). */
static bool is_over(const struct map_ldap *m)
{
	int fd = -1;
	Sockbuf *sb = NULL;
	if (ldap_get_option(m->ld, LDAP_OPT_SOCKBUF, &sb) == LDAP_OPT_SUCCESS && sb && ber_sockbuf_ctrl(sb, LBER_SB_OPT_DATA_READY, NULL) > 0)
		return true;
	return ldap_get_option(m->ld, LDAP_OPT_DESC, &fd) == LDAP_OPT_SUCCESS && fd >= 0 && poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) > 0;
}

/* As with Redis: a connection that the server has closed meanwhile is no failure. */
static bool ldap_ask(void *map, struct driver_hits *hits, int64_t deadline, struct buf *why)
{
	struct map_ldap *m = map;
	bool fresh;
	if (m->ld && is_over(m))
		hang_up(m);
	do {
		buf_clear(why);
		fresh = m->ld == NULL;
		if ((!fresh || connect_to(m, deadline, why)) && search(m, hits, deadline, why))
			return true;
		hang_up(m);
	} while (!fresh && driver_left_ms(deadline) > 0);
	return false;
}

const struct driver map_ldap = { .scheme = "ldap:", .remote = true,
	.open = ldap_open_map, .close = ldap_close_map, .ask = ldap_ask, .needs = ldap_needs };
