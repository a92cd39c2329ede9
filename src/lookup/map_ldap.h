/* map_ldap.h: "ldap://HOST[:PORT]/BASEDN[?KEYATTR?VALUEATTR[?SCOPE[?OPTION=VALUE,…]]]", and ldaps://. The pure parts, for tests.
 *
 * Without KEYATTR the entries are those of Sendmail's own schema: objectClass sendmailMTAMapObject, the map's name in sendmailMTAMapName (option map=, default
 * "access"), keys in sendmailMTAKey, the value in sendmailMTAMapValue; cluster= and host= ask, as Sendmail does, for entries of that cluster or that host only.
 * SCOPE: base, one or sub (default). Options: map=, cluster=, host=, filter=(…) as one more condition, binddn= and password_file=, starttls, cacert=PATH.
 * Everything may be %-encoded, and must be where it contains one of "%?,". All keys of a question are one search with an OR; each is escaped (RFC 4515 3).
 */
#ifndef TARRY_LOOKUP_MAP_LDAP_H
#define TARRY_LOOKUP_MAP_LDAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "lookup/driver.h"
#include "lookup/url.h"

#define MAP_LDAP_FORM "ldap://HOST[:PORT]/BASEDN[?KEYATTR?VALUEATTR[?SCOPE[?OPTION=VALUE,…]]] or ldaps://…"
#define MAP_LDAP_PORT 389
#define MAP_LDAPS_PORT 636
#define MAP_LDAP_NAME_MAX 256
#define MAP_LDAP_TEXT_MAX 1024
#define MAP_LDAP_FILTER_MAX (192 * 1024) /* a question's keys fit, were every byte of them escaped */

enum map_ldap_scope { MAP_LDAP_BASE, MAP_LDAP_ONE, MAP_LDAP_SUB };

struct map_ldap_url {
	bool tls, starttls;
	char host[URL_HOST_MAX];
	uint16_t port;
	char base[MAP_LDAP_TEXT_MAX];
	bool sendmail; /* its schema */
	char key_attribute[MAP_LDAP_NAME_MAX], value_attribute[MAP_LDAP_NAME_MAX];
	enum map_ldap_scope scope;
	char map[MAP_LDAP_NAME_MAX], cluster[MAP_LDAP_NAME_MAX], mta[MAP_LDAP_NAME_MAX];
	char filter[MAP_LDAP_TEXT_MAX];
	char bind_dn[MAP_LDAP_TEXT_MAX], password_file[MAP_LDAP_TEXT_MAX], ca[MAP_LDAP_TEXT_MAX];
};

/* False with one line in *why; *out is then undefined. */
bool map_ldap_parse(const char *spec, struct map_ldap_url *out, struct buf *why);
/* False: it does not fit. */
bool map_ldap_filter(const struct map_ldap_url *url, const struct wire_question *question, struct buf *out);

#endif
